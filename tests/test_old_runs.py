"""Run folders of an earlier version load, predict, score and resume as they did in it.

`tests/old_runs/NAME/` holds what a first version wrote: `config.json`, and the weights of small systems; of larger ones
the names, types and shapes of the tensors, which `drawn` fills. `expected.json` is what that version
predicted with these weights, and how it scored them.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vidi
from tests.closeness import FLOAT32, assert_close
from vidi import files
from vidi.engine.runs import with_gaps

FOLDER = Path(__file__).parent / "old_runs"
NAMES = sorted(path.name for path in FOLDER.iterdir())


def drawn(shapes: dict[str, tuple[str, list[int]]]) -> dict[str, Tensor]:
    """Fill tensors from one seed; variances are positive, counters 0."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, (kind, shape) in shapes.items():
        if kind == "float32":
            value = torch.randn(shape, generator=generator) * 0.1
            tensors[name] = value.abs() + 0.5 if name.endswith("running_var") else value
        else:
            tensors[name] = torch.zeros(shape, dtype=getattr(torch, kind))
    return tensors


def picture(height: int, width: int) -> Tensor:
    """Return a picture that is a function of its size."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([(3 * x + 5 * y) % 256, (7 * x + y * y) % 256, (x * y) % 256]).to(torch.uint8)


def numbers_of(plain: Any, path: str = "") -> dict[str, Any]:
    """Flatten plain values to numbers and words by their place."""
    if isinstance(plain, dict | list):
        items = plain.items() if isinstance(plain, dict) else enumerate(plain)
        return {key: value for name, part in items for key, value in numbers_of(part, f"{path}/{name}").items()}
    return {path: plain}


def assert_same(found: Any, expected: Any) -> None:
    """Ask that plain values agree: words exactly, numbers but for the rounding of float32."""
    ours, theirs = numbers_of(found), numbers_of(expected)
    assert ours.keys() == theirs.keys()
    for place, value in theirs.items():
        if isinstance(value, float):
            assert_close(ours[place], value, FLOAT32, msg=place, size=max(1.0, abs(value)))
        else:
            assert ours[place] == value, place


@pytest.fixture(params=NAMES)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """One of the folders, with its weights."""
    folder = tmp_path / request.param
    shutil.copytree(FOLDER / request.param, folder)
    if (folder / "tensors.json").is_file():
        shapes = json.loads((folder / "tensors.json").read_text())
        files.write_tensors(folder / "weights.safetensors", drawn(shapes))
    return folder


def test_an_old_run_predicts_and_scores_as_it_did(run: Path) -> None:
    expected = json.loads((run / "expected.json").read_text())
    model = vidi.load(run)
    if run.name == "gan":
        found = vidi.sample(model, 2, seed=1).mean((1, 2, 3)).tolist()
    else:
        sentences = ["the old cat sees one dog", "some birds see the cat"]
        inputs = sentences if run.name == "transformer_tiny" else [picture(50, 70), picture(64, 40)]
        found = [result.to_dict() for result in model.predict(inputs)]
        found = [{"objects": plain["objects"][:5]} if "objects" in plain else plain for plain in found]
    assert_same(found, expected["results"])
    if expected["scores"] is not None:
        assert_same(vidi.evaluate(run), with_gaps(expected["scores"]))


def test_an_old_run_without_a_state_begins_again_to_the_same_weights(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "transformer_tiny" / "config.json", tmp_path)
    vidi.resume(tmp_path)
    found = files.read_tensors(tmp_path / "weights.safetensors")
    assert_close(found, files.read_tensors(FOLDER / "transformer_tiny" / "weights.safetensors"), FLOAT32)
