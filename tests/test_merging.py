"""Objects of several windows: each comes once, whole where a window holds it, else put together of its pieces."""

from collections.abc import Sequence

import pytest
import torch

from vidi.ops.masks import CodedMasks
from vidi.ops.skeletons import Skeleton
from vidi.results.detections import Detections, joined
from vidi.results.merging import View, merge_views

NAMES = ("child", "cart")
SIZE = (100, 190)
LEFT, RIGHT = (0, 0, 100, 100), (90, 0, 190, 100)  # they share ten columns
Row = tuple[float, float, float, float, float, int]  # box, score, label


def seen(*rows: Row) -> Detections:
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].long(), NAMES)


def merge(
    *views: Sequence[Row], overview: Sequence[Row] = (), windows: Sequence[tuple[int, int, int, int]] = (LEFT, RIGHT)
) -> list[list[float]]:
    """Return rows (box, score, label) of what is merged, rounded."""
    parts = [View(window, seen(*rows)) for window, rows in zip(windows, views, strict=True)]
    found = merge_views(parts, seen(*overview), SIZE, coarseness=2)
    table = torch.cat((found.boxes, found.scores[:, None], found.labels[:, None]), 1)
    return [[round(value, 6) for value in row] for row in table.tolist()]


def test_what_one_window_alone_sees_stays() -> None:
    """Also boxes of one window that overlap: its model chose among them."""
    rows = [(10, 10, 40, 40, 0.9, 0), (12, 10, 42, 40, 0.8, 0)]
    assert merge(rows, [(150, 20, 170, 60, 0.7, 1)]) == [[*rows[0]], [*rows[1]], [150, 20, 170, 60, 0.7, 1]]
    assert merge([], []) == []


def test_an_object_that_two_windows_hold_comes_once() -> None:
    """The surer box of it as it is."""
    windows = ((0, 0, 100, 100), (50, 0, 150, 100))
    one, other = (60, 10, 80, 30, 0.8, 0), (61, 10, 81, 31, 0.9, 0)
    assert merge([one], [other], windows=windows) == [[*other]]
    assert merge([other], [one], windows=windows) == [[*other]]
    assert merge([one], [(*other[:5], 1)], windows=windows) == [[*other[:5], 1], [*one]]  # of two classes
    apart = (70, 10, 90, 30, 0.9, 0)  # IoU 1/3
    assert merge([one], [apart], windows=windows) == [[*apart], [*one]]


def test_the_best_pairs_are_joined_first() -> None:
    """Two things that overlap by 0.6, each seen by both windows: there are two of them afterwards."""
    windows = ((0, 0, 100, 100), (50, 0, 150, 100))
    rows = [(60.0, 10.0, 80.0, 30.0, 0.9, 0), (65.0, 10.0, 85.0, 30.0, 0.8, 0)]
    others = [(*rows[1][:4], 0.95, 0), (*rows[0][:4], 0.7, 0)]
    assert merge(rows, others, windows=windows) == [[*others[0]], [*rows[0]]]


def test_a_piece_at_a_border_is_that_of_the_whole_object_beside_it() -> None:
    whole, piece = (60, 10, 97, 50, 0.6, 0), (90, 12, 97, 48, 0.9, 0)
    assert merge([whole], [piece]) == [[60, 10, 97, 50, 0.9, 0]]  # with the score of the surest
    sliver = (90, 25, 91, 35, 0.5, 0)  # of a round thing: its box agrees little with that of the whole
    assert merge([(60, 10, 91, 50, 0.6, 0)], [sliver]) == [[60, 10, 91, 50, 0.6, 0]]
    beside = (90, 12, 130, 48, 0.9, 0)  # what reaches far beyond the whole is another object
    assert merge([whole], [beside]) == [[*beside], [*whole]]


def test_a_whole_object_inside_another_one_stays() -> None:
    """A child before a cart of its class: SAHI's rule alone would make one of them."""
    windows = ((0, 0, 100, 100), (50, 0, 150, 100))
    large, small = (5, 5, 95, 95, 0.9, 0), (60, 30, 80, 60, 0.8, 0)
    assert merge([large], [small], windows=windows) == [[*large], [*small]]


