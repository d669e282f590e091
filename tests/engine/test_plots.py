"""The pictures of a run folder: valid PNGs with something on them, also when there is little to show."""

import itertools
import math
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot
import numpy as np
import PIL.Image
import pytest
import torch

from tests.closeness import assert_close
from vidi.engine import plots


def read(path: Path) -> np.ndarray:
    with PIL.Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def ink(path: Path) -> float:
    """Return the share of pixels that are not white."""
    return float((read(path) < 250).any(axis=2).mean())


def training(steps: int = 200) -> list[dict[str, float | int | str | None]]:
    rows: list[dict[str, float | int | str | None]] = []
    for step in range(1, steps + 1):
        terms = {"train/class": 2 / step, "train/box": 1 / step}
        rows.append({"step": step, "epoch": step / 50, "learning_rate": 0.1 / step, **terms})
        if step % 50 == 0:
            rows.append({"step": step, "ap": 0.5, "ap50": 0.7, "ap_small": None, "val/class": 3 / step, "val/box": ""})
    return rows


class TestCurves:
    def test_a_diagram_for_each_kind_of_number(self, tmp_path: Path) -> None:
        plots.curves(tmp_path / "curves.png", training())
        height, width, _ = read(tmp_path / "curves.png").shape
        assert width == 3 * round(5.6 * 110)
        assert height == 440
        assert 0.02 < ink(tmp_path / "curves.png") < 0.5
        thirds = np.array_split((read(tmp_path / "curves.png") < 250).any(axis=2), 3, axis=1)
        assert all(third.mean() > 0.01 for third in thirds)

    def test_scores_of_other_scales_have_their_own(self, tmp_path: Path) -> None:
        plots.curves(tmp_path / "curves.png", [*training(), {"step": 200, "fid": 40.0}])
        assert read(tmp_path / "curves.png").shape == (880, 1848, 3)

    def test_rows_as_read_from_csv(self, tmp_path: Path) -> None:
        rows = [{name: "" if value is None else str(value) for name, value in row.items()} for row in training()]
        plots.curves(tmp_path / "text.png", rows)
        plots.curves(tmp_path / "numbers.png", training())
        assert (read(tmp_path / "text.png") == read(tmp_path / "numbers.png")).all()

    @pytest.mark.parametrize(
        "rows",
        [
            [],
            [{"step": 1}],
            [{"step": 1, "train/loss": math.nan}],
            [{"step": 1, "note": "resumed"}],
            [{"step": 1, "ap": None}],
        ],
    )
    def test_nothing_to_show(self, tmp_path: Path, rows: list[dict[str, float | int | str]]) -> None:
        plots.curves(tmp_path / "curves.png", rows)
        assert ink(tmp_path / "curves.png") > 0.001

    @pytest.mark.parametrize(
        "rows",
        [
            [{"train/loss": 1.0}],
            [{"step": 3, "top1": 0.0}],
            [{"step": 0, "learning_rate": 0.0}, {"step": 1, "train/loss": -2.0}],
        ],
    )
    def test_single_points(self, tmp_path: Path, rows: list[dict[str, float | int | str]]) -> None:
        plots.curves(tmp_path / "curves.png", rows)
        assert ink(tmp_path / "curves.png") > 0.01

    def test_equal_rows_give_equal_files(self, tmp_path: Path) -> None:
        plots.curves(tmp_path / "a.png", training(20))
        plots.curves(tmp_path / "b.png", training(20))
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

    def test_the_headline_is_bold_the_others_pale_and_the_kept_step_marked(self, monkeypatch: Any) -> None:
        figures: list[Any] = []
        monkeypatch.setattr(plots, "_write", lambda path, figure: figures.append(figure))
        rows = [{"step": s, "ap50": 0.5 + s / 100, "ap": s / 100, "train/loss": 1 / s, "fid": 9.0} for s in (1, 2, 3)]
        plots.curves("unused.png", rows, headline="ap", kept=2)
        loss, scores, other = figures[0].axes
        lines = {line.get_label().split()[0]: line for line in scores.lines}
        assert lines["ap"].get_linewidth() > 2 * lines["ap50"].get_linewidth()
        assert (lines["ap"].get_alpha(), lines["ap50"].get_alpha()) == (1, 0.45)
        for axes in (loss, scores, other):
            (mark,) = [line for line in axes.lines if line.get_label() == "kept: step 2"]
            assert list(mark.get_xdata()) == [2, 2]
        rings = [[line for line in axes.lines if line.get_markersize() == 11] for axes in (loss, scores)]
        assert not rings[0]
        assert [(list(ring.get_xdata()), list(ring.get_ydata())) for ring in rings[1]] == [([2], [0.02])]
        plots.curves("unused.png", rows)
        assert not any("kept" in str(line.get_label()) for axes in figures[1].axes for line in axes.lines)

    def test_leaves_matplotlib_as_it_was(self, tmp_path: Path) -> None:
        before = dict(matplotlib.rcParams)
        plots.curves(tmp_path / "curves.png", training(20))
        assert dict(matplotlib.rcParams) == before
        assert matplotlib.pyplot.get_fignums() == []


