"""Depth in colours, and the bar that says what the colours are."""

import PIL.Image

from vidi.ops.depth_pictures import with_colour_bar


def test_a_number_that_is_next_to_nothing_is_written_as_zero_without_its_depth() -> None:
    """Else "2.97e-20 (33657228371 m)" lies over the number beside it."""
    picture = PIL.Image.new("RGB", (320, 40))
    bars = [
        with_colour_bar(picture, (least, 0.345), "inverse depth, 1/m", reciprocal="m", gaps=False)
        for least in (0.0, 3e-20, 3e-4)
    ]
    assert bars[0].tobytes() == bars[1].tobytes()
    assert bars[0].tobytes() != bars[2].tobytes()


def test_a_map_without_depth_has_no_bar_of_invented_numbers() -> None:
    picture = PIL.Image.new("RGB", (320, 40))
    sheet = with_colour_bar(picture, None, "inverse depth, 1/m", reciprocal="m", gaps=True)
    colours = sheet.getcolors()  # None: more than 256, as a bar has
    assert colours is not None
    assert with_colour_bar(picture, (0.1, 0.3), "inverse depth", reciprocal="m", gaps=True).getcolors() is None
    other = with_colour_bar(picture, None, "inverse depth, relative (no unit)", reciprocal="", gaps=True)
    assert sheet.tobytes() == other.tobytes()
