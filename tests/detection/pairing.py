"""Compare detections of one image that were computed in two ways."""

import torch

from tests.closeness import assert_close, largest
from vidi.results import Detections


def assert_same_detections(found: Detections, expected: Detections, relative: float = 1e-5) -> None:
    """Ask for the same scores, boxes and labels; detections whose scores differ by their rounding may change places."""
    assert len(found) == len(expected)
    assert_close(found.scores, expected.scores, relative)
    ours, theirs = (torch.cat((result.boxes, 1000.0 * result.labels[:, None]), 1) for result in (found, expected))
    away = torch.cdist(ours, theirs, p=torch.inf)
    for nearest in (away.amin(0), away.amin(1)):
        assert_close(nearest, torch.zeros_like(nearest), relative, size=largest(expected.boxes))
