"""A drawn portrait: an ellipsoid head with painted features, turned, lit and framed.

    pixel -> head frame (centre, scale, roll) -> point on the ellipsoid -> turned back by yaw and pitch
          -> point of the frontal plane, where the features are painted -> colour x light

Lengths are in half widths of the head; x right, y down, z towards the viewer. Painting in the frontal plane and looking
it up through the turned ellipsoid foreshortens every feature as a real turn would.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from torch import Tensor

from vidi.data.silhouettes import Grid, as_image, coverage, disc, ellipse, pixel_centres, rectangle, segment, turned
from vidi.data.world.rotations import about_x, about_y

Colour = tuple[float, float, float]
Layer = Float64[np.ndarray, "H W 3"]

LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")  # left and right in the image, unturned

_SKINS = np.array([(0.98, 0.84, 0.74), (0.93, 0.74, 0.60), (0.80, 0.58, 0.43), (0.60, 0.41, 0.29), (0.40, 0.26, 0.18)])
_HAIRS = np.array([(0.08, 0.06, 0.06), (0.30, 0.18, 0.10), (0.55, 0.33, 0.15), (0.86, 0.70, 0.38), (0.62, 0.62, 0.64)])
_IRISES = np.array([(0.30, 0.18, 0.09), (0.22, 0.42, 0.66), (0.28, 0.46, 0.28), (0.45, 0.45, 0.48)])
_WHITE, _DARK = np.array((0.95, 0.95, 0.94)), np.array((0.06, 0.05, 0.05))


@dataclass(frozen=True)
class Identity:
    """What stays the same in every picture of a person."""

    height: float  # half height of the head
    jaw: float  # width of the chin, as a share of the head's
    skin: Colour
    hair: Colour
    hairline: float  # y above which there is hair
    parting: float  # x at which the hairline is highest
    hair_length: float  # y down to which hair falls beside the face
    eye_gap: float  # x of the right eye
    eye_y: float
    eye_size: float
    iris: Colour
    brow_gap: float  # from the eye up to the brow
    brow_slope: float
    brow_thickness: float
    nose_length: float  # from the eyes down to the tip
    nose_width: float
    mouth_y: float
    mouth_width: float
    lips: float  # half thickness
    lip_colour: Colour
    beard: float  # opacity; 0 for most
    glasses: float  # thickness of the rims; 0 for most


@dataclass(frozen=True)
class Nuisance:
    """What differs between pictures of one person; the defaults are a frontal, evenly lit, neutral portrait."""

    yaw: float = 0.0  # radians, positive towards the right of the image
    pitch: float = 0.0  # radians, positive downwards
    roll: float = 0.0  # radians, clockwise
    light: float = 0.0  # radians from the camera to the right, where the light comes from
    light_height: float = 0.3  # radians above the camera
    contrast: float = 0.25  # share of the light that is directed
    brightness: float = 1.0
    smile: float = 0.0  # -1 to 1
    mouth_open: float = 0.0  # 0 to 1
    eyes_open: float = 1.0  # 0 to 1
    brow_raise: float = 0.0  # -1 to 1
    shift: tuple[float, float] = (0.0, 0.0)  # x, y of the crop, in shares of the shorter side
    zoom: float = 1.0
    ground: Colour = (0.55, 0.60, 0.66)
    clothes: Colour = (0.25, 0.30, 0.45)
    grain: float = 0.0  # standard deviation


def draw_identity(random: np.random.Generator) -> Identity:
    """Draw a person."""
    height = random.uniform(1.15, 1.45)
    tone = random.random()
    skin = _between(_SKINS, tone)
    eye_y = random.uniform(-0.2, -0.02)
    nose_length = random.uniform(0.38, 0.62)
    return Identity(
        height=height,
        jaw=random.uniform(0.55, 0.95),
        skin=skin,
        hair=_between(_HAIRS if tone < 0.55 else _HAIRS[:2], random.random()),
        hairline=-height * random.uniform(0.45, 0.8),
        parting=random.uniform(-0.6, 0.6),
        hair_length=random.uniform(-0.5, 0.4) if random.random() < 0.6 else random.uniform(0.8, 1.8),
        eye_gap=random.uniform(0.34, 0.48),
        eye_y=eye_y,
        eye_size=random.uniform(0.13, 0.20),
        iris=_between(_IRISES, random.random()),
        brow_gap=random.uniform(0.20, 0.32),
        brow_slope=random.uniform(-0.35, 0.35),
        brow_thickness=random.uniform(0.025, 0.07),
        nose_length=nose_length,
        nose_width=random.uniform(0.12, 0.24),
        mouth_y=eye_y + nose_length + random.uniform(0.22, 0.34),
        mouth_width=random.uniform(0.24, 0.42),
        lips=random.uniform(0.035, 0.085),
        lip_colour=_mix(skin, (0.72, 0.20, 0.24), random.uniform(0.35, 0.75)),
        beard=random.uniform(0.35, 0.85) if random.random() < 0.2 else 0.0,
        glasses=random.uniform(0.025, 0.05) if random.random() < 0.2 else 0.0,
    )


def draw_nuisance(random: np.random.Generator, strength: float = 1.0) -> Nuisance:
    """Draw the circumstances of one picture; `strength` scales every departure from the neutral portrait."""

    def around(centre: float, spread: float) -> float:
        return centre + strength * spread * random.uniform(-1.0, 1.0)

    return Nuisance(
        yaw=around(0.0, 0.6),
        pitch=around(0.0, 0.25),
        roll=around(0.0, 0.2),
        light=around(0.0, 1.2),
        light_height=around(0.3, 0.5),
        contrast=around(0.25, 0.25),
        brightness=around(1.0, 0.25),
        smile=around(0.0, 1.0),
        mouth_open=max(0.0, around(0.0, 1.0) - 0.3 * strength),
        eyes_open=min(1.0, 1.0 + around(0.0, 0.7)),
        brow_raise=around(0.0, 1.0),
        shift=(around(0.0, 0.07), around(0.0, 0.07)),
        zoom=around(1.0, 0.15),
        ground=_mix((0.55, 0.60, 0.66), _any_colour(random), strength),
        clothes=_mix((0.25, 0.30, 0.45), _any_colour(random), strength),
        grain=strength * random.uniform(0.0, 0.04),
    )


def _between(palette: np.ndarray, share: float) -> Colour:
    place = share * (len(palette) - 1)
    lower = int(place)
    return _mix(tuple(palette[lower]), tuple(palette[lower + 1]), place - lower)


def _any_colour(random: np.random.Generator) -> Colour:
    red, green, blue = random.uniform(0.1, 0.95, 3)
    return float(red), float(green), float(blue)


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (float(a + share * (b - a)) for a, b in zip(first, second, strict=True))
    return red, green, blue


@dataclass(frozen=True)
class Frame:
    """Where the head lies in the image, and how it is turned."""

    centre: tuple[float, float]  # pixels
    scale: float  # pixels per half width of the head
    roll: float
    turn: Float64[np.ndarray, "3 3"]  # from the head's own frame to the viewer's


def frame_of(nuisance: Nuisance, size: tuple[int, int]) -> Frame:
    """Place the head for an image of `size` (H, W)."""
    H, W = size
    side = min(H, W)
    # A nod about the head's own axis, then a turn; in a frame whose z points at the viewer, down is a negative pitch.
    turn = about_y(np.array(nuisance.yaw)) @ about_x(np.array(-nuisance.pitch))
    centre = (W / 2 + nuisance.shift[0] * side, H / 2 + nuisance.shift[1] * side)
    return Frame(centre, 0.27 * side * nuisance.zoom, nuisance.roll, turn)


def portrait(
    identity: Identity, nuisance: Nuisance, size: tuple[int, int], random: np.random.Generator
) -> UInt8[Tensor, "3 H W"]:
    """Render a person in given circumstances, RGB, at any size (H, W); only the grain is drawn from `random`."""
    frame = frame_of(nuisance, size)
    x, y = pixel_centres(size)
    x, y = turned((x - frame.centre[0]) / frame.scale, (y - frame.centre[1]) / frame.scale, frame.roll)

    across, down = x / _half_width(identity, y), y / identity.height
    radius = np.hypot(across, down)
    shrink = 1.0 / np.maximum(radius, 1.0)  # beyond the outline: the nearest point on it
    across, down = across * shrink, down * shrink
    towards = np.sqrt(np.maximum(0.0, 1.0 - across**2 - down**2))
    surface = np.stack([across, down, towards], -1)  # H W 3, on the unit sphere

    light = _light(nuisance, surface)
    canvas = np.broadcast_to(np.array(nuisance.ground), (*size, 3)).copy()
    _paint_bust(canvas, identity, nuisance, frame, x, y)
    head = _painted_head(identity, nuisance, surface @ frame.turn, frame.scale) * light[..., None]
    _paint(canvas, head, coverage((radius - 1.0) * 0.9, frame.scale))
    canvas *= nuisance.brightness
    return as_image(canvas + random.normal(0.0, 1.0, canvas.shape) * nuisance.grain)


def landmarks(
    identity: Identity, nuisance: Nuisance, size: tuple[int, int]
) -> tuple[Float32[Tensor, "5 2"], UInt8[Tensor, " 5"]]:
    """Return x, y in pixels of `LANDMARKS`, and 2 for each that faces the viewer inside the image, else 1."""
    frame = frame_of(nuisance, size)
    mouth = identity.mouth_y - 0.1 * nuisance.smile
    flat = np.array(
        [
            (-identity.eye_gap, identity.eye_y),
            (identity.eye_gap, identity.eye_y),
            (0.0, identity.eye_y + identity.nose_length),
            (-identity.mouth_width, mouth),
            (identity.mouth_width, mouth),
        ]
    )
    flat[:, 1] /= identity.height
    sphere = np.concatenate([flat, np.sqrt(1.0 - (flat**2).sum(1, keepdims=True))], 1) @ frame.turn.T  # 5 3
    y = sphere[:, 1] * identity.height
    x = sphere[:, 0] * _half_width(identity, y)
    cosine, sine = np.cos(frame.roll), np.sin(frame.roll)
    points = np.stack([cosine * x - sine * y, sine * x + cosine * y], 1) * frame.scale + frame.centre
    seen = (sphere[:, 2] > 0.0) & (points >= 0.0).all(1) & (points < size[::-1]).all(1)
    return torch.from_numpy(points.astype(np.float32)), torch.from_numpy(np.where(seen, 2, 1).astype(np.uint8))


def _half_width(identity: Identity, y: np.ndarray) -> np.ndarray:
    """Narrow the head towards the chin."""
    return 1.0 - (1.0 - identity.jaw) * 0.7 * np.clip(y / identity.height, 0.0, 1.0) ** 1.5


def _light(nuisance: Nuisance, normals: Layer) -> Grid:
    """Lambert's law, with a share of even light; about 1 on average."""
    height = nuisance.light_height
    direction = np.array(
        [np.sin(nuisance.light) * np.cos(height), -np.sin(height), np.cos(nuisance.light) * np.cos(height)]
    )
    directed = np.maximum(0.0, normals @ direction)
    return 1.0 + nuisance.contrast * (1.7 * directed - 1.0)


