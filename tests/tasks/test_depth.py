"""The tasks of depth: what is scored, what a training sees, and the commands on pairs and pictures."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tests.cli.command import vidi as command
from tests.data.readers.test_view_sets import map16
from vidi.api import load
from vidi.catalog.entry import Entry
from vidi.catalog.table import CATALOG
from vidi.data.transforms import Augmentation
from vidi.data.truths import depth_truth
from vidi.data.world.dataset import World
from vidi.depth.estimator import Cameras, DepthEstimator, Estimate, StereoEstimator, estimate_of_disparity
from vidi.engine.datasets import Source, facts_for
from vidi.engine.recipe import Recipe
from vidi.model import Losses, Step, builder
from vidi.preprocess import Preprocess
from vidi.results.depth_map import DepthMap
from vidi.tasks.depth import DEPTH, DEPTH_FROM_STEREO, DEPTH_FROM_VIDEO, STEREO
from vidi.tasks.table import TASKS

ALL = (STEREO, DEPTH, DEPTH_FROM_STEREO, DEPTH_FROM_VIDEO)
SMALL = Recipe(world_scenes=8, world_size=(32, 64))


class Map(NamedTuple):
    """Disparities in pixels of the canvas."""

    disparity: Float[Tensor, "B H W"]


class Rows(nn.Module):
    """A disparity for the picture, the same at every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: Tensor, right: Tensor | None = None) -> Map:
        return Map(self.value + 0 * images[:, 0])


def criterion(network: nn.Module, batch: Any, step: Step) -> Losses:
    assert all("depth" not in target for target in batch.targets) or not network.training
    return {"none": network(*batch.inputs).disparity.mean()}


@builder
def constant_stereo() -> StereoEstimator:
    """Build a system that finds every pair alike."""
    return StereoEstimator(
        Rows(),
        criterion,
        lambda outputs, cameras: estimate_of_disparity(outputs.disparity, cameras),
        Preprocess(paired=True),
    )


@builder
def constant_mono(*, baseline: float | None = None) -> DepthEstimator:
    """Build a system that finds every picture alike.

    Args:
        baseline: metres between the cameras of the pairs that it learns from.
    """

    def read_out(outputs: Map, cameras: Cameras) -> Estimate:
        rig = torch.full_like(cameras.focals, math.nan if baseline is None else baseline)
        return estimate_of_disparity(outputs.disparity, cameras._replace(baselines=rig))

    return DepthEstimator(Rows(), criterion, read_out, Preprocess())


@pytest.fixture(autouse=True)
def catalogued(monkeypatch: pytest.MonkeyPatch) -> None:
    for build, task in ((constant_stereo, STEREO), (constant_mono, DEPTH_FROM_STEREO)):
        monkeypatch.setitem(CATALOG, build.__name__, Entry(build, task, "6", "", recipe=SMALL))


# ----------------------------------------------------------------------------------------------------------------------
# What a task sees


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_a_training_sees_no_more_than_it_may(task: Any) -> None:
    assert TASKS[task.name] is task
    datasets = Source.of(None, task).open_for_training(SMALL)
    trained, judged = ({*dataset[0][1]} - {"image_id"} for dataset in (datasets["train"], datasets["val"]))
    assert trained == set(task.keys)
    assert judged == trained | set(task.judges)
    assert task.name in ("depth",) or "depth" not in trained
    assert set(task.scorer(()).keys) >= judged


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
@pytest.mark.parametrize("move", ["flip", "resized_crop"])
def test_moves_keep_what_a_training_sees_true(task: Any, move: str) -> None:
    assert move in task.moves
    dataset = Source.of(None, task).open("train", SMALL, to_train=True)
    for draw in range(4):
        torch.manual_seed(draw)
        image, target = Augmentation(move, (32, 64))(dataset[0])
        assert image.shape == (3, 32, 64)
        assert set(target) == {*task.keys, "image_id"}


def test_the_rig_goes_from_the_pairs_to_the_builder() -> None:
    assert facts_for(DEPTH_FROM_STEREO, World(targets=())) == {"baseline": 0.25}
    assert facts_for(DEPTH_FROM_STEREO, object()) == {}


# ----------------------------------------------------------------------------------------------------------------------
# Truth and scores


def target_of(disparity: Tensor, **more: Any) -> dict[str, Any]:
    return {"disparity": disparity, "disparity_valid": disparity > 0, **more}


CAMERA = {"intrinsics": torch.tensor([[50.0, 0, 4], [0, 50, 4], [0, 0, 1]]), "baseline": torch.tensor(0.5)}


