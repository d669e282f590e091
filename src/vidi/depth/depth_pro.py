"""Depth Pro: sharp depth in metres and the camera's field of view from one picture, by transformers at three scales.

Bochkovskii et al. 2024, arXiv 2410.02073; notes 6.1.3.

    image       B 3 S S, S four times the side P of a patch; also at a half and a quarter of the size
    patches     5 x 5, 3 x 3 and 1 of P x P pixels at the three scales, neighbours sharing a quarter, a half, nothing
    tokens      one ViT over all patches; another over the image at a quarter
    maps        of each scale, put together without the borders that patches share; of earlier layers at full scale
    fused       from coarse to fine, doubling the size each time
    outputs     canonical inverse depth C, B S S; field of view of the width, degrees, by a ViT of its own
    depth       in metres: f / (w C), of a picture of width w and focal length f

Differs from the notes: it is supervised, and learns by no rebuilt views (C6.5). Differs from the published code: that
gives a depth of 10 km where C is 0; here there is none.

Nobody has published its training. Of the paper (section 3, tables 16 and 17), by kind of pictures:

    "robust"         rendered: MAE, SSI-MAGE; measured: MAE without the worst fifth; SSI-MAE for unknown cameras
    "sharp"          rendered: MAE, MSE, MAGE, MALE, MSGE
    "field_of_view"  its squared error; everything but its own encoder and layers stays

Of us, where it is silent: all terms weigh the same, and each picture as much as another; whether pictures are rendered
is an argument; in the second phase measured ones and unknown cameras keep the terms, their maps as in the first; the
angle is judged in degrees, and in the last phase also validated without known cameras.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones import vit
from vidi.depth.estimator import Cameras, DepthDecode, DepthEstimator, Estimate, PredictsDepth
from vidi.losses.depth_derivatives import (
    derivative_error,
    mean_error,
    normalised_map,
    without_worst,
)
from vidi.model import Criterion, Losses, Stage, Staged, Step, in_float32, of_family, widened
from vidi.preprocess import AnyBatch, Batch, Preprocess
from vidi.results.depth_map import DepthMap

OVERLAPS = (0.25, 0.5, 0.0)  # of neighbouring patches at full, half and quarter size
SCALES = 4  # the size of the image in patches

DepthPhase = Literal["robust", "sharp"]


class DepthProOutput(NamedTuple):
    """What the network gives."""

    canonical: Float[Tensor, "B H W"]  # inverse depth times focal length over width, not below 0
    field_of_view: Float[Tensor, " B"]  # of the width, degrees


# ----------------------------------------------------------------------------------------------------------------------
# Patches


def overlapping_patches(images: Float[Tensor, "B C H W"], side: int, overlap: float) -> Float[Tensor, "N C P P"]:
    """Cut square images into squares that overlap by a share of their side; N = rows x columns x B, B the fastest."""
    stride = int(side * (1 - overlap))
    windows = images.unfold(2, side, stride).unfold(3, side, stride)  # B C n n P P
    return windows.permute(2, 3, 0, 1, 4, 5).flatten(0, 2)


def merged_patches(maps: Float[Tensor, "N D g g"], batch: int, overlap: float) -> Float[Tensor, "B D h w"]:
    """Put maps of overlapping patches together: of what two of them show, each keeps its half."""
    count = math.isqrt(len(maps) // batch)
    border = int(maps.shape[2] * overlap / 2)
    grid = maps.unflatten(0, (count, count, batch))  # n n B D g g

    def kept(position: int) -> slice:
        first, last = position == 0, position == count - 1
        return slice(0 if first else border, maps.shape[2] if last else maps.shape[2] - border)

    rows = [
        torch.cat([grid[row, column, :, :, kept(row), kept(column)] for column in range(count)], 3)
        for row in range(count)
    ]
    return torch.cat(rows, 2)


# ----------------------------------------------------------------------------------------------------------------------
# Network


class MultiScaleEncoder(nn.Module):
    """From an image to maps: of the whole, of its patches at a quarter, a half and full size, of earlier layers there.

    Args:
        patch_encoder: runs over patches; the image has four times its size.
        image_encoder: runs over the image at a quarter.
        hooks: the layers of the patch encoder, from 0, whose maps at full size are also given.
    """

    def __init__(
        self, patch_encoder: vit.VisionTransformer, image_encoder: vit.VisionTransformer, hooks: Sequence[int]
    ):
        super().__init__()
        self.patch_encoder = patch_encoder
        self.image_encoder = image_encoder
        self.hooks = tuple(hooks)

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> list[Tensor]:
        B, side = len(images), self.patch_encoder.size[0]
        scaled = [images, scaled_by(images, 0.5), scaled_by(images, 0.25)]
        cut = [overlapping_patches(image, side, overlap) for image, overlap in zip(scaled, OVERLAPS, strict=True)]
        last, *earlier = self.patch_encoder.tokens_of_layers(torch.cat(cut), self.hooks)
        of_scales = [
            merged_patches(self.patch_encoder.map_of(tokens), B, overlap)
            for tokens, overlap in zip(last.split([len(patches) for patches in cut]), OVERLAPS, strict=True)
        ]
        of_layers = [
            merged_patches(self.patch_encoder.map_of(tokens[: len(cut[0])]), B, OVERLAPS[0]) for tokens in earlier
        ]
        return [self.whole(scaled[2]), *reversed(of_scales), *of_layers]

    def coarse(self, images: Float[Tensor, "B 3 S S"]) -> list[Tensor]:
        """Return the first two maps alone, both of the image at a quarter."""
        small = scaled_by(images, 0.25)
        return [self.whole(small), self.patch_encoder.map_of(self.patch_encoder.tokens(small))]

    def whole(self, small: Float[Tensor, "B 3 P P"]) -> Float[Tensor, "B D g g"]:
        return self.image_encoder.map_of(self.image_encoder.tokens(small))


def scaled_by(images: Tensor, ratio: float) -> Tensor:
    """Return smaller images, whose pixels are the means of the four that are nearest to their centres."""
    return F.interpolate(images, scale_factor=ratio, mode="bilinear", align_corners=False)


def enlarging(in_channels: int, channels: int, times: int) -> nn.Sequential:
    """Return a 1x1 convolution, and transposed ones that each double the size; none has a bias."""
    doubles = [nn.ConvTranspose2d(channels, channels, 2, stride=2, bias=False) for _ in range(times)]
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), *doubles)


class Neck(nn.Module):
    """Maps of one width, each twice as large as the one before.

    Args:
        whole: channels of the map of the whole image.
        patches: channels of all others.
        channels: that maps of the scales have while they are enlarged, coarse to fine.
        width: channels of the results.
        hooks: the number of maps of earlier layers.
    """

    def __init__(self, whole: int, patches: int, channels: Sequence[int], width: int, hooks: int):
        super().__init__()
        self.whole = nn.ConvTranspose2d(whole, channels[0], 2, stride=2)
        self.scales = nn.ModuleList(enlarging(patches, own, 1) for own in channels)
        self.layers = nn.ModuleList(enlarging(patches, width, 2 + row) for row in range(hooks))
        self.mix = nn.Conv2d(2 * channels[0], channels[0], 1)
        every = [*channels, *([width] * hooks)]
        self.project = nn.ModuleList(nn.Conv2d(own, width, 3, padding=1, bias=False) for own in every)
        if every[-1] == width:
            self.project[-1] = nn.Identity()

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        whole, coarse, *finer = maps
        enlarged = [
            layer(values)
            for layer, values in zip([*self.scales[1:], *self.layers], finer, strict=True)  # type: ignore[misc]
        ]
        rest = [project(values) for project, values in zip(self.project[1:], enlarged, strict=True)]  # type: ignore[call-overload]
        return [self.coarsest(whole, coarse), *rest]

    def coarsest(self, whole: Tensor, coarse: Tensor) -> Float[Tensor, "B D h w"]:
        """Return the first map: of the whole image and of the patch that is the image at a quarter."""
        return self.project[0](self.mix(torch.cat((self.scales[0](coarse), self.whole(whole)), 1)))


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions, each behind a ReLU, added to what came in."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D h w"]:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Fusion(nn.Module):
    """Add a map to the coarser ones, and double the size.

    Args:
        width: channels.
        first: whether there is nothing coarser.
        last: whether the size stays.
    """

    def __init__(self, width: int, *, first: bool = False, last: bool = False):
        super().__init__()
        self.own = nn.Identity() if first else ResidualUnit(width)
        self.both = ResidualUnit(width)
        self.enlarge = nn.Identity() if last else nn.ConvTranspose2d(width, width, 2, stride=2, bias=False)
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, x: Float[Tensor, "B D h w"], coarser: Tensor | None = None) -> Float[Tensor, "B D H W"]:
        own = self.own(x)
        return self.project(self.enlarge(self.both(own if coarser is None else coarser + own)))


class InverseDepthHead(nn.Sequential):
    """From the fused map to canonical inverse depth of twice its size."""

    def __init__(self, width: int, hidden: int = 32):
        super().__init__(
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.ConvTranspose2d(width // 2, width // 2, 2, stride=2),
            nn.Conv2d(width // 2, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, 1, 1),
            nn.ReLU(),
        )


class FieldOfView(nn.Module):
    """The field of view of the width, from the image at a quarter and the coarsest map of a depth network.

    Args:
        encoder: of its own.
        width: channels of that map.
    """

    def __init__(self, encoder: vit.VisionTransformer, width: int):
        super().__init__()
        self.encoder = encoder
        self.narrow = nn.Linear(encoder.channels[0], width // 2)
        self.halve = nn.Conv2d(width, width // 2, 3, stride=2, padding=1)
        self.head = nn.Sequential(
            nn.Conv2d(width // 2, width // 4, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width // 4, width // 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width // 8, 1, encoder.grid[0] // 4),
        )

    def forward(self, images: Float[Tensor, "B 3 S S"], coarsest: Float[Tensor, "B D h w"]) -> Float[Tensor, " B"]:
        tokens = self.narrow(self.encoder.tokens(scaled_by(images, 0.25)))
        return self.head(self.encoder.map_of(tokens) + F.relu(self.halve(coarsest))).flatten()  # B 1 1 1 -> B


class DepthProNetwork(nn.Module):
    """The canonical inverse depth of square images, and their field of view from features that it does not change."""

    def __init__(self, backbone: MultiScaleEncoder, neck: Neck, width: int, field_of_view: FieldOfView):
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        levels = len(neck.project)
        self.fusions = nn.ModuleList(Fusion(width, first=row == 0, last=row == levels - 1) for row in range(levels))
        self.head = InverseDepthHead(width)
        self.field_of_view = field_of_view

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> DepthProOutput:
        maps = self.neck(self.backbone(images))
        return DepthProOutput(self.canonical_of(maps), self.field_of_view(images, maps[0].detach()))

    def canonical(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B S S"]:
        """Return canonical inverse depth alone."""
        return self.canonical_of(self.neck(self.backbone(images)))

    def canonical_of(self, maps: Sequence[Tensor]) -> Float[Tensor, "B S S"]:
        x = None
        for fusion, values in zip(self.fusions, maps, strict=True):
            x = fusion(values, x)
        return self.head(x)[:, 0]

    def view(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, " B"]:
        """Return the field of view alone; everything before its own layers is left as it is."""
        with torch.no_grad():
            coarsest = self.neck.coarsest(*self.backbone.coarse(images))
        return self.field_of_view(images, coarsest)


USUAL_VIEW = 60.0
"""Degrees that the field of view starts with: from 0 its bias would take as many steps as it is wide."""


def initialise(network: DepthProNetwork) -> None:
    """Draw the weights of all convolutions but those of the transformers as the package transformers does."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and "embedding" not in name:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.constant_(network.field_of_view.head[-1].bias, USUAL_VIEW)


