"""Evaluation: what it scores is what `predict` gives, and its losses are those of each image, whatever the batches."""

from typing import Any, NamedTuple

import pytest
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.data import Dataset

from tests.closeness import FLOAT32, assert_close
from tests.contracts.test_catalog import in_double, tensors_of
from tests.detection.scenes import targets_of_every_kind
from tests.engine.tiny import Blobs, tiny
from vidi.catalog.table import CATALOG
from vidi.data.loading import derived_seed, evaluation_loader
from vidi.data.sentences import VidianSentences
from vidi.engine.evaluate import evaluate
from vidi.engine.loss_window import NonFiniteLossError
from vidi.engine.processes import Processes
from vidi.model import Step, outputs_alone

SIZES = [(64, 96), (96, 64), (48, 128), (64, 96), (128, 48), (96, 64), (64, 96)]


def pictures() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in SIZES]


class Samples(Dataset[Any]):
    """Pictures of several canvases, with everything that a task needs."""

    def __init__(self, task: str):
        sentences = VidianSentences("train", count=len(SIZES), seed=1)
        self.rows = (
            [sentences[row] for row in range(len(SIZES))]
            if task == "translation"
            else list(zip(pictures(), targets_of_every_kind(SIZES), strict=True))
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


class Keep:
    """A scorer that keeps what it gets."""

    headline = "none"
    keys: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.results: list[Any] = []
        self.targets: list[Any] = []

    def update(self, results: Any, targets: Any) -> None:
        self.results += results
        self.targets += targets

    def compute(self) -> dict[str, float]:
        return {}

    def write_plots(self, folder: Any) -> None: ...


ONE_OF_EACH_CRITERION = (
    "resnet20",
    "googlenet",
    "transformer_tiny",
    "localizer_tiny",
    "sliding_window_tiny",
    "rcnn_tiny",
    "fasterrcnn_tiny",
    "ssd_tiny",
    "yolov3",
    "retinanet_tiny",
    "efficientdet_tiny",
    "centernet_tiny",
    "centernet_pose_tiny",
    "centernet_3d_tiny",
    "detr_tiny",
)


@pytest.mark.parametrize("name", ONE_OF_EACH_CRITERION)
def test_numbers_do_not_depend_on_batches(name: str) -> None:
    """Results are those of `predict`, losses the means of those of each image alone, with batches of 1, 3 and 7."""
    model = in_double(name)
    samples = Samples(CATALOG[name].task.name)
    inputs = [image for image, _ in samples.rows]
    predicted = model.predict(inputs)
    alone = []
    for index, sample in enumerate(samples.rows):
        step = Step(generator=torch.Generator().manual_seed(derived_seed(index)))
        with torch.no_grad():
            alone.append(model.losses("network", model.preprocess.collate([model.preprocess.place(*sample)]), step))
    for batch_size in (1, 3, 7):
        scorer = Keep()
        numbers = evaluate(model, samples, scorer, batch_size=batch_size)
        assert scorer.targets == [target for _, target in samples.rows]
        for found, expected in zip(scorer.results, predicted, strict=True):
            for a, b in zip(tensors_of(found), tensors_of(expected), strict=True):
                assert_close(a, b, FLOAT32)
        # "auxiliary" is of heads that only training runs
        assert set(numbers) == {f"val/{key}" for key in alone[0] if key != "auxiliary"}
        for key, value in numbers.items():
            terms = [float(losses[key.removeprefix("val/")]) for losses in alone]
            assert value == pytest.approx(sum(terms) / len(terms), rel=1e-4), key
        assert not model.training


def test_losses_without_declared_axes_are_those_of_each_image_too() -> None:
    model, samples = tiny(noise=0.3), Blobs(7)
    expected = []
    for index in range(7):
        placed = [model.preprocess.place(*samples[index])]
        step = Step(generator=torch.Generator().manual_seed(derived_seed(index)))
        expected.append(float(model.losses("network", model.preprocess.collate(placed), step)["positives"].detach()))
    for batch_size in (1, 4):
        found = evaluate(model, samples, Keep(), batch_size=batch_size)
        assert found["val/positives"] == pytest.approx(sum(expected) / 7, rel=1e-5)


def test_processes_walk_a_data_set_in_turn_and_draw_as_one_does() -> None:
    model, samples = tiny(noise=0.3), Blobs(7)
    whole = Keep()
    loss = evaluate(model, samples, whole, batch_size=2)["val/positives"]
    rows, sums = {}, 0.0
    for index in range(2):
        share = Processes(index, 2)
        loader = evaluation_loader(samples, model.preprocess, batch_size=2, process=index, processes=2)
        rows[index] = [int(target["image_id"]) for _, targets in loader for target in targets]
        sums += share_of_losses(model, samples, share)
    assert rows == {0: [0, 2, 4, 6], 1: [1, 3, 5]}
    assert sums / 7 == pytest.approx(loss, rel=1e-6)


def share_of_losses(model: Any, samples: Any, processes: Processes) -> float:
    """Return the sum of a loss over the images of one process, without talking to the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vidi.engine.evaluate.in_order_of_images", lambda scored, processes: scored)
        patch.setattr("torch.distributed.all_gather_object", lambda shares, own: shares.__setitem__(slice(None), [own]))
        count = len(range(processes.index, len(samples), processes.count))
        numbers = evaluate(model, samples, Keep(), batch_size=2, processes=processes)
        return float(numbers["val/positives"]) * count


def test_a_loss_that_is_not_finite_is_named() -> None:
    model = tiny(noise=0)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match="'positives' is nan in a validation"):
        evaluate(model, Blobs(4), Keep())


class Undeclared(NamedTuple):
    logits: Tensor


class Declared(NamedTuple):
    logits: Float[Tensor, "B K"]
    auxiliary: tuple[Float[Tensor, "B K"], ...]
    anchors: Float[Tensor, "A 4"]
    levels: Int64[Tensor, " A"]


def test_outputs_are_cut_by_their_declared_axes() -> None:
    """Also where there are as many anchors as images."""
    logits, anchors = torch.rand(3, 2), torch.rand(3, 4)
    outputs = Declared(logits, (logits + 1, logits + 2), anchors, torch.arange(3))
    alone: Any = outputs_alone(outputs, 1)
    assert torch.equal(alone.logits, logits[1:2])
    assert [float(part.sum()) for part in alone.auxiliary] == [float((logits[1] + k).sum()) for k in (1, 2)]
    assert alone.anchors is anchors
    assert alone.levels.tolist() == [0, 1, 2]
    assert outputs_alone(Undeclared(logits), 1) is None
