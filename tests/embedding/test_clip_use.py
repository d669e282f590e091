"""What one does with a CLIP: embed, classify by sentences, search, train on captions, go on from weights."""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import open_clip
import pytest
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer, pipeline

import vidi
from tests.cli.command import vidi as command
from tests.closeness import FLOAT32, assert_close
from tests.conftest import Learnt
from tests.embedding.test_clip_towers import SMALL, transformers_config
from tests.settings import SEED
from vidi import api, files
from vidi.backbones.vit import fitted_positions
from vidi.data.tokenizer import tokenizer_of
from vidi.embedding import clip
from vidi.embedding.clip import ClipModel
from vidi.embedding.prompts import PHOTO, PHOTOS, sentences_of
from vidi.engine.runs import Run
from vidi.ops.drawing import as_picture
from vidi.weights.local_files import load_file

MODEL: dict[str, Any] = SMALL | {"patch": 8, "context": 12}


def model() -> ClipModel:
    torch.manual_seed(0)
    return clip.clip_tiny(**MODEL)


def picture(seed: int, size: tuple[int, int] = (40, 30)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)


# ----------------------------------------------------------------------------------------------------------------------
# Embeddings


def test_images_and_texts_have_unit_vectors_in_their_order() -> None:
    one = model()
    images = [picture(0), picture(1, (64, 64)), picture(0)]
    vectors = one.embed(images, batch_size=2)
    assert vectors.shape == (3, 16)
    assert_close(vectors.norm(dim=1), torch.ones(3), FLOAT32)
    assert_close(vectors[0], vectors[2], FLOAT32)
    assert not torch.allclose(vectors[0], vectors[1])
    texts = ["ab", "cd ef", "", "a very long text " * 50, "ab"]
    found = one.embed_text(texts, batch_size=2)
    assert found.shape == (5, 16)
    assert_close(found.norm(dim=1), torch.ones(5), FLOAT32)
    assert_close(found[0], found[4], FLOAT32)
    assert_close(one.embed_text("cd ef"), found[1:2], FLOAT32)
    assert one.embed([]).shape == one.embed_text([]).shape == (0, 16)
    assert one.embed(picture(0)).shape == (1, 16)


def test_a_result_tells_how_near_a_caption_is() -> None:
    one = model()
    samples = [(picture(0), {"caption": "ab"}), (picture(1), {"caption": "cd ef gh"})]
    results = one.predict_samples(samples)
    for result, (image, target) in zip(results, samples, strict=True):
        expected = float(one.embed(image)[0] @ one.embed_text(target["caption"])[0])
        assert result.similarity == pytest.approx(expected, abs=1e-5)
        assert result.to_dict()["similarity"] == result.similarity
        assert f"{expected:.3f}" in str(result)
        assert result.draw(image).height > result.draw(image).width * 40 / 30
    (bare,) = one.predict(picture(0))
    assert bare.similarity is None
    assert "similarity" not in bare.to_dict()
    assert bare.draw(picture(0)).size == (360, 480)


def test_what_is_no_text_or_spells_a_token() -> None:
    one = model()
    with pytest.raises(TypeError, match="received a int, expected a text"):
        one.preprocess.tokens(3)
    with pytest.raises(ValueError, match="<end_of_text>"):
        one.embed_text(["fine", "not <end_of_text> fine"])
    with pytest.raises(TypeError, match="received one text"):
        one.classify(picture(0), "cat")


# ----------------------------------------------------------------------------------------------------------------------
# Zero-shot classification


@pytest.mark.system("7.3.1-PROMPT", "7.3-ZEROSHOT")
def test_classes_are_the_normalised_means_of_their_sentences() -> None:
    one = model()
    names, templates = ["ab", "cd gh"], ["a {}.", "two of {} here", "{}"]
    images = [picture(0), picture(1)]
    results = one.classify(images, names, templates=templates)
    scale = float(one.network.log_scale.detach().exp())
    for image, result in zip(images, results, strict=True):
        scores = []
        for name in names:
            rows = torch.stack([one.embed_text(template.replace("{}", name))[0] for template in templates])
            mean = rows.mean(0)
            scores.append(scale * float(one.embed(image)[0] @ (mean / mean.norm())))
        assert_close(result.probabilities, torch.tensor(scores).softmax(0), FLOAT32)
        assert result.categories == tuple(names)


