"""Compare detections of one image that were computed in two ways."""

import torch
from torch import Tensor

from tests.closeness import assert_close, largest
from vidi.results.detections import Detections


def assert_same_detections(
    found: Detections, expected: Detections, relative: float = 1e-5, *, limit: int = 100
) -> None:
    """Ask for the same scores, boxes and labels, apart from what rounding decides.

    Detections whose scores differ by their rounding may change places; at the `limit` of detections per image, the
    last of them may be another one of the same score.
    """
    assert len(found) == len(expected)
    assert_close(found.scores, expected.scores, relative)
    cut = float(expected.scores.min()) + 2 * relative * largest(expected.scores) if len(expected) == limit else -1.0
    for one, other in ((found, expected), (expected, found)):
        sure = one.scores > cut
        assert sure.sum() >= 0.9 * len(one)
        away = torch.cdist(rows(one)[sure], rows(other), p=torch.inf).amin(1)
        assert_close(away, torch.zeros_like(away), relative, size=largest(expected.boxes))


def rows(result: Detections) -> Tensor:
    """Return boxes with their labels, those of different labels being far from each other: N 5."""
    return torch.cat((result.boxes, 1000.0 * result.labels[:, None]), 1)
