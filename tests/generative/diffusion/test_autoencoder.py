"""The autoencoder of latent diffusion against diffusers, and what it is trained by."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.closeness import FLOAT32, GRADIENTS, NUMBERS, OUTPUTS, assert_close, largest
from tests.generative.diffusion.oracles import AutoencoderKL
from vidi.generative.diffusion.autoencoder import (
    AutoencoderCriterion,
    AutoencoderNetwork,
    AutoencoderSizes,
    LatentLaw,
    perceptual_distance,
)
from vidi.generative.diffusion.text_to_image import latent_diffusion_tiny
from vidi.model import Step
from vidi.preprocess import Batch, Placement
from vidi.weights.renaming import renamed
from vidi.weights.strict import load_strictly
from vidi.weights.tables.diffusers_autoencoder import LAYOUT, NAMES

SMALL = AutoencoderSizes(channels=(8, 16), latent=3, blocks=1, groups=4)


def pair() -> tuple[AutoencoderNetwork, Any]:
    theirs = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=3,
        norm_num_groups=4,
    ).double()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)
    ours = AutoencoderNetwork(SMALL).double()
    load_strictly(ours, renamed(theirs.state_dict(), NAMES))
    return ours, theirs


@pytest.mark.system("8.3.7-AE")
def test_the_autoencoder_is_diffusers() -> None:
    """Law of the latent, a draw, its divergence, the decoded picture, and the gradients of all of it."""
    ours, theirs = pair()
    x = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    law, expected = ours.encode(x), theirs.encode(x).latent_dist
    assert law.mean.shape == (2, 3, 4, 6)
    assert ours.factor == 2
    assert_close(law.mean, expected.mean, OUTPUTS)
    assert_close(law.log_variance, expected.logvar, OUTPUTS)
    assert_close(law.divergence(), expected.kl(), OUTPUTS)
    noise = torch.randn(law.mean.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    latents = law.draw(noise)
    assert_close(latents, expected.sample(torch.Generator().manual_seed(3)), OUTPUTS)
    found, decoded = ours.decode(latents), theirs.decode(expected.sample(torch.Generator().manual_seed(3))).sample
    assert_close(found, decoded, OUTPUTS)
    assert_close(ours(x), theirs.decode(expected.mode()).sample, OUTPUTS)
    (found.square().sum() + law.divergence().sum()).backward()
    (decoded.square().sum() + expected.kl().sum()).backward()
    gradients = renamed({key: p.grad for key, p in theirs.named_parameters()}, NAMES)
    size = largest(*gradients.values())
    for key, parameter in ours.named_parameters():
        assert_close(parameter.grad, gradients[key], GRADIENTS, size=size, msg=key)


def test_old_files_load_too() -> None:
    """Whose attention has other names, and 1 x 1 convolutions for linear maps."""
    ours, theirs = pair()
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = {}
    for name, value in theirs.state_dict().items():
        for new, former in old.items():
            if f".attentions.0.{new}." in name:
                name = name.replace(new, former)
                value = value[..., None, None] if name.endswith("weight") else value
        tensors[name] = value
    again = AutoencoderNetwork(SMALL).double()
    load_strictly(again, LAYOUT.ours(again, tensors))
    for key, value in ours.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])


def test_the_autoencoder_of_stable_diffusion_has_its_size() -> None:
    """83.65 million parameters, f = 8, four channels."""
    with torch.device("meta"):
        network = AutoencoderNetwork(AutoencoderSizes())
    assert sum(p.numel() for p in network.parameters()) == 83_653_863
    assert network.factor == 8
    with pytest.raises(ValueError, match="expected sides that 8 divides"):
        network.encode(torch.zeros(1, 3, 12, 16))


@pytest.mark.system("8.3.7-AE")
def test_it_is_trained_by_pixels_features_and_a_slight_pull_to_the_normal_law() -> None:
    """L1; features where there is an extractor; the divergence weighs 1e-6 for each value of the picture."""
    ours, _ = pair()
    pictures = torch.rand(2, 3, 8, 8, dtype=torch.float64) * 2 - 1
    batch = Batch(pictures, torch.ones(2, 8, 8, dtype=torch.bool), [Placement((8, 8), (8, 8))] * 2, [{}, {}])

    def features(x: Tensor) -> list[Tensor]:
        return [F.avg_pool2d(x, 2) ** 2, x[:, :2].exp()]

    losses = AutoencoderCriterion(features=features, perceptual=0.5)(
        ours, batch, Step(generator=torch.Generator().manual_seed(2))
    )
    law = ours.encode(pictures)
    noise = torch.randn(law.mean.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = ours.decode(law.draw(noise))
    assert_close(losses["pixels"], (found - pictures).abs().mean(), NUMBERS)
    kl = 0.5 * (law.mean**2 + law.log_variance.exp() - 1 - law.log_variance).sum((1, 2, 3)).mean()
    assert_close(losses["divergence"], 1e-6 * kl / (3 * 8 * 8), NUMBERS)
    assert_close(losses["perceptual"], 0.5 * perceptual_distance(features(found), features(pictures)), NUMBERS)
    plain = AutoencoderCriterion()(ours, batch, Step(generator=torch.Generator().manual_seed(2)))
    assert plain.keys() == {"pixels", "divergence"}


def test_the_distance_of_features_is_of_unit_vectors_of_each_place() -> None:
    """By a loop; the length of a vector does not matter."""
    one, other = torch.randn(2, 3, 2, 2, dtype=torch.float64), torch.randn(2, 3, 2, 2, dtype=torch.float64)
    total = 0.0
    for row in range(2):
        for i in range(2):
            for j in range(2):
                a, b = one[row, :, i, j], other[row, :, i, j]
                total += ((a / a.norm() - b / b.norm()) ** 2).sum().item() / 8
    assert perceptual_distance([one], [other]).item() == pytest.approx(total, rel=1e-8)
    assert perceptual_distance([one, one], [5 * other, other]).item() == pytest.approx(2 * total, rel=1e-8)


def test_variances_stay_within_bounds() -> None:
    law = LatentLaw(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))
    assert law.divergence().item() == 0
    ours, _ = pair()
    bias = ours.to_law.bias
    assert bias is not None
    with torch.no_grad():
        bias += 1e4
        assert ours.encode(torch.zeros(1, 3, 8, 8).double()).log_variance.max() == 20
        bias -= 2e4
        assert ours.encode(torch.zeros(1, 3, 8, 8).double()).log_variance.min() == -30


def test_latents_may_be_quiet_from_the_beginning() -> None:
    x = torch.rand(1, 3, 8, 8)
    found = []
    for start in (0.0, -6.0):
        torch.manual_seed(0)
        found.append(AutoencoderNetwork(SMALL, log_variance=start).encode(x))
    assert_close(found[1].log_variance, found[0].log_variance - 6, FLOAT32)
    assert torch.equal(found[1].mean, found[0].mean)
    small: Any = latent_diffusion_tiny(size=(8, 8), width=8, text_width=32)
    assert float(small.network.autoencoder.encode(x).log_variance.detach().mean()) == pytest.approx(-6, abs=1)
