"""The pictures of a run folder: curves, precision-recall, confusion matrix, mosaics and grids of images.

Each function writes one PNG, also when there is nothing to show yet. matplotlib is imported where it is used, and
without pyplot, so that no global figure or backend is touched.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageDraw
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from vidi import files
from vidi.ops.drawing import shortened
from vidi.ops.fonts import font_of, letter
from vidi.ops.palette import CLASS_COLOURS, INK, PAPER, Colour, blended, contrast_ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Tile = PIL.Image.Image | Sequence[PIL.Image.Image]

DOTS_PER_INCH = 110
FAINT = blended(INK, PAPER, 0.15)
NAMED_CURVES = 10  # more curves than these are drawn without names
NAMED_CLASSES = 40  # more classes than these have no room for names on an axis
NUMBERED_CLASSES = 20  # more classes than these have no room for numbers in the cells
MOSAIC_WIDTH = 1600  # pixels at most
TALLEST = 1.25  # height of a tile of a mosaic over its width
TINT = blended(INK, PAPER, 0.07)
GRID_WIDTH = 512  # pixels at least


# ----------------------------------------------------------------------------------------------------------------------
# Curves of a training


class Series(NamedTuple):
    """The finite values of one column of metrics.csv."""

    name: str
    steps: np.ndarray
    values: np.ndarray


Rows = Sequence[Mapping[str, float | int | str | None]]


NO_SCORES = ("step", "epoch", "images", "threshold")
"""Columns of metrics.csv that say what a row is of."""


def curves(path: files.PathLike, rows: Rows, *, headline: str | None = None, kept: float | int | None = None) -> None:
    """Draw the columns of metrics.csv over the steps: loss terms, scores and the learning rate.

    Columns `train/NAME` and `val/NAME` are terms of the loss, `learning_rate` is the rate, and all other numbers but
    `NO_SCORES` are scores. Scores in [0, 1] share a diagram, the others have one each. Left out are missing, empty and
    non-finite values.

    Args:
        path: of the PNG.
        rows: of metrics.csv.
        headline: the score that stands out, among its own the first; the others are pale.
        kept: the step whose weights were kept, which is marked.
    """
    names = dict.fromkeys(name for row in rows for name in row if name not in NO_SCORES)
    ordered = sorted(names, key=lambda name: name != headline)
    series = [column for column in (_series(rows, name) for name in ordered) if len(column.values)]
    losses = [s for s in series if s.name.startswith(("train/", "val/"))]
    rates = [s for s in series if s.name == "learning_rate"]
    scores = [s for s in series if not s.name.startswith(("train/", "val/", "learning_rate"))]
    shares = [s for s in scores if s.values.min() >= 0 and s.values.max() <= 1]
    others = [s for s in scores if s.values.min() < 0 or s.values.max() > 1]
    panels = [("loss", losses), ("validation score", shares), *((s.name, [s]) for s in others)]
    panels = [(title, drawn) for title, drawn in [*panels, ("learning rate", rates)] if drawn]
    figure, diagrams = _diagrams(len(panels))
    for axes, (title, drawn) in zip(diagrams, panels, strict=True):
        _draw_losses(axes, drawn) if title == "loss" else _draw_scores(axes, drawn)
        if kept is not None and title != "learning rate":
            _mark_kept(axes, drawn, kept)
        first, last = min(s.steps.min() for s in series), max(s.steps.max() for s in series)
        margin = 0.02 * (last - first) or 1.0
        axes.set(title=title, xlabel="step", xlim=(first - margin, last + margin))
    _write(path, figure)


def _series(rows: Rows, name: str) -> Series:
    points = [(_number(row.get("step", place)), _number(row.get(name, math.nan))) for place, row in enumerate(rows)]
    scored = [(step, value) for step, value in points if math.isfinite(step) and math.isfinite(value)]
    steps, values = np.array(scored, dtype=np.float64).reshape(-1, 2).T
    return Series(name, steps, values)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _draw_losses(axes: "Axes", series: Sequence[Series]) -> None:
    """Draw each term in a colour of its own: training as a smoothed line over the raw one, validation as dots."""
    terms = list(dict.fromkeys(s.name.partition("/")[2] for s in series))
    many = len(terms) > 1
    for s in series:
        part, _, term = s.name.partition("/")
        colour = _shade(terms.index(term))
        label = f"{term}, {part}" if many else part
        if part == "train":
            axes.plot(s.steps, s.values, color=colour, alpha=0.25, linewidth=0.8)
            axes.plot(s.steps, _smoothed(s.values), color=colour, linewidth=1.6, label=label)
        else:
            dots = {"color": colour, "markeredgecolor": _unit(INK), "markersize": 4.5, "zorder": 3}
            axes.plot(s.steps, s.values, "o--", linewidth=1.1, label=label, **dots)  # pyright: ignore[reportArgumentType]
    values = np.concatenate([s.values for s in series])
    if values.min() > 0 and values.max() > 20 * values.min():
        axes.set_yscale("log")
    _legend(axes)


def _draw_scores(axes: "Axes", series: Sequence[Series]) -> None:
    """Draw lines over zero, the first one bold, the others pale, with their last values in the legend."""
    for place, s in enumerate(series):
        size, width, strength = (4.5, 2.4, 1.0) if place == 0 else (2.5, 1.0, 0.45)
        line = {"marker": "o" if len(s.values) < 50 else "", "markersize": size, "linewidth": width}
        order = 3 if place == 0 else 2
        label = f"{s.name} {s.values[-1]:.3g}"
        axes.plot(s.steps, s.values, color=_shade(place), alpha=strength, zorder=order, label=label, **line)
    if all(s.values.min() >= 0 for s in series):
        axes.set_ylim(0, 1.08 * max(s.values.max() for s in series) or 1.0)
    _legend(axes)


def _mark_kept(axes: "Axes", series: Sequence[Series], step: float | int) -> None:
    """Mark the step whose weights were kept, and ring the first of some scores there."""
    axes.axvline(step, color=_unit(INK), linewidth=1, linestyle=":", zorder=1, label=f"kept: step {step:g}")
    there = np.flatnonzero(series[0].steps == step)
    if len(there) and not series[0].name.startswith(("train/", "val/")):
        value = series[0].values[there[-1]]
        axes.plot([step], [value], "o", markersize=11, fillstyle="none", color=_unit(INK), zorder=4)
    _legend(axes)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Return a centred moving mean over a twentieth of the curve; its window shrinks at the ends."""
    window = np.ones(len(values) // 40 * 2 + 1)
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


# ----------------------------------------------------------------------------------------------------------------------
# Diagrams of scores


def precision_recall(path: files.PathLike, curves: Mapping[str, tuple[Any, Any]], title: str) -> None:
    """Draw precision over recall for each named curve (recall, precision), both in [0, 1].

    The mean is added where the curves share their recalls. Points that are not finite or negative are left out, and a
    curve without points has no line.
    """
    lines = {name: _curve(*curve) for name, curve in curves.items()}
    lines = {name: curve for name, curve in lines.items() if len(curve[0])}
    figure, diagrams = _diagrams(1, size=(6.4, 5.2))
    axes = diagrams[0]
    few = len(lines) <= NAMED_CURVES
    for place, (name, (recall, precision)) in enumerate(lines.items()):
        colour, label, width = (_shade(place), name, 1.6) if few else (_unit(FAINT), None, 0.7)
        axes.plot(recall, precision, color=colour, label=label, linewidth=width)
    recalls = [recall for recall, _ in lines.values()]
    if len(lines) > 1 and all(np.array_equal(recall, recalls[0]) for recall in recalls):
        mean = np.mean([precision for _, precision in lines.values()], axis=0)
        axes.plot(recalls[0], mean, color=_unit(INK), linewidth=2.4, label=f"mean of {len(lines)}")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel="recall", ylabel="precision", title=title)
    _legend(axes) if lines else _say_nothing(axes)
    _write(path, figure)


