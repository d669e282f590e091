"""A scene: a function of (seed, split, index) alone.

One to six things of the pool of identities stand on the ground before a level camera, in daylight. Whatever would be
too small or too hidden to be called visible is taken out here, by a small trial view, so that every truth at every
resolution speaks of the same things.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float64, Int64

from vidi.data.world.camera import Camera, view
from vidi.data.world.daylight import Daylight, draw_daylight
from vidi.data.world.identities import IDENTITIES, Identity, identity
from vidi.data.world.names import CATEGORIES, COLOURS, JOINTS, NO_PART, PATTERNS, PERSON, SPLITS
from vidi.data.world.rotations import about_x, about_y, about_z
from vidi.data.world.skeleton import draw_pose, pose_body
from vidi.data.world.solids import Solids, join, keep_things

MOST_THINGS = 6
TRIES = 8  # places tried for one thing
NEAREST, FARTHEST = 3.3, 11.0  # metres
TRIAL_SIDE = 64  # pixels of the trial view
LEAST_PIXELS = 14  # of the trial view
LEAST_SHARE = 0.35  # of the pixels that the thing would fill alone

_NO_JOINTS, _NO_REACH = np.full((len(JOINTS), 3), np.nan), np.zeros(len(JOINTS))


@dataclass(frozen=True, eq=False)
class Scene:
    """N things (P solids) in the world: origin on the ground below the camera, x right, y down, z forward, metres."""

    seed: int
    split: str
    index: int
    camera: Camera
    light: Daylight
    ground: str  # its name
    solids: Solids
    starts: Int64[np.ndarray, " N_plus_1"]  # first solid of each thing, and P
    categories: Int64[np.ndarray, " N"]
    identities: Int64[np.ndarray, " N"]
    boxes_3d: Float64[np.ndarray, "N 7"]  # centre, size along the thing's right, down, forward, yaw
    joints: Float64[np.ndarray, "N 14 3"]  # NaN for things without joints
    joint_reach: Float64[np.ndarray, "N 14"]  # how far below the surface a joint may lie


@dataclass(frozen=True, eq=False)
class _Thing:
    number: int
    solids: Solids
    box: np.ndarray
    joints: np.ndarray
    reach: np.ndarray


def make_scene(seed: int, split: str, index: int) -> Scene:
    """Make a scene; equal arguments give equal scenes. An unknown split or a negative index is a ValueError."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown; choices are {', '.join(SPLITS)}")
    if index < 0 or seed < 0:
        raise ValueError(f"seed and index must not be negative, got seed {seed}, index {index}")
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    camera = Camera(
        focal=float(rng.uniform(0.95, 1.2)), shift=float(rng.uniform(0.05, 0.14)), height=float(rng.uniform(1.3, 1.7))
    )
    light, ground = draw_daylight(rng)
    things = [_make_thing(number, place, rng) for number, place in _place_identities(camera, rng)]
    scene = assemble(things, camera, light)
    return _keep_visible(replace(scene, seed=seed, split=split, index=index, ground=ground))


def assemble(things: Sequence[_Thing], camera: Camera, light: Daylight) -> Scene:
    """Put things before a camera; the scene has no name and no motion yet."""
    counts = [len(thing.solids.kind) for thing in things]
    return Scene(
        seed=0,
        split=SPLITS[0],
        index=0,
        camera=camera,
        light=light,
        ground="",
        solids=join([thing.solids for thing in things]),
        starts=np.cumsum([0, *counts]),
        categories=np.array([identity(thing.number).category for thing in things]),
        identities=np.array([thing.number for thing in things]),
        boxes_3d=np.array([thing.box for thing in things]),
        joints=np.array([thing.joints for thing in things]),
        joint_reach=np.array([thing.reach for thing in things]),
    )


def draw_motions(scene: Scene) -> Float64[np.ndarray, "2 4 4"]:
    """Draw T_neighbour_target of the frames before and after: the camera rolls on, swaying and turning a little.

    From frame to frame it turns by up to half a degree, as a car's does (KITTI: 0.1 at ten frames a second).
    """
    rng = np.random.default_rng((scene.seed, SPLITS.index(scene.split), scene.index, 3))
    centres = np.array(((-1.0,), (1.0,))) * rng.uniform((-0.14, -0.03, 0.15), (0.14, 0.03, 0.4), (2, 3))
    yaw, pitch, roll = np.deg2rad(rng.uniform((-0.5, -0.15, -0.15), (0.5, 0.15, 0.15), (2, 3))).T
    motions = np.tile(np.eye(4), (2, 1, 1))
    motions[:, :3, :3] = (about_y(yaw) @ about_x(pitch) @ about_z(roll)).transpose(0, 2, 1)
    motions[:, :3, 3] = -(motions[:, :3, :3] @ centres[..., None])[..., 0]
    return motions


