"""Scenes: functions of (seed, split, index), and the statistics that make them worth learning from."""

from dataclasses import fields

import numpy as np
import pytest

from vidi.data.world.identities import identity
from vidi.data.world.names import CATEGORIES, COLOURS, GROUND_NAMES, PERSON
from vidi.data.world.scene import Scene, make_scene
from vidi.data.world.truth import Observation


def flatten(value: object) -> list[np.ndarray]:
    """All numbers of a scene."""
    if isinstance(value, tuple):
        return [part for entry in value for part in flatten(entry)]
    return [np.asarray(value)]


def numbers(scene: Scene) -> list[np.ndarray]:
    return [part for field in fields(scene) if field.name != "camera" for part in flatten(getattr(scene, field.name))]


def test_equal_arguments_give_equal_scenes():
    for one, two in zip(numbers(make_scene(3, "val", 17)), numbers(make_scene(3, "val", 17)), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("other", [(4, "val", 17), (3, "test", 17), (3, "val", 18)])
def test_each_argument_matters(other):
    assert make_scene(3, "val", 17).camera != make_scene(*other).camera


@pytest.mark.parametrize(
    ("arguments", "message"), [((0, "valid", 0), "train, val, test"), ((0, "val", -1), "negative")]
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_scene(*arguments)


@pytest.mark.system("0-DATA-DET")
def test_scenes_are_varied_and_balanced():
    seen = [Observation(make_scene(0, "train", index), (128, 128)) for index in range(200)]
    counts = np.array([len(one.rows) for one in seen])
    assert counts.min() >= 1
    assert counts.max() == 6
    assert 2.5 < counts.mean() < 4.0
    classes = np.bincount(np.concatenate([one.scene.categories for one in seen]), minlength=len(CATEGORIES))
    assert classes.min() > 0.7 * classes.mean()
    side = np.sqrt(np.concatenate([one.areas for one in seen])) / 128
    small, middle, large = np.mean(side < 0.1), np.mean((side >= 0.1) & (side < 0.2)), np.mean(side >= 0.2)
    assert small > 0.12
    assert middle > 0.3
    assert large > 0.2
    assert {one.scene.ground for one in seen} == set(GROUND_NAMES)
    brightness = np.array([one.view.image.mean() for one in seen]) / 255
    assert 0.35 < brightness.mean() < 0.7
    assert brightness.min() > 0.2


def test_every_thing_stays_visible_at_every_resolution():
    for index in range(40):
        scene = make_scene(0, "test", index)
        for size in ((32, 32), (47, 160), (256, 256)):
            assert len(Observation(scene, size).rows) == len(scene.categories)


def test_things_do_not_touch():
    for index in range(60):
        boxes = make_scene(5, "train", index).boxes_3d
        for i, one in enumerate(boxes):
            for two in boxes[:i]:
                gap = np.hypot(*(one[[0, 2]] - two[[0, 2]]))
                assert gap > 0.5 * (min(one[3], one[5]) + min(two[3], two[5])) - 0.4  # outstretched arms may reach over


def test_an_identity_keeps_shape_and_colour_in_all_scenes():
    looks: dict[int, set] = {}
    for index in range(150):
        scene = make_scene(0, "train", index)
        for thing, number in enumerate(scene.identities.tolist()):
            member, first = identity(number), scene.starts[thing]
            assert scene.categories[thing] == member.category
            if member.category != PERSON:
                np.testing.assert_allclose(scene.boxes_3d[thing, 3:6], 2 * np.array(member.half))
                np.testing.assert_array_equal(
                    scene.solids.colour[first], [COLOURS[member.colour], COLOURS[member.second]]
                )
            solids = slice(scene.starts[thing], scene.starts[thing + 1])
            look = (
                scene.solids.half[solids].tobytes(),
                scene.solids.colour[solids].tobytes(),
                scene.solids.pattern[solids].tobytes(),
            )
            looks.setdefault(number, set()).add(look)
    assert all(len(ways) == 1 for ways in looks.values())
    assert len({next(iter(ways)) for ways in looks.values()}) == len(looks)
