"""Drawing primitives: what they leave alone, and that text stays inside."""

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
import torch

from vidi.ops.drawing import as_picture, draw_tag, legible, mask_picture, shortened, tint, with_legend
from vidi.ops.fonts import font_of

RED = (255, 0, 0)


def test_pictures_are_copies() -> None:
    image = PIL.Image.new("RGB", (4, 4))
    as_picture(image).putpixel((0, 0), RED)
    assert image.getpixel((0, 0)) == (0, 0, 0)


def test_grey_becomes_colour() -> None:
    grey = torch.full((1, 5, 6), 0.5)
    assert as_picture(grey).getpixel((0, 0)) == (128, 128, 128)
    assert as_picture(PIL.Image.new("L", (6, 5), 7)).mode == "RGB"


@pytest.mark.parametrize("image", [torch.zeros(5, 5), np.zeros((5, 5, 2), np.uint8), np.zeros((5, 5, 3))])
def test_other_shapes_and_types_are_refused(image) -> None:
    with pytest.raises(ValueError, match="expected"):
        as_picture(image)


@pytest.mark.parametrize(("size", "expected"), [((128, 96), (480, 360)), ((28, 28), (480, 480)), ((1, 700), (1, 700))])
def test_small_pictures_are_enlarged(size, expected) -> None:
    assert legible(PIL.Image.new("RGB", size)).size == expected


@pytest.mark.parametrize("width", [0, 5, 40, 100, 1000])
def test_shortened_text_fits(width: int) -> None:
    font = font_of(16)
    text = shortened("Köter, größer als Ω", font, width)
    assert font.getlength(text) <= width
    assert (text == "Köter, größer als Ω") == (width == 1000)


def test_accents_are_in_the_font() -> None:
    shapes = set()
    for letter in "éßäΩ":
        picture = PIL.Image.new("L", (30, 30))
        PIL.ImageDraw.Draw(picture).text((2, 2), letter, fill=255, font=font_of(20))
        shapes.add(picture.tobytes())
    assert len(shapes) == 4  # letters that a font lacks all look alike


def test_masks_are_enlarged_smoothly() -> None:
    mask = torch.zeros(10, 10, dtype=torch.bool)
    mask[3:7, 2:8] = True
    large = np.asarray(mask_picture(mask, (100, 100)))
    assert set(np.unique(large)) == {0, 255}
    assert (large > 0).mean() == pytest.approx(0.24, abs=0.01)


def test_tint_has_an_opaque_border() -> None:
    picture = PIL.Image.new("RGB", (20, 20))
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[5:15, 5:15] = True
    tint(picture, mask_picture(mask, (20, 20)), RED, share=0.4)
    assert [picture.getpixel(place) for place in ((5, 10), (10, 10), (4, 10))] == [RED, (102, 0, 0), (0, 0, 0)]


def test_tags_avoid_one_another() -> None:
    picture = PIL.Image.new("RGB", (500, 500))
    box = (200, 200, 300, 300)
    first = draw_tag(picture, box, "one", RED, [])
    assert first is not None
    second = draw_tag(picture, box, "two", RED, [first])
    assert second is not None
    assert max(first[0], second[0]) >= min(first[2], second[2]) or max(first[1], second[1]) >= min(first[3], second[3])
    assert first[3] == 200  # above its box


def test_optional_tags_give_way() -> None:
    picture = PIL.Image.new("RGB", (500, 500))
    everywhere = [(0, 0, 500, 500)]
    assert draw_tag(picture, (200, 200, 300, 300), "one", RED, everywhere, optional=True) is None
    assert draw_tag(picture, (200, 200, 205, 205), "one", RED, [], optional=True) is None
    assert picture.getcolors() == [(250_000, (0, 0, 0))]
    assert draw_tag(picture, (200, 200, 300, 300), "one", RED, everywhere) is not None


def test_legends_wrap() -> None:
    picture = PIL.Image.new("RGB", (480, 480))
    one, many = (with_legend(picture, [(RED, "sphere")] * count) for count in (1, 20))
    assert one.width == many.width == 480
    assert many.height > one.height + 40
    assert with_legend(picture, []).size == picture.size
