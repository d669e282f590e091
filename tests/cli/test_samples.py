"""`vidi sample`: grids and single pictures, what their files say of how they were made, and making them again."""

import os
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import PIL.Image
import pytest
import torch

from tests.cli.command import vidi
from tests.generative.diffusion.toy_pipeline import theirs
from vidi import create
from vidi.generative.diffusion.ddpm import Counted


def said_in(path: Path) -> dict[str, str]:
    """Return what the text chunks of a PNG say."""
    with PIL.Image.open(path) as picture:
        return dict(cast(Any, picture).text)


def pixels_of(path: Path) -> np.ndarray:
    with PIL.Image.open(path) as picture:
        return np.array(picture).astype(int)


def same_picture(one: Path, other: Path) -> bool:
    """Compare pixels; a batch rounds otherwise than a single picture, by one of 256 at most."""
    return bool(np.abs(pixels_of(one) - pixels_of(other)).max() <= 1)


def again(said: dict[str, str], run: Path, folder: str) -> Path:
    """Ask for the picture of a file's text once more, word by word."""
    own = ("model", "run", "weights", "seed", "count")
    words = [f"{key}={value}" for key, value in said.items() if key not in own]
    asked = ("--seed", said["seed"], "--count", said["count"], "--weights", said["weights"], "--each", "--out", folder)
    done = vidi("sample", run, *asked, *words)
    assert done.code == 0, done.err
    return Path(folder) / f"{said['seed']}.png"


def test_a_grid_says_how_it_was_made(generator: Path) -> None:
    assert vidi("sample", generator, "--count", "4", "--seed", "7", "truncation=0.5", "--out", "a.png").code == 0
    expected = {"model": "gan", "run": "gan", "weights": "best", "seed": "7", "count": "4"}
    assert said_in(Path("a.png")) == {**expected, "truncation": "0.5", "interpolate": "none"}


def test_single_pictures_say_their_own_seeds_which_make_them_again(generator: Path) -> None:
    done = vidi("sample", generator, "--count", "3", "--seed", "7", "truncation=0.5", "--each", "--out", "drawn")
    assert (done.code, done.out.strip()) == (0, "drawn")
    assert sorted(path.name for path in Path("drawn").iterdir()) == ["7.png", "8.png", "9.png"]
    said = said_in(Path("drawn/9.png"))
    assert (said["seed"], said["count"], said["truncation"]) == ("9", "1", "0.5")
    assert same_picture(Path("drawn/9.png"), again(said, generator, "again"))
    assert pixels_of(Path("drawn/9.png")).shape == (8, 8, 3)
    usual = vidi("sample", generator, "--count", "1", "--each")
    assert usual.out.strip() == str(generator / "samples")
    assert (generator / "samples" / "0.png").is_file()


def test_single_pictures_of_a_strip_or_in_one_file_are_refused(generator: Path) -> None:
    strip = vidi("sample", generator, "--count", "4", "--each", "interpolate=2", "--out", "drawn")
    assert strip.code == 3
    assert strip.err.startswith("vidi: received interpolate=2 for single pictures, expected none: a picture of a strip")
    one = vidi("sample", generator, "--each", "--out", "a.png")
    assert (one.code, one.err) == (2, "vidi: --each writes a folder of pictures, and a.png is one picture\n")
    assert not Path("drawn").exists()


def test_a_diffusion_model_says_the_steps_and_the_class_that_it_really_took() -> None:
    model = create("ddpm_class_tiny", categories=3, size=(8, 8), width=8, diffusion_steps=12)
    model.save("digits")
    done = vidi("sample", "digits", "--count", "5", "--seed", "1", "--each", "--out", "drawn", "guidance=2")
    assert done.code == 0, done.err
    usual = {"guidance": "2.0", "steps": "12", "sampler": "ddim", "eta": "0.0", "spacing": "trailing"}
    said = said_in(Path("drawn/5.png"))
    assert said == {"model": "ddpm_class_tiny", "run": "digits", "weights": "best", "seed": "5", "count": "1"} | {
        "class": "1",  # the fifth picture of three classes in turn
        **usual,
    }
    assert vidi("sample", "digits", "--count", "2", "--out", "grid.png", "guidance=2", "steps=3").code == 0
    grid = said_in(Path("grid.png"))
    assert (grid["steps"], grid["class"], grid["seed"]) == ("3", "none", "0")
    assert same_picture(Path("drawn/5.png"), again(said, Path("digits"), "again"))
    assert not same_picture(Path("drawn/5.png"), Path("drawn/4.png"))
    wrong = vidi("sample", "digits", "steps=13")
    assert (wrong.code, wrong.err) == (
        3,
        "vidi: received steps=13, expected from 1 to 12, the steps of the training\n",
    )