def test_a_doubtful_object_swallows_no_sure_piece() -> None:
    doubtful, piece = (60, 10, 96, 50, 0.1, 0), (90, 12, 96, 48, 0.9, 0)
    assert merge([doubtful], [piece]) == [[*piece], [*doubtful]]
    assert merge([(*doubtful[:4], 0.45, 0)], [piece]) == [[60, 10, 96, 50, 0.9, 0]]


def test_pieces_that_agree_where_their_windows_overlap_are_one_object() -> None:
    """A long one, which they share little of: less than half of the smaller piece."""
    left, right = (40, 10, 100, 30, 0.9, 0), (90, 10, 150, 30, 0.8, 0)
    assert merge([left], [right]) == [[40, 10, 150, 30, 0.9, 0]]
    higher = (90, 22, 150, 42, 0.8, 0)  # shares 8 rows of 32
    assert merge([left], [higher]) == [[*left], [*higher]]
    doubtful = (90, 10, 180, 30, 0.44, 0)
    assert merge([left], [doubtful]) == [[*left], [*doubtful]]


def test_pieces_of_a_chain_of_windows_are_one_object() -> None:
    windows = ((0, 0, 80, 100), (60, 0, 130, 100), (110, 0, 190, 100))
    rows = [[(10, 10, 80, 30, 0.7, 0)], [(60, 11, 130, 30, 0.9, 0)], [(110, 10, 170, 30, 0.8, 0)]]
    assert merge(*rows, windows=windows) == [[10, 10, 170, 30, 0.9, 0]]


def test_a_box_that_ends_a_little_before_the_border_is_a_piece() -> None:
    """2 % of a window of 100 pixels; at the border of the picture itself nothing is cut off."""
    assert merge([(60, 10, 98.5, 50, 0.6, 0)], [(91, 10, 130, 50, 0.9, 0)]) == [[60, 10, 130, 50, 0.9, 0]]
    assert merge([(60, 10, 97.5, 50, 0.9, 0)], [(91, 10, 130, 50, 0.6, 0)])[0][:4] == [60, 10, 97.5, 50]
    assert merge([(0, 0, 96, 100, 0.6, 0)], [(90, 1, 96, 99, 0.9, 0)])[0][:4] == [0, 0, 96, 100]


# ----------------------------------------------------------------------------------------------------------------------
# The overview


def test_of_the_overview_only_what_no_window_holds_is_taken() -> None:
    held, large = (10, 10, 40, 40, 0.9, 0), (20, 50, 170, 90, 0.8, 1)
    assert merge([], [], overview=[held, large]) == [[*large]]


def test_pieces_that_make_up_an_object_of_the_overview_are_finer_than_it() -> None:
    """Within three of its pixels, which are two of the picture."""
    pieces = [(40, 10, 100, 30, 0.7, 0)], [(90, 10, 150, 30, 0.8, 0)]
    assert merge(*pieces, overview=[(46, 8, 144, 34, 0.9, 0)]) == [[40, 10, 150, 30, 0.9, 0]]
    assert merge(*pieces, overview=[(47, 8, 144, 34, 0.9, 0)]) == [[47, 8, 144, 34, 0.9, 0]]


def test_pieces_of_an_object_of_the_overview_do_not_come_beside_it() -> None:
    """An object may reach into a window twice, and some of its parts may be missed."""
    whole = (20, 5, 170, 95, 0.6, 0)
    legs = [(20, 60, 100, 95, 0.9, 0), (80, 5, 100, 25, 0.5, 0)]
    assert merge(legs, [], overview=[whole]) == [[20, 5, 170, 95, 0.9, 0]]
    other = (60, 30, 80, 50, 0.9, 0)  # whole, before it
    both = merge([*legs, other], [], overview=[whole])
    assert len(both) == 2
    assert [*other] in both
    assert len(merge([(*legs[0][:5], 1)], [], overview=[whole])) == 2
    sure = (20, 60, 100, 95, 0.9, 0)
    assert merge([sure], [], overview=[(*whole[:4], 0.4, 0)]) == [[*sure], [*whole[:4], 0.4, 0]]


def test_of_an_object_that_window_and_overview_hold_the_near_view_stays_unless_it_is_doubtful() -> None:
    near, far = (10, 10, 97, 60, 0.8, 0), (8, 8, 99, 62, 0.6, 0)
    assert merge([near], [], overview=[far]) == [[*near]]
    assert merge([near], [], overview=[(*far[:4], 0.9, 0)]) == [[*near]]
    assert merge([(*near[:4], 0.4, 0)], [], overview=[(*far[:4], 0.9, 0)]) == [[*far[:4], 0.9, 0]]
    assert len(merge([near], [], overview=[(*far[:5], 1)])) == 2


