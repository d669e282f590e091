"""NAS-FPN: the published pyramid against its equations written out, and the search over merging cells."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import nas_fpn as nas_fpn_search
from torch import Tensor, nn

from tests.closeness import NUMBERS, assert_close
from tests.conftest import Learnt
from tests.settings import SEED
from vidi.engine.recipe import Recipe
from vidi.necks.nas_fpn import NAS_FPN_7, NASFPN, MergingCell, MergingSpace, check_layout, merged
from vidi.search.architecture_search import Controller, policy_search, random_search

CHANNELS = (4, 6, 8)
SPACE = MergingSpace()


def maps(size: tuple[int, int] = (16, 32)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    made = []
    for count in CHANNELS:
        made.append(torch.randn(2, count, *size, dtype=torch.float64, generator=generator))
        size = (-(-size[0] // 2), -(-size[1] // 2))
    return made


def pooled(x: Tensor, steps: int) -> Tensor:
    """The maximum of squares that do not overlap."""
    k = 2**steps
    return x.unflatten(3, (-1, k)).unflatten(2, (-1, k)).amax((3, 5))


def repeated(x: Tensor, steps: int) -> Tensor:
    return x.repeat_interleave(2**steps, 2).repeat_interleave(2**steps, 3)


def attention(coarse: Tensor, fine: Tensor) -> Tensor:
    """Global attention of the authors' code: the coarser map, and the finer one weighed by what the coarser shows."""
    gate = 1 / (1 + (-coarse.flatten(2).amax(2)).exp())  # B D
    return coarse + fine * gate[:, :, None, None]


# ----------------------------------------------------------------------------------------------------------------------
# Pyramid


@pytest.mark.system("4.A-NASFPN")
def test_the_published_pyramid_by_its_equations() -> None:
    """The seven cells of figure 6, one after the other; P5 and P7, which none reads, join outputs."""
    neck = NASFPN(CHANNELS, 5, repeats=1).double().eval()
    pyramid: Any = neck.pyramids[0]
    norms: list[Any] = [*neck.lateral_norm, *pyramid.norms]
    for index, norm in enumerate(norms):
        generator = torch.Generator().manual_seed(index)
        norm.running_mean.normal_(std=0.2, generator=generator)
        norm.weight.data.uniform_(0.5, 1.5, generator=generator)

    def after(x: Tensor, number: int) -> Tensor:
        conv, norm = pyramid.convs[number], pyramid.norms[number]
        return norm(nn.functional.conv2d(x.clamp(min=0), conv.weight, padding=1))

    inputs = maps()
    p3, p4, p5 = (norm(conv(x)) for conv, norm, x in zip(neck.lateral, neck.lateral_norm, inputs, strict=True))
    p6 = pooled(p5, 1)
    p7 = pooled(p6, 1)
    first = after(attention(repeated(p6, 2), p4), 0)  # at the level of P4
    second = after(p4 + first, 1)
    out3 = after(p3 + repeated(second, 1), 2)
    out4 = after(second + pooled(out3, 1), 3)
    out5 = after(attention(pooled(out4, 1), pooled(out3, 2)) + p5, 4)  # P5 was not read
    out7 = after(attention(pooled(out5, 2), pooled(second, 3)) + p7, 5)  # nor P7
    out6 = after(attention(repeated(out7, 1), pooled(out5, 1)), 6)
    for received, expected in zip(neck(inputs), (out3, out4, out5, out6, out7), strict=True):
        assert_close(received, expected, NUMBERS)


@pytest.mark.system("4.A-NASFPN")
def test_attention_pools_the_coarser_map() -> None:
    coarse, fine = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    assert_close(merged(coarse, fine, "attention"), attention(coarse, fine))
    assert torch.equal(merged(coarse, fine, "sum"), coarse + fine)


@pytest.mark.system("4.A-NASFPN")
@pytest.mark.parametrize("size", [(16, 32), (17, 23)])
def test_pyramids_stack_and_every_parameter_learns(size: tuple[int, int]) -> None:
    neck = NASFPN(CHANNELS, 6, repeats=3).double()
    inputs = maps(size)
    outputs = neck(inputs)
    assert [x.shape[2:] for x in outputs[:3]] == [x.shape[2:] for x in inputs]
    assert neck.strides((8, 16, 32)) == (8, 16, 32, 64, 128)
    direction = [torch.randn_like(x) for x in outputs]
    sum((x * d).sum() for x, d in zip(outputs, direction, strict=True)).backward()  # type: ignore[union-attr]
    for name, parameter in neck.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: MergingCell(1, "sum", (1, 5), False)}, "inputs below 5"),
        ({0: MergingCell(5, "sum", (1, 3), False)}, "a level below 5"),
        ({2: MergingCell(1, "sum", (0, 6), True)}, "each of 0..4 once"),
        ({2: MergingCell(0, "sum", (0, 6), False)}, "each of 0..4 once"),
    ],
)
def test_layouts_that_cannot_be_are_refused(change: dict[int, MergingCell], message: str) -> None:
    cells = [change.get(number, cell) for number, cell in enumerate(NAS_FPN_7)]
    with pytest.raises(ValueError, match=message):
        check_layout(cells, 5)


def test_another_number_of_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="received 2 maps, expected 3"):
        NASFPN(CHANNELS, 5).double()(maps()[:2])


@pytest.mark.parametrize(("levels", "repeats"), [(2, 1), (5, 0)])
def test_sizes_that_cannot_be_are_refused(levels: int, repeats: int) -> None:
    with pytest.raises(ValueError, match="expected at least one map"):
        NASFPN(CHANNELS, 5, levels=levels, repeats=repeats)


