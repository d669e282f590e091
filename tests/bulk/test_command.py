"""`vidi predict --save` as a command: killed in its midst, gone on with, shared out, and what it says."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from tests.cli.command import vidi
from tests.cli.tiny_sets import write_picture
from tests.conftest import ROOT
from vidi.weights.creation import create

COUNT = 240


@pytest.fixture(autouse=True)
def _working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights."""
    folder = tmp_path_factory.mktemp("runs") / "classifier"
    torch.default_generator.manual_seed(0)
    create("resnet18", size=(16, 16), width=16, stem="small", categories=("green", "red")).save(folder)
    return folder


def write_photos(count: int) -> None:
    for row in range(count):
        write_picture(Path(f"photos/{row % 3}/{row:03d}.jpg"), (24, 24), row % 3, seed=row)


def sources_of(path: str) -> Counter[str]:
    return Counter(json.loads(line)["source"] for line in Path(path).read_text().splitlines())


def test_a_killed_command_goes_on_without_doing_anything_twice(classifier: Path) -> None:
    write_photos(COUNT)
    Path("photos/broken.jpg").write_bytes(b"nothing")
    words = ["predict", str(classifier), "photos", "--save", "jsonl", "--out", "out"]
    small = ["--part", "8", "--workers", "1", "--batch-size", "4"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vidi", *words, *small],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    parts, limit = Path("out/jsonl/parts"), time.monotonic() + 240
    while len(list(parts.glob("0*.jsonl"))) < 3 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.005)
    assert process.poll() is None, "it ended before it was killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {path.name: path.read_bytes() for path in parts.glob("0*.jsonl")}
    assert 3 <= len(done) < COUNT // 8
    assert not Path("out/jsonl/predictions.jsonl").exists()
    again = vidi(*words, "--part", "50", "--json").json()
    assert again["before"] == sum(content.count(b"\n") - 1 for content in done.values())
    assert again["before"] + again["pictures"] == COUNT + 1
    assert (again["left"], again["saved"]) == (0, ["out/jsonl/predictions.jsonl"])
    assert {name: (parts / name).read_bytes() for name in done} == done
    names = [f"photos/{row % 3}/{row:03d}.jpg" for row in range(COUNT)]
    assert sources_of("out/jsonl/predictions.jsonl") == Counter([*names, "photos/broken.jpg"])
    assert not list(Path("out").rglob("*.tmp"))


def test_processes_of_torchrun_share_the_pictures(classifier: Path) -> None:
    write_photos(20)
    words = ("predict", classifier, "photos", "--save", "jsonl", "--out", "out", "--workers", "0")
    first = vidi(*words, env={"RANK": "1", "WORLD_SIZE": "2"})
    assert first.code == 0, first.err
    assert "are left to other processes" in first.out
    assert not Path("out/jsonl/predictions.jsonl").exists()
    last = vidi(*words, env={"RANK": "0", "WORLD_SIZE": "2"})
    assert last.out == "saved: out/jsonl/predictions.jsonl\n"
    assert sources_of("out/jsonl/predictions.jsonl") == Counter(f"photos/{row % 3}/{row:03d}.jpg" for row in range(20))
    assert {path.name[:4] for path in Path("out/jsonl/parts").glob("*.jsonl")} == {"0000", "0001"}


def test_what_the_command_says(classifier: Path) -> None:
    write_photos(3)
    Path("photos/0/notes.txt").write_text("")
    Path("photos/broken.jpg").write_bytes(b"nothing")
    words = ("predict", classifier, "photos", "--save", "jsonl", "--out", "out", "--workers", "0")
    done = vidi(*words)
    assert (done.code, done.out) == (0, "saved: out/jsonl/predictions.jsonl\n")
    skipped, broken, pace = done.err.splitlines()
    assert skipped == "vidi: skipped: 1 .txt"
    assert broken.startswith("vidi: photos/broken.jpg: not an image of a known format")
    assert pace.startswith("4 pictures in ")
    assert pace.endswith(" images/s, 1 have an error")
    again = vidi(*words)
    assert again.out == done.out
    assert again.err.splitlines()[1].endswith(", 4 were done before")
    drawn = vidi("predict", classifier, "photos/0", "--save", "jsonl", "--draw", "--out", "drawn", "--workers", "0")
    assert drawn.code == 0
    assert Path("drawn/000.jpg").is_file()
    assert not Path("out/0").exists()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("photos", "--save", "labels"), 3, "a Classification has no form in YOLO's labels; expected objects"),
        (("gone", "--save", "jsonl"), 3, "gone: no such file or folder"),
        (("photos", "--save", "jsonl", "--fov", "60"), 2, "received fov for a model that takes none"),
        (("photos", "--save", "jsonl", "--reduced", "--draw"), 2, "not for drawn pictures"),
        (("photos", "--reduced", "--part", "3"), 2, "--workers, --reduced, --part: for --save alone"),
        (("photos", "--save", "voc"), 2, "'voc' is not one of"),
        (("photos", "--save", "jsonl", "--every", "0"), 2, "'--every'"),
    ],
)
def test_what_goes_wrong_is_one_sentence(classifier: Path, words: tuple[str, ...], code: int, told: str) -> None:
    write_photos(1)
    done = vidi("predict", classifier, *words, "--workers", "0")
    assert (done.code, done.out) == (code, "")
    assert told in done.err