# ----------------------------------------------------------------------------------------------------------------------
# Depth


def view_of(focals: Float[Tensor, " B"], width: int) -> Float[Tensor, " B"]:
    """Return the angles that a width of so many pixels shows, degrees."""
    return torch.rad2deg(2 * torch.atan(width / (2 * focals)))


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
        return Estimate(inverse, torch.ones_like(focals, dtype=torch.bool), focals)


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
        missing = [row for row, t in enumerate(batch.targets) if not {"depth", "depth_valid"} <= set(t)]
        if missing:
            raise ValueError(f"the targets of images {missing} have no 'depth' or no 'depth_valid', expected both")
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
        error = (outputs.field_of_view - view_of(focals.where(known, 1), batch.images.shape[3])).where(known, 0)
        return {"field_of_view": (error**2).sum() / step.normaliser(known.sum())}


# ----------------------------------------------------------------------------------------------------------------------
# Phases


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
            Stage(name, PhaseOfTraining(network, criterion, read_out, self.preprocess))
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

    Raises:
        ValueError: for numbers that do not fit together.
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
    preprocess = Preprocess(exact=(whole, whole), mean=(0.5,) * 3, std=(0.5,) * 3, antialias=False)
    return DepthPro(network, preprocess, rendered=rendered)


depth_pro = of_family(depth_pro_family, "depth_pro", "951.9 M parameters, pictures of 1536 x 1536")
depth_pro_tiny = of_family(
    depth_pro_family,
    "depth_pro_tiny",
    "trains on a CPU on the world at 128 pixels",
    side=32,
    patch=4,
    vit_width=96,
    vit_depth=4,
    vit_heads=3,
    hooks=(),
    channels=(96, 96, 64),
    width=64,
)