def _paint(layer: Layer, colour: np.ndarray, cover: Grid) -> None:
    rows = np.flatnonzero(cover.any(1))
    if rows.size:
        part = slice(rows[0], rows[-1] + 1)
        layer[part] += cover[part, :, None] * ((colour[part] if colour.ndim == 3 else colour) - layer[part])


def _paint_bust(canvas: Layer, identity: Identity, nuisance: Nuisance, frame: Frame, x: Grid, y: Grid) -> None:
    """Paint what lies behind the face: shoulders, neck, and hair beyond the outline of the head."""
    height, scale = identity.height, frame.scale
    _paint(canvas, np.array(nuisance.clothes), coverage(ellipse(x, y - height - 1.35, 1.9, 1.0), scale))
    _paint(canvas, 0.85 * np.array(identity.skin), coverage(rectangle(x, y - height, 0.45, 0.55) - 0.05, scale))
    sway = 0.12 * np.sin(nuisance.yaw)  # hair sits at the back of the head: it moves against the face
    volume = ellipse(x + sway, y + 0.1, 1.13, height + 0.06)
    falling = rectangle(x + sway, y - 0.2, 1.1, identity.hair_length + 0.1) - 0.1
    top = np.maximum(volume, y - max(identity.hair_length, -0.2))
    if identity.hair_length > 0.5:
        top = np.minimum(top, np.maximum(falling, -y))
    _paint(canvas, 0.8 * np.array(identity.hair), coverage(top, scale))