def _curve(recall: Any, precision: Any) -> tuple[np.ndarray, np.ndarray]:
    recall, precision = (np.asarray(values, dtype=np.float64).reshape(-1) for values in (recall, precision))
    if len(recall) != len(precision):
        raise ValueError(f"received {len(recall)} recalls and {len(precision)} precisions, expected equal counts")
    kept = np.isfinite(recall) & np.isfinite(precision) & (precision >= 0)
    return recall[kept], precision[kept]


def accept_rates(path: files.PathLike, false: Float[Tensor, " T"], true: Float[Tensor, " T"], title: str) -> None:
    """Draw the share of right pairs that are accepted over that of wrong ones, both in [0, 1], the latter by powers."""
    figure, diagrams = _diagrams(1, size=(6.4, 5.2))
    axes = diagrams[0]
    axes.plot(false, true, color=_shade(0), linewidth=1.6, drawstyle="steps-post")
    least = float(false[false > 0].min()) if bool((false > 0).any()) else 1e-3
    axes.set_xscale("symlog", linthresh=least)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="false accepts", ylabel="true accepts", title=title)
    _write(path, figure)


def confusion_matrix(
    path: files.PathLike,
    matrix: Shaped[Tensor, "K K"],
    names: Sequence[str],
    *,
    columns: Sequence[str] | None = None,
    title: str | None = None,
) -> None:
    """Draw counts of true (rows) against predicted classes (columns), coloured by the share of the row.

    Args:
        path: of the PNG.
        matrix: the counts.
        names: of the rows.
        columns: their names, if they have others.
        title: by default the share of the counts that are on the diagonal.
    """
    counts = matrix.detach().cpu().double().numpy()
    K = len(counts)
    columns = names if columns is None else columns
    for side in (names, columns):
        if len(side) != K:
            raise ValueError(f"received {len(side)} names for a matrix of {K} classes")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(4.2, 2.4 + 0.48 * K), 12.0)
    figure, diagrams = _diagrams(1, size=(side + 0.6, side))
    axes = diagrams[0]
    axes.grid(False)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    figure.colorbar(picture, ax=axes, label="share of the true class", fraction=0.046, pad=0.03)
    if K <= NAMED_CLASSES:
        across, down = ([n if len(n) <= 18 else n[:17] + "…" for n in side] for side in (columns, names))
        axes.set_xticks(range(K), across, rotation=0 if max(map(len, across), default=0) <= 3 else 45, ha="center")
        axes.set_yticks(range(K), down)
        for tick in axes.get_xticklabels():
            tick.set(ha="right" if tick.get_rotation() else "center", rotation_mode="anchor")
    if K <= NUMBERED_CLASSES:
        for row, column in np.argwhere(counts > 0):
            colour = _unit(PAPER if shares[row, column] > 0.55 else INK)
            axes.text(column, row, f"{counts[row, column]:g}", ha="center", va="center", color=colour, fontsize=8)
    total = counts.sum()
    usual = f"{np.trace(counts) / total:.1%} of {total:g} right" if total else "nothing to show yet"
    axes.set(xlabel="predicted", ylabel="true", title=title if title and total else usual)
    _write(path, figure)