@pytest.mark.system("7.3.1-PROMPT")
def test_it_is_the_pipeline_of_transformers_on_the_same_weights(tmp_path: Path) -> None:
    vocabulary = {piece: number for number, piece in enumerate(tokenizer_of("").pieces)}
    special = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {special.get(piece, piece): number for piece, number in vocabulary.items()}
    config = transformers_config("quick_gelu")
    assert config.text_config is not None
    numbers = {"vocab_size": 514, "max_position_embeddings": 40, "eos_token_id": 513, "bos_token_id": 512}
    for key, value in numbers.items():
        setattr(config.text_config, key, value)
    theirs: Any = CLIPModel(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = clip.clip_tiny(**MODEL | {"merges": "", "context": 40})
    assert load_file(ours, "clip_tiny", tmp_path / "model.safetensors") == "transformers"
    sizes = {"size": {"height": 32, "width": 32}, "do_center_crop": False, "resample": 3}
    processor = CLIPImageProcessor(**sizes, image_mean=clip.MEAN, image_std=clip.STD)  # type: ignore[arg-type]
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=40)
    classify: Any = pipeline(
        "zero-shot-image-classification", model=theirs, image_processor=processor, tokenizer=tokenizer
    )
    names = ["cat", "dog", "owl"]
    for seed in range(3):
        image = as_picture(picture(seed, (32, 32)))
        expected = {row["label"]: row["score"] for row in classify(image, candidate_labels=names)}
        (found,) = ours.classify(image, names, templates=("This is a photo of {}.",))
        assert dict(found.top(3)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.system("7.3.1-PROMPT")
def test_templates_are_those_of_the_paper() -> None:
    assert PHOTO == ("a photo of a {}.",)
    theirs = [template("{}") for template in open_clip.SIMPLE_IMAGENET_TEMPLATES]
    assert list(PHOTOS) == theirs
    assert sentences_of(["x", "y z"], ["a {}", "{}!"]) == ["a x", "x!", "a y z", "y z!"]


@pytest.mark.parametrize("templates", [[], ["no place"], ["{} and {}"]])
def test_templates_without_one_place_for_the_name(templates: list[str]) -> None:
    with pytest.raises(ValueError, match=r"one \{\} each"):
        model().classify(picture(0), ["cat"], templates=templates)
    with pytest.raises(ValueError, match="no prompt"):
        model().classify(picture(0), [])


# ----------------------------------------------------------------------------------------------------------------------
# Training


COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (40, 60, 220), "white": (240, 240, 240)}
PLACES = {"left": (0, 0), "right": (0, 16), "top": (1, 0), "bottom": (1, 16)}


KINDS = [(colour, place) for colour in COLOURS for place in PLACES]
UNSEEN = KINDS[::5]  # each colour and each place once


def write_pairs(folder: Path, count: int, seed: int, kinds: list[tuple[str, str]] = KINDS) -> None:
    """Write pictures with one half in a colour, and lines that say so."""
    folder.mkdir(exist_ok=True)
    draw = np.random.default_rng(seed)
    lines = []
    for number in range(count):
        colour, place = kinds[int(draw.integers(len(kinds)))]
        pixels = draw.integers(90, 130, (32, 32, 3))
        axis, start = PLACES[place]
        rows = slice(start, start + 16)
        pixels[(rows, slice(None)) if axis else (slice(None), rows)] = COLOURS[colour]
        files.write_image(folder / f"{number}.png", as_picture(pixels.astype(np.uint8)))
        lines.append({"image": f"{number}.png", "caption": f"something {colour} at the {place}"})
    files.write_text(folder / "captions.jsonl", "\n".join(json.dumps(line) for line in lines))