def test_strips_of_interpolated_samples_are_rows(generator: Path) -> None:
    done = vidi("sample", generator, "--count", "6", "interpolate=3", "truncation=0.7", "--out", "strips.png")
    assert done.code == 0, done.err
    with PIL.Image.open("strips.png") as grid:
        assert grid.width > grid.height  # 2 rows of 3
    few = vidi("sample", generator, "--count", "4", "interpolate=1")
    assert (few.code, few.err) == (3, "vidi: received 1 steps from one vector to another, expected at least 2\n")


def test_samples_of_equal_seeds_are_equal(generator: Path) -> None:
    done = vidi("sample", generator, "--count", "64", "--seed", "0")
    first = Path(done.out.strip())
    assert first == generator / "samples-0.png"
    again = vidi("sample", generator, "--count", "64", "--seed", "0", "--out", "again.png")
    told = vidi("sample", generator, "guidance=3", "words")
    assert (told.code, told.err) == (
        2,
        "vidi: guidance: no such key; choices: interpolate, truncation\n'words': expected key=value\n",
    )
    other = vidi("sample", generator, "--count", "64", "--seed", "1", "--out", "folder")
    assert again.out.strip() == "again.png"
    assert other.out.strip() == "folder/samples-1.png"
    assert Path("again.png").read_bytes() == first.read_bytes()
    assert Path("folder/samples-1.png").read_bytes() != first.read_bytes()
    with PIL.Image.open(first) as grid:
        assert grid.width == grid.height  # 8 rows of 8


# ----------------------------------------------------------------------------------------------------------------------
# Ctrl-C


@pytest.mark.parametrize("words", [("--out", "drawn.png"), ("--each", "--out", "drawn")])
def test_an_interrupted_sampling_ends_in_a_line_and_writes_nothing(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    create("ddpm_tiny", size=(8, 8), width=8, diffusion_steps=4).save("saved")
    before, steps = sorted(Path().rglob("*")), []

    def stop(self: Counted, step: int, x: torch.Tensor, seen: object) -> None:
        steps.append(step)
        if step == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Counted, "__call__", stop)
    done = vidi("sample", "saved", "--count", "2", *words)
    assert (done.code, done.out, done.err) == (130, "", "vidi: interrupted\n")
    assert steps == [0, 1]
    assert sorted(Path().rglob("*")) == before


def test_an_interrupted_writing_leaves_whole_pictures_only(monkeypatch: pytest.MonkeyPatch) -> None:
    create("ddpm_tiny", size=(8, 8), width=8, diffusion_steps=4).save("saved")
    replace, written = os.replace, []

    def stop(source: str, target: str) -> None:
        written.append(Path(target).name)
        if len(written) == 2:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop)
    done = vidi("sample", "saved", "--count", "3", "steps=1", "--each", "--out", "drawn")
    assert (done.code, done.out, done.err) == (130, "", "vidi: interrupted\n")
    assert [path.name for path in Path("drawn").iterdir()] == ["0.png"]
    assert pixels_of(Path("drawn/0.png")).shape == (8, 8, 3)


# ----------------------------------------------------------------------------------------------------------------------
# Published pipelines, and other models with weights


