"""Captions say what the picture shows: counts, the main thing and its colour, and where it is."""

import dataclasses
import re
import types

import numpy as np
import pytest

from vidi.data.world.caption import (
    NUMBERS,
    PLURALS,
    RELATIONS,
    Facts,
    describe,
    find_facts,
    soil_caption,
    write_caption,
)
from vidi.data.world.dataset import World
from vidi.data.world.identities import identity
from vidi.data.world.names import CATEGORIES
from vidi.data.world.scene import make_scene
from vidi.data.world.truth import VIEW_TRUTHS, Observation

SINGULAR = {plural: name for name, plural in PLURALS.items()}


def read_counts(caption: str) -> dict[str, int]:
    """Count the things that the second sentence lists."""
    words = re.findall(r"(\w+) (\w+)", caption.split(". ")[1].lower().replace(" and ", ", "))
    return {SINGULAR.get(str(name), str(name)): NUMBERS.index(number) for number, name in words}


@pytest.mark.system("0-DATA-TEXT")
def test_the_facts_of_a_caption_hold():
    relations = set()
    for index in range(60):
        seen = Observation(make_scene(0, "val", index), (128, 128))
        caption = write_caption(find_facts(seen))
        labels, areas = np.asarray(VIEW_TRUTHS["labels"](seen)), np.asarray(VIEW_TRUTHS["areas"](seen))
        numbers, boxes = np.asarray(VIEW_TRUTHS["identity"](seen)), np.asarray(VIEW_TRUTHS["boxes"](seen))
        depths = np.asarray(VIEW_TRUTHS["boxes_3d"](seen))[:, 2]
        assert read_counts(caption) == {CATEGORIES[c]: int((labels == c).sum()) for c in set(labels.tolist())}
        assert f"on {seen.scene.ground}." in caption
        main, *others = np.argsort(-areas, kind="stable")
        first = describe(int(numbers[main]))
        assert caption.lower().startswith(first)
        assert identity(int(numbers[main])).colour in first
        assert CATEGORIES[labels[main]] in first
        if not others:
            continue
        relation = next(name for name in RELATIONS if caption[len(first) :].startswith(f" {name}"))
        assert f"{relation} {describe(int(numbers[others[0]]))}, on" in caption
        relations.add(relation)
        middles = 0.5 * (boxes[:, 0] + boxes[:, 2])
        right, farther = middles[main] - middles[others[0]], depths[main] - depths[others[0]]
        holds = {"left of": right < 0, "right of": right > 0, "behind": farther > 0, "in front of": farther < 0}
        assert holds.get(relation, abs(right) <= 128 / 6)
    assert relations >= {"left of", "right of", "in front of"}


def test_a_picture_without_a_thing_has_a_caption():
    facts = Facts((0,) * len(CATEGORIES), None, None, None, "snow")
    assert write_caption(facts) == "Nothing, on snow."
    scene = make_scene(0, "val", 0)
    nothing = Observation(scene, (128, 128))
    nothing.__dict__["view"] = types.SimpleNamespace(pixels=np.zeros(len(scene.identities), dtype=np.int64))
    assert nothing.main == 0
    assert find_facts(nothing) == dataclasses.replace(facts, ground=scene.ground)


def test_articles_agree():
    phrases = [describe(number) for number in range(250)]
    assert any(phrase.startswith("an orange") for phrase in phrases)
    assert not any(re.search(r"\ba [aeiou]|\ban [^aeiou]", phrase) for phrase in phrases)


@pytest.mark.system("0-DATA-TEXT")
def test_soiled_captions_differ_and_are_repeatable():
    clean = World(count=30, size=(32, 32), targets=["caption"])
    dirty = World(count=30, size=(32, 32), targets=["caption"], caption_noise=1.0)
    half = World(count=30, size=(32, 32), targets=["caption"], caption_noise=0.5)
    captions = [[world[index][1]["caption"] for index in range(30)] for world in (clean, dirty, half)]
    assert [dirty[index][1]["caption"] for index in range(30)] == captions[1]
    assert all(one != two for one, two in zip(*captions[:2], strict=True))
    assert 5 < sum(one != two for one, two in zip(captions[0], captions[2], strict=True)) < 25
    assert soil_caption("word", np.random.default_rng(0))
