"""The space of MBConv stages: tokens and stages are one to one, and what is decided is what is built."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.cli.command import vidi
from vidi.api import load, train
from vidi.backbones.inverted_residual import InvertedResidual, InvertedResidualTrunk, Stage
from vidi.nn.normalization import norm_layer
from vidi.nn.squeeze_excitation import SqueezeExcitation
from vidi.search.search_space import SearchedNet, SearchedStage, SearchSpace, StageOptions, searched_net

SHORT: dict[str, Any] = {"steps": 3, "batch_size": 8, "device": "cpu"}
SPACE = SearchSpace((
    StageOptions(repeats=(1, 2), channels=(8, 16), stride=1, kernels=(3,), expansions=(1,)),
    StageOptions(repeats=(1, 2, 3), channels=(16,), stride=2, expansions=(2, 4)),
))  # fmt: skip


@pytest.mark.system("2.7-NAS-SPACE")
def test_tokens_and_stages_are_one_to_one() -> None:
    assert SPACE.options == (1, 1, 2, 2, 2, 2, 2, 2, 3, 1)
    every = list(product(*(range(count) for count in SPACE.options)))
    decoded = {SPACE.decode(tokens) for tokens in every}
    assert len(decoded) == len(every) == SPACE.size() == 192
    assert [SPACE.encode(SPACE.decode(tokens)) for tokens in every] == every
    assert SPACE.decode((0, 0, 1, 0, 1, 1, 0, 0, 2, 0)) == (
        SearchedStage(kernel=3, expansion=1, se_ratio=0.25, repeats=1, channels=16, stride=1),
        SearchedStage(kernel=5, expansion=2, se_ratio=0.0, repeats=3, channels=16, stride=2),
    )


@pytest.mark.system("2.7-NAS-SPACE")
def test_networks_are_drawn_evenly_and_seeded() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [SPACE.sample(generator) for _ in range(600)]
    for place, count in enumerate(SPACE.options):
        shares = torch.bincount(torch.tensor([tokens[place] for tokens in drawn]), minlength=count) / 600
        assert (shares - 1 / count).abs().max() < 0.08
    assert drawn[:3] == [SPACE.sample(g) for g in [torch.Generator().manual_seed(0)] for _ in range(3)]


@pytest.mark.parametrize("tokens", [(0,) * 9, (0,) * 11, (1, *(0,) * 9), (-1, *(0,) * 9)])
def test_other_tokens_are_refused(tokens: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one below each"):
        SPACE.decode(tokens)


def test_other_stages_are_refused() -> None:
    stages = SPACE.decode((0,) * 10)
    for other in (stages[:1], (*stages, stages[1]), (stages[1], stages[0]), (stages[0]._replace(kernel=7), stages[1])):
        with pytest.raises(ValueError, match="expected stages"):
            SPACE.encode(other)
    with pytest.raises(ValueError, match="an option for each"):
        StageOptions(repeats=(), channels=(8,), stride=1)


@pytest.mark.system("2.7-NAS-SPACE")
def test_what_is_decided_is_what_is_built() -> None:
    stages = SPACE.decode((0, 0, 1, 1, 0, 1, 1, 0, 2, 0))
    network: Any = searched_net(categories=4, stages=stages, stem_width=12).network
    first, second = network.backbone.stages
    assert [len(first), len(second)] == [2, 3]
    for stage, blocks in zip(stages, (first, second), strict=True):
        in_channels = 12 if blocks is first else stages[0].channels
        for index, block in enumerate(blocks):
            conv: Any = block.depthwise.conv
            assert type(block) is InvertedResidual
            assert conv.kernel_size == (stage.kernel, stage.kernel)
            assert conv.stride == ((stage.stride,) * 2 if index == 0 else (1, 1))
            assert conv.groups == conv.in_channels == in_channels * stage.expansion
            assert block.project.conv.out_channels == stage.channels
            gate: Any = block.se
            assert isinstance(gate, SqueezeExcitation) == (stage.se_ratio > 0)
            if stage.se_ratio:
                assert gate.fc1.out_channels == int(in_channels * stage.se_ratio)
            in_channels = stage.channels
    assert network.head.linear.out_features == 4


@pytest.mark.system("2.7-NAS-SPACE")
def test_a_row_of_the_space_is_mobilenets_trunk() -> None:
    """With the stages of a published kind of table, a decoded network is the trunk of that table, weight for weight."""
    table = [Stage(1, 8, 1, 1), Stage(6, 16, 2, 2, 5), Stage(6, 24, 2, 2)]
    trunk = InvertedResidualTrunk(16, table, norm=norm_layer("batch"), activation=nn.ReLU6, se_ratio=0.25)
    stages = [SearchedStage(s.kernel, s.expansion, 0.25, s.repeats, s.channels, s.stride) for s in table]
    network = SearchedNet(stages)
    network.load_state_dict(trunk.state_dict())
    images = torch.randn(2, 3, 33, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network.train()(images)[-1], trunk.train()(images)[-1])
    assert network.channels[-1] == trunk.channels[-1]
    assert network.strides[-1] == trunk.strides[-1]


@pytest.mark.system("2.7-NAS-SPACE")
@pytest.mark.parametrize("seed", range(6))
def test_every_network_runs(seed: int) -> None:
    tokens = SPACE.sample(torch.Generator().manual_seed(seed))
    model = searched_net(categories=4, stages=SPACE.decode(tokens), stem_width=8)
    images = torch.randn(2, 3, 32, 40)
    maps = model.network.get_submodule("backbone")(images)
    backbone: Any = model.network.get_submodule("backbone")
    assert backbone.channels == tuple(x.shape[1] for x in maps)
    assert backbone.strides == tuple(32 // x.shape[2] for x in maps) == tuple(40 // x.shape[3] for x in maps) == (2, 4)
    model(images).logits.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.network.parameters())


def test_a_network_has_stages_and_its_builder_records_them() -> None:
    with pytest.raises(ValueError, match="no stages"):
        SearchedNet([])
    model = searched_net()
    assert model.origin is not None
    assert model.origin[0] == "searched_net"
    assert model.origin[1]["stages"][2] == (5, 3, 0.25, 2, 40, 2)


@pytest.mark.system("2.7-NAS-SPACE")
def test_a_decoded_network_is_trained_saved_and_loaded_as_any_other_system(tmp_path: Path) -> None:
    """What is written into the run folder says which network it was; what comes back predicts the same."""
    stages = SPACE.decode((0, 0, 1, 0, 0, 1, 0, 1, 1, 0))
    run = train("searched_net", out=tmp_path / "run", stages=stages, stem_width=8, world_scenes=16, **SHORT)
    model: Any = load(run.folder)
    assert model.origin[0] == "searched_net"
    assert [len(stage) for stage in model.network.backbone.stages] == [stage.repeats for stage in stages]
    assert model.network.backbone.channels == tuple(stage.channels for stage in stages)
    picture = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    model.save(tmp_path / "again")
    (one,), (other,) = model.predict(picture), load(tmp_path / "again").predict(picture)
    assert torch.equal(one.probabilities, other.probabilities)


@pytest.mark.system("2.7-NAS-SPACE")
def test_the_command_trains_a_searched_network(tmp_path: Path) -> None:
    words = [f"{key}={value}" for key, value in SHORT.items()]
    done = vidi("train", "searched_net", "--out", tmp_path / "run", "world_scenes=16", *words)
    assert done.code == 0, done.err
    assert (tmp_path / "run" / "weights.safetensors").is_file()
