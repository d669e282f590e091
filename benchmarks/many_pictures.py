"""Many pictures: `vidi predict --save` against a plain loop over a DataLoader, and large JPEGs at a reduced scale.

The plain loop is what one writes by hand: Pillow and torchvision's transforms in one loader worker, batches of 16, the
same network and weights (eager, and folded as `vidi predict` folds it), a JSON line a picture. Both write the same
classes, which is checked first. One thread beside one worker. `python -m benchmarks.many_pictures`.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import torch
import torchvision.transforms.v2 as transforms
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.timing import compare
from vidi import files
from vidi.backbones.mobilenet import mobilenet_v2
from vidi.bulk.job import Asked, predict_many
from vidi.bulk.reading import placed_as
from vidi.bulk.sources import listing_of
from vidi.nn.inference import fuse_for_inference
from vidi.preprocess import Preprocess

PHOTOS, SIZE, BATCH = 256, (375, 500), 16
SHORTER, CROP = 256, 224  # what the network is given
LARGE, LARGE_SIZE, CANVAS = 8, (1500, 2000), (256, 256)
LOOP_BAR, REDUCED_BAR = 1.0, 2.5


def lines() -> Iterator[str]:
    """Yield the rows; ValueError where answers differ."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        yield from _loops(Path(folder))
        yield from _reduced(Path(folder))


def write_photos(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """Write JPEGs of the texture of photographs: noise of several scales."""
    generator = torch.Generator().manual_seed(0)
    paths = []
    for row in range(count):
        noise = sum(
            torch.nn.functional.interpolate(torch.rand(1, 3, side, side, generator=generator), size, mode="bicubic")[0]
            for side in (3, 9, 27, 81, 243)
        )
        paths.append(folder / f"{row:04d}.jpg")
        files.write_image(paths[-1], (torch.as_tensor(noise) * 51).clamp(0, 255).byte(), quality=90)
    return paths


class Photos(Dataset[tuple[str, Tensor]]):
    """Photos as a tutorial reads them."""

    def __init__(self, paths: list[Path], preprocess: Preprocess):
        self.paths = paths
        self.transform = transforms.Compose(
            [
                transforms.PILToTensor(),
                transforms.Resize(SHORTER, antialias=True),
                transforms.CenterCrop(CROP),
                transforms.ToDtype(torch.float32, scale=True),
                transforms.Normalize(preprocess.mean, preprocess.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[str, Tensor]:
        with PIL.Image.open(self.paths[index]) as image:
            return str(self.paths[index]), self.transform(image.convert("RGB"))


@torch.no_grad()
def plain_loop(model: Any, paths: list[Path], categories: tuple[str | None, ...], target: Path) -> None:
    """Predict by hand."""
    rows = []
    for names, images in DataLoader(Photos(paths, model.preprocess), batch_size=BATCH, num_workers=1):
        probabilities = model(images).logits.softmax(1)
        for name, row in zip(names, probabilities, strict=True):
            scores, labels = row.topk(5)
            top = [{"name": categories[k], "score": s} for k, s in zip(labels.tolist(), scores.tolist(), strict=True)]
            rows.append({"source": name, "label": int(labels[0]), "score": float(scores[0]), "top": top})
    target.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def _loops(folder: Path) -> Iterator[str]:
    paths = write_photos(folder / "photos", PHOTOS, SIZE)
    model = mobilenet_v2()
    fused = fuse_for_inference(model)
    out, by_hand = folder / "out", folder / "by_hand.jsonl"

    def ours() -> None:
        shutil.rmtree(out, ignore_errors=True)
        predict_many(model, listing_of([str(folder / "photos")], out), out, Asked("jsonl", batch_size=BATCH, workers=1))

    ours()
    plain_loop(model, paths, model.categories, by_hand)
    _agree(out / "jsonl/predictions.jsonl", by_hand)
    contestants: dict[str, Callable[[], object]] = {
        "vidi predict --save": ours,
        "plain loop": lambda: plain_loop(model, paths, model.categories, by_hand),
        "plain loop, fused": lambda: plain_loop(fused, paths, model.categories, by_hand),
    }
    compared = compare(f"{PHOTOS} photos, mobilenet_v2", contestants, rounds=5)
    for peer in ("plain loop", "plain loop, fused"):
        yield compared.line(peer, LOOP_BAR if peer == "plain loop" else None)


def _agree(ours: Path, by_hand: Path) -> None:
    rows = [[json.loads(line) for line in path.read_text().splitlines()] for path in (ours, by_hand)]
    gap = max(abs(a["score"] - b["score"]) for a, b in zip(*rows, strict=True))
    if [row["source"] for row in rows[0]] != [row["source"] for row in rows[1]] or not gap < 0.01:
        raise ValueError(f"the two loops differ: by {gap} in the best score")


def _reduced(folder: Path) -> Iterator[str]:
    paths = write_photos(folder / "large", LARGE, LARGE_SIZE)
    preprocess = Preprocess(exact=CANVAS)
    to_tensor = transforms.functional.pil_to_tensor

    def reduced() -> list[Tensor]:
        read = (files.decode_reduced(path, path.read_bytes(), preprocess.resized) for path in paths)
        return [placed_as(preprocess, pixels, whole)[0] for pixels, whole in read]

    def whole() -> list[Tensor]:
        return [preprocess.place(files.read_image(path), {})[0] for path in paths]

    def pillow() -> list[Tensor]:
        sizes = (CANVAS[1], CANVAS[0])
        pictures = (PIL.Image.open(path).convert("RGB") for path in paths)
        return [to_tensor(picture.resize(sizes, PIL.Image.Resampling.BILINEAR)) for picture in pictures]

    def resized_by_torchvision() -> list[Tensor]:
        return [preprocess.place(to_tensor(PIL.Image.open(path)), {})[0] for path in paths]

    gap = max(float((a.float() - b.float()).abs().mean()) for a, b in zip(reduced(), pillow(), strict=True))
    if not gap < 2:
        raise ValueError(f"reduced pictures differ from whole ones by {gap} of 255")
    contestants: dict[str, Callable[[], object]] = {
        "vidi, --reduced": reduced,
        "Pillow": pillow,
        "Pillow, resized by torchvision": resized_by_torchvision,
        "vidi, whole": whole,
    }
    compared = compare(f"{LARGE} JPEGs {LARGE_SIZE[1]} x {LARGE_SIZE[0]} to {CANVAS[1]}", contestants, rounds=9)
    for peer in list(contestants)[1:]:
        yield compared.line(peer, REDUCED_BAR if peer == "Pillow" else None)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
