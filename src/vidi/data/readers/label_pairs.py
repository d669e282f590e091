"""Images beside label maps, for semantic segmentation: files of one stem, and the table that says what values mean."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torchvision import tv_tensors

from vidi.data.faults import FaultLog, OnFault
from vidi.data.readers.flat import Names
from vidi.data.readers.image_set import ImageSet, StoredValue, Target, images_by_stem, several_of_a_stem
from vidi.data.readers.legends import Legend
from vidi.data.readers.listings import Listing, listed_stems
from vidi.data.readers.splits import Part, part_members


class Place(NamedTuple):
    """A folder of images and the folder of their label maps; what names have behind the stem that they share."""

    images: Path
    maps: Path
    image_ending: str = ""
    map_ending: str = ""

    def stems(self) -> tuple[Mapping[str, Sequence[str]], Mapping[str, Sequence[str]]]:
        """Return the names of the images and of the maps by their stems."""
        return _by_stem(self.images, self.image_ending), _by_stem(self.maps, self.map_ending)


def _by_stem(folder: Path, ending: str) -> dict[str, list[str]]:
    found = images_by_stem(folder)
    return {stem.removesuffix(ending): names for stem, names in found.items() if stem.endswith(ending)}


class LabelPairs(ImageSet):
    """Images with one map of class labels each; of all stems, or of those that a listing has."""

    def __init__(
        self,
        places: Sequence[Place],
        legend: Legend,
        root: Path,
        listing: Listing | None = None,
        *,
        part: Part = "all",
        on_fault: OnFault = "raise",
    ) -> None:
        log = FaultLog(root, on_fault)
        known: list[tuple[Path, Path]] = []
        for place in places:
            stored, labels = place.stems()
            every = stored.keys() | labels.keys()
            for stem in sorted(every) if listing is None else listed_stems(listing, set(every), log):
                images, maps = stored.get(stem, ()), labels.get(stem, ())
                if not images and not maps:
                    log.fault(place.images / stem, "", "there is neither an image nor a label map of that name")
                elif not maps:
                    log.fault(place.images / images[0], "", "the image has no label map")
                elif not images:
                    log.fault(place.maps / maps[0], "", "the label map has no image")
                elif len(images) > 1 or len(maps) > 1:
                    folder, several = (place.images, images) if len(images) > 1 else (place.maps, maps)
                    log.fault((folder / several[0]).parent, "", several_of_a_stem([Path(n).name for n in several]))
                else:
                    known.append((place.images / images[0], place.maps / maps[0]))
        log.settle(len(known))
        super().__init__(root, log)
        member = part_members([image.relative_to(root).as_posix() for image, _ in known], part)
        chosen = [pair for pair, inside in zip(known, member, strict=True) if inside]
        self.semantic_categories = legend.names
        self.kinds = frozenset({"image_id", "semantic"})
        self._images = Names([str(image) for image, _ in chosen])
        self._maps = Names([str(labels) for _, labels in chosen])
        self._legend = legend

    def __len__(self) -> int:
        return len(self._images)

    def path(self, index: int) -> Path:
        return Path(self._images[index])

    def stored_values(self, index: int) -> Mapping[StoredValue, int]:
        return self._legend.counted(Path(self._maps[index]))

    def target(self, index: int) -> Target:
        if "semantic" not in self.kinds:
            return {"image_id": torch.tensor(index)}
        semantic = torch.from_numpy(self._legend.labels(Path(self._maps[index])))
        return {"image_id": torch.tensor(index), "semantic": tv_tensors.Mask(semantic)}