def _painted_head(identity: Identity, nuisance: Nuisance, sphere: Layer, scale: float) -> Layer:
    """Paint the head's surface; `sphere` are its points in the head's own frame, on the unit sphere."""
    x, y = sphere[..., 0], sphere[..., 1] * identity.height
    layer = np.broadcast_to(np.array(identity.skin), sphere.shape).copy()
    _paint_beard(layer, identity, x, y)
    _paint_mouth(layer, identity, nuisance, x, y, scale)
    _paint_nose(layer, identity, x, y, scale)
    for side in (-1.0, 1.0):
        _paint_eye(layer, identity, nuisance, side * x, x - side * identity.eye_gap, y, scale)
    if identity.glasses > 0.0:
        _paint(layer, _DARK, coverage(_rims(identity, x, y), scale))
    _paint(layer, np.array(identity.skin), (sphere[..., 2] < 0.0) * 1.0)
    _paint(layer, np.array(identity.hair), _hair_cover(identity, sphere, x, y, scale))
    return layer


def _paint_beard(layer: Layer, identity: Identity, x: Grid, y: Grid) -> None:
    """Darken cheeks and chin below the nose, softly."""
    edge = identity.eye_y + identity.nose_length + 0.12 - 0.35 * x**2
    _paint(layer, 0.85 * np.array(identity.hair), identity.beard * np.clip((y - edge) / 0.12, 0.0, 1.0))


