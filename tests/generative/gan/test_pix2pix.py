"""From grey to colour: layers and losses of the paper, a truth that is the picture itself, and what it learns."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vidi
from tests.closeness import FLOAT32, assert_close
from tests.conftest import Learnt
from tests.settings import SEED
from vidi.api import scores_of
from vidi.catalog.table import CATALOG
from vidi.engine.recipe import Recipe
from vidi.generative.gan.pix2pix import Colouriser, grey_of, pix2pix_colours
from vidi.model import Step
from vidi.preprocess import Batch
from vidi.results.coloured_picture import ColouredPicture

pytestmark = pytest.mark.system("8.2-SUPADV")


@pytest.fixture(scope="module")
def small() -> Colouriser:
    torch.manual_seed(0)
    return pix2pix_colours(size=(32, 32), width=4)


def batch_of(model: Colouriser, count: int = 2) -> Batch:
    pictures = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return model.preprocess.collate([model.preprocess.place(picture, {}) for picture in pictures])


def kinds(network: nn.Module) -> list[str]:
    names = {"Conv2d": "C", "ConvTranspose2d": "T", "BatchNorm2d": "B", "Dropout": "D"}
    leaves = [m for m in network.modules() if type(m).__name__ in names]
    return [names[type(m).__name__] + (str(m.out_channels) if hasattr(m, "out_channels") else "") for m in leaves]


def test_players_are_those_of_appendix_6_1() -> None:
    with torch.device("meta"):
        model: Any = pix2pix_colours()
    down = ["C64", "C128", "B", "C256", "B", "C512", "B", "C512", "B", "C512", "B", "C512", "B", "C512"]
    up = ["T512", "B", "D"] * 3 + ["T512", "B", "T256", "B", "T128", "B", "T64", "B", "T3"]
    assert kinds(model.generator) == down + up
    assert [m[1].in_channels for m in model.generator.up] == [512, 1024, 1024, 1024, 1024, 512, 256, 128]
    assert kinds(model.discriminator) == ["C64", "C128", "B", "C256", "B", "C512", "B", "C1"]
    convolutions = [m for m in model.discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions[0].in_channels == 4  # grey and colours: it is told the condition
    assert [m.stride[0] for m in convolutions] == [2, 2, 2, 1, 1]
    seen = 1
    for m in reversed(convolutions):
        seen = (seen - 1) * m.stride[0] + m.kernel_size[0]
    assert seen == 70
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.5}
    assert {m.negative_slope for m in model.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}


def test_the_recipe_is_the_papers() -> None:
    (recipe,) = CATALOG["pix2pix_colours"].recipes.values()
    assert (recipe.optimizer, recipe.learning_rate, recipe.betas) == ("adam", 2e-4, (0.5, 0.999))
    assert recipe.batch_size == 1


def test_only_luminance_goes_in(small: Colouriser) -> None:
    images = torch.rand(2, 3, 32, 32)
    expected = 0.299 * images[:, 0] + 0.587 * images[:, 1] + 0.114 * images[:, 2]
    assert_close(grey_of(images)[:, 0], expected, FLOAT32)
    assert_close(grey_of(2 * images - 1)[:, 0], 2 * expected - 1, FLOAT32)
    grey = expected[:, None].expand(-1, 3, -1, -1)
    for one, other in zip(small.predict(list(images)), small.predict(list(grey)), strict=True):
        assert_close(one.colours, other.colours, 1e-3)


def test_losses_are_equation_4_with_a_distance_of_weight_100(small: Colouriser) -> None:
    batch, step = batch_of(small), Step()
    small.eval()
    grey = grey_of(batch.images)
    made = small.generator(grey)

    def logits(colours: Tensor) -> Tensor:
        return small.discriminator(grey, colours)

    found = small.losses("generator", batch, step)
    assert_close(found["adversarial"], -logits(made).sigmoid().log().mean(), FLOAT32)
    assert_close(found["l1"], 100 * (batch.images - made).abs().mean(), FLOAT32)
    (loss,) = small.losses("discriminator", batch, step).values()
    two = -logits(batch.images).sigmoid().log().mean() - (1 - logits(made).sigmoid()).log().mean()
    assert_close(loss, two / 2, FLOAT32)
    assert logits(made).shape == (2, 2, 2)
    weights = [next(small.generator.parameters())]
    assert torch.autograd.grad(loss, weights, allow_unused=True) == (None,)


def test_results_have_the_size_of_the_picture_and_one_colouring(small: Colouriser) -> None:
    picture = torch.rand(3, 40, 50)
    one, two = small.predict([picture, picture])
    assert one.colours.shape == one.given.shape == (3, 40, 50)
    assert_close(one.colours, two.colours, FLOAT32)
    placed, _, _ = small.preprocess.place(picture, {})
    assert_close(one.given, F.interpolate(placed[None], (40, 50), mode="bilinear")[0], FLOAT32)
    assert one.draw(picture).size[0] == 3 * one.draw(picture).size[1] * 50 // 40
    assert one.to_dict()["size"] == [40, 50]
    assert "from the picture's own colours" in str(one)


def test_a_result_knows_how_far_it_is_from_the_truth() -> None:
    result = ColouredPicture(torch.full((3, 2, 2), 0.5), torch.full((3, 2, 2), 0.75))
    assert result.error == pytest.approx(0.25)
    scorer = CATALOG["pix2pix_colours"].task.scorer
    assert scorer is not None
    judge = scorer(())
    judge.update([result, ColouredPicture(torch.full((3, 2, 2), 0.5), torch.full((3, 2, 2), 0.6))], [{}, {}])
    found = judge.compute()
    assert found["psnr"] == pytest.approx((12.0412 + 20) / 2, rel=1e-4)
    assert found["error"] == pytest.approx(0.175)
    with pytest.raises(ValueError, match="not finite"):
        ColouredPicture(torch.full((3, 2, 2), torch.nan), torch.ones(3, 2, 2))


@pytest.mark.parametrize("size", [(48, 48), (32, 64), (16, 16)])
def test_sizes_that_halving_does_not_bring_to_one_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected a square whose side is a power of two"):
        pix2pix_colours(size=size)


def test_it_learns_the_colours_of_the_world(tmp_path: Path, learnt: Learnt) -> None:
    """Sky, ground and things of 32 pixels: colours are a quarter nearer than grey is."""
    numbers = {"size": (32, 32), "width": 8, "world_size": (32, 32), "world_scenes": 240, "seed": SEED}
    rules = {"steps": 120, "batch_size": 8, "validate_every": 99, "learning_rate": 1e-3}
    run = vidi.train("pix2pix_colours", out=tmp_path / "run", **numbers, **rules)
    scores = scores_of(run)
    model = vidi.load(run.folder)
    source = CATALOG["pix2pix_colours"].task.built_in["world"]
    scenes = source.opens("val", 30, Recipe(world_size=(32, 32), seed=SEED), ())
    pictures = [scenes[row][0].float() / 255 for row in range(30)]
    as_grey = sum(float((grey_of(p[None]) - p).abs().mean()) for p in pictures) / 30
    made = sum(result.error for result in model.predict(pictures)) / 30
    assert made == pytest.approx(float(scores["error"]), rel=1e-3)
    learnt("error beside that of grey", made / as_grey, most=0.75)
    assert (run.folder / "report.md").is_file()
