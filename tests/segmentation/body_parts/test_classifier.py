"""The finder of bodies: fitting, what it learns, predicting, and the command line."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

import vidi
from tests.conftest import Learnt
from tests.settings import SEED
from vidi.api import predict_files
from vidi.data.world.bodies import Bodies
from vidi.data.world.depth_bodies import DepthBodies
from vidi.engine.task import Task
from vidi.segmentation.body_parts.background import BACKGROUND
from vidi.segmentation.body_parts.classifier import BodyParts, body_parts
from vidi.segmentation.body_parts.joint_proposals import PUSH_BACK
from vidi.tasks.body_parts import BODY_PARTS, BodyPartsScorer, body_truth

SIZE = (60, 80)
SMALL: dict[str, Any] = {"trees": 2, "depth": 9, "candidates": 80, "tried": 12, "thresholds": 8, "pixels": 100}


@pytest.fixture(scope="module")
def fitted() -> BodyParts:
    model = body_parts(**SMALL)
    model.fit(DepthBodies(count=120, size=SIZE))
    return model


@pytest.mark.system("5.1.1-PIXELCLS", "5.1.1-POSE")
def test_parts_and_joints_of_unseen_bodies_are_found(fitted, learnt: Learnt):
    """A few small pictures: parts of 23, joints within 10 cm; the bars of the full training stand below."""
    dataset, scorer = DepthBodies("val", count=24, size=SIZE), BodyPartsScorer(DepthBodies.categories)
    for row in range(24):
        image, target = dataset[row]
        scorer.update(fitted.predict(image), [target])
    scores = scorer.compute()
    learnt("part accuracy", scores["part_accuracy"], least=0.3)
    learnt("joints within 10 cm", scores["joint_within_10cm"], least=0.4)
    assert scores["joint_found"] > 0.95


@pytest.mark.system("5.1.1-POSE")
def test_a_result_is_of_the_person_alone(fitted):
    image, target = DepthBodies("val", count=1, size=SIZE)[0]
    (result,) = fitted.predict(image)
    on = target["parts"].as_subclass(torch.Tensor) < 23
    assert torch.equal(result.classes < 23, on)
    probabilities = fitted.forest.probabilities(
        torch.where(on, image[0], BACKGROUND).numpy(), on.nonzero().numpy(), float(target["intrinsics"][0, 0])
    )
    assert (result.classes[on].numpy() == probabilities.argmax(1)).all()
    assert result.skeleton.joints == DepthBodies.joints
    assert result.skeleton.bones == DepthBodies.skeleton
    empty = fitted.predict(torch.zeros(1, *SIZE))[0]
    assert len(empty.proposed) == 0
    assert (empty.classes == 23).all()
    again, both = fitted.predict([image, torch.zeros(1, *SIZE)]), fitted.predict(image[0].numpy())
    assert torch.equal(again[0].positions, result.positions)
    assert torch.equal(both[0].positions, result.positions)


@pytest.mark.system("5.1.1-BGREMOVE", "5.1.1-POSE")
def test_a_person_before_a_wall_is_found_if_it_is_not_alone(fitted):
    image, _ = DepthBodies("val", count=2, size=SIZE)[1]
    before = torch.where(image > 0, image, 4.4)
    together = body_parts(**SMALL, alone=False, farthest=4.3)
    together.load_state_dict(fitted.state_dict())
    alone, found = fitted.predict(image)[0], together.predict(before)[0]
    assert torch.equal(alone.classes, found.classes)
    assert torch.equal(alone.positions, found.positions)
    assert together.predict(image)[0].positions.equal(alone.positions)


@pytest.mark.system("5.1.1-JOINTS")
def test_the_push_back_of_each_joint_is_learnt(fitted):
    assert fitted.push_back.shape == (14,)
    assert 0.02 < fitted.push_back.mean() < 0.12
    assert len(fitted.push_back.unique()) > 10
    few = body_parts(**SMALL)
    few.fit(DepthBodies(count=3, size=SIZE))  # none of three is held back
    assert few.push_back.tolist() == pytest.approx([PUSH_BACK] * 14)
    without = [(image, {"parts": target["parts"]}) for image, target in (DepthBodies(count=1, size=SIZE)[0],)] * 20
    few.fit(without)
    assert few.push_back.tolist() == pytest.approx([PUSH_BACK] * 14)


@pytest.mark.system("5.1.1-PIXELCLS")
def test_coloured_pictures_with_depth_are_learnt_from_as_well():
    dataset = Bodies(count=3, size=SIZE, targets=("depth", "depth_valid", "parts", "joints", "intrinsics"))
    model = body_parts(**SMALL)
    model.fit(dataset)
    assert len(model.roots) == 2


@pytest.mark.system("5.1.1-PIXELCLS")
def test_learnt_buffers_and_the_numbers_of_the_paper(fitted):
    names = {"offsets", "feature", "threshold", "left", "leaves", "roots", "importances", "push_back"}
    assert set(fitted.state_dict()) == names
    assert float(fitted.importances.sum()) == pytest.approx(1)
    assert fitted.offsets.shape == (80, 2, 2)
    paper = body_parts().fitting
    assert (paper.trees, paper.growth.depth, paper.candidates) == (3, 20, 2000)
    assert (paper.growth.criterion, paper.growth.features) == ("entropy", 90)
    assert (paper.growth.thresholds, paper.growth.least, paper.growth.sought) == (20, 2, 4000)
    assert (paper.pixels, paper.reach, paper.rounds, paper.held_back) == (1000, 0.6, 0, 0.05)
    with pytest.raises(ValueError, match="no trees yet"):
        body_parts().predict(torch.zeros(1, 8, 8))
    with pytest.raises(ValueError, match="without a part of their name: tail"):
        body_parts(joints=("head", "tail"), bones=())
    with pytest.raises(ValueError, match="sample 0 has no 'parts'"):
        body_parts(**SMALL).fit([(torch.ones(1, 8, 8), {})])


@pytest.mark.system("5.1.1-PIXELCLS")
def test_scores_are_means_over_the_parts():
    names = ("head", "torso")
    scorer = BodyPartsScorer(names)
    truth = torch.tensor([[0, 0, 0, 0], [1, 2, 2, 2]], dtype=torch.uint8)
    camera = torch.eye(3)
    found = body_truth({"parts": torch.tensor([[0, 0, 0, 1], [2, 0, 1, 2]], dtype=torch.uint8)}, names)
    scorer.update([found], [{"parts": truth, "intrinsics": camera}])
    assert scorer.pixels.tolist() == [[3, 1, 0], [0, 0, 1]]
    assert scorer.compute() == {"part_accuracy": pytest.approx(0.375), "pixel_accuracy": pytest.approx(0.6)}
    with pytest.raises(ValueError, match="no parts to score"):
        BodyPartsScorer(names).compute()


@pytest.mark.system("5.1.1-POSE")
def test_the_truth_is_a_perfect_result():
    _, target = DepthBodies(count=1, size=SIZE)[0]
    truth, scorer = body_truth(target, DepthBodies.categories), BodyPartsScorer(DepthBodies.categories)
    scorer.update([truth], [target])
    scores = scorer.compute()
    assert scores.pop("joint_error") == 0
    assert set(scores.values()) == {1.0}
    assert isinstance(BODY_PARTS, Task)


@pytest.mark.system("5.1.1-POSE", "5.1.1-PIXELCLS")
def test_a_run_is_trained_scored_and_reads_files_of_sixteen_bits(tmp_path: Path):
    numbers = {**SMALL, "world_scenes": 16, "world_size": SIZE}
    run = vidi.train("body_parts_tiny", out=tmp_path / "run", **numbers)
    assert (run.folder / "confusion_matrix.png").exists()
    assert (run.folder / "mosaic.png").exists()
    scores = vidi.evaluate(run.folder, data="kinect", split="test")
    assert float(scores["joint_found"]) > 0.9
    assert 0 < float(scores["joint_map"]) < 1
    image, _ = DepthBodies(count=1, size=SIZE)[0]
    PIL.Image.fromarray((1000 * image[0].numpy()).round().astype(np.uint16)).save(tmp_path / "depth.png")
    PIL.Image.new("RGB", (80, 60)).save(tmp_path / "colours.png")
    model = vidi.load(run.folder)
    (_, picture, result), (_, nothing, error) = predict_files(model, [tmp_path / "depth.png", tmp_path / "colours.png"])
    assert torch.equal(picture, (1000 * image.double()).round().div(1000).float())
    assert torch.equal(result.classes < 23, image[0] > 0)
    assert result.draw(picture).size == (480, 360)
    assert nothing is None
    assert "16 bits" in str(error)


@pytest.mark.slow
@pytest.mark.system("5.1.1-PIXELCLS", "5.1.1-POSE")
def test_a_forest_finds_three_quarters_of_every_part_of_unseen_bodies(tmp_path: Path, learnt: Learnt):
    run = vidi.train("body_parts", out=tmp_path / "run", seed=SEED)
    scores = vidi.evaluate(run.folder, split="test")
    learnt("part accuracy", float(scores["part_accuracy"]), least=0.75)
    learnt("joint mAP", float(scores["joint_map"]), least=0.85)
    learnt("joint error", float(scores["joint_error"]), most=0.08)
