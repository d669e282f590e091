"""Colours of classes: stable, and far enough apart."""

import itertools

import pytest

from vidi.ops.palette import CLASS_COLOURS, INK, PAPER, blended, class_colour, contrast_ratio, text_colour


def test_colours_are_stable_and_repeat() -> None:
    assert class_colour(0) == (230, 159, 0)
    assert class_colour(32) == class_colour(0)
    assert len(set(CLASS_COLOURS)) == 32


def test_no_two_colours_are_close() -> None:
    apart = [max(abs(x - y) for x, y in zip(a, b, strict=True)) for a, b in itertools.combinations(CLASS_COLOURS, 2)]
    assert min(apart) >= 25


def test_negative_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        class_colour(-1)


def test_contrast_of_black_and_white() -> None:
    assert contrast_ratio((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast_ratio((255, 0, 0), (255, 0, 0)) == 1


def test_text_is_legible_on_every_colour() -> None:
    assert text_colour((255, 255, 255)) == INK
    assert text_colour((0, 0, 0)) == PAPER
    assert min(contrast_ratio(text_colour(colour), colour) for colour in CLASS_COLOURS) > 3.5


def test_blending() -> None:
    assert blended((100, 0, 255), (0, 200, 255), 0.25) == (25, 150, 255)
