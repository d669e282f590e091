"""Stable Diffusion against diffusers and transformers at toy size: prompt, latents, picture, and its folder."""

import inspect
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.closeness import FLOAT32, NUMBERS, assert_close
from tests.generative.diffusion.oracles import StableDiffusionPipeline
from tests.generative.diffusion.toy_pipeline import CONTEXT, MERGES, theirs
from vidi.data.tokenizer import tokenizer_of
from vidi.generative.diffusion import text_to_image
from vidi.generative.diffusion.guidance import classifier_free
from vidi.generative.diffusion.samplers import ddim
from vidi.generative.diffusion.text_to_image import TextDiffusion, Texts, latent_diffusion_tiny, text_to_image_tiny
from vidi.ops.diffusion import Schedule, spaced_times
from vidi.ops.noise import seeded_normal
from vidi.weights.stable_diffusion import read_stable_diffusion, write_stable_diffusion


@cache
def ours() -> TextDiffusion:
    return read_stable_diffusion(theirs()[1])


def latents_of(model: TextDiffusion, start: torch.Tensor, prompt: str, negative: str, scale: float) -> torch.Tensor:
    count = len(start)
    denoise = classifier_free(model.told, model.rows_of(prompt, count), model.rows_of(negative, count), scale)
    times = spaced_times(1000, 10, "leading", offset=1)
    return ddim(denoise, start, model.schedule, times, lambda step: start)


@pytest.mark.system("8.3.7-SD", "8.3.7-LDM", "8.3.6-TEXT", "8.3.6-CFG", "8.3.6-NEGATIVE")
@pytest.mark.parametrize(
    ("prompt", "negative"), [("a red sphere left of a box", ""), ("a box", "blue grass"), ("", "")]
)
def test_the_whole_pipeline_is_diffusers(prompt: str, negative: str) -> None:
    """Ten steps with guidance 7.5, from the folder that they saved: latents, and the decoded picture."""
    start = seeded_normal((4, 8, 8), [1, 2])
    pipe, _ = theirs()
    asked = {
        "prompt": [prompt] * 2,
        "negative_prompt": [negative] * 2,
        "num_inference_steps": 10,
        "guidance_scale": 7.5,
    }
    expected = pipe(**asked, latents=start, output_type="latent").images
    with torch.no_grad():
        found = latents_of(ours(), start, prompt, negative, 7.5)
        assert_close(found, expected, 1e-3)
        picture = ours().finished(found)
    assert_close(picture, pipe(**asked, latents=start, output_type="pt").images, 1e-3)


@pytest.mark.system("8.3.7-SD")
def test_sampling_is_the_pipeline_with_noise_by_seed() -> None:
    """Latents times 1 / 0.18215 decoded; each picture has its own seed."""
    asked = {"prompt": "a box", "steps": 10, "spacing": "leading"}
    found = ours().sample(2, generator=torch.Generator().manual_seed(1), **asked)
    with torch.no_grad():
        latents = latents_of(ours(), seeded_normal((4, 8, 8), [1, 2]), "a box", "", 7.5)
        assert_close(found, ours().finished(latents), FLOAT32)
    assert found.shape == (2, 3, 16, 16)
    assert ours().network.scale == 0.18215