def threshold_curves(
    path: files.PathLike, thresholds: Any, lines: Mapping[str, Any], *, used: float, best: float | None = None
) -> None:
    """Draw named shares, the first one bold, over the threshold of a score, both in [0, 1]; NaN is left out.

    `best` is marked on the first line, and the one that is `used` where it is another.
    """
    figure, diagrams = _diagrams(1, size=(6.4, 4.6))
    axes = diagrams[0]
    x = np.asarray(thresholds, dtype=np.float64)
    for place, (name, values) in enumerate(lines.items()):
        width, strength = (2.4, 1.0) if place == 0 else (1.4, 0.6)
        axes.plot(x, np.asarray(values), color=_shade(place), linewidth=width, alpha=strength, label=name)
    if best is not None:
        name, values = next(iter(lines.items()))
        top = float(np.asarray(values)[np.abs(x - best).argmin()])
        label = f"best {name} {top:.2f}, from {best:.2f}"
        axes.plot([best], [top], "o", markersize=8, color=_unit(INK), zorder=4, label=label)
    if used != best:
        axes.axvline(used, color=_unit(INK), linewidth=1, linestyle=":", label=f"used: {used:.2f}")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="threshold of the score", title="What is found from which score on")
    _legend(axes)
    _write(path, figure)


def class_scores(path: files.PathLike, scores: Mapping[str, float], label: str) -> None:
    """Draw a bar for each class, on an axis to 1 or further, and their mean; one without a score (NaN) has no part."""
    figure, diagrams = _diagrams(1, size=(6.4, max(2.2, 1.2 + 0.22 * len(scores))))
    axes = diagrams[0]
    real = [value for value in scores.values() if math.isfinite(value)]
    places = range(len(scores))
    axes.barh(places, [value if math.isfinite(value) else 0.0 for value in scores.values()], color=_shade(0))
    for place, value in zip(places, scores.values(), strict=True):
        shown = f"{value:.3f}" if math.isfinite(value) else "does not occur"
        axes.text(max(value, 0.0) + 0.01 if math.isfinite(value) else 0.01, place, shown, va="center", fontsize=8)
    axes.set_yticks(places, list(scores), fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.12 * max(1.0, *real)) if real else (0, 1.12), xlabel=label)
    if real:
        mean = sum(real) / len(real)
        axes.axvline(mean, color=_unit(INK), linewidth=1, linestyle="--", zorder=0)
        axes.set_title(f"mean of {len(real)}: {mean:.3f}")
    else:
        _say_nothing(axes)
    _write(path, figure)


