"""FaceNet's NN2 against the numbers of the paper's table 2."""

from typing import Any

import pytest
import torch

from tests.closeness import EXACT, assert_close
from vidi.embedding.criterion import DrawnTripletCriterion
from vidi.embedding.facenet import facenet
from vidi.nn.pooling import L2Pool2d

THOUSANDS = {  # of parameters, table 2
    "3a": 164, "3b": 228, "3c": 398, "4a": 545, "4b": 595, "4c": 654, "4d": 722, "4e": 717, "5a": 1600, "5b": 1600,
}  # fmt: skip
SHAPES = {
    "3a": (256, 28), "3b": (320, 28), "3c": (640, 14), "4a": (640, 14), "4b": (640, 14), "4c": (640, 14),
    "4d": (640, 14), "4e": (1024, 7), "5a": (1024, 7), "5b": (1024, 7),
}  # fmt: skip
L2 = ("3b", "4a", "4b", "4c", "4d", "5a")


@pytest.mark.system("7.2.2-FACENET")
def test_rows_have_the_sizes_and_parameters_of_table_2() -> None:
    with torch.device("meta"):
        network: Any = facenet(norm="response").network
        x = network.backbone.stem(torch.zeros(1, 3, 224, 224))
    assert x.shape == (1, 192, 28, 28)
    stem = {
        name: sum(p.numel() for p in module.parameters()) for name, module in network.backbone.stem.named_children()
    }
    assert stem["conv1"] == pytest.approx(9e3, rel=0.06)
    assert stem["conv2"] + stem["conv3"] == pytest.approx(115e3, rel=0.01)
    for name, thousands in THOUSANDS.items():
        module = network.backbone.get_submodule(f"inception{name}")
        weights = sum(p.numel() for p in module.parameters() if p.ndim > 1)
        assert weights == pytest.approx(thousands * 1e3, rel=0.01), name
        x = module(x)
        assert x.shape == (1, SHAPES[name][0], SHAPES[name][1], SHAPES[name][1])
        pools = [m for m in module.modules() if isinstance(m, L2Pool2d)]
        assert [(pool.kernel, pool.stride, pool.padding) for pool in pools] == [(3, 1, 1)] * (name in L2)
    assert network.head.linear.weight.numel() == pytest.approx(131e3, rel=0.001)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(7.5e6, rel=0.01)


@pytest.mark.system("7.2.2-FACENET")
def test_vectors_have_128_numbers_and_length_1() -> None:
    model = facenet(size=(64, 64), width=8)
    pictures = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    vectors = model.embed([*pictures])
    assert vectors.shape == (3, 128)
    assert_close(vectors.double().norm(dim=1), torch.ones(3, dtype=torch.float64), 1e-6)
    outputs = model.network.double()(torch.randn(2, 3, 64, 64, dtype=torch.float64)).embeddings
    assert_close(outputs.norm(dim=1), torch.ones_like(outputs[:, 0]), EXACT)


@pytest.mark.system("7.2.2-FACENET", "7.2.2-SEMIHARD")
def test_it_is_trained_by_one_semi_hard_negative_for_each_pair() -> None:
    criterion = facenet(width=8).criterion
    assert isinstance(criterion, DrawnTripletCriterion)
    assert (criterion.margin, criterion.kind) == (0.2, "semi_hard")  # section 3.1
