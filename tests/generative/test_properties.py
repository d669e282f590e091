"""Property checks of generative models: where the answer is known, and on a small GAN."""

import math
import time

import pytest
import scipy.stats
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from tests.closeness import FLOAT32, NUMBERS, assert_close
from vidi.generative.gan.dcgan import dcgan
from vidi.generative.gan.stylegan import stylegan
from vidi.generative.properties import (
    conditional_entropy,
    path_length,
    properties,
    separability,
    side_of_plane,
    truncation_curve,
    walked,
)
from vidi.metrics.generation import precision_recall
from vidi.metrics.generation_score import Extracted, Extractor
from vidi.ops.latents import lerp, normal_latents


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run(pictures: Tensor) -> Extracted:
    rows = torch.nn.functional.adaptive_avg_pool2d(pictures.mean(1), 2).flatten(1)
    return Extracted(rows, (50 * rows).softmax(1))


PIXELS = Extractor("pixels", "none", "to 2 x 2", run)


@pytest.mark.system("8.0-TASK")
def test_the_path_of_a_linear_generator_is_as_long_as_its_matrix_says() -> None:
    a, b, t = drawn(20, 4), drawn(20, 4, seed=1), torch.rand(20, dtype=torch.float64)
    matrix = drawn(4, 6, seed=2)
    found = path_length(lambda points: points @ matrix, a, b, t, walk=lerp)
    expected = ((b - a) @ matrix).square().sum(1).mean()
    assert_close(found, expected, 1e-6)
    on_arcs = path_length(lambda points: points @ matrix, a, b, t)
    assert on_arcs != pytest.approx(float(expected), rel=1e-3)
    unit_a, unit_b = (rows / rows.norm(dim=1, keepdim=True) for rows in (a, b))
    angle = (unit_a * unit_b).sum(1).acos()
    assert_close(path_length(lambda points: points, unit_a, unit_b, t), angle.square().mean(), 1e-6)


@pytest.mark.system("8.0-TASK")
def test_what_is_unknown_of_a_label_is_scipys_conditional_entropy() -> None:
    x, y = torch.randint(2, (2, 300), generator=torch.Generator().manual_seed(0))
    y = torch.where(torch.rand(300, generator=torch.Generator().manual_seed(1)) < 0.7, x, y)
    table = torch.bincount(2 * x + y, minlength=4).view(2, 2).double().numpy()
    expected = scipy.stats.entropy(table.flatten()) - scipy.stats.entropy(table.sum(1))
    assert float(conditional_entropy(y, x)) == pytest.approx(expected, rel=NUMBERS)
    assert float(conditional_entropy(x, x)) == 0
    assert float(conditional_entropy(x, 1 - x)) == 0


@pytest.mark.system("8.0-TASK")
def test_separability_is_1_where_planes_tell_all_and_more_where_labels_are_entangled() -> None:
    latents = drawn(400, 3)
    straight = torch.stack([latents[:, 0] * 20, -latents[:, 0] * 20], 1).softmax(1)
    assert float(separability(latents, straight)) == pytest.approx(1, abs=0.02)
    entangled = torch.stack([latents[:, 0] * latents[:, 1] * 20, -latents[:, 0] * latents[:, 1] * 20], 1).softmax(1)
    assert float(separability(latents, entangled)) > 2.5  # at most exp(2 log 2) = 4
    unlinked = torch.stack([drawn(400, seed=5) * 20, torch.zeros(400).double()], 1).softmax(1)
    assert 2.5 < float(separability(latents, unlinked)) <= 4
    assert float(separability(latents, torch.tensor([[0.9, 0.1]]).expand(400, 2))) == 1  # one class tells nothing
    three = (20 * latents @ torch.tensor([[1.0, 0], [0, 1], [0, 0]]).double() @ drawn(2, 3, seed=1)).softmax(1)
    assert 1 <= float(separability(latents, three)) < float(math.exp(3 * math.log(2)))