def camera_paths(path: files.PathLike, paths: Sequence[tuple[Any, Any]]) -> None:
    """Draw paths from above, each predicted one (F 2: x and z, metres) with the true one."""
    figure, diagrams = _diagrams(len(paths))
    for axes, pair in zip(diagrams, paths, strict=True):
        for place, (name, points) in enumerate(zip(("predicted", "true"), pair, strict=True)):
            x, z = np.asarray(points).T
            axes.plot(x, z, color=_shade(place), label=name, marker=".", markersize=4)
            axes.plot(x[:1], z[:1], color=_shade(place), marker="o", markersize=9 + 4 * place, fillstyle="none")
        axes.set(xlabel="x, m", ylabel="z, m", title=f"{len(pair[0])} frames from above; the first is ringed")
        axes.set_aspect("equal", adjustable="datalim")
        _legend(axes)
    _write(path, figure)


def trials(path: files.PathLike, title: str, values: Any, curves: Sequence[Any], drawn: Mapping[str, Any]) -> None:
    """Draw a search: the score of each trial (NaN: none), its validations, and the score over what was drawn.

    `drawn` has the values of each key, numbers or words; positive numbers that span a power of ten lie on a log scale.
    """
    figure, diagrams = _diagrams(2 + len(drawn))
    scores = np.asarray(values, dtype=np.float64)
    diagrams[0].plot(scores, "o", color=_shade(0))
    diagrams[0].set(title=title, xlabel="trial")
    for place, curve in enumerate(curves):
        diagrams[1].plot(range(1, len(curve) + 1), curve, marker=".", linewidth=1, color=_shade(place))
    diagrams[1].set(title=f"{title} of each trial", xlabel="validation")
    for axes, (key, points) in zip(diagrams[2:], drawn.items(), strict=True):
        axes.plot(points, scores, "o", color=_shade(1))
        axes.set(title=f"{title} by {key}", xlabel=key)
        numbers = [point for point in points if isinstance(point, float | int)]
        if len(numbers) == len(points) and min(numbers, default=0) > 0 and max(numbers) >= 10 * min(numbers):
            axes.set_xscale("log")
    _write(path, figure)


