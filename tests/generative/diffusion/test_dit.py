"""DiT against diffusers, and the sizes of the paper."""

from typing import Any, cast

import pytest
import torch
from diffusers.models.embeddings import get_2d_sincos_pos_embed
from torch import nn

from tests.closeness import FLOAT32, GRADIENTS, OUTPUTS, assert_close, largest
from tests.conftest import Learnt
from tests.generative.diffusion.oracles import DiTTransformer2DModel
from tests.generative.diffusion.test_unet import ExactWaves
from tests.settings import SEED
from vidi.generative.diffusion.dit import SIZES, DiT, DiTSizes, dit_tiny, grid_waves
from vidi.model import Step
from vidi.preprocess import Batch, Placement
from vidi.weights.renaming import renamed
from vidi.weights.strict import load_strictly
from vidi.weights.tables.diffusers_dit import NAMES

SMALL = DiTSizes(2, 16, 4)


def told(labels: torch.Tensor) -> list[dict[str, Any]]:
    return [{"label": label} for label in labels]


@pytest.mark.system("8.3.3-DIT")
def test_the_transformer_is_diffusers() -> None:
    """Outputs and gradients; each of their blocks has a copy of the vectors of time and class, whose gradients add."""
    theirs = DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=4,
        in_channels=3,
        out_channels=6,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=5,
    ).double()
    theirs.eval()  # else it hides labels
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)
    first = theirs.transformer_blocks[0].norm1.emb
    for block in theirs.transformer_blocks:
        block.norm1.emb.load_state_dict(first.state_dict())
        block.norm1.emb.time_proj = ExactWaves(256, 1)
    theirs.pos_embed.pos_embed = grid_waves(4, 4, 16)[None]
    ours = DiT(SMALL, in_channels=3, out_channels=6, classes=6, shift=1, eps=1e-5).double()
    load_strictly(ours, renamed(theirs.state_dict(), NAMES))
    x, times, labels = torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.tensor([3, 900]), torch.tensor([5, 0])
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, expected = ours(one, times, labels), theirs(two, times, labels).sample
    assert_close(found, expected, OUTPUTS)
    found.square().sum().backward()
    expected.square().sum().backward()
    gradients = renamed({key: p.grad for key, p in theirs.named_parameters()}, NAMES)
    copies = dict(theirs.transformer_blocks[1].norm1.emb.named_parameters())
    for key, parameter in first.named_parameters():
        (name,) = renamed({f"transformer_blocks.0.norm1.emb.{key}": parameter}, NAMES)
        gradients[name] = gradients[name] + copies[key].grad
    size = largest(*gradients.values())
    for key, parameter in ours.named_parameters():
        assert_close(parameter.grad, gradients[key], GRADIENTS, size=size, msg=key)
    assert_close(one.grad, two.grad, GRADIENTS)


def test_positions_are_diffusers() -> None:
    """Of any grid: columns in the first half, rows in the second."""
    for rows, columns in ((4, 4), (2, 5)):
        ours = grid_waves(rows, columns, 16)
        assert ours.shape == (rows * columns, 16)
        if rows == columns:
            theirs = get_2d_sincos_pos_embed(16, rows, base_size=rows)
            assert_close(ours.float(), theirs.float(), FLOAT32)
        grid = ours.view(rows, columns, 16)
        assert torch.equal(grid[0, :, :8], grid[-1, :, :8])
        assert torch.equal(grid[:, 0, 8:], grid[:, -1, 8:])


