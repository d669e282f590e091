"""The verbs from Python: names, reproducible trainings, run folders that stay usable, results of mixed photos."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vidi
from tests.cli.tiny_sets import coco, write_classes, write_coco, write_picture
from tests.closeness import FLOAT32, assert_close
from vidi import api, files
from vidi.catalog.names import entry
from vidi.catalog.table import CATALOG
from vidi.data.faults import DataFaults
from vidi.data.readers.image_set import image_paths
from vidi.engine import train as engine
from vidi.engine.limits import check_recipes
from vidi.engine.overrides import OverrideError
from vidi.engine.recipe import Recipe
from vidi.engine.runs import NotARunError, Run
from vidi.model import Samples

SMALL: dict[str, Any] = {"size": (16, 16), "width": 16, "stem": "small", "epochs": 1, "batch_size": 8}


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="module")
def run(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vidi.train("resnet18", data=colours, out=tmp_path_factory.mktemp("runs") / "a", **SMALL)


# ----------------------------------------------------------------------------------------------------------------------
# Names


def test_names_match_wildcards_and_tasks() -> None:
    assert vidi.models("resnet?8") == ["resnet18"]
    assert set(vidi.models(task="anchors")) == {"anchor_kmeans"}
    with pytest.raises(ValueError, match="expected one of classification"):
        vidi.models(task="cooking")


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    for ask in (lambda: vidi.create("resnet81"), lambda: vidi.train("resnet81"), lambda: entry("resnet81")):
        with pytest.raises(ValueError, match="did you mean resnet18"):
            ask()


def test_create_checks_arguments() -> None:
    with pytest.raises(OverrideError, match=r"widht: no such key; did you mean width\?"):
        vidi.create("resnet18", widht=16)
    with pytest.raises(ValueError, match=r"no weights 'imagenet1k_v1'; expected one of torchvision/imagenet"):
        vidi.create("resnet18", weights="imagenet1k_v1")


def test_keys_of_stages_are_written_with_their_stage_or_are_of_all() -> None:
    keys = entry("progressive_resnet18").keys
    assert {"low.epochs", "high.epochs", "epochs", "low", "high"} <= set(keys)
    assert "low.low" not in keys
    assert "categories" not in entry("resnet18").keys  # they come from the data


# ----------------------------------------------------------------------------------------------------------------------
# Training


@pytest.mark.system("0-TRAIN")
def test_trainings_of_one_seed_are_equal_whatever_was_drawn_before(run: Run, colours: Path, tmp_path: Path) -> None:
    torch.randn(100)
    again = vidi.train("resnet18", data=colours, out=tmp_path / "b", **SMALL)
    other = vidi.train("resnet18", data=colours, out=tmp_path / "c", seed=1, **SMALL)
    for name in ("weights.safetensors", "metrics.csv", "scores.json"):
        assert (run.folder / name).read_bytes() == (again.folder / name).read_bytes()
    assert again.weights_path().read_bytes() != other.weights_path().read_bytes()


def test_a_training_leaves_the_global_generator_alone(colours: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(api, "train_job", lambda job: None)
    before = torch.random.get_rng_state()
    vidi.train("resnet18", data=colours, out=tmp_path / "x", **SMALL)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_run_records_its_data_wherever_it_is_read_from(run: Run, colours: Path) -> None:
    facts = run.config()["data"]
    kept = {"categories": ["green", "red"], "samples": 22, "left_out": {}}
    assert facts == {"source": str(colours), "faults": "raise", **kept}
    assert run.config()["recipe"][""]["batch_size"] == 8


def test_a_relative_path_is_found_from_another_folder(colours: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(colours.parent)
    made = vidi.train("resnet18", data="colours", out=tmp_path / "x", **SMALL)
    monkeypatch.chdir(tmp_path)
    assert vidi.evaluate(made.folder)["top1"] == api.scores_of(made)["top1"]


def test_a_failed_training_leaves_its_folder_free(colours: Path, tmp_path: Path, monkeypatch) -> None:
    def fail(job: engine.Job) -> None:
        raise RuntimeError("the power went")

    monkeypatch.setattr(api, "train_job", fail)
    with pytest.raises(RuntimeError, match="the power went"):
        vidi.train("resnet18", data=colours, out=tmp_path / "x", **SMALL)
    assert not (tmp_path / "x").exists()


def test_a_failed_training_keeps_what_it_had_learnt(colours: Path, tmp_path: Path, monkeypatch) -> None:
    def fail(job: engine.Job) -> None:
        files.write_state(job.run.folder / "low" / "state.pt", {"step": 1})
        raise RuntimeError("the power went")

    monkeypatch.setattr(api, "train_job", fail)
    with pytest.raises(RuntimeError):
        vidi.train("resnet18", data=colours, out=tmp_path / "x", **SMALL)
    assert Run(tmp_path / "x").config()["model"] == "resnet18"
    (tmp_path / "x" / "config.json").unlink()
    with pytest.raises(FileExistsError, match="already holds a run"):  # a state without its configuration is no place
        vidi.train("resnet18", data=colours, out=tmp_path / "x", **SMALL)


def test_the_next_free_folder_is_numbered(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert api.next_free_folder("gan") == Path("runs/gan")
    for name in ("gan", "gan-2"):
        Path("runs", name).mkdir(parents=True)
    assert api.next_free_folder("gan") == Path("runs/gan-3")


def test_faults_of_both_splits_are_one_error(tmp_path: Path) -> None:
    wrong = coco(4)
    wrong["annotations"][1]["bbox"] = [0, 0, 0, 0]
    for split in ("train", "val"):
        write_coco(tmp_path, wrong, f"instances_{split}.json")
    with pytest.raises(DataFaults) as raised:
        vidi.train("retinanet_tiny", data=tmp_path, out=tmp_path / "run")
    assert len(raised.value.faults) == 2


# ----------------------------------------------------------------------------------------------------------------------
# Using a run


def test_a_loaded_run_predicts_as_it_was_scored(run: Run, colours: Path) -> None:
    model = vidi.load(run.folder)
    paths = image_paths([colours / "green", colours / "red"])
    assert len(paths) == 24
    right = [result.name == path.parent.name for path, _, result in api.predict_files(model, paths, ahead=5)]
    assert vidi.evaluate(run.folder, split="all")["top1"] == pytest.approx(sum(right) / 24)


def test_load_takes_best_or_last(run: Run) -> None:
    assert vidi.load(run.folder, weights="last").state_dict().keys() == vidi.load(run.folder).state_dict().keys()
    with pytest.raises(ValueError, match="expected one of best, last"):
        vidi.load(run.folder, weights="first")
    with pytest.raises(NotARunError, match="does not exist"):
        vidi.load("nothing")


def test_image_paths_keep_order_and_leave_other_files_out(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.webp"):
        write_picture(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("")
    (tmp_path / "photos" / "._a.JPG").write_text("")
    single = write_picture(tmp_path / "z.png")
    assert [path.name for path in image_paths([single, tmp_path / "photos"])] == [
        "z.png",
        "a.JPG",
        "b.png",
        "c.webp",
    ]


def test_a_photo_that_cannot_be_read_gives_its_error_in_its_place(run: Run, tmp_path: Path) -> None:
    photos = [write_picture(tmp_path / f"{k}.png", (10 + k, 12)) for k in range(3)]
    photos[1].write_bytes(b"no picture")
    given = list(api.predict_files(vidi.load(run.folder), photos))
    assert [path for path, _, _ in given] == photos
    assert [isinstance(result, ValueError) for _, _, result in given] == [False, True, False]
    assert [image is None for _, image, _ in given] == [False, True, False]
    assert torch.equal(given[2][1], files.read_image(photos[2]))


def test_only_the_first_process_writes(colours: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(api, "train_job", lambda job: None)
    vidi.train("resnet18", data=colours, out=tmp_path / "x", **SMALL)
    assert not (tmp_path / "x").exists()
    assert os.listdir(tmp_path) == []


def test_the_default_recipes_pass_their_own_limits() -> None:
    for row in CATALOG.values():
        check_recipes(row.recipes, row.task)
    with pytest.raises(OverrideError, match="steps: received 0, expected at least 1"):
        check_recipes({"": Recipe(steps=0)}, CATALOG["resnet18"].task)


def test_scores_are_those_on_the_disk(run: Run, tmp_path: Path) -> None:
    assert api.scores_of(run) == json.loads(run.scores_path.read_text())
    assert api.scores_of(Run(tmp_path)) == {}


# ----------------------------------------------------------------------------------------------------------------------
# Samples


class Guided(Samples):
    """Pictures of one grey: the guidance over the steps, and what is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def sample(
        self,
        count: int,
        *,
        generator: torch.Generator | None = None,
        guidance: float = 1.0,
        steps: int = 10,
        label: int | None = None,
    ) -> Tensor:
        assert label is None or isinstance(label, int)
        noise = torch.rand(count, 3, 2, 2, generator=generator)
        return (self.scale.detach() * guidance / steps + noise / 100).clamp(0, 1)


def test_a_model_samples_under_the_conditions_of_its_own_signature() -> None:
    plain = api.sample(Guided(), 2, seed=3)
    guided = api.sample(Guided(), 2, seed=3, condition={"guidance": "5", "steps": "10", "label": "none"})
    assert plain.shape == (2, 3, 2, 2)
    assert_close(guided - plain, torch.full_like(plain, 0.4), FLOAT32)
    with pytest.raises(OverrideError) as told:
        api.sample(Guided(), 1, condition={"guidence": "5", "steps": "many", "count": "3", "generator": "1"})
    assert str(told.value).splitlines() == [
        "guidence: no such key; did you mean guidance?",
        "steps: received 'many', expected int",
        "count: no such key; it is an option: --count",
        "generator: no such key; choices: guidance, label, steps",
    ]