# ----------------------------------------------------------------------------------------------------------------------
# Sheets of pictures


def mosaic(
    path: files.PathLike,
    tiles: Sequence[Tile],
    columns: int = 2,
    titles: Sequence[str] = (),
    captions: Sequence[str] = (),
) -> None:
    """Lay out pictures, or groups of pictures that belong together, in rows of `columns` groups.

    Each picture stands at the top of a tinted tile, as large as it can be there; all tiles are of one size.

    Args:
        path: of the PNG.
        tiles: pictures, or groups of equally many pictures, such as (ground truth, prediction).
        columns: groups in a row.
        titles: headings of the pictures of a group; none by default.
        captions: a line below each group, such as the name of a file; none by default.
    """
    groups = [[tile] if isinstance(tile, PIL.Image.Image) else list(tile) for tile in tiles]
    members = len(groups[0]) if groups else max(len(titles), 1)
    if columns < 1 or any(len(group) != members for group in groups) or len(titles) not in (0, members):
        received = f"groups of {sorted({len(group) for group in groups})} pictures, {len(titles)} titles"
        raise ValueError(f"received {received} in {columns} columns, expected groups of one size, a title each")
    if len(captions) not in (0, len(groups)):
        raise ValueError(f"received {len(captions)} captions for {len(groups)} groups, expected one for each")
    columns = min(columns, max(len(groups), 1))
    gap, between, heading, below = 6, 22, 34 if titles else 0, 26 if captions else 0
    width = min(480, (MOSAIC_WIDTH - between * (columns + 1)) // (columns * members) - gap)
    shapes = [picture.height / picture.width for group in groups for picture in group]
    tile = (width, math.ceil(width * min(max(shapes, default=1.0), TALLEST)))
    group_width, row_height = members * (width + gap) - gap, tile[1] + below + gap
    rows = math.ceil(len(groups) / columns)
    size = (columns * (group_width + between) + between, heading + rows * row_height + gap + 10)
    sheet = PIL.Image.new("RGB", (size[0], max(size[1], heading + 60)), PAPER)
    lefts = [between + column * (group_width + between) for column in range(columns)]
    places = [left + member * (width + gap) for left in lefts for member in range(members)]
    _write_headings(sheet, places, list(titles) * columns, width)
    pen, font = PIL.ImageDraw.Draw(sheet), font_of(14)
    for number in range(rows * columns if groups else 0):
        left, top = lefts[number % columns], heading + gap + number // columns * row_height
        for member in range(members):
            picture = groups[number][member] if number < len(groups) else None
            sheet.paste(_tile(picture, tile), (left + member * (width + gap), top))
        if number < len(captions):
            text = shortened(captions[number], font, group_width)
            pen.text((left, top + tile[1] + 3), text, fill=INK, font=font)
    if not groups:
        pen.text((between, heading + 18), "nothing to show yet", fill=INK, font=font_of(16))
    files.write_image(path, sheet)


def _tile(picture: PIL.Image.Image | None, size: tuple[int, int]) -> PIL.Image.Image:
    """Return a tinted tile of `size` (width, height) with a picture at its top: what belongs together is level."""
    tile = PIL.Image.new("RGB", size, TINT)
    if picture is not None:
        scale = min(size[0] / picture.width, size[1] / picture.height)
        width, height = (max(1, round(side * scale)) for side in picture.size)
        scaled = picture.convert("RGB").resize((width, height), PIL.Image.Resampling.LANCZOS)
        tile.paste(scaled, ((size[0] - width) // 2, 0))
    return tile


def _write_headings(sheet: PIL.Image.Image, lefts: Sequence[int], titles: Sequence[str], width: int) -> None:
    pen, font = PIL.ImageDraw.Draw(sheet), font_of(17)
    for left, title in zip(lefts, titles, strict=False):
        pen.text((left + width / 2, 21), shortened(title, font, width), fill=INK, font=font, anchor="mm")


def image_grid(
    path: files.PathLike,
    images: Float[Tensor, "N C H W"],
    columns: int = 8,
    *,
    text: Mapping[str, str] | None = None,
) -> None:
    """Lay out images in [0, 1] (C is 1 or 3) in rows of `columns`, small ones enlarged pixel by pixel.

    `text` goes into chunks of a PNG.
    """
    N, C, H, W = images.shape
    if C not in (1, 3) or columns < 1:
        raise ValueError(f"received images with {C} channels in {columns} columns, expected 1 or 3 in 1 or more")
    columns = min(columns, max(N, 1))
    rows = max(math.ceil(N / columns), 1)
    zoom = max(1, math.ceil(GRID_WIDTH / (columns * W)))
    gap = 2
    h, w = H * zoom + gap, W * zoom + gap
    sheet = torch.full((rows * h + gap, columns * w + gap, 3), 255, dtype=torch.uint8)
    pixels = _bytes_of(images).expand(N, 3, H, W).permute(0, 2, 3, 1)  # N H W 3
    pixels = pixels.repeat_interleave(zoom, dim=1).repeat_interleave(zoom, dim=2)
    for place in range(N):
        top, left = gap + place // columns * h, gap + place % columns * w
        sheet[top : top + h - gap, left : left + w - gap] = pixels[place]
    files.write_image(path, sheet.permute(2, 0, 1), text=text)


def single_image(path: files.PathLike, image: Float[Tensor, "C H W"], *, text: Mapping[str, str] | None = None) -> None:
    """Write an image in [0, 1] (C is 1 or 3) as it is; `text` goes into chunks of a PNG."""
    files.write_image(path, _bytes_of(image), text=text)


def _bytes_of(images: Float[Tensor, "*N C H W"]) -> UInt8[Tensor, "*N C H W"]:
    """Return images in [0, 1] as bytes; what lies outside is cut off, what is no number is black."""
    return images.detach().cpu().float().nan_to_num(0).clamp(0, 1).mul(255).round().to(torch.uint8)


# ----------------------------------------------------------------------------------------------------------------------
# Figures


def _diagrams(count: int, *, size: tuple[float, float] = (5.6, 4.0)) -> tuple["Figure", list["Axes"]]:
    """Return a figure with `count` diagrams of `size` (width, height in inches), at most three in a row."""
    from matplotlib.figure import Figure

    columns, rows = min(max(count, 1), 3), max(math.ceil(count / 3), 1)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), dpi=DOTS_PER_INCH, layout="compressed")
    diagrams = [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
    for axes in diagrams:
        axes.grid(color=_unit(FAINT), linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    if not diagrams:
        _say_nothing(figure.add_subplot())
    return figure, diagrams


def _say_nothing(axes: "Axes") -> None:
    axes.text(0.5, 0.5, "nothing to show yet", ha="center", va="center", transform=axes.transAxes, color=_unit(INK))
    axes.set(xticks=[], yticks=[])


def _legend(axes: "Axes") -> None:
    """Name the lines: where they leave room in the diagram, many of them beside it."""
    names = axes.get_legend_handles_labels()[1]
    if len(names) > 4:
        axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0)
    elif names:
        axes.legend(fontsize=8, framealpha=0.85, edgecolor="none")


def _shade(place: int) -> tuple[float, ...]:
    """Return the colour of a line: the classes' colours without those too pale on white."""
    dark = [colour for colour in CLASS_COLOURS if contrast_ratio(colour, PAPER) > 2]
    return _unit(dark[place % len(dark)])


def _unit(colour: Colour) -> tuple[float, ...]:
    return tuple(value / 255 for value in colour)


def _write(path: files.PathLike, figure: "Figure") -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    letter(figure)
    canvas.draw()
    files.write_image(path, PIL.Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