def _paint_mouth(layer: Layer, identity: Identity, nuisance: Nuisance, x: Grid, y: Grid, scale: float) -> None:
    """Paint two lips along a parabola that a smile bends, and the dark between them."""
    along = np.clip(x / identity.mouth_width, -1.0, 1.0)
    curve = identity.mouth_y - 0.1 * nuisance.smile * (2.0 * along**2 - 1.0)
    across = np.hypot(y - curve, np.maximum(np.abs(x) - identity.mouth_width, 0.0))
    taper = np.sqrt(1.0 - along**2)
    gap = (0.02 + 0.13 * nuisance.mouth_open) * taper
    _paint(layer, np.array(identity.lip_colour), coverage(across - identity.lips * taper - gap, scale))
    _paint(layer, _DARK, coverage(across - gap, scale))


def _paint_nose(layer: Layer, identity: Identity, x: Grid, y: Grid, scale: float) -> None:
    """Paint a shaded ridge, the tip with its wings, and two nostrils."""
    tip, width = identity.eye_y + identity.nose_length, identity.nose_width
    skin = np.array(identity.skin)
    ridge = segment(x - 0.3 * width, y, (0.0, identity.eye_y + 0.1), (0.3 * width, tip - 0.08))
    _paint(layer, 0.82 * skin, 0.7 * coverage(ridge - 0.035, scale))
    _paint(layer, 0.84 * skin, coverage(ellipse(x, y - tip, width, 0.10), scale))
    _paint(layer, 1.06 * skin, coverage(ellipse(x, y - tip + 0.035, 0.72 * width, 0.095), scale))
    for side in (-1.0, 1.0):
        _paint(layer, 0.35 * skin, coverage(ellipse(x - side * 0.55 * width, y - tip - 0.045, 0.045, 0.028), scale))


def _paint_eye(
    layer: Layer, identity: Identity, nuisance: Nuisance, outward: Grid, x: Grid, y: Grid, scale: float
) -> None:
    """Paint one eye about (0, eye_y) of its own x, and its brow; `outward` grows from the nose to the temple."""
    size, y = identity.eye_size, y - identity.eye_y
    opening = 0.58 * size * max(nuisance.eyes_open, 0.08)
    lids = ellipse(x, y, size, opening)
    _paint(layer, _DARK, coverage(lids - 0.03, scale))  # lashes
    _paint(layer, _WHITE, coverage(lids, scale))
    iris = np.maximum(disc(x, y, 0.5 * size), lids)
    _paint(layer, np.array(identity.iris), coverage(iris, scale))
    _paint(layer, _DARK, coverage(np.maximum(disc(x, y, 0.24 * size), lids), scale))

    lift = identity.brow_gap + 0.07 * nuisance.brow_raise
    slope = 0.3 * identity.brow_slope * (outward - identity.eye_gap)
    brow = segment(x, y + lift + slope, (-1.3 * size, 0.02), (1.3 * size, 0.02))
    _paint(layer, 0.75 * np.array(identity.hair), coverage(brow - identity.brow_thickness, scale))


def _rims(identity: Identity, x: Grid, y: Grid) -> Grid:
    """Measure the distance to a pair of round glasses."""
    centre_y = identity.eye_y + 0.03
    radius = 0.72 * identity.eye_gap
    lenses = np.abs(disc(np.abs(x) - identity.eye_gap, y - centre_y, radius))
    bridge = segment(np.abs(x), y, (0.0, centre_y - 0.05), (identity.eye_gap - radius, centre_y - 0.05))
    temples = segment(np.abs(x), y, (identity.eye_gap + radius, centre_y), (1.2, centre_y))
    return np.minimum(np.minimum(lenses, bridge), temples) - identity.glasses


def _hair_cover(identity: Identity, sphere: Layer, x: Grid, y: Grid, scale: float) -> Grid:
    """Cover what lies above the hairline, the temples, and the back of the head."""
    hairline = identity.hairline + 0.25 * (x - identity.parting) ** 2
    front = np.maximum(y - hairline, -0.2 - sphere[..., 2])  # overlaps the back, so that no seam shows
    sides = np.maximum(0.86 - np.abs(x), y - min(max(identity.hair_length, -0.3), 0.6 * identity.height))
    back = np.maximum(sphere[..., 2], y - max(identity.hair_length, 0.35 * identity.height))
    return coverage(np.minimum(np.minimum(front, sides), back), scale)
