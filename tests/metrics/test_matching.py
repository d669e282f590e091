"""The rank of a partner, against a loop."""

import pytest
import torch

from vidi.metrics.matching import partner_ranks
from vidi.results.image_text import ImageText
from vidi.tasks.image_text import RetrievalScorer


def unit(rows: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(rows, dim=1)


@pytest.mark.parametrize("block", [1, 7, 100])
def test_ranks_are_those_of_a_loop(block: int) -> None:
    queries, others = unit(torch.randn(20, 4)), unit(torch.randn(20, 4))
    others[3] = others[4]  # two that are equally near
    owners = torch.arange(20) // 2 * 2
    owners[:3] = 0
    expected = []
    for query, owner in zip(queries, owners.tolist(), strict=True):
        near = (others @ query).tolist()
        best = max(value for value, other in zip(near, owners.tolist(), strict=True) if other == owner)
        worse = sum(value >= best for value, other in zip(near, owners.tolist(), strict=True) if other != owner)
        expected.append(1 + worse)
    assert partner_ranks(queries, others, owners, block=block).tolist() == expected


def test_collapsed_vectors_find_nothing() -> None:
    rows = unit(torch.ones(5, 3))
    assert partner_ranks(rows, rows, torch.arange(5)).tolist() == [5] * 5


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
