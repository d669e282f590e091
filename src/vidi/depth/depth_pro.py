"""Depth Pro: sharp depth in metres and the camera's field of view from one picture, by transformers at three scales.

Bochkovskii et al. 2024, arXiv 2410.02073; notes 6.1.3.

    image       B 3 S S, S four times the side P of a patch; also at a half and a quarter of the size
    patches     5 x 5, 3 x 3 and 1 of P x P pixels at the three scales, neighbours sharing a quarter, a half, nothing
    tokens      one ViT over all patches; another over the image at a quarter
    maps        of each scale, put together without the borders that patches share; of earlier layers at full scale
    fused       from coarse to fine, doubling the size each time
    outputs     canonical inverse depth C, B S S; field of view of the width, degrees, by a ViT of its own
    depth       in metres: f / (w C), of a picture of width w and focal length f

Differs from the notes: it is supervised, and learns by no rebuilt views (C6.5). Differs from the published code: the
bounds of depth, 0.1 mm and 10 km, are kept before a map is resized to the original, there afterwards.

Nobody has published its training. Of the paper (section 3, tables 16 and 17), by kind of pictures:

    "robust"         rendered: MAE, SSI-MAGE; measured: MAE without the worst fifth; SSI-MAE for unknown cameras
    "sharp"          rendered: MAE, MSE, MAGE, MALE, MSGE
    "field_of_view"  its squared error; everything but its own encoder and layers stays

Of us, where it is silent: all terms weigh the same, and each picture as much as another; whether pictures are rendered
is an argument; in the second phase measured ones and unknown cameras keep the terms, their maps as in the first; the
angle is judged in degrees, and in the last phase also validated without known cameras.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones import vit
from vidi.depth.depth_pro_network import (
    SCALES,
    DepthProNetwork,
    DepthProOutput,
    FieldOfView,
    MultiScaleEncoder,
    Neck,
    initialise,
)
from vidi.depth.estimator import Cameras, DepthDecode, DepthEstimator, Estimate, PredictsDepth
from vidi.losses.depth_derivatives import (
    derivative_error,
    mean_error,
    normalised_map,
    without_worst,
)
from vidi.model import Criterion, Losses, Stage, Staged, Step, in_float32, of_family, widened
from vidi.preprocess import HALF, AnyBatch, Batch, Preprocess
from vidi.results.depth_map import DepthMap

DepthPhase = Literal["robust", "sharp"]

# ----------------------------------------------------------------------------------------------------------------------
# Depth


def view_of(focals: Float[Tensor, " B"], width: int) -> Float[Tensor, " B"]:
    """Return the angles that a width of so many pixels shows, degrees."""
    return torch.rad2deg(2 * torch.atan(width / (2 * focals)))


FARTHEST_AND_NEAREST = (1e-4, 1e4)
"""1/m that depth is kept between."""

NARROWEST_AND_WIDEST = (1.0, 179.0)
"""Degrees that are taken for a field of view: a network that is not trained yet may give any number."""


@dataclass(frozen=True)
class MetricDepth:
    """Canonical inverse depth as inverse depth in 1/m.

    Attributes:
        trusts_cameras: whether a focal length that is known counts more than the estimated one.
    """

    trusts_cameras: bool = True

    def __call__(self, outputs: DepthProOutput, cameras: Cameras) -> Estimate:
        width = outputs.canonical.shape[2]
        estimated = width / 2 / torch.tan(torch.deg2rad(outputs.field_of_view.clamp(*NARROWEST_AND_WIDEST)) / 2)
        known = cameras.focals.to(estimated)
        focals = known.where(known.isfinite(), estimated) if self.trusts_cameras else estimated
        inverse = outputs.canonical * (width / focals)[:, None, None]
        return Estimate(inverse.clamp(*FARTHEST_AND_NEAREST), torch.ones_like(focals, dtype=torch.bool), focals)


def cameras_of(batch: Batch) -> Float[Tensor, " B"]:
    """Return the focal lengths of the pictures of a batch, pixels of the canvas; NaN where they are not known."""
    known = [float(t["intrinsics"][0, 0]) if "intrinsics" in t else math.nan for t in batch.targets]
    return batch.images.new_tensor(known)


# ----------------------------------------------------------------------------------------------------------------------
# Losses


@dataclass(frozen=True)
class DepthProCriterion:
    """The losses of the phases in which depth is learnt.

    Attributes:
        phase: "robust", or "sharp", in which derivatives count more.
        rendered: whether depth is exact; else the worst fifth of each picture is forgiven.
    """

    phase: DepthPhase
    rendered: bool = True

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        canonical = cast(DepthProNetwork, network).canonical(batch.images)
        nothing = canonical.new_zeros(len(canonical))  # the field of view is not judged here
        return self.compare(DepthProOutput(canonical, nothing), batch, step)

    @in_float32
    def compare(self, outputs: DepthProOutput, batch: Batch, step: Step) -> Losses:
        """Return "error", and of its phase "ssi_gradient", or "squared", "gradient", "laplace" and "squared_gradient".

        Raises:
            ValueError: if a target has no depth.
        """
        batch.require("depth", "depth_valid")
        found, valid = outputs.canonical, batch.maps("depth_valid").bool()
        inverse = 1 / batch.maps("depth").to(found).where(valid, 1)
        shares = (cameras_of(batch) / found.shape[2]).to(found)  # NaN: the camera is not known
        metric = shares.isfinite()
        true = inverse * shares.where(metric, 1)[:, None, None]
        shapes = normalised_map(found, valid) - normalised_map(true, valid)
        difference = (found - true).where(metric[:, None, None], shapes)
        kept = valid if self.rendered else without_worst(difference, valid)
        losses = {"error": mean_error(difference, kept)}
        if self.phase == "sharp":
            return losses | {
                "squared": mean_error(difference, kept, power=2),
                "gradient": derivative_error(difference, valid, derivative="scharr", power=1),
                "laplace": derivative_error(difference, valid, derivative="laplace", power=1),
                "squared_gradient": derivative_error(difference, valid, derivative="scharr", power=2),
            }
        if self.rendered:
            losses["ssi_gradient"] = derivative_error(shapes, valid, derivative="scharr", power=1)
        return losses


@dataclass(frozen=True)
class FieldOfViewCriterion:
    """The squared error of the field of view in degrees; pictures whose camera is not known do not count."""

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        angles = cast(DepthProNetwork, network).view(batch.images)
        nothing = torch.zeros_like(batch.images[:, 0])  # depth is not judged here
        return self.compare(DepthProOutput(nothing, angles), batch, step)

    @in_float32
    def compare(self, outputs: DepthProOutput, batch: Batch, step: Step) -> Losses:
        """Return "field_of_view"."""
        focals = cameras_of(batch).to(outputs.field_of_view)
        known = focals.isfinite()
        error = (outputs.field_of_view - view_of(focals, batch.images.shape[3])).where(known, 0)
        return {"field_of_view": (error**2).sum() / step.normaliser(known.sum())}


# ----------------------------------------------------------------------------------------------------------------------
# Phases


def with_cameras(dataset: Any) -> Any:
    """Return a data set as it is.

    Raises:
        ValueError: if it says that it knows no cameras.
    """
    if "intrinsics" not in getattr(dataset, "kinds", ("intrinsics",)):
        raise ValueError(
            "the cameras of this data set are not known ('intrinsics'): Depth Pro learns metres and the field of view "
            "by their focal lengths; depth_tiny and depth_resnet18 learn without"
        )
    return dataset


class PhaseOfTraining(DepthEstimator):
    """The whole network, of which a phase trains the field of view, or everything else."""

    network: DepthProNetwork

    def parameters_of(self, turn: str) -> list[nn.Parameter]:
        own = {id(parameter) for parameter in self.network.field_of_view.parameters()}
        wants = isinstance(self.criterion, FieldOfViewCriterion)
        return [parameter for parameter in self.network.parameters() if (id(parameter) in own) == wants]


class DepthPro(Staged, PredictsDepth):
    """Depth Pro, which is trained in three phases.

    Args:
        network: of all phases.
        preprocess: to squares of the size that the network is for.
        rendered: whether the depth that it learns from is exact.
    """

    def __init__(self, network: DepthProNetwork, preprocess: Preprocess, *, rendered: bool = True):
        super().__init__()
        self.parts = nn.ModuleDict({"network": network})
        self.preprocess = preprocess
        self.rendered = rendered
        self.decode = DepthDecode(MetricDepth())

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> DepthProOutput:
        """Return the network's raw outputs for normalised images, half precision widened."""
        return DepthProOutput(*(widened(value) for value in self.parts["network"](images)))

    def stages(self) -> list[Stage]:
        """Return the trainings: robust depth, sharp depth, the field of view."""
        phases: dict[str, tuple[Criterion, MetricDepth]] = {
            "robust": (DepthProCriterion("robust", self.rendered), MetricDepth()),
            "sharp": (DepthProCriterion("sharp", self.rendered), MetricDepth()),
            "field_of_view": (FieldOfViewCriterion(), MetricDepth(trusts_cameras=False)),
        }
        network = self.parts["network"]
        return [
            Stage(name, PhaseOfTraining(network, criterion, read_out, self.preprocess), with_cameras)
            for name, (criterion, read_out) in phases.items()
        ]

    def predict_batch(self, batch: AnyBatch) -> list[DepthMap]:
        batch = batch.to(self.device)
        return self.decode(self(*batch.inputs), batch.placements, batch.targets)


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def depth_pro_family(
    name: str,
    *,
    side: int = 384,
    patch: int = 16,
    vit_width: int = 1024,
    vit_depth: int = 24,
    vit_heads: int = 16,
    hooks: tuple[int, ...] = (11, 5),
    channels: tuple[int, int, int] = (1024, 1024, 512),
    width: int = 256,
    rendered: bool = True,
) -> DepthPro:
    """Build a Depth Pro by its name.

    Args:
        side: pixels of a patch that the transformers see, of which the image has four times as many.
        patch: pixels of their tokens' sides.
        vit_width, vit_depth, vit_heads: of the three transformers.
        hooks: layers of the patch encoder, from 0, whose maps are used too, from coarse to fine: one for tokens of 8
            pixels, two for 16, none for 4, so that the depth has the size of the image.
        channels: of the maps of a quarter, a half and the full size while they are enlarged.
        width: channels of the decoder.
        rendered: whether the depth that it learns from is exact; else it is measured, and its worst fifth is forgiven.
    """
    if patch != 4 * 2 ** len(hooks):
        raise ValueError(f"received patch={patch} and hooks={hooks}, expected one hook for 8, two for 16, none for 4")
    if any(not 0 <= hook < vit_depth for hook in hooks):
        raise ValueError(f"received hooks={hooks}, expected layers from 0 to {vit_depth - 1}")
    if side % (8 * patch):
        raise ValueError(f"received side={side}, expected a multiple of 8 tokens of {patch} pixels")
    if width % 8:
        raise ValueError(f"received width={width}, expected a multiple of 8")
    numbers = {"width": vit_width, "depth": vit_depth, "heads": vit_heads, "layer_scale": 1.0}
    transformers = [vit.trunk("large", (side, side), patch, **numbers) for _ in range(3)]
    backbone = MultiScaleEncoder(transformers[0], transformers[1], hooks)
    neck = Neck(vit_width, vit_width, channels, width, len(hooks))
    network = DepthProNetwork(backbone, neck, width, FieldOfView(transformers[2], width))
    initialise(network)
    whole = SCALES * side
    preprocess = Preprocess(exact=(whole, whole), mean=HALF, std=HALF, antialias=False)
    return DepthPro(network, preprocess, rendered=rendered)


depth_pro = of_family(depth_pro_family, "depth_pro", "951.9 M parameters, pictures of 1536 x 1536")
depth_pro_tiny = of_family(
    depth_pro_family,
    "depth_pro_tiny",
    "trains on a CPU on the world at 128 pixels",
    side=32,
    patch=4,
    vit_width=64,
    vit_depth=4,
    vit_heads=2,
    hooks=(),
    channels=(64, 64, 32),
    width=32,
)
