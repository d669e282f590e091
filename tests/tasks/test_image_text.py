"""The scores of a search for texts by images and for images by texts."""

from pathlib import Path

import pytest
import torch

from vidi import files
from vidi.results.image_text import ImageText
from vidi.tasks.image_text import IMAGE_TEXT, RetrievalScorer, merges_of


def score(images: torch.Tensor, texts: torch.Tensor, captions: list[str], numbers: list[int]) -> RetrievalScorer:
    scorer = RetrievalScorer(())
    for image, text, caption, number in zip(images, texts, captions, numbers, strict=True):
        target = {"caption": caption, "image_id": torch.tensor(number)}
        scorer.update([ImageText(image, text)], [target])
    return scorer


def test_recall_counts_both_ways() -> None:
    images, texts = torch.eye(8), torch.eye(8)
    swapped = texts[[1, 0, *range(2, 8)]]
    scores = score(images, swapped, list("abcdefgh"), [*range(8)]).compute()
    assert scores == {
        "recall1": 0.75,
        "text_recall1": 0.75,
        "text_recall5": 0.75,  # all others are equally far, and go first
        "image_recall1": 0.75,
        "image_recall5": 0.75,
    }


def test_equal_captions_and_captions_of_one_image_belong_together() -> None:
    images, texts = torch.eye(6), torch.eye(6)[[1, 2, 0, 4, 3, 5]]
    assert score(images, texts, list("abcdef"), [*range(6)]).compute()["recall1"] == pytest.approx(1 / 6)
    # a, b and c are one: by the caption of two and by the image of two
    scores = score(images, texts, ["x", "x", "c", "d", "d", "f"], [0, 1, 1, 3, 4, 5]).compute()
    assert scores["recall1"] == 1.0


def test_an_image_without_a_caption_has_no_score() -> None:
    with pytest.raises(ValueError, match="without a caption"):
        RetrievalScorer(()).update([ImageText(torch.ones(3))], [{"caption": "a", "image_id": torch.tensor(0)}])


def test_what_was_found_is_written_the_wrong_ones_first(tmp_path: Path) -> None:
    texts = torch.eye(4)[[0, 2, 1, 3]]
    score(torch.eye(4), texts, ["a", "b", "c", "d"], [*range(4)]).write_plots(tmp_path)
    rows = [(row["caption"], row["found"], row["right"]) for row in files.read_csv(tmp_path / "retrieval.csv")]
    assert rows == [("b", "c", "False"), ("c", "b", "False"), ("a", "a", "True"), ("d", "d", "True")]


def test_a_vocabulary_is_that_of_the_captions() -> None:
    class Captions:
        def __len__(self) -> int:
            return 3

        def target(self, index: int) -> dict[str, str]:
            return {"caption": "red red box"}

    assert merges_of(Captions()).splitlines()[0] == "e d</w>"
    assert IMAGE_TEXT.says["merges"] is merges_of
    assert IMAGE_TEXT.fine_tuned(IMAGE_TEXT.recipe).validate_first