TRAINING: dict[str, Any] = {
    **{key: MODEL[key] for key in ("size", "patch", "head")},
    "embedding": 32,
    "width": 32,
    "blocks": (1,),
    "text_width": 32,
    "text_layers": 1,
    "context": 16,
    "epochs": 10,
    "seed": SEED,
    "batch_size": 24,
    "learning_rate": 4e-3,
    "warmup": 0.1,
    "augment": "none",
    "validate_every": 20,
}


@pytest.mark.system("7.3-ZEROSHOT")
def test_a_small_clip_learns_captions_and_names_what_it_was_never_shown(tmp_path: Path, learnt: Learnt) -> None:
    """A red left half, a green right one, and two more of 16 kinds are in no training pair."""
    write_pairs(tmp_path / "seen", 240, 0, [kind for kind in KINDS if kind not in UNSEEN])
    run = api.train("clip_tiny", data=tmp_path / "seen", out=tmp_path / "run", **TRAINING)
    merges = run.config()["arguments"]["merges"].splitlines()
    assert "something</w>" in {line.replace(" ", "") for line in merges}
    learnt("recall1", float(api.scores_of(run)["recall1"]), least=0.4)  # 0.08 by chance
    write_pairs(tmp_path / "unseen", 64, 1, UNSEEN)
    rows = [json.loads(line) for line in files.read_text(tmp_path / "unseen" / "captions.jsonl").splitlines()]
    names = [f"{colour} at the {place}" for colour, place in UNSEEN]
    images = [tmp_path / "unseen" / row["image"] for row in rows]
    found = api.load(run.folder).classify(images, names, templates=["something {}"])
    right = [row["caption"].endswith(result.name) for result, row in zip(found, rows, strict=True)]
    learnt("unseen", sum(right) / len(right), least=0.5)  # 0.25 by chance


