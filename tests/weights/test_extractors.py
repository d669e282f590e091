"""Extractors: a classifier's averaged last map, the network of FID, and the small classifier that is shipped."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import vidi
from tests.closeness import FLOAT32, assert_close
from tests.conftest import Learnt
from vidi import files
from vidi.backbones.classifier import Classifier
from vidi.data.digits import digits
from vidi.metrics.generation_score import digest_of, score_generation
from vidi.preprocess import Preprocess
from vidi.weights import extractors
from vidi.weights.extractors import EXTRACTORS, SHIPPED, described, extractor, extractor_of


def colour(grey: Tensor) -> Tensor:
    """Return grey pictures of 0 to 255 as pictures of three equal colours from 0 to 1."""
    return (grey.float() / 255)[:, None].repeat(1, 3, 1, 1)


def test_any_classifier_is_an_extractor():
    model = vidi.create("resnet20", categories=4, size=(16, 16))
    judge, pictures = extractor_of(model, "mine"), torch.rand(3, 3, 20, 30)
    found = judge.run(pictures)
    assert isinstance(model.network, Classifier)
    batch = model.preprocess.collate([model.preprocess.place(picture, {}) for picture in pictures])
    expected = model.network.features(batch.images)[-1].mean((2, 3))
    assert_close(found.features, expected, FLOAT32)
    assert found.features.shape == (3, 64)
    assert not found.features.requires_grad
    assert found.probabilities is not None
    assert_close(found.probabilities, torch.stack([result.probabilities for result in model.predict(list(pictures))]))
    assert (judge.name, judge.digest) == ("mine", digest_of(model.network.state_dict()))
    assert (
        judge.resize == "exact (16, 16); bilinear, antialiased; mean (0.485, 0.456, 0.406), std (0.229, 0.224, 0.225)"
    )
    model.train()
    assert_close(judge.run(pictures).features, expected, FLOAT32)  # batch statistics play no part


def test_words_tell_preprocessings_apart():
    some = [
        Preprocess(),
        Preprocess(exact=(299, 299)),
        Preprocess(exact=(299, 299), antialias=False),
        Preprocess(shorter=256),
        Preprocess(shorter=256, crop=(224, 224)),
        Preprocess(longest=256),
        Preprocess(interpolation="bicubic"),
        Preprocess(mean=(0.5,) * 3),
        Preprocess(std=(0.5,) * 3),
    ]
    told = [described(preprocess) for preprocess in some]
    assert told[2].startswith("exact (299, 299); bilinear; mean")
    assert told[0].startswith("no resizing; bilinear, antialiased")
    assert len(set(told)) == len(told)


def test_other_models_and_unknown_names_are_refused():
    with pytest.raises(TypeError, match="expected an image classifier"):
        extractor_of(vidi.create("retinanet_tiny"), "boxes")
    with pytest.raises(ValueError, match="received the extractor 'vgg', expected one of digits, inception"):
        extractor("vgg")


def test_the_network_of_fid_asks_for_its_published_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And is an extractor by the resizing of pytorch-fid; a quarter of its 2048 features here, for time."""
    monkeypatch.setenv("VIDI_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(FileNotFoundError, match=r"pt_inception-2015-12-05-6726825d\.pth"):
        extractor("inception")
    judge = extractor_of(vidi.create("inception_v3_fid", width=8), "inception")
    found = judge.run(torch.rand(2, 3, 32, 32))
    assert found.features.shape == (2, 512)
    assert found.probabilities is not None
    assert found.probabilities.shape == (2, 1008)
    assert judge.resize == "exact (299, 299); bilinear; mean (0.5, 0.5, 0.5), std (0.5, 0.5, 0.5)"


# ----------------------------------------------------------------------------------------------------------------------
# The classifier that is shipped


def test_the_shipped_classifier_is_small_and_complete():
    folder = Path(EXTRACTORS["digits"][1])
    assert folder.is_relative_to(SHIPPED)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "weights.safetensors"]
    assert (folder / "weights.safetensors").stat().st_size < 600_000
    assert files.read_json(folder / "config.json")["arguments"]["categories"] == list("0123456789")
    assert extractor().digest == extractor("digits").digest


def test_the_shipped_classifier_reads_mnist(shared_data: Path, learnt: Learnt):
    arrays = np.load(shared_data / "mnist" / "mnist.npz")
    pictures, labels = torch.from_numpy(arrays["test_images"][::6]), torch.from_numpy(arrays["test_labels"][::6])
    opinion = extractor().run(colour(pictures)).probabilities
    assert opinion is not None
    learnt("top1", float((opinion.argmax(1) == labels).double().mean()), least=0.95)


def test_scores_of_the_shipped_classifier_order_sets_of_pictures(shared_data: Path):
    """Real digits score best against real ones, then digits of one class, then noise."""
    arrays = np.load(shared_data / "mnist" / "mnist.npz")
    pictures, labels = colour(torch.from_numpy(arrays["test_images"])), torch.from_numpy(arrays["test_labels"])
    one_class = pictures[labels == 3]
    sets = {"real": pictures[200:400], "one class": one_class[:200], "noise": torch.rand(200, 3, 28, 28)}
    found = {
        name: score_generation([pictures[:200]], [each], extractor(), real_set="mnist/test").values
        for name, each in sets.items()
    }
    assert found["real"]["fid"] < found["one class"]["fid"] < found["noise"]["fid"]
    assert found["one class"]["precision"] > 0.5 > found["one class"]["recall"]
    assert found["real"]["recall"] > 0.5
    assert found["noise"]["precision"] < 0.1
    assert found["one class"]["inception_score"] < 2 < found["real"]["inception_score"]
    assert math.isfinite(found["noise"]["inception_score"])


def test_the_shipped_classifier_tells_the_digits_of_the_package_from_noise():
    """Of eight pixels a side, which are none of MNIST's: near enough to each other, and far from noise."""
    real, other = (digits(split)[0][:150].repeat(1, 3, 1, 1) for split in ("train", "test"))
    scores = [
        score_generation([real], [each], extractor(), real_set="digits/train").values
        for each in (other, torch.rand(150, 3, 8, 8))
    ]
    assert scores[0]["fid"] < scores[1]["fid"] / 2
    assert scores[0]["precision"] > 0.5 > scores[1]["precision"]
    assert set(extractors.EXTRACTORS) == {"digits", "inception"}
