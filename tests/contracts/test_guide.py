"""What the pages tell a newcomer to type is there; the guide is run, small."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import typer

import vidi as package
from tests.cli.command import vidi
from tests.cli.tiny_sets import COLOURS, coco, write_classes, write_coco, write_picture
from tests.closeness import FLOAT32, assert_close
from tests.conftest import ROOT
from vidi.catalog.names import entry
from vidi.cli.app import app
from vidi.engine.overrides import check_overrides, split_overrides
from vidi.weights.loading import published_weights

GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ("commands", "bulk", "exporting", "serving")

SMALLER = {
    "--data": "epochs=1",
    "retinanet_tiny": "size=64,64 channels=16 width=16 epochs=1 batch_size=8",
    "resnet18": "width=16 stem=small epochs=1 batch_size=8",
    "unet_tiny": "size=64,64 epochs=1 batch_size=4",
    "monodepth_tiny": "size=64,64 epochs=1 batch_size=4 world_scenes=8 world_size=64,64",
    "embedder_tiny": "size=32,32 width=16 epochs=1 per_identity=4 batch_size=8",
    "dcgan_tiny": "width=8 steps=2 judged_pictures=8",
}
"""What the test adds to the trainings of the guide, so that each takes seconds."""

SECTIONS = GUIDE.split("\n## ")[1:]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each `vidi` command of a page, without its remark."""
    for block in blocks(text, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["vidi"]:
                yield words[1:]


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the data sets that the guide speaks of, small."""
    monkeypatch.chdir(tmp_path)
    write_coco(Path("cells"), coco(20))
    write_classes(Path("flowers"))
    for first, split in enumerate(("train", "val")):
        for row in range(8):
            write_picture(Path(f"streets/{split}/{row}.png"), (64, 64), seed=8 * first + row)
            maps = np.tile(np.arange(64, dtype=np.uint8) // 32, (64, 1))
            Path(f"streets/{split}annot").mkdir(exist_ok=True)
            PIL.Image.fromarray(maps).save(f"streets/{split}annot/{row}.png")
    Path("streets/classes.txt").write_text("0 road\n1 sky\n")
    for person in range(12):
        for row in range(4):
            write_picture(Path(f"people/{person:02d}/{row}.png"), (32, 32), colour=person % 3, seed=4 * person + row)
    for name, colour in COLOURS.items():
        write_picture(Path(f"friends/{name}/0.png"), (32, 32), colour=colour)
    for row in range(2):
        write_picture(Path(f"photos/{row}.jpg"), (64, 64), seed=100 + row)
    return tmp_path


@pytest.mark.parametrize("section", SECTIONS, ids=lambda part: part.splitlines()[0])
def test_every_step_of_the_guide_does_what_it_says(section: str, newcomer: Path) -> None:
    for words in commands(section):
        small = SMALLER[words[1]].split() if words[0] in ("train", "tune") else []
        small += ["--trials", "2"] if words[0] == "tune" else []
        done = vidi(*words, *small)
        assert done.code == 0, f"vidi {shlex.join(words)}: {done.err or done.out}"
        if "--out" in words:
            assert Path(words[words.index("--out") + 1]).exists(), words
    for block in blocks(section, "python"):
        exec(block, {"vidi": package})


class WithSmallNumbers:
    """The package as the Python of the README sees it: short trainings, and random weights for published ones."""

    def __getattr__(self, name: str) -> Any:
        return getattr(package, name)

    def train(self, name: str, **given: Any) -> Any:
        given |= split_overrides(SMALLER[name].split())
        return package.train(name, **given)

    def create(self, name: str, weights: str | None = None, **given: Any) -> Any:
        assert weights is None or weights in published_weights(name)
        return package.create(name, width=16, **given)


def test_the_python_of_the_readme_does_what_it_says(
    newcomer: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = blocks(README, "python")
    small: dict[str, Any] = split_overrides(SMALLER["retinanet_tiny"].split())
    package.train("retinanet_tiny", data="cells", out="runs/cells", quiet=True, **small)
    for name in ("a.jpg", "b.jpg", "slide.png"):
        write_picture(Path(name), (64, 64))
    Path("photos").rename("unsorted")
    Path("flowers").rename("photos")
    monkeypatch.setitem(sys.modules, "vidi", WithSmallNumbers())
    names: dict[str, Any] = {}
    exec(block, names)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(re.fullmatch(r"(\d+ \w+(, )?)+|no objects|nothing above [\d.]+ .*", line) for line in lines), lines
    assert sorted(path.name for path in Path("drawn").iterdir()) == ["0.jpg", "1.jpg"]
    images = torch.zeros(1, 3, 64, 64)
    assert names["network"](images).logits.shape == (1, 10)
    assert_close(names["fast"](images).logits, names["model"].eval()(images).logits, FLOAT32)
    assert Path("runs/resnet18/report.md").is_file()


def test_every_command_of_the_other_pages_is_one() -> None:
    """Its words are parsed, names of systems found, and their keys and values taken; nothing is run."""
    pages = [(ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in PAGES]
    seen = [words for page in (README, *pages) for words in commands(page)]
    assert len(seen) > 40
    for words in seen:
        command: Any = typer.main.get_command(app)
        while hasattr(command, "commands"):  # a group
            command, words = command.commands[words[0]], words[1:]
        parsed = command.make_context(command.name, list(words)).params
        if command.name in ("train", "recipe", "cost") and "=" not in (parsed["name"] or "="):
            check_overrides(split_overrides(parsed.get("overrides") or []), entry(parsed["name"]).keys)
