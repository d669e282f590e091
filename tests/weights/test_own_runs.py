"""Going on from weights of one's own: another data set, other categories, another size, the same tensors elsewhere."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import vidi
from tests.cli.tiny_sets import write_classes, write_picture
from tests.closeness import assert_close
from tests.contracts.models import NAMES, build, marked, shape_of
from vidi import files
from vidi.catalog.table import CATALOG
from vidi.engine.progress import Silent
from vidi.engine.runs import NotARunError, Run
from vidi.model import Fitted
from vidi.nn.positional import resized_positions
from vidi.preprocess import IMAGENET_MEAN
from vidi.recorded import knows_photos, recorded_recipes
from vidi.tasks.table import TASKS
from vidi.weights.creation import create
from vidi.weights.own_runs import OtherModelError, by_category
from vidi.weights.table import PUBLISHED

SMALL: dict[str, Any] = {"size": (16, 16), "width": 16, "stem": "small"}
SHORT: dict[str, Any] = {"epochs": 1, "batch_size": 8, "augment": "none"}
STILL: dict[str, Any] = {**SHORT, "learning_rate": 1e-12, "weight_decay": 0.0}
SMALL_VIT: dict[str, Any] = {"categories": 3, "patch": 8, "width": 16, "depth": 1, "heads": 2}
BEGINNERS = [name for name in NAMES if not issubclass(shape_of(name), Fitted)]


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of three colours."""
    folder = tmp_path_factory.mktemp("data") / "three"
    for colour, name in enumerate(("blue", "green", "red")):
        for row in range(6):
            write_picture(folder / name / f"{row}.jpg", colour=colour, seed=row)
    return folder


@pytest.fixture(scope="module")
def run(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vidi.train("resnet18", data=colours, out=tmp_path_factory.mktemp("runs") / "first", **SMALL, **SHORT)


# ----------------------------------------------------------------------------------------------------------------------
# Every family


@pytest.mark.parametrize("name", marked(BEGINNERS))
def test_a_model_begins_with_its_own_weights_and_a_new_head_for_other_categories(name: str, tmp_path: Path) -> None:
    donor, tiny = build(name), CATALOG[name].tiny
    donor.save(tmp_path / "saved")
    theirs = donor.state_dict()
    torch.default_generator.manual_seed(1)
    same = create(name, weights=str(tmp_path / "saved")).state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in same.items())
    if "categories" in CATALOG[name].arguments:
        ours = create(name, weights=str(tmp_path / "saved"), categories=8).state_dict()
        expected = CATALOG[name].builder(**{**tiny, "categories": 8}).state_dict()
        assert {key: value.shape for key, value in ours.items()} == {k: value.shape for k, value in expected.items()}
        new = [key for key, value in ours.items() if value.shape != theirs[key].shape]
        assert new
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items() if key not in new)


@pytest.mark.parametrize("name", marked([name for name in NAMES if any(s.model == name for s in PUBLISHED.values())]))
def test_published_weights_and_ones_own_leave_the_same_layers_out(name: str) -> None:
    source = next(source for source in PUBLISHED.values() if source.model == name)
    anyone = {"jointed": ()} if "jointed" in CATALOG[name].arguments else {}  # no category is called "person" here
    found = by_category(CATALOG[name].builder, {**source.arguments, "categories": 5, **anyone})
    assert set(found) == {f"{source.layout.into}.{key}" for key in source.layout.by_category}


# ----------------------------------------------------------------------------------------------------------------------
# What comes with the weights


def test_other_names_of_equal_number_get_a_new_head_and_equal_names_keep_it(run: Run) -> None:
    theirs = vidi.load(run.folder).network.get_parameter("head.linear.weight")
    kept = create("resnet18", weights=str(run.folder), categories=("green", "red"))
    assert torch.equal(kept.network.get_parameter("head.linear.weight"), theirs)
    new = create("resnet18", weights=str(run.folder), categories=("red", "green"))
    assert not torch.equal(new.network.get_parameter("head.linear.weight"), theirs)
    assert vidi.create("resnet18", weights=str(run.folder)).decode.categories == ("green", "red")


