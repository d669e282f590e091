"""Detection by a localizer that looks through windows of several sizes and shapes, all over the image.

Sermanet et al. 2014, "OverFeat", arXiv 1312.6229; notes 4.3.1.

    images       B 3 H W, resized for each window size and shape, so that the window becomes 40 x 40 pixels
    trunk        convolutions without border: one vector a window of 40 x 40, every 8 pixels: B D h w
    heads        1x1 convolutions: K+1 class logits (the last: background) and 4 corrections of the window
    criterion    windows to objects by IoU; a balanced mini-batch of them is cut out; cross entropy + lambda 1[c is no
                 background] mean squared error
    decode       softmax, boxes of the likely classes, suppression within each class: Detections

As no convolution sees a border, running over the whole image equals running on every window by itself, at a fraction of
the cost; `WindowCounts` tells the two problems that the notes name, too many windows and nearly all of them background.

Differs from the notes: boxes are corrections of their windows (notes 4.3.2), as the network does not know where in the
image a window is. Differs from the paper: windows of three aspect ratios, suppression instead of the merging of boxes,
and one box for all classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from vidi.detection.anchors import ASPECT_RATIOS
from vidi.detection.regions.fast_rcnn import RegionDecode, TwoStageOutputs
from vidi.detection.regions.region_proposals import image_sizes
from vidi.detection.targets import DELTA_WEIGHTS, Objects, check_objects, mostly_inside, named_outputs
from vidi.losses.localization import localization_losses
from vidi.model import Losses, Step, Supervised, builder, widened, with_defaults
from vidi.nn.convolution import ConvNorm
from vidi.nn.normalization import Norm, norm_layer
from vidi.ops.boxes import Size, box_iou, encode_boxes, xyxy_to_cxcywh
from vidi.ops.matching import BACKGROUND, IGNORED, match_anchors, sample_balanced
from vidi.preprocess import Batch, Preprocess
from vidi.results.categories import Categories, category_names

WINDOW = 40  # pixels of a window's sides when the network sees it
STEP = 8  # pixels from one window to the next

# ----------------------------------------------------------------------------------------------------------------------
# Windows


class Level(NamedTuple):
    """An image resized so that windows of one size and shape become squares of `WINDOW` pixels."""

    zoomed: tuple[int, int]  # H, W of the resized image
    cells: tuple[int, int]  # windows along y and x


@dataclass(frozen=True)
class WindowGrid:
    """The windows over an image: of several sizes and shapes, a fifth of their sides apart, none over the border."""

    sizes: tuple[float | int, ...]  # square roots of the areas, in pixels
    aspect_ratios: tuple[float | int, ...] = ASPECT_RATIOS  # height / width

    def __post_init__(self) -> None:
        for name, values in (("window sizes", self.sizes), ("aspect ratios", self.aspect_ratios)):
            if not values or not min(values) > 0:
                raise ValueError(f"received the {name} {values}, expected at least one and all positive")

    def levels(self, canvas: Size) -> list[Level]:
        """Return the levels of images of size (H, W), those without a window left out."""
        found = []
        for size in self.sizes:
            for ratio in self.aspect_ratios:
                window = size * ratio**0.5, size / ratio**0.5  # H, W
                H, W = (round(side * WINDOW / own) for side, own in zip(canvas, window, strict=True))
                if min(H, W) >= WINDOW:
                    found.append(Level((H, W), ((H - WINDOW) // STEP + 1, (W - WINDOW) // STEP + 1)))
        return found

    def count(self, canvas: Size) -> int:
        """Return the number of windows over an image of size (H, W)."""
        return sum(rows * columns for _, (rows, columns) in self.levels(canvas))

    def windows(self, canvas: Size) -> Float[Tensor, "N 4"]:
        """Return the windows in pixels of the image, level after level, rows over y, then x."""
        levels = [torch.zeros(0, 4)]
        for (H, W), (rows, columns) in self.levels(canvas):
            y, x = (STEP * torch.arange(count, dtype=torch.float32) for count in (rows, columns))
            y, x = torch.meshgrid(y, x, indexing="ij")  # rows columns
            corners = torch.stack((x, y, x + WINDOW, y + WINDOW), -1).flatten(0, 1)
            levels.append(corners * corners.new_tensor([canvas[1] / W, canvas[0] / H]).repeat(2))
        return torch.cat(levels)


def exhaustive_window_count(size: Size) -> int:
    """Return how many windows of any whole size and position an image of size (H, W) has: H(H+1)/2 x W(W+1)/2."""
    H, W = size
    return H * (H + 1) // 2 * (W * (W + 1) // 2)


@dataclass(frozen=True)
class WindowLabels:
    """Which windows stand for an object: those that overlap it most and by `positive_from` or more.

    What overlaps every object by less than `background_below` is background, as is an image without objects; what lies
    in between, or mostly in a crowd, takes no part.
    """

    positive_from: float = 0.5
    background_below: float = 0.4

    def assign(self, windows: Float[Tensor, "N 4"], objects: Objects) -> Int64[Tensor, " N"]:
        """Return for each window the row of its object, BACKGROUND or IGNORED."""
        low, high = self.background_below, self.positive_from
        matches = match_anchors(box_iou(objects.boxes, windows), low=low, high=high, allow_low_quality=False)
        if len(objects.crowd):
            matches[(matches == BACKGROUND) & mostly_inside(windows, objects.crowd)] = IGNORED
        return matches


@dataclass(frozen=True)
class WindowCounts:
    """How many windows of a set of images stand for what."""

    images: int
    of_class: tuple[int, ...]
    background: int
    ignored: int

    @property
    def total(self) -> int:
        return sum(self.of_class) + self.background + self.ignored

    @property
    def imbalance(self) -> float:
        """Background windows per window of an object; infinite without such."""
        positive = sum(self.of_class)
        return self.background / positive if positive else float("inf")

    def table(self, categories: Categories) -> str:
        """Return the counts as text: one line for each class, the background, and what takes no part."""
        names = [*(str(name) for name in categories), "background", "ignored"]
        counts = [*self.of_class, self.background, self.ignored]
        width = max(map(len, names))
        lines = [
            f"{name:<{width}}  {count:>12,}  {count / max(self.total, 1):7.3%}"
            for name, count in zip(names, counts, strict=True)
        ]
        per_image = self.total / max(self.images, 1)
        summary = f"{per_image:,.0f} windows an image, {self.imbalance:,.1f} of background for each of an object"
        return "\n".join([*lines, summary])


def count_windows(
    samples: Iterable[tuple[Tensor, Mapping[str, Tensor]]],
    grid: WindowGrid,
    classes: int,
    *,
    rules: WindowLabels | None = None,
) -> WindowCounts:
    """Count the windows over images by what they stand for: the imbalance that mini-batches have to make up for.

    Args:
        samples: (image C H W, target with boxes, labels and maybe crowd), as data sets give them.
        grid: the windows.
        classes: K.
        rules: what a window stands for; the defaults if None.

    Raises:
        ValueError: for targets without boxes or labels, boxes without area and labels that are not 0..K-1.
    """
    rules = rules or WindowLabels()
    images, counts = 0, torch.zeros(classes + 2, dtype=torch.int64)  # K classes, background, ignored
    for image, target in samples:
        windows = grid.windows(image.shape[-2:])
        objects = Objects.of(target, like=windows)
        check_objects(objects.boxes, objects.labels, classes)
        matches = rules.assign(windows, objects)
        kinds = torch.full_like(matches, classes)
        kinds[matches == IGNORED] = classes + 1
        kinds[matches >= 0] = objects.labels[matches[matches >= 0]]
        counts += kinds.bincount(minlength=classes + 2)
        images += 1
    *of_class, background, ignored = counts.tolist()
    return WindowCounts(images, tuple(of_class), background, ignored)


# ----------------------------------------------------------------------------------------------------------------------
# Network


class WindowPredictions(NamedTuple):
    """What the heads say of windows: one row each."""

    class_logits: Float[Tensor, "R C"]  # of K classes and, last, the background
    box_deltas: Float[Tensor, "R 4"]  # dx, dy, dw, dh of the window, times `DELTA_WEIGHTS`: see `encode_boxes`


class SlidingWindows(nn.Module):
    """A small network of convolutions without border, from a window of 40 x 40 pixels to one vector, and two heads.

    On a larger picture the same layers give a vector for each window in it, `STEP` pixels apart (section 3.5).
    """

    def __init__(self, grid: WindowGrid, outputs: int, *, width: int, hidden: int, norm: Norm = "batch"):
        super().__init__()
        self.grid = grid
        make: Any = norm_layer(norm)
        self.trunk = nn.Sequential(  # sides in the comments: of one window's map
            ConvNorm(3, width, 6, 2, norm=make, padding=0),  # 40 -> 18
            ConvNorm(width, 2 * width, 3, norm=make, padding=0),  # 16
            nn.MaxPool2d(2),  # 8
            ConvNorm(2 * width, 4 * width, 3, norm=make, padding=0),  # 6
            nn.MaxPool2d(2),  # 3
            ConvNorm(4 * width, hidden, 3, norm=make, padding=0),  # 1: a fully connected layer over the window
        )
        self.classes = nn.Conv2d(hidden, outputs + 1, 1)
        self.deltas = nn.Conv2d(hidden, 4, 1)

    def windows_of(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B 3 _ _"]]:
        """Return the pictures of all levels: the images resized so that windows become 40 x 40 pixels."""
        sizes = [level.zoomed for level in self.grid.levels(images.shape[2:])]
        return [F.interpolate(images, size, mode="bilinear", antialias=True) for size in sizes]

    def windows_over(
        self, images: Float[Tensor, "B 3 H W"], mask: Bool[Tensor, "B H W"] | None
    ) -> tuple[Float[Tensor, "N 4"], Bool[Tensor, "B N"]]:
        """Return the windows over a canvas, and whether each has its centre in the image that lies there."""
        windows = self.grid.windows(images.shape[2:])
        windows = windows.to(images.device, torch.promote_types(images.dtype, torch.float32))
        centres = xyxy_to_cxcywh(windows)[:, :2]  # N 2
        return windows, (centres < image_sizes(images, mask).flip(1)[:, None]).all(2)

    def crops(
        self, images: Float[Tensor, "B 3 H W"], rows: Int64[Tensor, " R"], windows: Int64[Tensor, " R"]
    ) -> Float[Tensor, "R 3 40 40"]:
        """Cut windows out; `rows` are their images, `windows` their rows in `grid.windows(canvas)`."""
        crops = images.new_empty(len(rows), images.shape[1], WINDOW, WINDOW)
        first = 0
        for picture in self.windows_of(images):
            patches = picture.unfold(2, WINDOW, STEP).unfold(3, WINDOW, STEP)  # B 3 h w 40 40, a view
            h, w = patches.shape[2:4]
            own = ((windows >= first) & (windows < first + h * w)).nonzero()[:, 0]
            cell = windows[own] - first
            crops[own] = patches[rows[own], :, cell.div(w, rounding_mode="floor"), cell % w]
            first += h * w
        return crops

    def see(self, crops: Float[Tensor, "R 3 40 40"]) -> WindowPredictions:
        """Return what the heads say of windows that were cut out."""
        features = self.trunk(crops)  # R D 1 1
        return WindowPredictions(self.classes(features).flatten(1), self.deltas(features).flatten(1))

    def forward(self, images: Float[Tensor, "B 3 H W"], mask: Bool[Tensor, "B H W"] | None = None) -> TwoStageOutputs:
        """Return the predictions for all windows; those whose centre lies on padding are not valid."""
        B = images.shape[0]
        K = self.classes.out_channels - 1
        logits, deltas = [images.new_zeros(B, 0, K + 1)], [images.new_zeros(B, 0, 4)]
        for picture in self.windows_of(images):
            features = self.trunk(picture)  # B D h w
            logits.append(self.classes(features).flatten(2).transpose(1, 2))  # B hw K+1
            deltas.append(self.deltas(features).flatten(2).transpose(1, 2))  # B hw 4
        windows, valid = self.windows_over(images, mask)
        of_class = torch.cat(deltas, 1)[:, :, None].expand(-1, -1, K, -1)  # B N K 4: one box for all classes
        return TwoStageOutputs(windows.expand(B, -1, -1), valid, torch.cat(logits, 1), of_class)


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


class Sampled(NamedTuple):
    """The windows of a batch that train, row by row."""

    images: Int64[Tensor, " R"]
    windows: Int64[Tensor, " R"]  # rows of `grid.windows(canvas)`
    labels: Int64[Tensor, " R"]  # output of the class, K for background
    truths: Float[Tensor, "R 4"]  # the object's box; of background, the window itself


@dataclass(frozen=True)
class WindowCriterion:
    """`localization_losses` of a balanced mini-batch of the windows of all images of a batch."""

    named: tuple[int, ...]  # the outputs that have a category; labels count these
    rules: WindowLabels
    per_image: int  # windows in the mini-batch for each image of the batch
    positive_share: float  # at most, of the mini-batch; of all windows hardly one in a hundred is positive
    box_weight: float  # lambda

    @torch.no_grad()
    def sample(
        self,
        windows: Float[Tensor, "N 4"],
        valid: Sequence[Bool[Tensor, " N"]],  # of each image
        objects: Sequence[Objects],
        background: int,
        generator: torch.Generator | None,
    ) -> Sampled:
        """Draw the windows of a batch that train; `background` is the output that stands for none of the classes.

        Raises:
            ValueError: for boxes without area and labels without category.
        """
        outputs = torch.tensor(self.named, device=windows.device)
        kinds, truths = [], []
        for own, truth in zip(valid, objects, strict=True):
            check_objects(truth.boxes, truth.labels, len(self.named))
            matches = self.rules.assign(windows, truth).where(own, IGNORED)
            positive = matches >= 0
            kind = torch.where(matches == BACKGROUND, background, IGNORED)
            kind[positive] = outputs[truth.labels[matches[positive]]]
            boxes = windows.clone()
            boxes[positive] = truth.boxes[matches[positive]]
            kinds.append(kind)
            truths.append(boxes)
        kind = torch.cat(kinds)  # BN
        options = {"count": self.per_image * len(objects), "positive_share": self.positive_share}
        is_object = (kind >= 0) & (kind != background)
        drawn = torch.cat(sample_balanced(is_object, kind == background, **options, generator=generator))
        return Sampled(drawn // len(windows), drawn % len(windows), kind[drawn], torch.cat(truths)[drawn])

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        """Return the losses "classification" and "box"."""
        detector: Any = network
        with torch.autocast(batch.images.device.type, enabled=False):
            windows, valid = detector.windows_over(batch.images, batch.mask)
            if len(windows) == 0:
                H, W = batch.images.shape[2:]
                raise ValueError(f"received images of {H} x {W} pixels, expected some that a window fits into")
            objects = [Objects.of(target, like=windows) for target in batch.targets]
            background = detector.classes.out_channels - 1
            samples = self.sample(windows, valid.unbind(), objects, background, step.generator)
        predictions = detector.see(detector.crops(batch.images, samples.images, samples.windows))
        with torch.autocast(batch.images.device.type, enabled=False):
            predictions = WindowPredictions(*widened(tuple(predictions)))
            return self.of_samples(predictions, samples, windows, step)

    def of_samples(
        self, predictions: WindowPredictions, samples: Sampled, windows: Float[Tensor, "N 4"], step: Step
    ) -> Losses:
        """Return the losses of windows that were drawn."""
        logits, deltas = predictions
        return localization_losses(
            logits,
            samples.labels,
            deltas,
            encode_boxes(samples.truths, windows[samples.windows], weights=DELTA_WEIGHTS),
            has_box=samples.labels < logits.shape[1] - 1,
            box_weight=self.box_weight,
            count=step.normaliser(logits.new_tensor(len(samples.labels))),
        )


# ----------------------------------------------------------------------------------------------------------------------
# Builders


@builder
def sliding_window(
    *,
    categories: int | tuple[str | None, ...] = 20,
    width: int = 32,
    hidden: int = 512,
    norm: Norm = "batch",
    window_sizes: tuple[int, ...] = (40, 64, 100, 160, 256, 400),
    sampled: int = 64,
    positive_share: float = 0.25,
    box_weight: float = 1.0,
    size: tuple[int, int] | None = None,
    shorter: int = 480,
    longest: int = 800,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.3,
    detections_per_image: int = 100,
) -> Supervised:
    """Build the sliding-window detector for photographs: 0.7 M parameters, some 19,000 windows of 480 x 640 pixels.

    Args:
        categories: the number of classes, or their names.
        width: channels of the first convolution.
        hidden: numbers that describe a window.
        norm: "batch", "frozen" or "group".
        window_sizes: square roots of the windows' areas, in pixels of the resized image.
        sampled: windows that train, for each image of a batch.
        positive_share: of the sampled windows, at most.
        box_weight: lambda, of the boxes' loss.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least that is returned, in [0, 1].
        nms_threshold: IoU with a better box of its class at which a box is suppressed.
        detections_per_image: at most.
    """
    names = category_names(categories)
    network = SlidingWindows(WindowGrid(window_sizes), len(names), width=width, hidden=hidden, norm=norm)
    criterion = WindowCriterion(named_outputs(names), WindowLabels(), sampled, positive_share, box_weight)
    decode = RegionDecode(names, score_threshold, nms_threshold, detections_per_image)
    return Supervised(network, criterion, decode, Preprocess(shorter, longest, size, masked=True))


sliding_window_tiny = with_defaults(
    sliding_window,
    "sliding_window_tiny",
    "trains in minutes on a CPU on images of 128 pixels",
    categories=5,
    width=12,
    hidden=96,
    window_sizes=(18, 30, 50, 84),
    sampled=32,
    shorter=128,
    longest=256,
)