@pytest.mark.system("8.3.3-DIT")
def test_adaptive_blocks_begin_as_the_identity_and_the_network_at_zero() -> None:
    """adaLN-Zero, on pictures of any size that the patch divides."""
    network = DiT(SMALL, in_channels=3, out_channels=3, classes=4)
    tokens = torch.randn(2, 5, 16)
    assert torch.equal(network.blocks[0](tokens, torch.randn(2, 16)), tokens)
    found = network(torch.randn(2, 3, 4, 10), torch.tensor([0, 9]), torch.tensor([0, 3]))
    assert found.shape == (2, 3, 4, 10)
    assert (found == 0).all()
    block = cast(Any, network.blocks[0])
    assert (network.norm_out.eps, block.norm1.eps, block.norm2.eps) == (1e-6, 1e-6, 1e-6)
    with pytest.raises(ValueError, match="expected sides that 2 divides"):
        network(torch.randn(2, 3, 4, 5), torch.tensor([0, 9]), torch.tensor([0, 3]))


@pytest.mark.system("8.3.3-DIT")
def test_weights_begin_as_in_the_authors_code() -> None:
    """Patches as a linear map of their 4 x 4 x 3 numbers, by Glorot & Bengio 2010; time and class of deviation 0.02."""
    network: Any = DiT(DiTSizes(1, 512, 4), patch=4, in_channels=3, out_channels=3, classes=200)
    weight = network.patches.weight.detach()
    bound = (6 / (512 + 48)) ** 0.5
    assert 0.99 * bound < float(weight.abs().max()) <= bound
    assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.02)
    assert (network.patches.bias == 0).all()
    for begun in (network.time.widen.weight, network.time.narrow.weight, network.label.table.weight):
        assert float(begun.detach().std()) == pytest.approx(0.02, rel=0.02)


@pytest.mark.system("8.3.3-DIT")
@pytest.mark.parametrize(("name", "millions"), [("s", 33), ("b", 130), ("l", 458), ("xl", 675)])
def test_sizes_are_those_of_the_paper(name: str, millions: int) -> None:
    """Parameters of DiT-S/2 to XL/2 on latents of four channels, with learnt variances (Table 1 and Figure 8)."""
    with torch.device("meta"):
        network = DiT(SIZES[name])
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.6)
    heads = {"s": (12, 384, 6), "b": (12, 768, 12), "l": (24, 1024, 16), "xl": (28, 1152, 16)}
    assert tuple(SIZES[name]) == heads[name]


def test_options_of_the_small_one() -> None:
    small: dict[str, Any] = {"categories": 3, "size": (8, 12), "depth": 1, "width": 16, "heads": 2}
    model = dit_tiny(**small, learns_variance=True, patch=4)
    assert (model.criterion.learned, model.criterion.hidden, model.classes) == (True, 0.1, 3)
    assert model(torch.zeros(1, 3, 8, 12), torch.tensor([0]), torch.tensor([3])).shape == (1, 6, 8, 12)
    with pytest.raises(ValueError, match="expected sides that the patch divides"):
        dit_tiny(size=(30, 32), patch=4)


@pytest.mark.system("8.3.3-DIT")
def test_it_learns_to_make_the_class_that_is_asked_for(learnt: Learnt) -> None:
    """Dark pictures and bright ones; the network begins by saying the same of both."""
    torch.default_generator.manual_seed(SEED)
    model = dit_tiny(categories=2, size=(8, 8), depth=2, width=32, heads=2, diffusion_steps=50, predicts="x0")
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    labels = torch.arange(32) % 2
    for step in range(150):
        generator = torch.Generator().manual_seed(1000 * SEED + step)
        images = 0.7 * (2 * labels - 1).view(-1, 1, 1, 1) + 0.2 * torch.randn(32, 3, 8, 8, generator=generator)
        batch = Batch(images, torch.ones(32, 8, 8, dtype=torch.bool), [Placement((8, 8), (8, 8))] * 32, told(labels))
        optimizer.zero_grad()
        model.losses("network", batch, Step(step, 150, generator))["x0"].backward()
        optimizer.step()
    dark, bright = (model.sample(8, generator=torch.Generator().manual_seed(1), class_=k, steps=10) for k in (0, 1))
    learnt("difference of brightness", float(bright.mean() - dark.mean()), least=0.68)  # of the pictures: 0.7