def _footprint(member: Identity) -> float:
    return 0.35 if member.category == PERSON else float(np.hypot(member.half[0], member.half[2]))


def _place_identities(camera: Camera, rng: np.random.Generator) -> list[tuple[int, np.ndarray]]:
    """Draw identities and their places (x, z, yaw) so that no two things touch and their middles are in the picture."""
    count = int(rng.integers(1, MOST_THINGS + 1))
    variants = rng.permutation(IDENTITIES // len(CATEGORIES))[:count]
    numbers = variants * len(CATEGORIES) + rng.integers(len(CATEGORIES), size=count)
    depths = np.exp(rng.uniform(np.log(NEAREST), np.log(FARTHEST), (count, TRIES)))
    across = rng.uniform(-0.44, 0.44, (count, TRIES)) / camera.focal * depths
    turns = rng.uniform(-np.pi, np.pi, count)
    placed: list[tuple[int, np.ndarray]] = []
    taken: list[tuple[float, float, float]] = []
    for n in range(count):
        number = int(numbers[n])
        radius = _footprint(identity(number))
        for x, z in zip(across[n].tolist(), depths[n].tolist(), strict=True):
            if all((x - a) ** 2 + (z - b) ** 2 > (radius + other + 0.1) ** 2 for a, b, other in taken):
                taken.append((x, z, radius))
                placed.append((number, np.array((x, z, turns[n]))))
                break
    return placed


def _make_thing(number: int, place: np.ndarray, rng: np.random.Generator) -> _Thing:
    if identity(number).category == PERSON:
        return make_person(number, place, draw_pose(rng))
    return _make_shape(number, place)


def make_person(number: int, place: Float64[np.ndarray, " 3"], pose: Float64[np.ndarray, " 17"]) -> _Thing:
    """Stand an identity of category person at a place (x, z, yaw) in a pose (17 angles)."""
    x, z, yaw = place
    body = pose_body(identity(number), pose)
    turn, shift = about_y(yaw), np.array((x, 0.0, z))
    solids = body.solids._replace(
        centre=body.solids.centre @ turn.T + shift, rotation=np.ascontiguousarray(turn @ body.solids.rotation)
    )
    centre = turn @ (0.5 * (body.low + body.high)) + shift
    return _Thing(
        number=number,
        solids=solids,
        box=np.concatenate((centre, body.high - body.low, (yaw,))),
        joints=body.joints @ turn.T + shift,
        reach=body.reach,
    )


def _make_shape(number: int, place: np.ndarray) -> _Thing:
    x, z, yaw = place
    template = _shape(number)
    centre = np.array((x, -template.half[0, 1], z))
    # A box looks the same after half a turn; round things have no front at all.
    has_front = CATEGORIES[identity(number).category] == "box"
    heading = (yaw + 0.5 * np.pi) % np.pi - 0.5 * np.pi if has_front else 0.0
    return _Thing(
        number=number,
        solids=template._replace(centre=centre[None], rotation=about_y(yaw)[None]),
        box=np.array((*centre, *(2.0 * template.half[0]), heading)),
        joints=_NO_JOINTS,
        reach=_NO_REACH,
    )


@lru_cache(maxsize=IDENTITIES)
def _shape(number: int) -> Solids:
    """Give the solid of an identity that is no person, at no place yet."""
    member = identity(number)
    return Solids(
        kind=np.array([member.category]),
        centre=np.zeros((1, 3)),
        rotation=np.zeros((1, 3, 3)),
        half=np.array([member.half]),
        ratio=np.zeros(1),
        owner=np.zeros(1, dtype=np.int64),
        part=np.full((1, 3), NO_PART),
        colour=np.array([[COLOURS[member.colour], COLOURS[member.second]]]),
        pattern=np.array([PATTERNS.index(member.pattern)]),
        frequency=np.array([member.frequency]),
    )


def _keep_visible(scene: Scene) -> Scene:
    """Take out what a small trial view shows too little of; the most visible thing always stays."""
    from vidi.data.world.cast_kernels import count_pixels

    visible, alone = count_pixels(scene.solids, scene.starts, view(scene.camera, (TRIAL_SIDE, TRIAL_SIDE)))
    kept = (visible >= LEAST_PIXELS) & (visible >= LEAST_SHARE * alone)
    kept[visible.argmax()] = True
    if kept.all():
        return scene
    rows = np.flatnonzero(kept)
    return replace(
        scene,
        solids=keep_things(scene.solids, rows.tolist()),
        starts=np.concatenate(([0], np.cumsum(np.diff(scene.starts)[rows]))),
        categories=scene.categories[rows],
        identities=scene.identities[rows],
        boxes_3d=scene.boxes_3d[rows],
        joints=scene.joints[rows],
        joint_reach=scene.joint_reach[rows],
    )