def test_truth_is_what_was_measured_else_what_disparity_says() -> None:
    disparity = torch.full((8, 8), 5.0)
    disparity[0] = 0
    known = depth_truth(target_of(disparity, **CAMERA))
    assert (known.unit, known.focal, known.focal_source) == ("metres", 50, "data set")
    assert torch.equal(known.depth, torch.where(disparity > 0, 5.0, 0.0))  # 50 * 0.5 / 5
    assert torch.equal(known.valid, disparity > 0)
    free = depth_truth(target_of(disparity))
    assert (free.unit, free.focal) == ("relative", None)
    assert torch.allclose(free.depth[1:], torch.tensor(0.2))
    measured = depth_truth(target_of(disparity, depth=torch.full((8, 8), torch.inf), depth_valid=torch.ones(8, 8)))
    assert not measured.valid.any()  # the sky
    nothing = depth_truth({"right": torch.zeros(3, 4, 6)})
    assert (nothing.depth.shape, bool(nothing.valid.any())) == ((4, 6), False)


def result(depth: Tensor, **more: Any) -> DepthMap:
    return DepthMap(depth, torch.ones_like(depth, dtype=torch.bool), **{"unit": "metres", **more})


def test_depth_twice_as_far_is_wrong_in_metres_and_right_when_scaled() -> None:
    truth = torch.linspace(1, 10, 64).reshape(8, 8)
    scorer = DEPTH.scorer(()) if DEPTH.scorer else None
    assert scorer is not None
    scorer.update([result(2 * truth)], [{"depth": truth, "depth_valid": torch.ones(8, 8)}])
    scores = scorer.compute()
    assert scores["abs_rel_metric"] == pytest.approx(1)
    assert scores["delta1_metric"] == 0
    assert scores["abs_rel_median_scaled"] == pytest.approx(0, abs=1e-7)
    assert scores["delta1_median_scaled"] == 1
    assert scorer.headline in scores


def test_without_a_unit_only_scaled_scores_are_taken_and_without_a_truth_none(tmp_path: Path) -> None:
    disparity = torch.linspace(1, 10, 64).reshape(8, 8)
    for task in (STEREO, DEPTH_FROM_STEREO):
        scorer: Any = task.scorer(()) if task.scorer else None
        scorer.update([result(7 / disparity, unit="relative", disparity=disparity + 1.5)], [target_of(disparity)])
        scores = scorer.compute()
        assert scores["abs_rel_median_scaled"] == pytest.approx(0, abs=1e-6)
        assert not any("metric" in name for name in scores)
        assert scorer.headline in scores
        if task is STEREO:
            assert scores["epe"] == pytest.approx(1.5)
            assert (scores["bad1"], scores["bad2"], scores["bad3"], scores["within1"]) == (1, 0, 0, 0)
        blind: Any = task.scorer(()) if task.scorer else None
        blind.update([result(disparity)], [{"right": torch.zeros(3, 8, 8)}])
        assert blind.compute() == {}
        blind.write_plots(tmp_path)
        assert not list(tmp_path.iterdir())


def test_errors_by_depth_are_of_depths_that_count_at_all(tmp_path: Path) -> None:
    truth = torch.full((8, 8), 4.0)
    found = truth.clone()
    found[0, 0] = 1e12
    scorer: Any = DEPTH.scorer(()) if DEPTH.scorer else None
    scorer.update([result(found)], [{"depth": truth, "depth_valid": torch.ones_like(truth)}])
    assert scorer.errors[0].sum() == pytest.approx((80 - 4) / 4)
    scorer.write_plots(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["error_by_depth.png"]


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_borders_are_scored_where_the_truth_is_dense(task: Any) -> None:
    """In any unit, as a border is a ratio; not between the points of a laser."""
    truth = torch.full((8, 8), 2.0)
    truth[:, 4:] = 6.0
    every = torch.ones(8, 8, dtype=torch.bool)
    for found, valid, expected in (
        (5 * truth, every, 0.25),  # of four directions one has a border
        (torch.full_like(truth, 3.0), every, 0.0),
        (5 * truth, torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) < 0.3, None),
    ):
        scorer = task.scorer(())
        scorer.update([result(found, unit="relative")], [{"depth": truth, "depth_valid": valid}])
        assert scorer.compute().get("boundary_f1") == (None if expected is None else pytest.approx(expected))


def test_errors_are_shown_by_how_far_away_the_truth_is() -> None:
    truth = torch.tensor([[1.5, 1.5, 1.5, 20.0]])
    scorer: Any = DEPTH.scorer(()) if DEPTH.scorer else None
    scorer.update([result(torch.tensor([[1.5, 1.5, 1.5, 30.0]]))], [{"depth": truth, "depth_valid": truth > 0}])
    sums, counts = scorer.errors
    assert counts.tolist() == [0, 3, 0, 0, 0, 1, 0]  # from 1 to 2 m, from 16 to 32 m
    assert sums.tolist() == pytest.approx([0, 0, 0, 0, 0, 0.5, 0])