@pytest.mark.system("8.3.7-SD")
def test_the_text_tower_and_its_tokens_are_transformers(tmp_path: Path) -> None:
    """Padded with [EOS] to the context; a longer prompt is cut before its [EOS]."""
    pipe, _ = theirs()
    for prompt in ("a red sphere", "", "a red box left of a blue sphere on grass and much more than fits"):
        asked = pipe.tokenizer(prompt, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt")
        tokens = ours().criterion.texts.tokens(prompt)
        assert tokens.tolist() == asked.input_ids[0].tolist()
        with torch.no_grad():
            expected = pipe.text_encoder(asked.input_ids)[0]
            assert_close(ours().rows_of(prompt, 1), expected, FLOAT32)


@pytest.mark.system("8.3.7-SD")
def test_a_written_folder_is_read_by_diffusers(tmp_path: Path) -> None:
    write_stable_diffusion(ours(), tmp_path)
    again = StableDiffusionPipeline.from_pretrained(tmp_path, safety_checker=None)
    again.set_progress_bar_config(disable=True)
    start = seeded_normal((4, 8, 8), [5])
    asked = {"prompt": "a red box", "num_inference_steps": 3, "latents": start, "output_type": "latent"}
    assert_close(again(**asked).images, theirs()[0](**asked).images, FLOAT32)
    twice = read_stable_diffusion(tmp_path)
    for key, value in ours().state_dict().items():
        assert torch.equal(value, twice.state_dict()[key])
    assert twice.criterion.texts == ours().criterion.texts
    assert_close(twice.schedule.alphas_cumprod, ours().schedule.alphas_cumprod, NUMBERS)
    assert (twice.offset, twice.schedule.final) == (1, ours().schedule.final)


def test_other_variances_are_written_as_a_list_and_other_networks_not_at_all(tmp_path: Path) -> None:
    """A folder never says another schedule, or another network, than the model has."""
    model = read_stable_diffusion(theirs()[1])
    model.criterion.schedule = Schedule.named("cosine")
    write_stable_diffusion(model, tmp_path)
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path, safety_checker=None)
    assert_close(pipe.scheduler.alphas_cumprod.double(), model.schedule.alphas_cumprod, FLOAT32)
    assert torch.equal(read_stable_diffusion(tmp_path).schedule.betas, model.schedule.betas)
    small = latent_diffusion_tiny(size=(8, 8), autoencoder_width=8, width=8, text_width=32, context=10, merges=MERGES)
    with pytest.raises(ValueError, match="a text tower that looks ahead"):
        write_stable_diffusion(small.diffusion(), tmp_path / "small")
    assert not (tmp_path / "small").exists()
    pixels = text_to_image_tiny(size=(8, 8), width=8, text_width=32, context=10, merges=MERGES)
    with pytest.raises(ValueError, match="a model of pixels"):
        write_stable_diffusion(pixels, tmp_path / "small")


def test_a_tokenizer_of_one_file_is_read_too(tmp_path: Path) -> None:
    write_stable_diffusion(ours(), tmp_path)
    (tmp_path / "tokenizer" / "merges.txt").unlink()
    (tmp_path / "tokenizer" / "vocab.json").unlink()
    pairs: list[Any] = [line.split(" ") for line in MERGES.splitlines()]
    for merges in (pairs, MERGES.splitlines()):
        (tmp_path / "tokenizer" / "tokenizer.json").write_text(json.dumps({"model": {"merges": merges}}))
        assert read_stable_diffusion(tmp_path).criterion.texts == ours().criterion.texts