@pytest.mark.system("7.3.1-CLIP")
def test_pairs_are_told_apart_by_training_both_towers_and_by_more_of_them_in_a_batch(
    tmp_path: Path, learnt: Learnt
) -> None:
    """As many steps with batches of 6 and of 48: more captions that are not the picture's own, a higher recall."""
    write_pairs(tmp_path / "pairs", 240, 0)
    recalls = []
    for size in (6, 48):
        numbers = {**TRAINING, "steps": 30, "batch_size": size}
        run = api.train("clip_tiny", data=tmp_path / "pairs", out=tmp_path / f"of_{size}", **numbers)
        recalls.append(float(api.scores_of(run)["recall1"]))
    learnt("recall1", recalls[1], least=0.6)  # 0.08 by chance
    learnt("gain of recall1", recalls[1] - recalls[0], least=0.12)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short training, beside `pairs`, on which it was."""
    folder = tmp_path_factory.mktemp("first")
    write_pairs(folder / "pairs", 30, 0)
    api.train("clip_tiny", data=folder / "pairs", out=folder / "run", **{**TRAINING, "epochs": 1})
    return folder / "run"


@pytest.mark.system("7.3.1-HIRES")
def test_one_more_epoch_at_a_larger_size_begins_with_interpolated_positions(first: Path, tmp_path: Path) -> None:
    larger = vidi.create("clip_tiny", weights=str(first), size=(48, 64))
    small, large = (each.network.image.backbone.positions.table for each in (api.load(first), larger))
    assert (small.shape[1], large.shape[1]) == (17, 49)
    assert_close(large, resample_abs_pos_embed(small, [6, 8]), FLOAT32)
    assert larger.preprocess.exact == (48, 64)
    numbers = {"size": (48, 48), "epochs": 1, "learning_rate": 1e-3, "batch_size": 12, "validate_first": False}
    second = api.train("clip_tiny", weights=str(first), data=first.parent / "pairs", out=tmp_path / "run", **numbers)
    assert api.load(second.folder).embed(picture(0)).shape == (1, 32)
    assert float(files.read_csv(second.folder / "metrics.csv")[-1]["epoch"]) == 1


@pytest.mark.system("7.3.1-HIRES")
def test_positions_of_attention_pooling_are_interpolated_too() -> None:
    numbers: dict[str, Any] = {"embedding": 8, "width": 8, "blocks": (1, 1, 1, 1), "text_width": 8, "text_layers": 1}
    small, large = (cast(Any, clip.clip_rn50(size=(side, side), head=8, **numbers).network) for side in (64, 96))
    fitted = fitted_positions(large, small.state_dict(), antialias=True)
    large.load_state_dict(fitted)
    expected = resample_abs_pos_embed(small.image.pool.positions.table, [3, 3])
    assert_close(large.image.pool.positions.table, expected, FLOAT32)


def test_fine_tuning_begins_with_the_scores_of_the_weights(first: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    write_pairs(folder, 40, 2)
    lines = files.read_text(folder / "captions.jsonl").replace("something", "anything")
    files.write_text(folder / "captions.jsonl", lines)
    scores = api.evaluate(first, data=folder)
    second = api.train("clip_tiny", weights=str(first), data=folder, out=tmp_path / "two", steps=2)
    assert second.config()["arguments"]["merges"] == Run(first).config()["arguments"]["merges"]
    rows = files.read_csv(second.folder / "metrics.csv")
    assert (rows[0]["step"], rows[0]["split"]) == ("0", "val")
    assert float(rows[0]["recall1"]) == pytest.approx(float(scores["recall1"]))
    best = max(float(row["recall1"]) for row in rows if row["recall1"])
    assert float(api.scores_of(second)["recall1"]) == pytest.approx(best)


# ----------------------------------------------------------------------------------------------------------------------
# The commands


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("clip")
    model().save(place / "model")
    (place / "photos").mkdir()
    for number in range(3):
        files.write_image(place / "photos" / f"{number}.png", as_picture(picture(number)))
    files.write_text(place / "photos" / "broken.png", "no picture")
    files.write_text(place / "names.txt", "ab\n\ncd\n")
    return place


def test_pictures_are_classified_and_found_by_the_command(folder: Path, tmp_path: Path) -> None:
    words = ("--prompts", folder / "names.txt", "--out", tmp_path, "--json")
    done = command("classify", folder / "model", folder / "photos", *words)
    assert done.code == 3
    assert "broken.png: not an image" in done.err
    assert "1 of 4 pictures could not be read" in done.err
    rows = json.loads(done.out)
    expected = api.load(folder / "model").classify([row["image"] for row in rows], ["ab", "cd"])
    assert [Path(row["image"]).name for row in rows] == ["0.png", "1.png", "2.png"]
    assert [row["name"] for row in rows] == [result.name for result in expected]
    assert [row["score"] for row in rows] == pytest.approx([result.score for result in expected], abs=1e-4)
    assert all(Path(row["drawn"]).is_file() for row in rows)


def test_pictures_are_found_by_the_command(folder: Path, tmp_path: Path) -> None:
    words = ("--text", "ab", "--text", "cd ef", "--top", "2", "--json", "--out", tmp_path)
    done = command("search", folder / "model", folder / "photos", *words)
    rows = json.loads(done.out)
    assert [(row["text"], row["place"]) for row in rows] == [("ab", 1), ("ab", 2), ("cd ef", 1), ("cd ef", 2)]
    assert rows[0]["similarity"] >= rows[1]["similarity"]
    assert (tmp_path / "found.png").is_file()


AMONG = ("--prompts", "a", "--prompts", "b")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("classify", "MODEL", "PHOTOS"), "among which names?"),
        (("classify", "MODEL", "PHOTOS", "--prompts", "ab,cd"), "'ab,cd' is one name"),
        (("search", "MODEL", "PHOTOS"), "what is searched for?"),
        (("classify", "resnet18", "PHOTOS", *AMONG), "resnet18 is a system for classification"),
        (("classify", "MODEL", "nowhere", *AMONG), "nowhere: no such file or folder"),
    ],
)
def test_commands_say_what_is_wrong(folder: Path, words: tuple[str, ...], message: str) -> None:
    given = {"MODEL": str(folder / "model"), "PHOTOS": str(folder / "photos")}
    done = command(*(given.get(word, word) for word in words))
    assert done.code in (2, 3)
    assert message in done.err


def test_the_public_face_knows_the_result() -> None:
    assert vidi.ImageText.__module__ == "vidi.results.image_text"