def test_smoothing_is_a_shrinking_centred_mean() -> None:
    values = np.random.default_rng(0).normal(size=100)
    expected = [values[max(0, place - 2) : place + 3].mean() for place in range(100)]
    assert_close(plots._smoothed(values), expected)
    np.testing.assert_array_equal(plots._smoothed(values[:10]), values[:10])


class TestPrecisionRecall:
    recall = torch.linspace(0, 1, 101)

    def test_draws_named_curves(self, tmp_path: Path) -> None:
        curves = {"sphere": (self.recall, 1 - self.recall), "box": (self.recall, 1 - self.recall**2)}
        plots.precision_recall(tmp_path / "pr.png", curves, "IoU 0.50")
        assert read(tmp_path / "pr.png").shape == (572, 704, 3)
        assert 0.02 < ink(tmp_path / "pr.png") < 0.5

    def test_many_classes_and_curves_of_other_lengths(self, tmp_path: Path) -> None:
        many = {f"class {k}": (self.recall.numpy(), self.recall.numpy() ** k) for k in range(30)}
        plots.precision_recall(tmp_path / "many.png", many, "IoU 0.50")
        plots.precision_recall(tmp_path / "two.png", {"a": ([0, 1], [1, 0]), "b": ([0, 0.5, 1], [1, 1, 0])}, "")
        assert ink(tmp_path / "many.png") > ink(tmp_path / "two.png") > 0.01

    def test_classes_without_objects_are_left_out(self, tmp_path: Path) -> None:
        plots.precision_recall(tmp_path / "one.png", {"a": ([0, 1], [1, 0])}, "x")
        plots.precision_recall(tmp_path / "two.png", {"a": ([0, 1], [1, 0]), "b": ([0, 1], [-1, math.nan])}, "x")
        assert (read(tmp_path / "one.png") == read(tmp_path / "two.png")).all()

    def test_nothing_to_show(self, tmp_path: Path) -> None:
        plots.precision_recall(tmp_path / "pr.png", {}, "IoU 0.50")
        assert ink(tmp_path / "pr.png") > 0.001

    def test_refuses_unequal_counts(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="2 recalls and 3 precisions"):
            plots.precision_recall(tmp_path / "pr.png", {"a": ([0, 1], [1, 1, 1])}, "")