def test_the_last_weights_are_named_by_their_file(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    last = {key: value + 1 for key, value in files.read_tensors(run.weights_path("last")).items()}
    files.write_tensors(tmp_path / "run/last.safetensors", last)
    for place, which in ((".", "best"), ("weights.safetensors", "best"), ("last.safetensors", "last")):
        model = create("resnet18", weights=str(tmp_path / "run" / place))
        expected = vidi.load(tmp_path / "run", weights=which).state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


def test_only_what_is_given_changes_of_the_preprocessing(tmp_path: Path) -> None:
    model = vidi.create("resnet18", categories=3, width=16)
    model.preprocess = type(model.preprocess)(shorter=70, crop=(64, 64), mean=(0.5, 0.5, 0.5), interpolation="bicubic")
    model.save(tmp_path / "saved")
    assert create("resnet18", weights=str(tmp_path / "saved"), smoothing=0.1).preprocess == model.preprocess
    sized = create("resnet18", weights=str(tmp_path / "saved"), size=(32, 40)).preprocess
    assert (sized.exact, sized.shorter, sized.crop) == ((32, 40), None, None)
    assert (sized.mean, sized.interpolation) == ((0.5, 0.5, 0.5), "bicubic")
    assert sized.std != (0.5, 0.5, 0.5)
    assert sized.mean != IMAGENET_MEAN


@pytest.mark.parametrize("size", [(16, 64), (32, 32), (24, 16)])
def test_positions_follow_another_size_from_a_grid_that_is_not_square(size: tuple[int, int], tmp_path: Path) -> None:
    """16 x 64 pixels are 2 x 8 patches, as many as a square has."""
    donor = vidi.create("vit_tiny", size=(16, 64), **SMALL_VIT)
    donor.save(tmp_path / "saved")
    table = donor.network.get_parameter("backbone.positions.table")
    model = create("vit_tiny", weights=str(tmp_path / "saved"), size=size)
    expected = resized_positions(table, (size[0] // 8, size[1] // 8), old_size=(2, 8), antialias=True)
    torch.testing.assert_close(model.network.get_parameter("backbone.positions.table"), expected, rtol=0, atol=0)


def test_translators_go_on_with_equal_words_only(tmp_path: Path) -> None:
    words: dict[str, Any] = {"source_words": ("a", "b"), "target_words": ("x", "y")}
    vidi.create("transformer_tiny", **words).save(tmp_path / "saved")
    create("transformer_tiny", weights=str(tmp_path / "saved"), **words)
    with pytest.raises(OtherModelError, match="other target words"):
        create("transformer_tiny", weights=str(tmp_path / "saved"), target_words=("y", "x"))
    with pytest.raises(OtherModelError, match="other source words"):
        vidi.train("transformer_tiny", weights=str(tmp_path / "saved"), out=tmp_path / "run", world_scenes=8)


# ----------------------------------------------------------------------------------------------------------------------
# What is refused


def test_the_weights_of_another_model_are_refused(run: Run, colours: Path, tmp_path: Path) -> None:
    for ask in (create, lambda name, weights: vidi.train(name, weights=weights, data=colours, out=tmp_path / "x")):
        with pytest.raises(OtherModelError, match=r"holds the weights of resnet18, not of resnet34"):
            ask("resnet34", weights=str(run.folder))
    assert not (tmp_path / "x").exists()


def test_arguments_that_change_shapes_are_refused(run: Run) -> None:
    with pytest.raises(ValueError, match=r"do not fit the network: .*has shape \(16, .*expected \(24, "):
        create("resnet18", weights=str(run.folder), width=24)


def test_what_is_fitted_at_once_begins_with_nothing(tmp_path: Path) -> None:
    build("anchor_kmeans").save(tmp_path / "saved")
    with pytest.raises(OtherModelError, match="fitted at once"):
        vidi.train("anchor_kmeans", weights=str(tmp_path / "saved"), out=tmp_path / "run", world_scenes=4)


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotARunError, match=r"has no config\.json"):
        create("resnet18", weights=str(tmp_path))
    with pytest.raises(ValueError, match=r"expected one of .*, a run folder, or a file"):
        create("resnet18", weights=str(tmp_path / "absent"))


# ----------------------------------------------------------------------------------------------------------------------
# Trainings


def test_a_training_goes_on_from_a_run_to_other_categories_and_another_size(run: Run, three: Path, tmp_path) -> None:
    second = vidi.train("resnet18", weights=str(run.folder), data=three, out=tmp_path / "b", size=(24, 24), **STILL)
    config, model = second.config(), vidi.load(second.folder)
    assert config["weights"] == str(run.folder.resolve())
    assert config["recipe"][""]["optimizer"] == "adamw"  # of fine-tuning
    assert (config["arguments"]["stem"], config["preprocess"]["exact"]) == ("small", [24, 24])
    assert model.network.get_parameter("head.linear.weight").shape[0] == 3
    theirs = vidi.load(run.folder).network.get_parameter("backbone.stage1.0.conv1.weight")
    assert_close(model.network.get_parameter("backbone.stage1.0.conv1.weight"), theirs, 1e-6)  # a rate of 1e-9
    assert f"beginning with the weights `{run.folder.resolve()}`" in (second.folder / "report.md").read_text()


class Said(Silent):
    """Keeps what a training says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_weights_that_know_no_photos_are_not_fine_tuned(run: Run, three: Path, tmp_path: Path) -> None:
    """The rates of fine-tuning are for weights that know photos; see docs/results/real_starts.md."""
    numbers = {**SHORT, "world_scenes": 16}
    usual = replace(CATALOG["resnet18"].recipes[""], **numbers)
    fine_tuned = replace(TASKS["classification"].fine_tuned(usual), **numbers)
    assert usual != fine_tuned
    told = "{} has seen no photos: trained as one that begins with nothing, not fine-tuned"

    world = vidi.train("resnet18", data="world", out=tmp_path / "world", **SMALL, **numbers)
    begun = vidi.train("resnet18", data="world", weights=str(run.folder), out=tmp_path / "begun", **numbers)
    for weights, data, expected in (
        (world.folder, three, usual),
        (world.folder, "world", fine_tuned),
        (run.folder, three, fine_tuned),
        (begun.folder, three, fine_tuned),  # of the world last, of pictures before
    ):
        said = Said()
        out = tmp_path / f"{weights.name}_{Path(data).name}"
        third = vidi.train("resnet18", weights=str(weights), data=data, out=out, progress=said, **numbers)
        assert recorded_recipes(third.config())[""] == expected
        assert (told.format(weights) in said.lines) == (expected == usual)

    vidi.load(world.folder).save(tmp_path / "saved")  # which records no training
    assert knows_photos(Run(tmp_path / "saved").config())


def test_what_was_killed_at_once_begins_again_with_the_same_weights(
    run: Run, three: Path, tmp_path, monkeypatch
) -> None:
    shutil.copytree(run.folder, tmp_path / "donor")
    monkeypatch.chdir(tmp_path)
    for folder in ("whole", "killed"):  # named from here, resumed from elsewhere
        vidi.train("resnet18", weights="donor", data=three, out=tmp_path / folder, **SHORT)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("scores.json", "weights.safetensors", "last.safetensors"):
        (tmp_path / "killed" / name).unlink()
    vidi.resume(tmp_path / "killed")
    for name in ("weights.safetensors", "metrics.csv", "scores.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    for name in ("scores.json", "weights.safetensors", "last.safetensors"):
        (tmp_path / "killed" / name).unlink()
    files.write_tensors(tmp_path / "donor/weights.safetensors", vidi.create("resnet18", **SMALL).state_dict())
    with pytest.raises(ValueError, match="holds other weights now than the run began with"):
        vidi.resume(tmp_path / "killed")