@pytest.mark.system("8.0-TASK")
def test_separability_is_of_the_half_of_which_the_classifier_is_surest() -> None:
    """Sure of all that a plane tells apart, and less sure where opinions have nothing to do with the vector."""
    latents = drawn(400, 2)
    latents[:, 0] += latents[:, 0].sign()  # a gap
    sure = 0.9 * latents[:200, 0].sign()
    unsure = 0.5 * drawn(200, seed=9).sign()
    first = 0.5 + torch.cat([sure, unsure]) / 2
    assert float(separability(latents, torch.stack([first, 1 - first], 1))) == pytest.approx(1, abs=1e-6)


@pytest.mark.system("8.0-TASK")
@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_the_plane_is_that_of_scikit_learns_logistic_regression(scale: float) -> None:
    """Beside the middle, of labels that no plane tells apart, and whatever the size of the numbers."""
    rows = drawn(300, 2)
    labels = (rows @ torch.tensor([1.0, 0.5]).double() + 0.5 * drawn(300, seed=3) > 1).long()
    theirs = LogisticRegression(C=1e4 / (2 * 300), tol=1e-9)  # 1e-4 |w|^2 beside the mean of the losses
    theirs.fit(((rows - rows.mean(0)) / rows.std(0)).numpy(), labels.numpy())
    expected = torch.as_tensor(theirs.predict(((rows - rows.mean(0)) / rows.std(0)).numpy()))
    assert 0 < (expected != labels).sum() < 40
    assert side_of_plane(scale * rows, labels).tolist() == expected.tolist()


@pytest.mark.system("8.0-TASK")
def test_walks_lead_from_each_of_the_first_half_to_one_of_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Along lines, of a generator whose pictures are its codes: the mean square of the lengths of all walks."""
    model = stylegan(size=(8, 8), latent=4, width=4)
    monkeypatch.setattr(model, "images_of", lambda codes: codes)
    codes = drawn(41, 3)
    found = walked(model, Extractor("codes", "none", "none", Extracted), codes, seed=0)
    assert_close(found, (codes[20:40] - codes[:20]).square().sum(1).mean(), 1e-6)


@pytest.mark.system("8.2-TRUNC")
def test_truncation_buys_realism_with_coverage() -> None:
    """Of a generator that is right on the whole: real pictures are drawn as its own are, without truncation."""

    def picture(codes: Tensor) -> Tensor:
        return (0.5 + codes / 20).clamp(0, 1).repeat_interleave(3, 1).unflatten(1, (3, 2, 2))

    real = [picture(normal_latents(4, range(1000, 1400)))]
    thresholds = (4.0, 1.0, 0.25)
    found = truncation_curve(
        lambda threshold: picture(normal_latents(4, range(400), truncation=threshold)), thresholds, real, PIXELS
    )
    precisions, recalls = zip(*found, strict=True)
    assert precisions[0] < precisions[1] <= precisions[2]
    assert recalls[0] > recalls[1] > recalls[2]
    assert (precisions[2], recalls[2]) == (pytest.approx(1, abs=0.02), pytest.approx(0, abs=0.05))
    untruncated = run(picture(normal_latents(4, range(400)))).features
    assert found[0] == pytest.approx(precision_recall(run(real[0]).features, untruncated), abs=0.02)


@pytest.mark.system("8.0-TASK")
@pytest.mark.parametrize("build", [dcgan, stylegan])
def test_a_model_has_all_properties(build) -> None:
    torch.manual_seed(0)
    model = build(size=(8, 8), latent=4, width=4)
    real = [torch.rand(40, 3, 8, 8)]
    begun = time.perf_counter()
    found = properties(model, real, PIXELS, count=40)
    assert 0 < found.seconds < (time.perf_counter() - begun) / 40
    assert 0 <= found.precision <= 1
    assert 0 <= found.recall <= 1
    assert found.path_length >= 0
    own = properties(model, [model.images_of(model.codes(range(40)))], PIXELS, count=40)
    assert (own.precision, own.recall) == (1, 1)
    assert (found.separability == found.separability_of_codes) == (build is dcgan)
    assert found.separability >= 1
    again = properties(model, real, PIXELS, count=40)
    assert again.path_length == pytest.approx(found.path_length, rel=FLOAT32)
    blind = Extractor("blind", "none", "none", lambda pictures: Extracted(run(pictures).features))
    with pytest.raises(ValueError, match="received the extractor blind, which has no opinions"):
        properties(model, real, blind, count=40)