class TestConfusionMatrix:
    @pytest.mark.parametrize("K", [1, 3, 25, 60])
    def test_any_number_of_classes(self, tmp_path: Path, K: int) -> None:
        plots.confusion_matrix(tmp_path / "matrix.png", torch.eye(K, dtype=torch.int64) * 7, ["a long name"] * K)
        height, width, _ = read(tmp_path / "matrix.png").shape
        assert 400 < height < width < 1500
        assert ink(tmp_path / "matrix.png") > 0.05

    def test_the_diagonal_is_dark_where_all_is_right(self, tmp_path: Path) -> None:
        plots.confusion_matrix(tmp_path / "right.png", torch.eye(2) * 5, ["a", "b"])
        plots.confusion_matrix(tmp_path / "even.png", torch.ones(2, 2), ["a", "b"])
        darkest = [(read(tmp_path / name) == (8, 48, 107)).all(axis=2).sum() for name in ("right.png", "even.png")]
        assert darkest[0] > 10 * darkest[1]

    def test_no_samples(self, tmp_path: Path) -> None:
        plots.confusion_matrix(tmp_path / "matrix.png", torch.zeros(3, 3), ["a", "b", "c"])
        assert ink(tmp_path / "matrix.png") > 0.01

    def test_columns_may_have_names_of_their_own_and_a_title(self, monkeypatch: Any) -> None:
        figures: list[Any] = []
        monkeypatch.setattr(plots, "_write", lambda path, figure: figures.append(figure))
        counts = torch.tensor([[3, 1], [2, 0]])
        plots.confusion_matrix("unused.png", counts, ["cat", "false alarm"], columns=["cat", "missed"], title="IoU")
        plots.confusion_matrix("unused.png", counts, ["cat", "dog"])
        plots.confusion_matrix("unused.png", counts * 0, ["cat", "dog"], title="IoU")
        axes = [figure.axes[0] for figure in figures]
        assert [text.get_text() for text in axes[0].get_yticklabels()] == ["cat", "false alarm"]
        assert [text.get_text() for text in axes[0].get_xticklabels()] == ["cat", "missed"]
        assert [one.get_title() for one in axes] == ["IoU", "50.0% of 6 right", "nothing to show yet"]

    def test_refuses_another_number_of_names(self, tmp_path: Path) -> None:
        for names, columns in ((["a"], ["a", "b", "c"]), (["a", "b", "c"], ["a"])):
            with pytest.raises(ValueError, match="1 names for a matrix of 3 classes"):
                plots.confusion_matrix(tmp_path / "matrix.png", torch.zeros(3, 3), names, columns=columns)


class TestClassScores:
    @pytest.mark.parametrize("count", [1, 7, 150])
    def test_any_number_of_classes(self, tmp_path: Path, count: int) -> None:
        scores = {f"class {k}": k / count for k in range(count)}
        plots.class_scores(tmp_path / "scores.png", scores, "IoU")
        assert ink(tmp_path / "scores.png") > 0.01

    def test_classes_that_do_not_occur_have_no_bar(self, tmp_path: Path) -> None:
        shown = []
        for name, value in (("full", 1.0), ("absent", math.nan)):
            plots.class_scores(tmp_path / f"{name}.png", {"a": 0.5, "b": value}, "IoU")
            shown.append(int((read(tmp_path / f"{name}.png").std(-1) > 40).sum()))  # coloured pixels
        assert shown[0] > 2.5 * shown[1] > 0

    def test_the_axis_reaches_as_far_as_the_errors(self, tmp_path: Path) -> None:
        plots.class_scores(tmp_path / "far.png", {"a": 1e7, "b": 0.2}, "AbsRel")
        assert ink(tmp_path / "far.png") > 0.01

    def test_nothing_to_show(self, tmp_path: Path) -> None:
        plots.class_scores(tmp_path / "none.png", {"a": math.nan}, "IoU")
        plots.class_scores(tmp_path / "empty.png", {}, "IoU")
        assert (tmp_path / "empty.png").is_file()


