"""The CIFAR ResNets against the published ResNet-20, its accuracies and the sizes of the paper."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vidi import files
from vidi.backbones import resnet_cifar
from vidi.backbones.resnet_cifar import CifarResNet, ZeroPadSkip
from vidi.model import Supervised, evaluating
from vidi.weights.loading import load_tensors
from vidi.weights.tables import cifar_resnet


@pytest.fixture(scope="module")
def published(shared_data: Path) -> Supervised:
    model = resnet_cifar.resnet20(categories=cifar_resnet.cifar10_categories())
    tensors = files.read_tensors(shared_data / "weights_cifar10_resnet20" / "resnet20.safetensors")
    load_tensors(model, tensors, cifar_resnet.PUBLISHED["resnet20/akamaster/cifar10"].layout)
    return model


@pytest.mark.system("2.2-SKIP", "2.2-RESBLOCK")
@pytest.mark.parametrize(
    ("file", "part", "accuracy"), [("cifar10_lossless_1000.npz", "", 99.9), ("cifar10.npz", "test_", 80.4)]
)
def test_published_weights_have_the_measured_accuracy(
    published: Supervised, shared_data: Path, file: str, part: str, accuracy: float
) -> None:
    data = files.read_npz(shared_data / "cifar10" / file)
    pixels = torch.from_numpy(data[f"{part}images"]).permute(0, 3, 1, 2)  # N H W C -> N C H W
    placed = [published.preprocess.place(image, {}) for image in pixels]
    right = 0
    with torch.no_grad(), evaluating(published):
        for start in range(0, len(placed), 250):
            batch = published.preprocess.collate(placed[start : start + 250])
            best = published(batch.images).logits.argmax(-1).numpy()
            right += int(np.sum(best == data[f"{part}labels"][start : start + 250]))
    assert round(100 * right / len(placed), 1) == accuracy


def test_predicts_names(published: Supervised, shared_data: Path) -> None:
    data = files.read_npz(shared_data / "cifar10" / "cifar10_lossless_1000.npz")
    results = published.predict(list(data["images"][:8]))
    assert [r.label for r in results] == data["labels"][:8].tolist()
    assert all(r.name in cifar_resnet.cifar10_categories() for r in results)


@pytest.mark.parametrize(
    ("build", "millions"),
    [
        (resnet_cifar.resnet20, 0.27),
        (resnet_cifar.resnet32, 0.46),
        (resnet_cifar.resnet44, 0.66),
        (resnet_cifar.resnet56, 0.85),
        (resnet_cifar.resnet110, 1.7),
    ],
)
def test_parameter_counts_are_those_of_the_paper(build: Callable, millions: float) -> None:
    with torch.device("meta"):
        model = build()
    count = sum(p.numel() for p in model.network.parameters()) / 1e6
    assert round(count, 1 if millions > 1 else 2) == millions


@pytest.mark.system("2.2-SKIP")
def test_zero_pad_skip_against_loops() -> None:
    x = torch.randn(2, 2, 5, 6, dtype=torch.float64)
    expected = torch.zeros(2, 6, 3, 3, dtype=torch.float64)
    for channel in range(2):
        for row in range(3):
            for column in range(3):
                expected[:, 2 + channel, row, column] = x[:, channel, 2 * row, 2 * column]
    assert torch.equal(ZeroPadSkip(2, 6, 2)(x), expected)


def test_maps_have_the_announced_channels_and_strides() -> None:
    network = CifarResNet(8).eval()
    maps = network.features(torch.randn(1, 3, 32, 32))
    assert network.channels == tuple(x.shape[1] for x in maps)
    assert network.strides == tuple(32 // x.shape[2] for x in maps)


def test_impossible_depth() -> None:
    with pytest.raises(ValueError, match="6 n \\+ 2"):
        CifarResNet(21)