# ----------------------------------------------------------------------------------------------------------------------
# Search


@pytest.mark.system("4.A-NASFPN")
def test_tokens_and_cells_are_one_to_one() -> None:
    assert SPACE.options[:8] == (5, 4, 5, 2, 6, 5, 5, 2)  # two inner cells: any level
    assert SPACE.options[8::4] == (7, 8, 9, 10, 11)  # maps at hand
    assert SPACE.options[10::4] == (5, 4, 3, 2, 1)  # levels that have no output yet
    assert SPACE.decode(SPACE.encode(NAS_FPN_7)) == NAS_FPN_7
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        tokens = SPACE.sample(generator)
        cells = SPACE.decode(tokens)
        check_layout(cells, 5)
        assert SPACE.encode(cells) == tokens
        assert all(first != second for first, second in (cell.inputs for cell in cells))
    small = MergingSpace(levels=2, inner=0)
    assert small.size() == (2 * 1 * 2 * 2) * (3 * 2 * 1 * 2)


@pytest.mark.parametrize("tokens", [(0,) * 27, (0,) * 29, (5, *(0,) * 27), (-1, *(0,) * 27)])
def test_other_tokens_are_refused(tokens: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one below each"):
        SPACE.decode(tokens)


def test_other_cells_are_refused() -> None:
    twice = NAS_FPN_7[0]._replace(inputs=(1, 1))
    for cells in ((twice, *NAS_FPN_7[1:]), NAS_FPN_7[1:2] * 3 + NAS_FPN_7[2:], (*NAS_FPN_7[2:], *NAS_FPN_7[:2])):
        with pytest.raises(ValueError, match="expected"):
            SPACE.encode(cells)
    with pytest.raises(ValueError, match="at least two levels"):
        MergingSpace(levels=1)


@pytest.mark.system("4.A-NASFPN")
def test_every_pyramid_of_the_space_runs() -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = [x.float() for x in maps()]
    for _ in range(5):
        outputs = NASFPN(CHANNELS, 3, cells=SPACE.decode(SPACE.sample(generator)), repeats=1)(inputs)
        assert [tuple(x.shape[1:]) for x in outputs] == [(3, 16 >> i, 32 >> i) for i in range(5)]


@pytest.mark.system("4.A-NASFPN")
def test_the_controller_finds_pyramids_that_learn_faster(learnt: Learnt) -> None:
    """Each child is a pyramid that is trained for some steps to tell at its coarsest level what lies at its finest.

    Only cells that carry the finest map up can; the controller's later children do better than its first, and than as
    many drawn evenly.
    """
    space = MergingSpace(levels=2, inner=1)
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    wanted = torch.nn.functional.max_pool2d(images, 2)
    blind = torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(6))
    scores: dict[tuple[int, ...], float] = {}

    def reward(tokens: tuple[int, ...]) -> float:
        if tokens not in scores:
            torch.default_generator.manual_seed(SEED)
            neck = NASFPN((1, 1), 4, cells=space.decode(tokens), levels=2, repeats=1)
            optimizer = torch.optim.Adam(neck.parameters(), 0.05)
            loss = torch.zeros(())
            for _ in range(6):
                loss = (neck((images, blind))[1].mean(1, keepdim=True) - wanted).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            scores[tokens] = 1 - float(loss.detach())
        return scores[tokens]

    torch.default_generator.manual_seed(SEED + 1)
    children = policy_search(
        Controller(space.options, width=16), reward, steps=60, children=6, generator=torch.Generator().manual_seed(SEED)
    )
    drawn = random_search(space, reward, children=40, generator=torch.Generator().manual_seed(SEED + 1))
    late = sum(child.reward for child in children[-30:]) / 30
    early = sum(child.reward for child in children[:30]) / 30
    learnt("gain over the first children", late - early, least=0.03)
    learnt("gain over chance", late - sum(child.reward for child in drawn) / 40, least=0.03)


@pytest.mark.system("4.A-NASFPN")
def test_a_controller_is_rewarded_with_the_ap_of_the_detectors_it_writes(tmp_path: Path) -> None:
    """`python -m benchmarks.nas_fpn` on the smallest budget: tokens to cells to a trained RetinaNet to its AP50."""
    recipe = Recipe(steps=1, batch_size=2, learning_rate=0.001, device="cpu", ema=None)
    budget = nas_fpn_search.Budget(steps=2, children=2, train=4, val=2, recipe=recipe)
    found = nas_fpn_search.search(budget, tmp_path)
    scores = json.loads((tmp_path / "aps.json").read_text())["aps"]
    assert [len(children) for children in found.values()] == [4, 4]
    for child in (*found["controller"], *found["random"]):
        assert child.reward == scores["".join(map(str, child.tokens))]
        pyramid: Any = nas_fpn_search.detector_of(child.tokens).network.pyramid
        merging: Any = pyramid.pyramids[0]
        assert merging.cells == nas_fpn_search.SPACE.decode(child.tokens)
    again = nas_fpn_search.Aps(budget, tmp_path / "aps.json")
    again._train = lambda tokens: pytest.fail("was trained before")  # type: ignore[method-assign]
    assert [again.of(child.tokens) for child in found["random"]] == [child.reward for child in found["random"]]
    other = nas_fpn_search.Budget(steps=2, children=2, train=5, val=2, recipe=recipe)
    with pytest.raises(ValueError, match="another budget"):
        nas_fpn_search.Aps(other, tmp_path / "aps.json")
    assert len(list(nas_fpn_search.table(found))) == 4
