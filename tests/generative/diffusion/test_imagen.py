"""Imagen: a text encoder that learns first and then never again, a base model of its rows, and two that enlarge."""

import functools
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.closeness import OUTPUTS, assert_close
from tests.generative.diffusion.test_ddpm import drawn_anew, seed
from vidi.generative.diffusion.cascade import made_smaller
from vidi.generative.diffusion.imagen import Imagen, imagen_tiny
from vidi.model import Step
from vidi.ops.noise import seeded_normal
from vidi.preprocess import Batch

SMALL: dict[str, Any] = {
    "size": (32, 32),
    "width": 8,
    "levels": 3,
    "embedding": 8,
    "text_width": 32,
    "text_layers": 1,
    "context": 12,
    "diffusion_steps": 20,
}


@functools.cache
def made() -> Imagen:
    """Return a model with weights that are all drawn, none at zero."""
    model = imagen_tiny(**SMALL)
    drawn_anew(model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(1)  # norms keep the size of what they see, so that words matter
    return model.double()


def batch_of(preprocess: Any, count: int) -> Batch:
    """Return a batch of one picture with two captions in turn."""
    picture = torch.rand(3, 32, 32, generator=seed(3))
    captions = [f"a {colour} box" for colour in ("blue", "red")]
    batch = preprocess.collate([preprocess.place(picture, {"caption": caption}) for caption in captions] * (count // 2))
    return replace(batch, images=batch.images.double())


@pytest.mark.system("8.3.6-IMAGEN")
def test_the_text_encoder_learns_in_its_own_stage_alone() -> None:
    """The first stage trains it by pairs; later ones neither update it nor compute its gradient (section 2.1)."""
    model = made()
    stages = {stage.name: cast(Any, stage.model) for stage in model.stages()}
    assert [*stages] == ["text", "base", "first_enlarger", "second_enlarger"]
    tower = set(map(id, model.tower.parameters()))
    learnt = {name: set(map(id, stage.parameters_of("network"))) for name, stage in stages.items()}
    assert tower <= learnt["text"]
    for name in ("base", "first_enlarger", "second_enlarger"):
        assert learnt[name] == set(map(id, model.parts[name].parameters()))
        stage = stages[name]
        losses = stage.losses("network", batch_of(stage.preprocess, 2), Step(generator=seed(1)))
        gradients = torch.autograd.grad(losses["v"], [*model.tower.parameters()], allow_unused=True, retain_graph=True)
        assert all(gradient is None for gradient in gradients)
        (row,) = torch.autograd.grad(losses["v"], [model.parts[name].conv_in.weight])  # type: ignore[arg-type, union-attr]
        assert row.abs().max() > 0
    losses = stages["text"].losses("network", batch_of(stages["text"].preprocess, 2), Step())
    (gradient,) = torch.autograd.grad(losses["contrastive"], [model.tower.words.weight])
    assert gradient.abs().max() > 0


@pytest.mark.system("8.3.6-IMAGEN")
def test_each_model_sees_the_rows_of_the_text() -> None:
    """All tokens, after the tower's last norm; the two that enlarge see the small picture beside x_t, and its level."""
    model = made()
    tokens = torch.stack([model.texts.tokens(text) for text in ("a red box", "")])
    rows = model.tower.norm(model.tower.read(tokens))
    assert rows.shape == (2, 12, 32)
    times, levels = torch.tensor([3, 9]), torch.tensor([0, 2])
    base, x = model.base(), torch.randn(2, 3, 8, 8, generator=seed(1), dtype=torch.float64)
    assert base.size == (8, 8)
    assert_close(base(x, times, tokens), cast(Any, model.parts["base"])(x, times, context=rows), OUTPUTS)
    for name, side in (("first_enlarger", 16), ("second_enlarger", 32)):
        enlarger, unet = model.enlarger(name), cast(Any, model.parts[name])
        assert enlarger.size == (side, side)
        assert unet.conv_in.in_channels == 6
        assert unet.label.table.weight.shape[0] == 3
        x, small = torch.randn(2, 2, 3, side, side, generator=seed(2), dtype=torch.float64)
        expected = unet(torch.cat((x, small), 1), times, levels, rows)
        assert_close(enlarger(x, times, tokens, levels, small), expected, OUTPUTS)
        other = unet(torch.cat((x, small), 1), times, levels, rows.flip(0))
        assert (other - expected).abs().max() > 1e-4


@pytest.mark.system("8.3.6-IMAGEN")
def test_enlarging_is_learnt_from_pictures_and_captions() -> None:
    """The small picture is half as large; a tenth of the captions becomes the empty one (section 2.2)."""
    enlarger = made().enlarger("second_enlarger")
    assert enlarger.criterion.hidden == 0.1
    assert enlarger.criterion.factor == 2
    batch: Any = batch_of(enlarger.preprocess, 600)
    tokens, levels, seen = enlarger.criterion.condition(batch, Step(generator=seed(1)))
    empty = (tokens == made().texts.tokens("")).all(1)
    assert abs(empty.double().mean().item() - 0.1) < 4 * (0.09 / 600) ** 0.5
    assert (tokens[~empty] == made().texts.padded(batch.tokens)[~empty]).all()
    assert set(levels.tolist()) == {0, 1, 2}
    small = F.interpolate(made_smaller(batch.images, 2), (32, 32), mode="bilinear", align_corners=False)
    assert_close(seen[levels == 0], small[levels == 0], OUTPUTS)


@pytest.mark.system("8.3.6-IMAGEN")
def test_pictures_of_a_text_are_made_small_and_enlarged_twice() -> None:
    """Each model has the prompt, the negative one, the guidance and each picture's own seed."""
    model = made()
    asked: dict[str, Any] = {"prompt": "a red box", "negative": "a cone", "guidance": 2.0, "steps": 3}
    found = model.sample(2, generator=seed(4), **asked)
    assert found.shape == (2, 3, 32, 32)
    made_up = model.base().sample(2, generator=seed(4), **asked)
    assert made_up.shape == (2, 3, 8, 8)
    for name in ("first_enlarger", "second_enlarger"):
        made_up = model.enlarger(name).enlarge(made_up, generator=seed(4), **asked)
    assert_close(found, made_up, OUTPUTS)
    alone = model.sample(1, generator=seed(5), **asked)
    assert_close(found[1:], alone, OUTPUTS)
    with pytest.raises(ValueError, match="received level 3, expected one from 0 to 2"):
        model.sample(1, level=3, steps=1)
    with pytest.raises(ValueError, match="expected multiples of 32"):
        imagen_tiny(size=(48, 32))


@pytest.mark.system("8.3.6-IMAGEN")
def test_enlarging_is_guided_by_the_text() -> None:
    """One step from x_T at scale g: e(negative) + g (e(prompt) - e(negative)), in x_0, which is clipped to [-1, 1]."""
    enlarger = made().enlarger("first_enlarger")
    small = torch.rand(1, 3, 8, 8, generator=seed(2), dtype=torch.float64)
    asked: dict[str, Any] = {"prompt": "a red box", "level": 2, "steps": 1}
    found = enlarger.enlarge(small, generator=seed(7), negative="a cone", guidance=3.0, **asked)
    levels, seen = enlarger.shown(small, 2, [7])
    x, last = seeded_normal((3, 16, 16), [7], dtype=torch.float64), torch.tensor([19])

    def shown(text: str) -> Tensor:
        return enlarger.seen(x, last, made().texts.tokens(text)[None], levels, seen).x0

    with torch.no_grad():
        expected = shown("a cone") + 3 * (shown("a red box") - shown("a cone"))
    assert_close(found, (expected.clamp(-1, 1) + 1) / 2, OUTPUTS)
    without = enlarger.enlarge(small, generator=seed(7), **asked)
    with torch.no_grad():
        assert_close(without, (shown("a red box").clamp(-1, 1) + 1) / 2, OUTPUTS)


def test_it_says_under_which_conditions_it_makes_pictures() -> None:
    told = made().conditions(prompt="a box", level=2)
    assert told == {
        "prompt": "a box",
        "negative": "",
        "guidance": 3.0,
        "level": 2,
        "steps": 20,  # as many as there are times
        "sampler": "ddim",
        "eta": 0.0,
        "spacing": "trailing",
    }


def test_the_default_is_in_the_paper_s_form() -> None:
    """Three models of factor two, of pictures of 16, 32 and 64 pixels; no part of the text encoder is doubled."""
    model = imagen_tiny()
    assert model.base().size == (16, 16)
    assert [model.enlarger(name).size for name in ("first_enlarger", "second_enlarger")] == [(32, 32), (64, 64)]
    assert model.hidden == 0.1
    assert isinstance(model.parts, nn.ModuleDict)
    assert [*model.parts] == ["text", "base", "first_enlarger", "second_enlarger"]