# ----------------------------------------------------------------------------------------------------------------------
# What objects have besides boxes


def with_parts(box: tuple[float, ...], score: float, points: Sequence[Sequence[float]]) -> Detections:
    x0, y0, x1, y1 = map(int, box)
    mask = torch.zeros(1, *SIZE, dtype=torch.bool)
    mask[0, y0:y1, x0:x1] = True
    return Detections(
        torch.tensor([box]),
        torch.tensor([score]),
        torch.tensor([0]),
        NAMES,
        mask,
        torch.tensor([points]),
        Skeleton(("head", "foot"), ((0, 1),)),
    )


def test_masks_and_joints_of_pieces_are_put_together() -> None:
    """Each joint as the piece says that is surest of it."""
    left = with_parts((40.0, 10.0, 100.0, 30.0), 0.9, [[45.0, 12.0, 0.9], [99.0, 29.0, 0.1]])
    right = with_parts((90.0, 10.0, 150.0, 30.0), 0.8, [[91.0, 11.0, 0.2], [149.0, 28.0, 0.7]])
    nothing = left.chosen(torch.zeros(1, dtype=torch.bool))
    found = merge_views([View(LEFT, left), View(RIGHT, right)], nothing, SIZE, coarseness=2)
    expected = torch.zeros(SIZE, dtype=torch.bool)
    expected[10:30, 40:150] = True
    assert isinstance(found.masks, torch.Tensor)
    assert torch.equal(found.masks, expected[None])
    assert found.keypoints is not None
    assert torch.equal(found.keypoints, torch.tensor([[[45.0, 12.0, 0.9], [149.0, 28.0, 0.7]]]))
    assert found.skeleton == left.skeleton
    empty = merge_views([View(LEFT, nothing), View(RIGHT, nothing)], nothing, SIZE, coarseness=2)
    assert empty.coded_masks is not None
    assert empty.coded_masks.shape == (0, *SIZE)
    assert empty.keypoints is not None
    assert empty.keypoints.shape == (0, 2, 3)


def test_detections_follow_their_picture() -> None:
    found = with_parts((40.0, 10.0, 100.0, 30.0), 0.9, [[45.0, 12.0, 0.9], [99.0, 29.0, 0.1]])
    movement = torch.tensor([[0.5, 0.0, 7.0], [0.0, 2.0, -3.0], [0.0, 0.0, 1.0]])
    moved = found.moved(movement, (120, 80))
    assert moved.boxes.tolist() == [[27.0, 17.0, 57.0, 57.0]]
    expected = torch.zeros(120, 80, dtype=torch.bool)
    expected[17:57, 27:57] = True
    assert isinstance(moved.masks, torch.Tensor)
    assert torch.equal(moved.masks, expected[None])
    assert moved.keypoints is not None
    assert torch.equal(moved.keypoints, torch.tensor([[[29.5, 21.0, 0.9], [56.5, 55.0, 0.1]]]))
    with pytest.raises(ValueError, match="3-D boxes, which do not follow the pixels"):
        Detections(
            torch.rand(1, 4),
            torch.rand(1),
            torch.tensor([0]),
            NAMES,
            boxes_3d=torch.ones(1, 7),
            intrinsics=torch.eye(3),
        ).moved(movement, (120, 80))


def test_detections_are_joined_that_have_the_same() -> None:
    one, other = seen((0, 0, 5, 5, 0.5, 0)), seen((1, 1, 5, 5, 0.9, 1), (2, 2, 5, 5, 0.5, 1))
    assert joined([one, other]).boxes[:, 0].tolist() == [1, 0, 2]
    masked = with_parts((40.0, 10.0, 100.0, 30.0), 0.9, [[45.0, 12.0, 0.9], [99.0, 29.0, 0.1]])
    with pytest.raises(ValueError, match="that have boxes, scores, labels and some that have boxes, scores, labels, m"):
        joined([one, masked])
    with pytest.raises(ValueError, match=r"sizes \(H, W\) \(3, 4\), \(5, 4\), expected one"):
        CodedMasks.joined([CodedMasks((), (5, 4)), CodedMasks((), (3, 4))])