def test_keys_without_their_front_are_read_too(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    write_stable_diffusion(ours(), tmp_path)
    path = tmp_path / "text_encoder" / "model.safetensors"
    save_file({name.removeprefix("text_model."): value for name, value in load_file(path).items()}, path)
    assert torch.equal(read_stable_diffusion(tmp_path).rows_of("a box", 1), ours().rows_of("a box", 1))


def test_a_folder_with_a_pickle_is_refused_with_the_line_that_converts_it(tmp_path: Path) -> None:
    write_stable_diffusion(ours(), tmp_path)
    path = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"diffusion_pytorch_model.safetensors: no such file$"):
        read_stable_diffusion(tmp_path)
    (tmp_path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(FileNotFoundError, match=r"is a pickle.*weights_only=True"):
        read_stable_diffusion(tmp_path)


def test_padding_is_with_the_end_or_with_nought() -> None:
    ids = len(tokenizer_of(MERGES))
    for padding, filler in (("end", ids - 1), ("zero", 0)):
        texts = Texts(MERGES, 6, padding)  # type: ignore[arg-type]
        assert texts.tokens("").tolist() == [ids - 2, ids - 1, *[filler] * 4]
        ragged = torch.tensor([[ids - 2, 7, ids - 1, 0], [ids - 2, 0, 8, ids - 1]])
        assert texts.padded(ragged).tolist() == [
            [ids - 2, 7, ids - 1, *[filler] * 3],
            [ids - 2, 0, 8, ids - 1, *[filler] * 2],
        ]


@pytest.mark.system("8.3.6-TEXT")
def test_captions_are_dropped_in_training() -> None:
    """A tenth of them becomes the empty text; the text tower learns with the U-Net."""
    from vidi.model import Step

    model = text_to_image_tiny(size=(8, 8), width=8, text_width=32, context=10, diffusion_steps=20, merges=MERGES)
    assert model.criterion.hidden == 0.1
    preprocess = model.preprocess
    image = torch.zeros(3, 8, 8)
    batch = preprocess.collate([preprocess.place(image, {"caption": "a red box"})] * 2000)
    (tokens,) = model.criterion.condition(batch, Step(generator=torch.Generator().manual_seed(1)))
    empty = (tokens == model.criterion.texts.tokens("")).all(1)
    assert abs(empty.double().mean().item() - 0.1) < 4 * (0.09 / 2000) ** 0.5
    assert (tokens[~empty] == model.criterion.texts.tokens("a red box")).all()
    small = preprocess.collate([preprocess.place(image, {"caption": "a red box"})] * 2)
    model.train()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    losses = model.losses("network", small, Step(generator=torch.Generator().manual_seed(1)))
    losses["v"].backward()
    assert model.network.text.words.weight.grad is not None
    with pytest.raises(ValueError, match="without captions"):
        model.criterion.condition(preprocess.collate([preprocess.place(image, {})]), Step())


@pytest.mark.system("8.3.7-LDM")
def test_latents_are_scaled_to_deviation_one_by_the_first_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_to_image, "SCALED_BY", 3)
    model = latent_diffusion_tiny(size=(8, 8), autoencoder_width=8, width=8, text_width=32, context=10, merges=MERGES)
    pictures = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    dataset = [(picture, {"caption": "a red box"}) for picture in pictures]
    assert model.with_scale_of(dataset) is dataset
    inside = model.network.eval().inside(2 * pictures[:3] - 1)
    assert float(inside.std()) == pytest.approx(1, rel=FLOAT32)


def test_the_small_networks_are_what_they_say() -> None:
    latent: Any = latent_diffusion_tiny()
    pixels: Any = text_to_image_tiny()
    assert (latent.size, latent.diffusion().shape, latent.criterion.hidden) == ((32, 32), (4, 16, 16), 0.1)
    assert latent.network.autoencoder.sizes.channels == (16, 32)
    assert pixels.size == (32, 32)
    for model in (latent, pixels):
        sizes = model.network.unet.sizes
        assert (sizes.channels, sizes.blocks, sizes.groups) == ((32, 64, 64), 1, 8)
        assert (sizes.attends, sizes.heads, sizes.context) == ((False, False, True), (1, 1, 4), 64)
        assert (sizes.conditioning, sizes.sums_up, model.criterion.predicts) == ("scale_shift", True, "v")
        assert (model.criterion.schedule.steps, model.criterion.texts.context) == (1000, 64)
        assert len(model.network.text.encoder.layers) == 2
    guidance = {model: inspect.signature(model.sample).parameters["guidance"].default for model in (latent, pixels)}
    assert (guidance[latent], guidance[pixels], pixels.clip, latent.diffusion().clip) == (3.0, 7.5, 1.0, None)
    assert float(latent.network.scale) == 1
    quarter: Any = latent_diffusion_tiny(factor=4)
    assert quarter.diffusion().shape == (4, 8, 8)
    assert quarter.network.autoencoder.sizes.channels == (16, 32, 64)
    for factor in (0, 1, 3, 6):
        with pytest.raises(ValueError, match=f"received factor={factor}, expected 2, 4, 8"):
            latent_diffusion_tiny(factor=factor)
