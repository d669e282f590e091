"""Numbers of decoders chosen anew: equal to building with them, and to what is saved, with the same weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import vidi
from vidi.catalog.names import entry
from vidi.chosen import options_of

REGIONS = {"score_threshold", "nms_threshold", "detections_per_image"}
OPTIONS = {
    "fasterrcnn_resnet18_fpn": REGIONS,
    "fasterrcnn_tiny": {"score_threshold"},
    "rcnn_tiny": set(),
    "maskrcnn_tiny": REGIONS,
    "keypointrcnn_tiny": REGIONS,
    "panoptic_fpn_tiny": {*REGIONS, "overlap_threshold", "least_stuff"},
    "centernet_tiny": {"score_threshold"},
    "centernet_pose_tiny": {"score_threshold"},
    "centernet_3d_tiny": {"score_threshold"},
}
CHOSEN = {"score_threshold": 0.02, "nms_threshold": 0.3, "detections_per_image": 7, "overlap_threshold": 0.4}
CHOSEN |= {"least_stuff": 9}


def deciding(model: Any) -> list[Any]:
    """Return all that decides: the decoder, with what is in it, and the network's selection."""
    return [model.decode, *(part.select for part in model.network.modules() if hasattr(part, "select"))]


@pytest.mark.parametrize("name", OPTIONS)
def test_chosen_numbers_are_those_that_a_builder_takes(name: str, tmp_path: Path) -> None:
    row = entry(name)
    model: Any = row.builder(**row.tiny)
    assert model.options().keys() == OPTIONS[name] <= row.arguments.keys()
    chosen = {key: CHOSEN[key] for key in OPTIONS[name]}
    before = deciding(model)
    other = model.with_options(**chosen)
    assert deciding(other) == deciding(row.builder(**{**row.tiny, **chosen}))
    assert (deciding(other) != before) == bool(chosen)
    assert deciding(model) == before
    assert all(one is two for one, two in zip(model.parameters(), other.parameters(), strict=True))
    other.save(tmp_path)
    arguments = json.loads((tmp_path / "config.json").read_text())["arguments"]
    assert {key: arguments[key] for key in chosen} == chosen
    assert deciding(vidi.load(tmp_path)) == deciding(other)


def test_a_selection_is_lowered_to_what_the_decoder_shows_and_never_raised() -> None:
    row = entry("panoptic_fpn_tiny")
    model: Any = row.builder(**row.tiny)
    assert [part.score_threshold for part in deciding(model)] == [0.5, 0.05]
    assert [part.score_threshold for part in deciding(model.with_options(score_threshold=0.9))] == [0.9, 0.05]
    assert [part.score_threshold for part in deciding(model.with_options(score_threshold=0.01))] == [0.01, 0.01]


def test_what_names_no_options_has_none() -> None:
    assert options_of(lambda outputs, placements: [], nn.Identity()) == {}


def test_fewer_detections_are_the_surest() -> None:
    row = entry("maskrcnn_tiny")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = row.builder(**row.tiny)
    model.eval()
    picture = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    (all_of_them,) = model.with_options(score_threshold=0.0).predict(picture)
    (few,) = model.with_options(score_threshold=0.0, detections_per_image=3).predict(picture)
    assert len(few) == 3 < len(all_of_them)
    assert (few.scores == all_of_them.scores[:3]).all()
    assert (few.masks == all_of_them.masks[:3]).all()
