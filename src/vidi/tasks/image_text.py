"""Images and texts: a picture, what is said of it, and the search for one by the other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidi import files
from vidi.data.captions import captions_of
from vidi.data.tokenizer import trained_merges
from vidi.data.truths import caption_truth
from vidi.engine.datasets import WORLD
from vidi.engine.task import Task
from vidi.metrics.retrieval import retrieval_scores
from vidi.ops.neighbours import nearest
from vidi.recipes.image_text import CLIP_FINE_TUNED, CLIP_RECIPE
from vidi.results.categories import Categories
from vidi.results.image_text import ImageText

READ = 20_000  # captions that a vocabulary is made of
JOINS = 1_000  # of a vocabulary of one's own


class RetrievalScorer:
    """How often the caption of an image is found among all captions, and the image among all images.

    Captions of equal words, and those of one image, belong to each other's images.
    """

    headline = "recall1"  # the mean of both directions
    keys: tuple[str, ...] = ("caption",)

    def __init__(self, categories: Categories):
        self.images: list[Tensor] = []
        self.texts: list[Tensor] = []
        self.captions: list[str] = []
        self.numbers: list[int] = []

    def update(self, results: Sequence[ImageText], targets: Sequence[Mapping[str, Any]]) -> None:
        for result, target in zip(results, targets, strict=True):
            if result.text is None:
                raise ValueError("received an image without a caption, expected one for each")
            self.images.append(result.image)
            self.texts.append(result.text)
            self.captions.append(target["caption"])
            self.numbers.append(int(target["image_id"]))

    def compute(self) -> dict[str, float]:
        images, texts, owners = torch.stack(self.images), torch.stack(self.texts), self._owners()
        scores = {
            f"{name}_recall{k}": value
            for name, queries, others in (("text", images, texts), ("image", texts, images))
            for k, value in retrieval_scores(
                queries, owners, gallery=(others, owners), ks=(1, 5), metric="cosine"
            ).recall.items()
        }
        return {"recall1": (scores["text_recall1"] + scores["image_recall1"]) / 2, **scores}

    def write_plots(self, folder: Path) -> None:
        """Write `retrieval.csv`: each caption, and the one that is found for its image, the wrong ones first."""
        places = nearest(torch.stack(self.images), torch.stack(self.texts), 1, metric="cosine").places[:, 0].tolist()
        owners = self._owners().tolist()
        rows = [
            {"caption": caption, "found": self.captions[place], "right": owners[row] == owners[place]}
            for row, (caption, place) in enumerate(zip(self.captions, places, strict=True))
        ]
        files.write_csv(folder / "retrieval.csv", sorted(rows, key=lambda row: row["right"]))

    def _owners(self) -> Tensor:
        """Return a number for each pair, equal for those that share an image or a caption."""
        first: dict[Any, int] = {}
        roots = list(range(len(self.captions)))

        def root(row: int) -> int:
            while roots[row] != row:
                row = roots[row]
            return row

        for row, keys in enumerate(zip(self.captions, self.numbers, strict=True)):
            for key in keys:
                roots[root(row)] = root(first.setdefault(key, row))
        return torch.tensor([root(row) for row in range(len(roots))])


def merges_of(dataset: Any) -> str:
    """Return the joins of a tokenizer of a data set's captions."""
    return trained_merges(captions_of(dataset, READ), JOINS)


IMAGE_TEXT = Task(
    name="image_text",
    needs=("caption",),
    says={"merges": merges_of},
    result=ImageText,
    scorer=RetrievalScorer,
    truth=caption_truth,
    moves=("none", "shift", "slight_crop"),
    built_in={"world": WORLD},
    recipe=CLIP_RECIPE,
    fine_tuning=CLIP_FINE_TUNED,
)
