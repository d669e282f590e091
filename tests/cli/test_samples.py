"""`vidi sample`: grids and single pictures, what their files say of how they were made, and making them again."""

from pathlib import Path

import numpy as np
import PIL.Image

from tests.cli.command import vidi
from vidi import create


def said_in(path: Path) -> dict[str, str]:
    """Return what the text chunks of a PNG say."""
    with PIL.Image.open(path) as picture:
        return dict(picture.text)


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