@pytest.mark.system("8.3.7-SD")
def test_stable_diffusion_is_sampled_from_a_folder_that_diffusers_saved() -> None:
    """As `create` reads it; the file says prompt, negative prompt and the numbers, and no folder of this machine."""
    folder = theirs()[1]
    words = ("prompt=a red box, left", "negative=grass", "guidance=5", "steps=3", "spacing=leading")
    done = vidi("sample", "stable_diffusion", "--weights", folder, *words, "--count", "2", "--seed", "4", "--each")
    assert (done.code, done.out) == (0, "samples\n"), done.err
    said = said_in(Path("samples/5.png"))
    assert said == {
        "model": "stable_diffusion",
        "weights": "saved",
        "seed": "5",
        "count": "1",
        "prompt": "a red box, left",
        "negative": "grass",
        "guidance": "5.0",
        "steps": "3",
        "sampler": "ddim",
        "eta": "0.0",
        "spacing": "leading",
    }
    asked = {"prompt": "a red box, left", "negative": "grass", "guidance": 5.0, "steps": 3, "spacing": "leading"}
    model = create("stable_diffusion", weights=str(folder))
    (expected,) = model.sample(1, generator=torch.Generator().manual_seed(5), **asked)
    found = torch.from_numpy(pixels_of(Path("samples/5.png"))).permute(2, 0, 1)
    assert (found - expected * 255).abs().max() < 1.5  # of 256


@pytest.mark.system("8.3.7-SD")
def test_weights_that_are_no_stable_diffusion_are_told_in_a_line() -> None:
    """What is not there, an empty folder, pickles in a folder and alone, no weights, and other keys."""
    shutil.copytree(theirs()[1], "pickles")
    tensors = Path("pickles/unet/diffusion_pytorch_model.safetensors")
    tensors.rename(tensors.with_suffix(".bin"))
    Path("empty").mkdir()
    Path("model.ckpt").write_bytes(b"anything")
    expected = "expected a folder in the layout of diffusers, or one file of safetensors"
    parts = "expected the layout of diffusers: scheduler, text_encoder, unet, vae, tokenizer"
    for weights, code, said in (
        ("nowhere", 3, f"nowhere: no such folder or file; {expected}"),
        ("empty", 3, f"empty has no unet/config.json; {parts}"),
        ("pickles", 3, "diffusion_pytorch_model.bin is a pickle, which runs code when it is read. Convert it there"),
        ("model.ckpt", 3, "model.ckpt is a pickle, which runs code when it is read. Convert it there"),
        (None, 2, "stable_diffusion is read from its weights; say where with --weights (weights=): a folder"),
    ):
        done = vidi("sample", "stable_diffusion", *(() if weights is None else ("--weights", weights)))
        assert (done.code, done.out) == (code, "")
        assert said in done.err
        assert done.err.count("\n") == 1
    with pytest.raises(ValueError, match="size: no such key; there is none to give"):
        create("stable_diffusion", weights="empty", size=(8, 8))


def test_a_model_that_does_not_generate_is_told_before_its_weights_are_looked_for() -> None:
    for name, task in (("resnet18", "classification"), ("retinanet_tiny", "detection")):
        done = vidi("sample", name, "--weights", "nowhere")
        assert (done.code, done.err) == (2, f"vidi: {name} is a system for {task}, which does not generate\n")
    done = vidi("predict", "stable_diffusion", "1.png", "--weights", theirs()[1])
    assert done.code == 3  # there is no such picture


def test_a_model_of_the_catalogue_samples_with_the_weights_of_a_run() -> None:
    create("ddpm_tiny", size=(8, 8), width=8, diffusion_steps=4).save("saved")
    done = vidi("sample", "ddpm_tiny", "--weights", "saved", "--count", "1", "--out", "a.png")
    assert done.code == 0, done.err
    assert said_in(Path("a.png"))["weights"] == "saved"
    assert vidi("sample", "saved", "--count", "1", "--out", "b.png").code == 0
    assert same_picture(Path("a.png"), Path("b.png"))
    none = vidi("sample", "ddpm_tiny")
    assert (none.code, none.err) == (
        2,
        "vidi: ddpm_tiny has no published weights; train it first, then name its run folder\n",
    )
