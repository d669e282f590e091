"""DCGAN against the numbers of its paper: shapes, places of layers, initialisation, and the recipe."""

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from tests.closeness import FLOAT32, assert_close
from vidi.catalog.table import CATALOG
from vidi.generative.gan.dcgan import dcgan, dcgan_tiny
from vidi.generative.gan.players import Gan


@pytest.fixture(scope="module")
def published() -> Gan:
    torch.manual_seed(0)
    return dcgan()


def shapes(network: nn.Module, inputs: Tensor, kinds: tuple[type[nn.Module], ...]) -> list[tuple[int, ...]]:
    """Return the shapes of what layers of these kinds make of one row."""
    found: list[tuple[int, ...]] = []
    hooks = [
        module.register_forward_hook(lambda _, __, output: found.append(tuple(output.shape[1:])))
        for module in network.modules()
        if isinstance(module, kinds)
    ]
    with torch.no_grad():
        network(inputs)
    for hook in hooks:
        hook.remove()
    return found


CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, nn.Unflatten)


@pytest.mark.system("8.2.1-DCGAN")
def test_maps_are_those_of_figure_1(published: Gan) -> None:
    found = shapes(published.generator, torch.randn(1, 100), CONVOLUTIONS)
    assert found == [(1024, 4, 4), (512, 8, 8), (256, 16, 16), (128, 32, 32), (3, 64, 64)]
    found = shapes(published.discriminator, torch.randn(1, 3, 64, 64), CONVOLUTIONS)
    assert found == [(128, 32, 32), (256, 16, 16), (512, 8, 8), (1024, 4, 4)]
    strides = {
        m.stride for p in (published.generator, published.discriminator) for m in p.modules() if hasattr(m, "stride")
    }
    assert strides == {(2, 2)}


@pytest.mark.system("8.2.1-DCGAN")
def test_layers_stand_where_the_paper_puts_them(published: Gan) -> None:
    """Batch norm everywhere but at the generator's output and the discriminator's input; ReLU and tanh, leaky ReLU."""

    def kinds(network: nn.Module) -> list[str]:
        leaves = [m for m in network.modules() if not list(m.children())]
        return [type(m).__name__ for m in leaves if not isinstance(m, nn.Unflatten)]

    up = ["BatchNorm2d", "ReLU", "ConvTranspose2d"]
    assert kinds(published.generator) == ["Linear", *up, *up, *up, *up, "Tanh"]
    down = ["Conv2d", "BatchNorm2d", "LeakyReLU"]
    assert kinds(published.discriminator) == ["Conv2d", "LeakyReLU", *down, *down, *down, "Linear"]
    assert {m.negative_slope for m in published.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}


@pytest.mark.system("8.2.1-DCGAN")
def test_weights_are_drawn_with_a_deviation_of_a_fiftieth(published: Gan) -> None:
    for module in published.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            assert module.weight.mean().item() == pytest.approx(0, abs=4 * 0.02 / module.weight.numel() ** 0.5)
            assert module.weight.std().item() == pytest.approx(0.02, rel=4 / module.weight.numel() ** 0.5 + 1e-3)
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1, abs=0.01)
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.4)
        bias = getattr(module, "bias", None)
        if isinstance(bias, Tensor):
            assert not bias.any()


@pytest.mark.system("8.2.1-DCGAN")
def test_the_recipe_is_that_of_section_4() -> None:
    (recipe,) = CATALOG["dcgan"].recipes.values()
    assert (recipe.optimizer, recipe.learning_rate, recipe.betas[0], recipe.batch_size) == ("adam", 2e-4, 0.5, 128)
    assert recipe.schedule == "constant"


@pytest.mark.system("8.2.1-DCGAN")
def test_small_pictures_have_a_step_less() -> None:
    model = dcgan_tiny()
    assert shapes(model.generator, torch.randn(1, 64), CONVOLUTIONS) == [
        (128, 4, 4),
        (64, 8, 8),
        (32, 16, 16),
        (3, 32, 32),
    ]
    assert_close(model.sample(2).shape, [2, 3, 32, 32])


@pytest.mark.parametrize("kernel", [4, 5])
def test_convolutions_double_and_halve(kernel: Literal[4, 5]) -> None:
    model = dcgan(size=(16, 16), width=4, latent=3, kernel=kernel)
    images = model.generator(torch.randn(2, 3))
    assert images.shape == (2, 3, 16, 16)
    assert model.discriminator(images).shape == (2,)
    assert {m.kernel_size for m in model.modules() if hasattr(m, "kernel_size")} == {(kernel, kernel)}


@pytest.mark.parametrize("size", [(28, 28), (32, 64), (4, 4)])
def test_sizes_that_halving_does_not_reach_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected a square whose side is a power of two"):
        dcgan(size=size)


@pytest.mark.system("8.2.1-DCGAN")
def test_pictures_are_in_the_range_of_the_tanh(published: Gan) -> None:
    images = published.preprocess.collate([published.preprocess.place(torch.rand(3, 64, 64), {})]).images
    assert -1 <= images.min() < -0.9 < 0.9 < images.max() <= 1
    with torch.no_grad():
        made = published.generator(published.player.draw(2, None))
    assert made.abs().max() <= 1
    shown = published.sample(2, generator=torch.Generator().manual_seed(4))
    codes = published.codes([4, 5])
    assert_close(shown, (published.generator(codes).detach() + 1) / 2, FLOAT32)