class TestThresholdCurves:
    thresholds = np.linspace(0, 1, 101)

    def drawn(self, monkeypatch: Any, **marks: Any) -> Any:
        figures: list[Any] = []
        monkeypatch.setattr(plots, "_write", lambda path, figure: figures.append(figure))
        lines = {"F1": 1 - np.abs(self.thresholds - 0.3), "precision": np.full(101, math.nan)}
        plots.threshold_curves("unused.png", self.thresholds, lines, **marks)
        return figures[0].axes[0]

    def test_the_best_is_marked_on_the_first_line(self, monkeypatch: Any) -> None:
        axes = self.drawn(monkeypatch, used=0.3, best=0.3)
        first, second, mark = axes.lines
        assert first.get_linewidth() > second.get_linewidth()
        assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([0.3], [1.0])
        assert mark.get_label() == "best F1 1.00, from 0.30"

    def test_the_used_one_is_marked_where_it_is_another(self, monkeypatch: Any) -> None:
        labels = [line.get_label() for line in self.drawn(monkeypatch, used=0.5, best=0.3).lines]
        assert labels == ["F1", "precision", "best F1 1.00, from 0.30", "used: 0.50"]
        assert [line.get_label() for line in self.drawn(monkeypatch, used=0.5).lines][2:] == ["used: 0.50"]

    def test_is_a_picture(self, tmp_path: Path) -> None:
        plots.threshold_curves(tmp_path / "f1.png", self.thresholds, {"F1": self.thresholds}, used=1.0, best=1.0)
        assert 0.02 < ink(tmp_path / "f1.png") < 0.5


class TestMosaic:
    red, blue = (PIL.Image.new("RGB", (100, 50), colour) for colour in ("red", "blue"))

    def test_groups_stay_side_by_side(self, tmp_path: Path) -> None:
        titles = ("prediction", "ground truth")
        plots.mosaic(tmp_path / "mosaic.png", [(self.red, self.blue)] * 3, columns=2, titles=titles)
        pixels = read(tmp_path / "mosaic.png")
        is_red, is_blue = ((pixels == colour).all(axis=2) for colour in ((255, 0, 0), (0, 0, 255)))
        assert is_red.sum() == is_blue.sum() > 3 * 100 * 50
        middle = np.nonzero(is_red.any(axis=1))[0][5]
        runs = [str(colour) for colour in np.where(is_red[middle], "r", np.where(is_blue[middle], "b", ""))]
        assert "".join(a for a, b in itertools.pairwise(runs) if a and a != b) == "rbrb"
        assert pixels.shape[1] <= 1600
        assert (pixels[: np.nonzero(is_red.any(axis=1))[0][0]] < 200).any()  # headings

    def test_single_pictures_of_any_shape(self, tmp_path: Path) -> None:
        tall = PIL.Image.new("L", (10, 40), 128)
        plots.mosaic(tmp_path / "mosaic.png", [self.red, tall, self.blue], columns=5)
        assert 0.2 < ink(tmp_path / "mosaic.png") < 1
        assert tall.mode == "L"

    def test_tiles_are_of_one_size_and_tinted_where_no_picture_is(self, tmp_path: Path) -> None:
        tall = PIL.Image.new("RGB", (40, 400), "lime")
        plots.mosaic(tmp_path / "mosaic.png", [(self.red, tall), (self.blue, self.blue), (self.red, self.red)])
        pixels = read(tmp_path / "mosaic.png")
        tinted = (pixels == plots.TINT).all(axis=2) | (np.ptp(pixels.astype(int), axis=2) > 20)  # or of a picture
        rows, columns = np.flatnonzero(tinted.any(axis=1)), np.flatnonzero(tinted.any(axis=0))
        heights = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], tinted.any(axis=1), [0]]))))[::2]
        widths = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], tinted.any(axis=0), [0]]))))[::2]
        assert len(set(heights.tolist())) == len(set(widths.tolist())) == 1
        assert (len(heights), len(widths)) == (2, 4)
        assert heights[0] == math.ceil(plots.TALLEST * widths[0])
        assert tinted[np.ix_(rows, columns)].all()  # no holes, also where there is no fourth group
        is_green = (pixels == (0, 255, 0)).all(axis=2)
        green = np.flatnonzero(is_green.any(axis=0))
        assert np.ptp(np.flatnonzero(is_green.any(axis=1))) + 1 == heights[0]  # as large as it can be
        assert abs((green[0] + green[-1]) / 2 - (columns[0] + 1.5 * widths[0] + 6)) <= 1  # in the middle of its tile
        is_red = (pixels == (255, 0, 0)).all(axis=2)
        assert np.flatnonzero(is_red.any(axis=1))[0] == np.flatnonzero(is_green.any(axis=1))[0]  # level with it

    def test_captions_stand_below_their_groups(self, tmp_path: Path) -> None:
        plots.mosaic(tmp_path / "bare.png", [self.red, self.blue])
        plots.mosaic(tmp_path / "mosaic.png", [self.red, self.blue], captions=("a.jpg", ""))
        bare, pixels = read(tmp_path / "bare.png"), read(tmp_path / "mosaic.png")
        bottom = np.flatnonzero((pixels == (255, 0, 0)).all(axis=2).any(axis=1))[-1]
        below = (pixels[bottom + 1 :] < 128).all(axis=2)
        assert below.any()
        assert np.flatnonzero(below.any(axis=0)).max() < pixels.shape[1] / 2  # below the first group alone
        assert pixels.shape[0] == bare.shape[0] + 26
        with pytest.raises(ValueError, match="1 captions for 2 groups"):
            plots.mosaic(tmp_path / "mosaic.png", [self.red, self.blue], captions=("a.jpg",))

    def test_nothing_to_show(self, tmp_path: Path) -> None:
        plots.mosaic(tmp_path / "mosaic.png", [], titles=("prediction", "ground truth"))
        assert ink(tmp_path / "mosaic.png") > 0.001

    def test_refuses_uneven_groups(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"groups of \[1, 2\] pictures"):
            plots.mosaic(tmp_path / "mosaic.png", [(self.red,), (self.red, self.blue)])
        with pytest.raises(ValueError, match="3 titles"):
            plots.mosaic(tmp_path / "mosaic.png", [(self.red, self.blue)], titles=("a", "b", "c"))


