"""Head, criterion and decoder of image classification."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from tests.closeness import assert_close
from tests.conftest import Learnt
from vidi import files
from vidi.backbones.classifier import (
    ClassificationCriterion,
    ClassificationDecode,
    Classifier,
    GlobalAverageHead,
    Logits,
    image_preprocess,
    supervised_classifier,
)
from vidi.backbones.resnet import resnet18, trunk
from vidi.model import Step, Supervised
from vidi.preprocess import Batch, Placement, Preprocess


def small_model(**options: Any) -> Supervised:
    return resnet18(categories=("cat", "dog", "fish"), size=(32, 32), width=16, **options)


def batch_of(targets: list[dict[str, Tensor]]) -> Batch:
    count = len(targets)
    place = Placement((32, 32), (32, 32))
    return Batch(torch.randn(count, 3, 32, 32), torch.ones(count, 32, 32, dtype=torch.bool), [place] * count, targets)


@pytest.mark.system("2.1-GAP")
def test_global_average_head_equals_pool_flatten_linear() -> None:
    head = GlobalAverageHead(6, 4).double()
    x = torch.randn(3, 6, 5, 7, dtype=torch.float64)
    expected = head.linear(nn.AdaptiveAvgPool2d(1)(x).flatten(1))
    assert_close(head(x), expected)


@pytest.mark.system("2.1-GAP")
def test_global_average_head_reports_what_a_flattened_head_would_cost() -> None:
    head, flattened = GlobalAverageHead(6, 4), nn.Linear(6 * 5 * 7, 4)
    count = [sum(p.numel() for p in m.parameters()) for m in (flattened, head)]
    assert head.parameters_saved((5, 7)) == count[0] - count[1]


def test_features_do_not_run_the_head() -> None:
    class Forbidden(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("the head ran")

    network = Classifier(trunk("resnet18", width=16), 3).eval()
    network.head = Forbidden()  # type: ignore[assignment]
    assert len(network.features(torch.randn(1, 3, 32, 32))) == 4


def test_criterion_takes_indices_and_probabilities() -> None:
    outputs = Logits(torch.randn(2, 3, dtype=torch.float64))
    criterion = ClassificationCriterion()
    labels = torch.tensor([2, 0])
    hard = criterion.compare(outputs, batch_of([{"label": label} for label in labels]), Step())
    rows = nn.functional.one_hot(labels, 3).double()
    soft = criterion.compare(outputs, batch_of([{"label": row} for row in rows]), Step())
    expected = nn.functional.cross_entropy(outputs.logits, labels)
    assert_close(hard, {"cross_entropy": expected})
    assert_close(soft, hard)


def test_criterion_smooths_labels() -> None:
    outputs = Logits(torch.randn(2, 3, dtype=torch.float64))
    batch = batch_of([{"label": torch.tensor(1)}, {"label": torch.tensor(2)}])
    loss = ClassificationCriterion(smoothing=0.1).compare(outputs, batch, Step())["cross_entropy"]
    expected = nn.functional.cross_entropy(outputs.logits, torch.tensor([1, 2]), label_smoothing=0.1)
    assert_close(loss, expected)


def test_criterion_widens_half_precision() -> None:
    logits = torch.randn(2, 3).bfloat16()
    loss = ClassificationCriterion().compare(Logits(logits), batch_of([{"label": torch.tensor(1)}] * 2), Step())
    assert loss["cross_entropy"].dtype == torch.float32


def test_criterion_names_what_an_image_has_instead_of_a_label() -> None:
    batch = batch_of([{"label": torch.tensor(1)}, {"boxes": torch.zeros(0, 4)}])
    with pytest.raises(ValueError, match=r"image 1 .* 'label'.*boxes"):
        ClassificationCriterion()(Classifier(trunk("resnet18", width=16), 3), batch, Step())


def test_decode_gives_probabilities_with_names() -> None:
    decode = ClassificationDecode(("cat", None, "dog"))
    logits = torch.tensor([[0.0, 9.0, 1.0]])
    (result,) = decode(Logits(logits), [Placement((4, 4), (4, 4))])
    torch.testing.assert_close(result.probabilities, logits.softmax(-1)[0])
    assert result.name == "dog"  # the best named one: output 1 was never trained


def test_every_parameter_gets_a_finite_gradient() -> None:
    model = small_model()
    losses = model.losses("network", batch_of([{"label": torch.tensor(k)} for k in (0, 1)]), Step())
    losses["cross_entropy"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_prediction_does_not_depend_on_the_neighbours() -> None:
    model = small_model()
    images = [torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8) for _ in range(3)]
    together, alone = model.predict(images), [model.predict(image)[0] for image in images]
    for one, other in zip(together, alone, strict=True):
        assert_close(one.probabilities, other.probabilities, 1e-5)


def test_a_learner_reaches_zero_loss_on_one_batch(learnt: Learnt) -> None:
    model = small_model(stem="small")
    batch = batch_of([{"label": torch.tensor(k % 3)} for k in range(6)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model.train()
    for _ in range(12):
        optimizer.zero_grad()
        loss = model.losses("network", batch, Step())["cross_entropy"]
        loss.backward()
        optimizer.step()
    learnt("loss", loss.item(), most=0.1)


def test_saved_weights_have_the_prefix_of_the_network(tmp_path: Path) -> None:
    model = small_model()
    model.save(tmp_path)
    assert all(name.startswith("network.") for name in model.state_dict())
    again = small_model()
    again.load_state_dict(files.read_tensors(tmp_path / "weights.safetensors"))
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(model.eval()(image).logits, again.eval()(image).logits)


@pytest.mark.parametrize("size", [(300, 400), (500, 333), (256, 256)], ids=str)
def test_preprocessing_is_that_of_torchvision(size: tuple[int, int]) -> None:
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    theirs = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()(image)
    preprocess = image_preprocess(None)
    ours = preprocess.collate([preprocess.place(image, {})]).images[0]
    level = 1 / 255 / min(preprocess.std)  # torchvision's preset rounds another way: at most one level of grey
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1.01 * level)
    assert (ours - theirs).abs().mean() < 0.25 * level


def test_a_count_of_categories_is_enough() -> None:
    model = supervised_classifier(trunk("resnet18", width=16), 4, Preprocess(exact=(32, 32)))
    (result,) = model.predict(torch.zeros(3, 32, 32, dtype=torch.uint8))
    assert len(result.probabilities) == 4
