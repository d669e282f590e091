"""Evaluation: what a scorer is handed, in which order, and that nothing is kept of it."""

import json
import os
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import ROOT
from tests.conftest import Run as RunPython
from tests.engine.tiny import Blobs, tiny
from vidi.engine.evaluate import evaluate
from vidi.engine.processes import Processes


class Recorder:
    """Records which images it was given."""

    headline = "images"
    keys: tuple[str, ...] = ("label",)

    def __init__(self) -> None:
        self.images: list[int] = []
        self.scores: list[float] = []

    def update(self, results: Sequence[Any], targets: Sequence[Mapping[str, Any]]) -> None:
        self.images += [int(target["image_id"]) for target in targets]
        self.scores += [float(result.score) for result in results]

    def compute(self) -> dict[str, float]:
        return {"images": float(len(self.images))}

    def write_plots(self, folder: Path) -> None: ...


class Watched(Blobs):
    """Gives a large key beside the label, and counts how many of them are alive."""

    def __init__(self, count: int):
        super().__init__(count)
        self.alive: list[weakref.ref[torch.Tensor]] = []
        self.most = 0

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, Any]]:
        image, target = super().__getitem__(index)
        large = torch.zeros(1000)
        self.alive.append(weakref.ref(large))
        self.most = max(self.most, sum(reference() is not None for reference in self.alive))
        return image, {**target, "depth": large}


@pytest.mark.parametrize("batch_size", [1, 4, 30])
def test_images_come_in_the_order_of_the_data_set(batch_size: int) -> None:
    recorder = Recorder()
    assert evaluate(tiny(), Blobs(22), recorder, batch_size=batch_size)["images"] == 22
    assert recorder.images == list(range(22))


def test_targets_are_let_go_batch_by_batch() -> None:
    watched = Watched(22)
    evaluate(tiny(), watched, Recorder(), batch_size=2)
    assert watched.most <= 3 * 2  # the batch that is scored, the one before it, and the next one


def test_a_data_set_is_asked_for_the_keys_of_the_scorer() -> None:
    class Asked(Blobs):
        def giving(self, kinds: Sequence[str]) -> "Asked":
            asked.append(tuple(kinds))
            return self

    asked: list[tuple[str, ...]] = []
    evaluate(tiny(), Asked(4), Recorder())
    assert asked == [("label",)]


def test_a_scorer_that_names_no_keys_gets_whole_targets() -> None:
    class Whole(Recorder):
        keys = None  # type: ignore[assignment]

        def update(self, results: Sequence[Any], targets: Sequence[Mapping[str, Any]]) -> None:
            kinds.update(*targets)

    class Asked(Blobs):
        def giving(self, kinds: Sequence[str]) -> "Asked":
            raise AssertionError(kinds)

    kinds: set[str] = set()
    evaluate(tiny(), Asked(4), Whole())
    assert kinds == set(Blobs(1)[0][1])


PROGRAM = """
import atexit, json, sys, torch
# runs behind the handlers of what is imported later
atexit.register(lambda: open(f"{sys.argv[1]}/left", "a").write(f"{not torch.distributed.is_initialized()} "))
from accelerate import Accelerator
from tests.engine.test_evaluate import recorded
from vidi.engine.processes import Processes
torch.set_num_threads(1)
accelerator = Accelerator(cpu=True)
found = recorded(Processes(accelerator.process_index, accelerator.num_processes))
open(f"{sys.argv[1]}/{accelerator.process_index}.json", "w").write(json.dumps(found))
"""


def recorded(processes: Processes) -> list[tuple[list[int], list[float]]]:
    """Return the images that a scorer is handed, and their scores, for data sets of several lengths."""
    found = []
    for count in (1, 2, 5, 7, 8):
        torch.manual_seed(0)
        recorder = Recorder()
        evaluate(tiny(noise=0.0).eval(), Blobs(count), recorder, batch_size=2, processes=processes)
        found.append((recorder.images, recorder.scores))
    return found


def test_two_processes_hand_on_all_images_in_order(run_python: RunPython, tmp_path: Path) -> None:
    """Also where one has a batch more than the other, or nothing at all."""
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = run_python(*launch, tmp_path / "program.py", tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    # Gloo's threads can abort a process that ends while it is in a group
    assert (tmp_path / "left").read_text() == "True True "
    alone = recorded(Processes())
    assert [images for images, _ in alone] == [list(range(count)) for count in (1, 2, 5, 7, 8)]
    for process in (0, 1):
        shared = json.loads((tmp_path / f"{process}.json").read_text())
        for (images, scores), (expected, known) in zip(shared, alone, strict=True):
            assert images == expected
            assert scores == pytest.approx(known, rel=1e-5)