def test_constant_predictions_are_remarked() -> None:
    truth = torch.linspace(1, 10, 64).reshape(8, 8)
    target = {"depth": truth, "depth_valid": truth > 0}
    scorer: Any = DEPTH.scorer(()) if DEPTH.scorer else None
    scorer.update([result(truth)], [target])
    assert scorer.remarks() == []
    scorer.update([result(torch.full((8, 8), 3.0))] * 2, [target] * 2)
    (remark,) = scorer.remarks()
    assert remark.startswith("the predicted depth of 2 of 3 pictures is constant")


# ----------------------------------------------------------------------------------------------------------------------
# The commands


def pair(folder: Path, size: tuple[int, int] = (32, 64)) -> Path:
    folder.mkdir(parents=True)
    for seed, name in enumerate(("left", "right")):
        pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{name}.png")
    map16(folder / "disp_left.png", 3, size)
    return folder


def test_pairs_are_trained_scored_and_predicted_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = command("train", "constant_stereo", "--out", run, "epochs=1", "--quiet", "--json")
    scores = done.json()["scores"]
    assert scores["coverage"] == 1
    assert {"within1", "bad3", "delta1_metric", "abs_rel_median_scaled"} <= set(scores)
    report = (run / "report.md").read_text()
    assert "**Warning:** the predicted depth of 1 of 1 pictures is constant" in report
    assert f"vidi predict {run} LEFT RIGHT" in report
    assert (run / "mosaic.png").is_file()
    for name in "ab":
        pair(tmp_path / "pairs" / name)
    scored = command("eval", run, "--data", tmp_path / "pairs", "--split", "all", "--json")
    assert "warning: the predicted depth of 2 of 2" in scored.err
    assert scored.json()["epe"] == pytest.approx(abs(load(run).network.value.item() - 3), abs=1e-3)
    assert "abs_rel_metric" not in scored.json()  # the cameras of these pairs are not known

    left, right = (tmp_path / f"pairs/a/{name}.png" for name in ("left", "right"))
    words = ("--focal-px", "50", "--baseline", "0.5", "--out", tmp_path / "drawn")
    (record,) = command("predict", run, left, right, *words, "--json").json()
    assert (record["unit"], record["focal_px"], record["focal_source"]) == ("metres", 50, "given")
    assert record["depth"]["median"] == pytest.approx(50 * 0.5 / load(run).network.value.item(), rel=1e-4)
    assert [Path(name).name for name in record["files"]] == [f"left.depth.{k}" for k in ("png", "npy", "json", "ply")]
    assert all(Path(name).is_file() for name in record["files"])
    with PIL.Image.open(record["files"][0]) as picture:
        assert picture.info["focal_source"] == "given"  # pyright: ignore[reportArgumentType]
    several = command("predict", run, tmp_path / "pairs", "--out", tmp_path / "all")
    assert several.code == 0
    assert several.out.count("focal length not known") == 2
    assert (tmp_path / "all/b/left.depth.ply").is_file()


def test_wrong_words_about_pairs_and_cameras_are_told(tmp_path: Path) -> None:
    constant_stereo().save(tmp_path / "pairs")
    constant_mono().save(tmp_path / "mono")
    photo = pair(tmp_path / "s") / "left.png"
    for words, message in (
        ((tmp_path / "pairs", photo), "no stereo pairs; expected LEFT RIGHT"),
        ((tmp_path / "mono", photo, "--baseline", "1"), "received baseline for a model that takes focal_px, fov"),
        ((tmp_path / "mono", photo, "--focal-px", "9", "--fov", "60"), "expected one of them"),
        ((tmp_path / "mono", photo, "--fov", "360"), "less than 180"),
        ((tmp_path / "mono", tmp_path / "none.png"), "none.png: no such file"),
    ):
        done = command("predict", *words)
        assert done.code in (2, 3)
        assert message in done.err
        assert "Traceback" not in done.err


def test_the_rig_that_a_system_learnt_from_stays_with_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command("train", "constant_mono", "--out", run, "epochs=1", "--quiet", "--json").json()
    assert json.loads((run / "config.json").read_text())["arguments"] == {"baseline": 0.25}
    assert "delta1_metric" in command("eval", run, "--json").json()
    pair(tmp_path / "other" / "a")
    scores = command("eval", run, "--data", tmp_path / "other", "--split", "all", "--json").json()
    assert "delta1_median_scaled" in scores
