"""Depth Pro's phases: what they compare, what they train, and what their results are made of."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.closeness import EXACT, assert_close
from vidi.catalog.table import CATALOG
from vidi.data.world.dataset import World
from vidi.depth.depth_pro import (
    DepthPro,
    DepthProCriterion,
    DepthProOutput,
    FieldOfViewCriterion,
    MetricDepth,
    depth_pro_tiny,
    view_of,
)
from vidi.depth.estimator import Cameras
from vidi.losses.depth_derivatives import derivative_error, mean_error, normalised_map, without_worst
from vidi.model import Step
from vidi.ops.camera import focal_of_view, straight_camera
from vidi.preprocess import Batch, Placement

S = 16


@pytest.fixture
def model() -> DepthPro:
    torch.default_generator.manual_seed(0)
    return depth_pro_tiny(**CATALOG["depth_pro_tiny"].tiny)


def batch_of(*focals: float | None, dtype: torch.dtype = torch.float64) -> Batch:
    generator = torch.Generator().manual_seed(0)
    targets = []
    for focal in focals:
        target: dict[str, Tensor] = {
            "depth": torch.rand(S, S, dtype=dtype, generator=generator) * 9 + 1,
            "depth_valid": torch.rand(S, S, generator=generator) > 0.1,
        }
        if focal is not None:
            target["intrinsics"] = straight_camera(focal, (S, S))
        targets.append(target)
    B = len(focals)
    images = torch.rand(B, 3, S, S, dtype=dtype, generator=generator)
    return Batch(images, torch.ones(B, S, S, dtype=torch.bool), [Placement((S, S), (S, S))] * B, targets)


def outputs_of(batch: Batch) -> DepthProOutput:
    canonical = torch.rand(batch.images[:, 0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return DepthProOutput(canonical, torch.tensor([50.0, 40.0], dtype=torch.float64)[: len(canonical)])


def truths(batch: Batch) -> tuple[Tensor, Tensor]:
    return 1 / batch.maps("depth"), batch.maps("depth_valid")


@pytest.mark.system("6.1.3-DEPTHPRO")
def test_rendered_pictures_of_known_cameras() -> None:
    """Table 17: MAE of f / (w D) and SSI-MAGE at first; then MAE, MSE, MAGE, MALE, MSGE."""
    batch = batch_of(20.0, 12.0)
    outputs, (inverse, valid) = outputs_of(batch), truths(batch)
    true = torch.stack((inverse[0] * 20 / S, inverse[1] * 12 / S))
    difference = outputs.canonical - true
    shapes = normalised_map(outputs.canonical, valid) - normalised_map(true, valid)
    found = DepthProCriterion("robust").compare(outputs, batch, Step())
    expected = {
        "error": mean_error(difference, valid),
        "ssi_gradient": derivative_error(shapes, valid, derivative="scharr", power=1, scales=6),
    }
    assert_close(found, expected, EXACT)
    found = DepthProCriterion("sharp").compare(outputs, batch, Step())
    expected = {
        "error": mean_error(difference, valid),
        "squared": mean_error(difference, valid, power=2),
        "gradient": derivative_error(difference, valid, derivative="scharr", power=1, scales=6),
        "laplace": derivative_error(difference, valid, derivative="laplace", power=1, scales=6),
        "squared_gradient": derivative_error(difference, valid, derivative="scharr", power=2, scales=6),
    }
    assert_close(found, expected, EXACT)


@pytest.mark.system("6.1.3-DEPTHPRO")
def test_measured_pictures_lose_their_worst_fifth() -> None:
    batch = batch_of(20.0)
    outputs, (inverse, valid) = outputs_of(batch), truths(batch)
    difference = outputs.canonical - inverse * 20 / S
    kept = without_worst(difference, valid, share=0.2)
    found = DepthProCriterion("robust", rendered=False).compare(outputs, batch, Step())
    assert_close(found, {"error": mean_error(difference, kept)}, EXACT)
    assert found["error"] < mean_error(difference, valid)
    sharp = DepthProCriterion("sharp", rendered=False).compare(outputs, batch, Step())
    assert_close(sharp["squared"], mean_error(difference, kept, power=2), EXACT)


@pytest.mark.system("6.1.3-DEPTHPRO")
def test_pictures_of_unknown_cameras_are_normalised() -> None:
    """SSI-MAE; a picture of a known camera beside it keeps its metres."""
    batch = batch_of(None, 12.0)
    outputs, (inverse, valid) = outputs_of(batch), truths(batch)
    shapes = normalised_map(outputs.canonical, valid) - normalised_map(inverse, valid)
    metric = outputs.canonical - inverse * 12 / S
    found = DepthProCriterion("robust").compare(outputs, batch, Step())["error"]
    assert_close(found, (mean_error(shapes[:1], valid[:1]) + mean_error(metric[1:], valid[1:])) / 2, EXACT)
    scales = torch.tensor([3.0, 1.0], dtype=torch.float64)[:, None, None]
    scaled = outputs._replace(canonical=outputs.canonical * scales)
    assert_close(DepthProCriterion("robust").compare(scaled, batch, Step())["error"], found, EXACT)


def test_targets_without_depth_are_refused() -> None:
    batch = batch_of(20.0, 12.0)
    bare = Batch(batch.images, batch.mask, batch.placements, [batch.targets[0], {}])
    with pytest.raises(ValueError, match=r"images \[1\]"):
        DepthProCriterion("robust").compare(outputs_of(bare), bare, Step())


def test_data_without_cameras_are_refused_before_the_first_step(model: DepthPro) -> None:
    class Uncalibrated:
        kinds = frozenset({"depth", "depth_valid"})

    scenes, own = World(count=1, targets=()), [1, 2]
    for stage in model.stages():
        assert stage.prepare(scenes) is scenes
        assert stage.prepare(own) is own  # says nothing of its kinds
        with pytest.raises(ValueError, match="the cameras of this data set are not known"):
            stage.prepare(Uncalibrated())


@pytest.mark.system("6.1.3-DEPTHPRO")
def test_the_field_of_view_is_compared_in_degrees() -> None:
    batch = batch_of(focal_of_view(53.0, S), None)
    found = FieldOfViewCriterion().compare(outputs_of(batch), batch, Step())
    assert_close(found["field_of_view"], (50.0 - 53.0) ** 2, 1e-5)  # intrinsics are float32
    unknown = batch_of(None)
    assert FieldOfViewCriterion().compare(outputs_of(unknown), unknown, Step())["field_of_view"] == 0
    assert_close(view_of(torch.tensor([8.0]), 16), [90.0], 1e-6)


@pytest.mark.system("6.1.3-DEPTHPRO")
def test_each_phase_trains_its_own_part(model: DepthPro) -> None:
    view = {id(p) for p in model.parts["network"].field_of_view.parameters()}  # type: ignore[union-attr]
    every = {id(p) for p in model.parameters()}
    batch = model.preprocess.collate([model.preprocess.place(torch.rand(3, 40, 60), target_of(40, 60))])
    for stage in model.stages():
        model.zero_grad()
        phase: Any = stage.model
        trained = {id(p) for p in phase.parameters_of("network")}
        assert trained == (view if stage.name == "field_of_view" else every - view)
        torch.stack(list(phase.losses("network", batch, Step()).values())).sum().backward()
        reached = {id(p) for p in model.parameters() if p.grad is not None and p.grad.isfinite().all()}
        assert reached == trained


def target_of(H: int, W: int) -> dict[str, Tensor]:
    depth = torch.rand(H, W, generator=torch.Generator().manual_seed(2)) * 9 + 1
    return {"depth": depth, "depth_valid": depth < 9, "intrinsics": straight_camera(50.0, (H, W))}


@pytest.mark.system("6.1.3-DEPTHPRO")
def test_depth_is_focal_length_over_width_and_inverse_depth() -> None:
    """D = f / (w C) (section 3.2), by a known focal length, else by the field of view, whatever number that is."""
    outputs = DepthProOutput(torch.full((3, 8, 8), 0.25), torch.tensor([90.0, 60.0, -4.0]))
    known = Cameras(torch.tensor([math.nan, 16.0, math.nan]), torch.full((3,), math.nan))
    found = MetricDepth()(outputs, known)
    assert_close(found.focals[:2], [4.0, 16.0], 1e-6)
    assert_close(1 / found.inverse[:2, 0, 0], [4.0 / (8 * 0.25), 16.0 / (8 * 0.25)], 1e-6)
    assert found.is_metric.all()
    assert found.focals[2].isfinite()
    assert found.focals[2] > 0
    blind = MetricDepth(trusts_cameras=False)(outputs, known)
    assert_close(blind.focals[1], focal_of_view(60.0, 8), 1e-6)
    assert (MetricDepth()(outputs._replace(canonical=torch.zeros(3, 8, 8)), known).inverse == 1e-4).all()  # 10 km
    assert (MetricDepth()(outputs._replace(canonical=torch.full((3, 8, 8), 1e9)), known).inverse == 1e4).all()  # 0.1 mm
    odd = MetricDepth(trusts_cameras=False)(outputs._replace(field_of_view=torch.tensor([-4.0, 0.5, 300.0])), known)
    assert_close(odd.focals, [focal_of_view(1.0, 8), focal_of_view(1.0, 8), focal_of_view(179.0, 8)], 1e-4)


def test_the_recipe_is_that_of_the_paper() -> None:
    """Table 16: Adam, 1.28e-4 and a tenth for the encoders, batches of 128, 1 % warm-up, the last 19 % at a tenth."""
    recipes = CATALOG["depth_pro"].recipes
    assert [recipe.epochs for recipe in recipes.values()][:2] == [250, 100]
    for recipe in list(recipes.values())[:2]:
        assert (recipe.optimizer, recipe.learning_rate, recipe.weight_decay) == ("adam", 1.28e-4, 0.0)
        assert recipe.learning_rate * recipe.backbone_rate == pytest.approx(1.28e-5)
        assert (recipe.batch_size, recipe.clip, recipe.warmup) == (128, 0.2, 0.01)
        assert (recipe.schedule, recipe.milestones, recipe.decay) == ("step", (0.81,), 0.1)


@pytest.mark.parametrize("name", ["depth_pro_tiny", "depth_pro"])
def test_no_pixel_starts_where_no_gradient_flows(name: str) -> None:
    """The last ReLU would stay at 0; and the field of view starts as that of a usual camera."""
    torch.default_generator.manual_seed(0)
    tiny: Any = CATALOG[name].builder(**CATALOG[name].tiny)
    outputs = tiny(torch.rand(2, 3, 128, 128) * 2 - 1)
    assert (outputs.canonical > 0.1).all()
    assert (outputs.canonical < 0.4).all()
    assert ((outputs.field_of_view - 60).abs() < 10).all()