class TestImageGrid:
    def test_pixels_are_repeated_exactly(self, tmp_path: Path) -> None:
        images = torch.rand(10, 3, 28, 28)
        plots.image_grid(tmp_path / "grid.png", images, columns=8)
        pixels = read(tmp_path / "grid.png")
        zoom = 3  # 8 images of 28 pixels are less than 512 wide
        assert pixels.shape == (2 * (28 * zoom + 2) + 2, 8 * (28 * zoom + 2) + 2, 3)
        ninth = pixels[28 * zoom + 4 :: zoom, 2::zoom][:28, :28]
        assert (ninth == images[8].mul(255).round().byte().permute(1, 2, 0).numpy()).all()
        assert (pixels[28 * zoom + 4 :, 2 * (28 * zoom + 2) + 2 :] == 255).all()  # no eleventh image

    def test_grey_and_wild_values(self, tmp_path: Path) -> None:
        images = torch.tensor([-1.0, 0.5, 2.0, math.nan]).view(4, 1, 1, 1).expand(4, 1, 200, 300)
        plots.image_grid(tmp_path / "grid.png", images, columns=2)
        pixels = read(tmp_path / "grid.png")
        assert pixels.shape == (406, 606, 3)
        centres = [pixels[y, x].tolist() for y in (100, 300) for x in (150, 450)]
        assert centres == [[0] * 3, [128] * 3, [255] * 3, [0] * 3]

    def test_no_images(self, tmp_path: Path) -> None:
        plots.image_grid(tmp_path / "grid.png", torch.zeros(0, 3, 32, 32))
        assert read(tmp_path / "grid.png").size > 0

    def test_refuses_other_channels(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="2 channels"):
            plots.image_grid(tmp_path / "grid.png", torch.zeros(1, 2, 8, 8))


class TestCameraPaths:
    def test_both_paths_are_drawn_to_one_scale(self, tmp_path: Path) -> None:
        true = np.stack((np.zeros(9), np.linspace(0, 40, 9)), 1)
        plots.camera_paths(tmp_path / "paths.png", [(true + 1, true)])
        assert 0.02 < ink(tmp_path / "paths.png") < 0.5
        plots.camera_paths(tmp_path / "two.png", [(true + 1, true), (true, true)])
        assert read(tmp_path / "two.png").shape[1] > 1.9 * read(tmp_path / "paths.png").shape[1]
