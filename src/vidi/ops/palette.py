"""Colours of classes: stable by index, told apart with and without colour blindness.

The first seven are those of Okabe and Ito (2008), without black. The others were added one by one: each is the colour
farthest in OKLab from all before it, for normal sight and for the three dichromacies as simulated by Machado et al.
(2009).
"""

Colour = tuple[int, int, int]
"""Red, green and blue, 0..255."""

CLASS_COLOURS: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (213, 94, 0),
    (0, 114, 178),
    (240, 228, 66),
    (204, 121, 167),
    (120, 0, 90),
    (135, 0, 255),
    (30, 90, 0),
    (120, 255, 255),
    (60, 0, 195),
    (0, 225, 135),
    (195, 30, 150),
    (150, 120, 255),
    (150, 75, 90),
    (255, 180, 210),
    (240, 15, 210),
    (135, 180, 120),
    (150, 255, 165),
    (105, 45, 150),
    (180, 0, 0),
    (255, 120, 210),
    (180, 210, 0),
    (255, 60, 90),
    (0, 225, 255),
    (60, 75, 195),
    (120, 135, 60),
    (60, 60, 120),
    (105, 120, 210),
    (165, 90, 0),
    (90, 195, 60),
)
INK: Colour = (32, 33, 36)
PAPER: Colour = (255, 255, 255)


def class_colour(index: int) -> Colour:
    """Return the colour of class `index`; the colours repeat after 32 classes.

    Raises:
        ValueError: if the index is negative.
    """
    if index < 0:
        raise ValueError(f"received class index {index}, expected 0 or more")
    return CLASS_COLOURS[index % len(CLASS_COLOURS)]


def text_colour(background: Colour) -> Colour:
    """Return `INK` or `PAPER`, whichever has the higher contrast on `background`."""
    return max(INK, PAPER, key=lambda colour: contrast_ratio(colour, background))


def contrast_ratio(a: Colour, b: Colour) -> float:
    """Return the contrast ratio of two colours, 1 (equal) to 21 (black on white); WCAG 2.1."""
    darker, brighter = sorted((_relative_luminance(a), _relative_luminance(b)))
    return (brighter + 0.05) / (darker + 0.05)


def blended(colour: Colour, background: Colour, share: float) -> Colour:
    """Return the colour seen when `share` (0..1) of `colour` covers `background`."""
    red, green, blue = (round(share * c + (1 - share) * b) for c, b in zip(colour, background, strict=True))
    return red, green, blue


def _relative_luminance(colour: Colour) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
