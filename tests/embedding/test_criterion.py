"""Criteria of embeddings: what they hand to the losses, and two processes that train as one."""

import json
import os
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from tests.closeness import EXACT, GRADIENTS, NUMBERS, assert_close
from tests.conftest import ROOT
from tests.conftest import Run as RunPython
from tests.embedding.losses import CRITERIA
from tests.embedding.two_processes import LABELS, batch, gradients, model_of
from vidi.embedding.criterion import TemplateCriterion
from vidi.embedding.mining import drawn_triplets
from vidi.engine.fit import Objective
from vidi.losses.embedding import arcface_loss, nt_xent_loss
from vidi.losses.triplets import triplet_loss
from vidi.model import Step

WHOLE = slice(0, len(LABELS))
ROOTS = os.pathsep.join([str(ROOT / "src"), str(ROOT)])


@pytest.fixture(scope="module")
def of_two(run_python: RunPython, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes with unequal shares of a batch find, for every criterion."""
    path = tmp_path_factory.mktemp("two") / "found.json"
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = run_python(*launch, "-m", "tests.embedding.two_processes", path, env={"PYTHONPATH": ROOTS})
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())


@pytest.mark.system(
    "7.2.1-CONTRAST", "7.2.2-TRIPLET", "7.2.2-SEMIHARD", "7.2.3-NORMSOFTMAX", "7.2.3-ARCFACE", "7.2.4-ANGTRIP",
    "7.2.4-TUPLE", "7.2.4-INFONCE", "7.2.4-NTXENT",
)  # fmt: skip
@pytest.mark.parametrize("name", CRITERIA)
def test_two_processes_compute_what_one_does_with_the_joint_batch(of_two: dict[str, Any], name: str) -> None:
    step = Step(generator=torch.Generator().manual_seed(0))
    one = gradients(Objective(model_of(name)), step, WHOLE, 1.0)
    assert of_two[name]["loss"] == pytest.approx(one["loss"], rel=NUMBERS)
    assert one["loss"] != 0
    for ours, joint in zip(of_two[name]["gradients"], one["gradients"], strict=True):
        assert max(map(abs, joint)) > 0
        assert_close(ours, joint, GRADIENTS)


@pytest.mark.system("7.2.2-SEMIHARD")
def test_facenet_takes_all_pairs_with_one_drawn_negative_each() -> None:
    model = model_of("FaceNet")
    step = Step(generator=torch.Generator().manual_seed(9))
    loss = model.losses("network", batch(WHOLE), step)["triplet"]
    embeddings = model(batch(WHOLE).images).embeddings
    drawn = drawn_triplets(embeddings, LABELS, generator=torch.Generator().manual_seed(9))
    assert len(drawn.anchor) > 3
    assert_close(loss, triplet_loss(*(embeddings[places] for places in drawn)), EXACT)


def test_all_processes_draw_what_the_first_one_draws() -> None:
    def gather(rows: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.tensor([41]), rows])

    mine = Step(generator=torch.Generator().manual_seed(7), gather=gather).joint_generator()
    assert mine is not None
    assert torch.equal(torch.rand(3, generator=mine), torch.rand(3, generator=torch.Generator().manual_seed(41)))
    assert Step().joint_generator() is None


def test_templates_are_learnt_with_the_network_and_begin_without_a_direction_of_preference() -> None:
    criterion = TemplateCriterion(partial(arcface_loss, margin=0.1), 50, 40, name="arcface")
    assert dict(criterion.named_parameters())["templates"].shape == (50, 40)
    assert 0.009 < float(criterion.templates.detach().std()) < 0.011
    model = model_of("ArcFace")
    losses = model.losses("network", batch(WHOLE), Step())
    embeddings = model(batch(WHOLE).images).embeddings
    templates = model.get_parameter("criterion.templates")
    assert_close(losses["loss"], arcface_loss(embeddings, templates, LABELS), EXACT)


def test_a_batch_that_does_not_say_whom_it_shows_is_refused() -> None:
    nameless = replace(batch(WHOLE), targets=[{} for _ in LABELS])
    for name in ("NT-Xent", "FaceNet", "ArcFace"):
        with pytest.raises(ValueError, match=r"the targets of images \[0, 1, .* have no 'label'"):
            model_of(name).losses("network", nameless, Step())


def test_half_precision_is_compared_in_float32() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model = model_of("NT-Xent").bfloat16()
        whole = replace(batch(WHOLE), images=batch(WHOLE).images.bfloat16())
        loss = model.losses("network", whole, Step())["loss"]
    embeddings = model.network(whole.images).embeddings
    assert embeddings.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    assert torch.equal(loss, nt_xent_loss(embeddings.float(), LABELS))
