"""How generated pictures are judged: the numbers, who they are compared with, and what a report says of them."""

import json
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor, nn

import vidi
from tests.cli.tiny_sets import write_digits
from tests.closeness import FLOAT32, assert_close
from vidi.data.digits import Digits
from vidi.engine import report
from vidi.engine.averaging import Averages
from vidi.engine.recipe import Recipe
from vidi.engine.report import write_samples
from vidi.engine.runs import Run
from vidi.metrics.frechet import fid, normal_of_features
from vidi.metrics.generation import distinct_neighbours, precision_recall
from vidi.metrics.generation_score import Extracted, Extractor, GenerationScore, picture_set
from vidi.model import Samples
from vidi.ops.noise import picture_seeds
from vidi.preprocess import Preprocess
from vidi.tasks.generation import GENERATION, placed, remarks_on

calls: list[int] = []


def run(pictures: Tensor) -> Extracted:
    calls.append(len(pictures))
    rows = torch.nn.functional.adaptive_avg_pool2d(pictures.mean(1), 2).flatten(1)
    return Extracted(rows, rows.softmax(1))


PIXELS = Extractor("pixels", "none", "to 2 x 2", run)


class Copier(Samples):
    """Makes the training digits of its seeds, or one of them again and again."""

    def __init__(self, *, repeats: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.repeats = repeats
        self.preprocess = Preprocess(exact=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Tensor:
        digits, seeds = Digits("train"), picture_seeds(generator, count)
        rows = [0 if self.repeats else 3 * seed for seed in seeds]
        return torch.stack([digits[row][0].float() / 255 for row in rows])

    def opinion(self, real: Tensor, generated: Tensor) -> dict[str, float]:
        return {"sure_of_real": float(len(real)), "sure_of_generated": float(real.mean())}


def scorer(count: int = 100, seed: int = 5) -> Any:
    recipe = Recipe(judged_pictures=count, seed=seed)
    assert GENERATION.generated is not None
    return GENERATION.generated(PIXELS, recipe, "digits", "val", {"train": Digits("train"), "val": Digits("val")})


@pytest.mark.system("8.0-TASK")
def test_scores_are_the_metrics_of_equal_counts_of_pictures() -> None:
    judge, model = scorer(), Copier()
    found = judge.score(model)
    real = torch.cat([run(batch).features for batch in placed(Digits("val"), model.preprocess, 100)])
    others = torch.cat([run(batch).features for batch in placed(Digits("train"), model.preprocess, 100)])
    made = run(model.sample(100, generator=torch.Generator().manual_seed(5))).features
    assert found["fid"] == pytest.approx(fid(normal_of_features(real), made).value)
    assert found["real_fid"] == pytest.approx(fid(normal_of_features(real), others).value)
    assert (found["precision"], found["recall"]) == precision_recall(real, made)
    assert found["distinct_neighbours"] == distinct_neighbours(real, made)
    assert found["real_distinct_neighbours"] == distinct_neighbours(real, others)
    assert found["sure_of_real"] == 64  # of as many real pictures as go through at once
    (first,) = placed(Digits("val"), model.preprocess, 64)
    assert found["sure_of_generated"] == pytest.approx(float(first.mean()))
    assert first.shape == (64, 3, 8, 8)
    assert judge.headline == "fid"


def test_pictures_are_spread_over_a_data_set() -> None:
    (few,) = placed(Digits("val"), Copier().preprocess, 3)
    expected = torch.stack([Digits("val")[row][0].float() / 255 for row in (0, 100, 200)])
    assert_close(few, expected, FLOAT32)
    assert [len(batch) for batch in placed(Digits("val"), Copier().preprocess, 130)] == [64, 64, 2]


def test_no_more_pictures_are_judged_than_there_are_real_ones() -> None:
    judge = scorer(count=5000)
    judge.score(Copier())
    assert judge.last[0].protocol.generated_count == judge.last[0].protocol.real_count == 300
    assert judge.last[0].protocol.splits == 1


def test_the_inception_score_is_of_ten_parts_from_a_thousand_pictures_on() -> None:
    judge = scorer()
    pictures = picture_set(placed(Digits("val"), Copier().preprocess, 20), PIXELS, "real")
    for count, splits in ((999, 1), (1000, 10)):
        judge.count = count
        assert judge._scored(pictures, pictures).protocol.splits == splits


def test_real_pictures_are_extracted_once() -> None:
    judge = scorer()
    judge.score(Copier())
    before = sum(calls)
    one, two = judge.score(Copier()), judge.score(Copier())
    assert sum(calls) - before == 200  # the generated ones alone
    assert one == two


@pytest.mark.system("8.0-TASK")
def test_a_generator_that_repeats_itself_is_told(tmp_path: Path) -> None:
    judge = scorer()
    assert judge.remarks() == []
    judge.write_record(tmp_path)
    assert not list(tmp_path.iterdir())
    various = judge.score(Copier())
    assert judge.remarks() == []
    repeated = judge.score(Copier(repeats=True))
    assert repeated["distinct_neighbours"] == 0.01
    assert repeated["fid"] > 5 * various["fid"]
    (told,) = judge.remarks()
    assert told.startswith("modes collapse: ")
    assert " 1.0% of" in told
    judge.write_record(tmp_path)
    record = json.loads((tmp_path / "generation_score.json").read_text())
    read = GenerationScore.of_record(record)
    assert read.protocol.extractor == "pixels"
    assert read.protocol.real_set == "digits val"
    assert read.values["fid"] == pytest.approx(repeated["fid"])


@pytest.mark.parametrize(
    ("real", "generated", "won"), [(0.96, 0.99, True), (0.95, 0.99, False), (0.99, 0.5, False), (None, None, False)]
)
def test_a_discriminator_that_has_won_is_told(real: float | None, generated: float | None, won: bool) -> None:
    scores = {"distinct_neighbours": 0.25, "real_distinct_neighbours": 0.5}
    if real is not None and generated is not None:
        scores |= {"sure_of_real": real, "sure_of_generated": generated}
    told = remarks_on(scores)
    assert [line.startswith("the discriminator has won: it is sure of 96% of real") for line in told] == [True] * won
    assert len(remarks_on({**scores, "distinct_neighbours": 0.24})) == won + 1


def test_a_run_keeps_the_weights_of_the_smallest_fid_and_tells_what_it_saw(tmp_path: Path) -> None:
    data = write_digits(tmp_path / "digits.npz", train=200)
    numbers = {"size": (16, 16), "latent": 4, "width": 4, "batch_size": 50, "epochs": 3, "validate_every": 1}
    run = vidi.train("dcgan", data=data, out=tmp_path / "run", judged_pictures=16, **numbers)
    rows = [row for row in run.metrics() if "fid" in row]
    scores = json.loads((run.folder / "scores.json").read_text())
    assert len(rows) == 3
    assert scores["fid"] == pytest.approx(min(float(row["fid"]) for row in rows))
    assert {"precision", "recall", "sure_of_real", "real_fid"} <= scores.keys()
    record = GenerationScore.of_record(json.loads((run.folder / "generation_score.json").read_text()))
    assert (record.protocol.extractor, record.protocol.generated_count) == ("digits", 16)
    names = {path.name for path in run.folder.glob("*.png")}
    assert {"samples.png", "interpolation.png", "curves.png"} <= names
    report = (run.folder / "report.md").read_text()
    assert "vidi eval" in report
    assert ("modes collapse" in report) == (scores["distinct_neighbours"] < scores["real_distinct_neighbours"] / 2)
    again = vidi.evaluate(run.folder, split="val", out=tmp_path / "out")
    assert again["fid"] == pytest.approx(scores["fid"], rel=FLOAT32)
    assert (tmp_path / "out" / "generation_score.json").is_file()
    assert vidi.evaluate(run.folder, split="test")["fid"] != pytest.approx(scores["fid"])


class Grey(Samples):
    """Makes pictures that are as light as its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Linear(1, 1, bias=False)
        self.preprocess = Preprocess(exact=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)

    def sample(self, count: int, *, generator: torch.Generator | None = None, steps: int = 3) -> Tensor:
        return torch.full((count, 3, 8, 8), self.network.weight.item())


@pytest.mark.system("8.0-TASK")
def test_a_grid_shows_raw_and_averaged_weights_beside_real_pictures(tmp_path: Path) -> None:
    """From left: 0.2 by the model's own weights, 0.6 by their average; the file says so, and how they were made."""
    model, run = Grey(), Run(tmp_path)
    averages = Averages(model, ("network",), 0.999)
    nn.init.constant_(model.network.weight, 0.6)
    averages.update(model)  # the first one is taken as it is
    nn.init.constant_(model.network.weight, 0.2)
    with averages.applied(model):
        write_samples(run, model, Digits("train"), seed=4, side=2, raw=partial(averages.lifted, model))
    with PIL.Image.open(tmp_path / "samples.png") as grid:
        pixels = np.array(grid)
        assert cast(Any, grid).text == {
            "from left": "generated by raw weights, generated by averaged weights, real",
            "seed": "4",
            "count": "4",
            "steps": "3",
        }
    zoom = 512 // (8 * 8)
    centres = [pixels[12, 2 + column * (8 * zoom + 2) + 4 * zoom, 0] for column in range(8)]
    assert centres[:6] == [51, 51, 255, 153, 153, 255]  # white between the grids
    write_samples(run, model, Digits("train"), seed=4, side=2)
    with PIL.Image.open(tmp_path / "samples.png") as grid:
        assert cast(Any, grid).text["from left"] == "generated, real"


def test_grids_of_a_training_show_raw_weights_while_the_average_warms_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its first two validations, and no more in the end, where the best weights are drawn; without EMA never."""
    raws: list[bool] = []
    monkeypatch.setattr(report, "write_samples", lambda *rest, raw=None, **numbers: raws.append(raw is not None))
    data = write_digits(tmp_path / "digits.npz", train=20)
    numbers = {"size": (8, 8), "hidden": 4, "batch_size": 10, "epochs": 2, "validate_every": 1, "judge": None}
    for ema, expected in ((0.999, [True, True, False]), (0.3, [True, False, False]), (None, [False] * 3)):
        vidi.train("gan", data=data, out=tmp_path / str(ema), ema=ema, **numbers)
        assert raws == expected, ema
        raws.clear()


def test_a_run_that_nobody_judges_is_looked_at(tmp_path: Path) -> None:
    data = write_digits(tmp_path / "digits.npz", train=20)
    run = vidi.train("gan", data=data, out=tmp_path / "run", size=(8, 8), hidden=4, steps=1, judge=None)
    assert not [row for row in run.metrics() if "fid" in row]
    assert (run.folder / "samples.png").is_file()
    assert not (run.folder / "generation_score.json").exists()
    with pytest.raises(ValueError, match="was trained with judge=none"):
        vidi.evaluate(run.folder)


def test_who_judges_is_named_or_a_run_of_a_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_digits(tmp_path / "digits.npz", train=40)
    own = vidi.train("resnet18", data=data, out=tmp_path / "judge", size=(16, 16), width=16, stem="small", steps=1)
    numbers = {"size": (8, 8), "hidden": 4, "steps": 1, "judged_pictures": 16}
    monkeypatch.chdir(tmp_path)
    run = vidi.train("gan", data=data, out=tmp_path / "run", judge="judge", **numbers)
    assert run.config()["recipe"][""]["judge"] == str(own.folder)
    record = json.loads((run.folder / "generation_score.json").read_text())
    assert record["protocol"]["extractor"] == str(own.folder)
    with pytest.raises(FileNotFoundError, match="nobody"):
        vidi.train("gan", data=data, out=tmp_path / "other", judge="nobody", **numbers)
