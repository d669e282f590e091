"""StyleGAN: the numbers of its paper, a layer by slow loops, mixing, truncation and noise."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.closeness import FLOAT32, NUMBERS, assert_close
from tests.generative.gan.trainings import assert_resumes
from vidi.catalog.table import CATALOG
from vidi.generative.gan.progressive import progan
from vidi.generative.gan.stylegan import Draws, Layer, blurred, stylegan
from vidi.model import Step
from vidi.nn.equalised import leaky
from vidi.ops.latents import normal_latents

TINY: dict[str, Any] = {"size": (16, 16), "latent": 6, "width": 4, "most": 8}


def generator() -> Any:
    torch.manual_seed(3)
    made: Any = stylegan(**TINY).generator
    with torch.no_grad():
        for layer in made.layers:
            layer.strength.normal_()
            layer.bias.normal_()
    return made


def draws(made: Any, count: int, turn: int) -> Draws:
    drawn = made.draw(count, torch.Generator().manual_seed(0))
    return drawn._replace(turn=torch.full((count,), turn))


@pytest.mark.system("8.2.4-STYLEGAN")
def test_the_generator_is_that_of_figure_1() -> None:
    with torch.device("meta"):
        model: Any = stylegan()
    made = model.generator
    assert sum(p.numel() for p in made.parameters()) == pytest.approx(26.2e6, abs=5e4)  # section 2
    assert len(made.layers) == 18
    assert made.sides == [side for level in range(9) for side in (4 * 2**level,) * 2]
    assert made.constant.shape == (1, 512, 4, 4)
    assert [(layer.weight.shape, layer.rate) for layer in made.mapping] == [((512, 512), 0.01)] * 8
    assert [layer.convolution is None for layer in made.layers] == [True] + [False] * 17
    assert [layer.doubles for layer in made.layers] == [n > 1 and n % 2 == 0 for n in range(18)]
    assert {layer.convolution.weight.shape[2:] for layer in list(made.layers)[1:]} == {(3, 3)}
    assert made.to_rgb.weight.shape == (3, 16, 1, 1)


@pytest.mark.system("8.2.4-STYLEGAN")
def test_a_model_begins_with_ones_no_noise_and_plain_styles() -> None:
    made: Any = stylegan(**TINY).generator
    assert (made.constant == 1).all()
    for layer in made.layers:
        assert (layer.strength == 0).all()
        assert (layer.bias == 0).all()
        assert (layer.scale.bias == 1).all()
        assert (layer.shift.bias == 0).all()
        assert layer.scale.scale == pytest.approx(6**-0.5)
    assert (made.mean_style == 0).all()


@pytest.mark.system("8.2.4-STYLEGAN", "8.2.4-ADAIN")
@pytest.mark.parametrize("doubles", [False, True])
def test_a_layer_is_convolution_noise_bias_leaky_relu_and_adain(doubles: bool) -> None:
    layer: Any = Layer(3, 4, 5, doubles=doubles).double()
    with torch.no_grad():
        layer.strength.normal_()
        layer.bias.normal_()
    x, w = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    side = 8 if doubles else 4
    noise = torch.randn(2, 1, side, side, dtype=torch.float64)
    found = layer(x, w, noise)
    enlarged = x.repeat_interleave(2, 2).repeat_interleave(2, 3) if doubles else x
    weight = layer.convolution.weight * (2 / (3 * 9)) ** 0.5
    y = F.conv2d(enlarged, weight, padding=1)
    y = blurred(y) if doubles else y
    for b in range(2):
        for c in range(4):
            plane = y[b, c] + layer.strength[c] * noise[b, 0] + layer.bias[c]
            plane = torch.where(plane > 0, plane, 0.2 * plane)
            mean = plane.sum() / side**2
            variance = ((plane - mean) ** 2).sum() / side**2
            scale = 1 + (layer.scale.weight[c] * w[b]).sum() / 5**0.5
            shift = (layer.shift.weight[c] * w[b]).sum() / 5**0.5
            expected = scale * (plane - mean) / (variance + 1e-5).sqrt() + shift
            assert_close(found[b, c].detach(), expected.detach(), NUMBERS)


def test_blurring_spreads_a_pixel_by_1_2_1() -> None:
    x = torch.zeros(1, 2, 5, 5, dtype=torch.float64)
    x[0, 1, 2, 2] = 16
    expected = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=torch.float64)
    assert_close(blurred(x)[0, 1, 1:4, 1:4], expected)
    assert blurred(x).sum() == 16


@pytest.mark.system("8.2.4-STYLEGAN")
def test_the_mapping_is_of_points_on_a_sphere() -> None:
    made = generator()
    z = torch.randn(3, 6)
    w = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for layer in made.mapping:
        w = leaky(F.linear(w, layer.weight * (2 / 6) ** 0.5 * 0.01, layer.bias * 0.01))
    assert_close(made.mapping(z), w, FLOAT32)
    assert_close(made.mapping(7 * z), w, FLOAT32)


@pytest.mark.system("8.2.4-STYLEGAN")
@pytest.mark.parametrize("turn", [1, 3, 6])
def test_mixed_pictures_follow_another_style_from_a_layer_on(turn: int) -> None:
    made = generator().eval()
    drawn = draws(made, 4, turn)
    first, second = (made.mapping(drawn.latents[:, k]) for k in (0, 1))
    styles = torch.stack([first] * turn + [second] * (6 - turn), 1)
    assert_close(made(drawn), made.synthesis(styles, drawn.noise), FLOAT32)


@pytest.mark.system("8.2.4-STYLEGAN")
def test_nine_of_ten_pictures_are_mixed_at_a_random_layer() -> None:
    drawn = generator().draw(4000, torch.Generator().manual_seed(0))
    counts = drawn.turn.bincount(minlength=7)
    assert counts[0] == 0
    assert counts[6].item() / 4000 == pytest.approx(0.1, abs=0.02)
    assert torch.tensor(counts[1:6].tolist()).float().div(4000).tolist() == pytest.approx([0.18] * 5, abs=0.03)


@pytest.mark.system("8.2.4-STYLEGAN")
def test_training_keeps_a_running_mean_of_styles_and_evaluation_leaves_it() -> None:
    made = generator().train()
    drawn = made.draw(8, None)
    expected = torch.zeros(6)
    for _ in range(3):
        made(drawn)
        expected = 0.995 * expected + 0.005 * made.mapping(drawn.latents[:, 0]).detach().mean(0)
    assert_close(made.mean_style, expected, FLOAT32)
    before = made.mean_style.clone()
    made.eval()(drawn)
    assert torch.equal(made.mean_style, before)


@pytest.mark.system("8.2.4-STYLEGAN")
def test_truncation_moves_the_first_eight_styles_towards_the_mean() -> None:
    torch.manual_seed(0)
    made: Any = stylegan(size=(64, 64), latent=6, width=4, most=8).generator.eval()
    made.mean_style.normal_()
    latents = torch.randn(3, 6)
    w = made.mapping(latents)
    found = made.styles(latents, 0.7)
    assert found.shape == (3, 10, 6)
    for layer in range(10):
        expected = made.mean_style + 0.7 * (w - made.mean_style) if layer < 8 else w
        assert_close(found[:, layer], expected, FLOAT32)
    assert_close(made.styles(latents, None)[:, 0], w, FLOAT32)
    assert_close(made.styles(latents, 0)[:, 0], made.mean_style.expand(3, 6), FLOAT32)


@pytest.mark.system("8.2.4-STYLEGAN")
def test_a_picture_is_a_function_of_its_seed_and_truncation() -> None:
    model: Any = stylegan(**TINY)
    model.generator.mean_style.normal_()
    with torch.no_grad():
        for layer in model.generator.layers:
            layer.strength.normal_()
    together, alone = model.images_of(model.codes([5, 6, 9])), model.images_of(model.codes([6]))
    assert_close(together[1:2], alone, FLOAT32)
    w = model.generator.mapping(normal_latents(6, [5, 6, 9]))
    assert_close(model.codes([5, 6, 9]), w.repeat(1, 6), FLOAT32)
    seeded = torch.Generator().manual_seed(5)
    collapsed = model.sample(2, generator=seeded, truncation=0.0)
    assert_close(collapsed[0], collapsed[1], FLOAT32)
    walked = model.sample(3, generator=seeded, interpolate=3)
    ends = model.codes([5, 6])
    assert_close(walked, model.images_of(torch.stack([ends[0], ends.mean(0), ends[1]])), FLOAT32)


@pytest.mark.system("8.2.4-STYLEGAN")
def test_the_losses_are_the_papers() -> None:
    model: Any = stylegan(**TINY)
    assert model.criterion.r1 == 10
    batch = model.preprocess.collate([model.preprocess.place(torch.rand(3, 16, 16), {}) for _ in range(4)])
    step = Step(generator=torch.Generator().manual_seed(0))
    losses = model.losses("discriminator", batch, step)
    assert set(losses) == {"adversarial", "r1"}
    images = batch.images.detach().requires_grad_()
    (slope,) = torch.autograd.grad(model.discriminator(images).sum(), images)
    assert_close(losses["r1"].detach(), 10 * slope.square().sum() / 4 / 2, FLOAT32)
    logits: Tensor = model.discriminator(model.generator(model.generator.draw(4, torch.Generator().manual_seed(0))))
    (loss,) = model.losses("generator", batch, Step(generator=torch.Generator().manual_seed(0))).values()
    assert_close(loss.detach(), F.softplus(-logits).mean().detach(), FLOAT32)
    (recipe,) = CATALOG["stylegan"].recipes.values()
    assert (recipe.optimizer, recipe.learning_rate, recipe.betas, recipe.ema) == ("adam", 1e-3, (0.0, 0.99), 0.999)


def test_the_small_network_is_what_it_says() -> None:
    model: Any = CATALOG["stylegan_tiny"].builder()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(0.3e6, abs=5e4)
    assert (model.generator.sides[-1], model.generator.latent) == (32, 64)
    assert model.turns == ("discriminator",) * 3 + ("generator",)
    assert (model.criterion.penalty, model.criterion.drift) == (10, 0.001)
    (recipe,) = CATALOG["stylegan_tiny"].recipes.values()
    assert (recipe.learning_rate, recipe.betas) == (3e-3, (0.0, 0.99))


def test_the_wasserstein_loss_is_progans() -> None:
    """Section 2 of the paper: of CelebA-HQ."""
    model: Any = stylegan(**TINY, loss="wasserstein")
    assert model.turns == ("discriminator", "generator")
    assert stylegan(**TINY).turns == model.turns
    assert vars(model.criterion) == vars(progan(**TINY).criterion)
    batch = model.preprocess.collate([model.preprocess.place(torch.rand(3, 16, 16), {}) for _ in range(4)])
    losses = model.losses("discriminator", batch, Step(generator=torch.Generator().manual_seed(0)))
    assert set(losses) == {"wasserstein", "penalty", "drift"}


def test_a_training_resumes_bit_for_bit(tmp_path: Path) -> None:
    assert_resumes("stylegan", tmp_path, stop=2, steps=4, **TINY)
