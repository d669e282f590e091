"""Generated data are functions of (seed, split, index): equal bits in any order, in any process."""

import hashlib
import inspect

import pytest
import torch

from vidi.data.faces import Faces
from vidi.data.seeding import sample_generator
from vidi.data.shapes import ShapeImages, shape_images
from vidi.data.spam import spam_table
from vidi.data.translation import TranslationPairs


def digest() -> str:
    """Hash a few samples of every generator, drawn from the last to the first."""
    bits = hashlib.sha256()
    for data in (ShapeImages("val", count=5, size=(17, 24)), Faces("test", identities=2, pictures=2, size=(40, 32))):
        for index in reversed(range(len(data))):
            bits.update(data[index][0].numpy().tobytes())
    bits.update(spam_table(20, split="test", seed=3).features.tobytes())
    for source, target in (TranslationPairs("val", count=3, seed=1)[i] for i in (2, 0, 1)):
        bits.update(torch.cat([source, target]).numpy().tobytes())
    return bits.hexdigest()


@pytest.mark.system("0-DATA-CLS", "0-DATA-FACE")
def test_another_process_draws_the_same_bits(run_python):
    imports = """
import hashlib
import torch
from vidi.data.faces import Faces
from vidi.data.shapes import ShapeImages
from vidi.data.spam import spam_table
from vidi.data.translation import TranslationPairs
"""
    here = digest()
    torch.rand(7)
    done = run_python("-c", f"{imports}\n{inspect.getsource(digest)}\nprint(digest())")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == here == digest()


def test_seed_split_and_index_each_change_the_draw():
    draws = [
        sample_generator(*key).random() for key in [(0, "train", 1), (1, "train", 1), (0, "val", 1), (0, "train", 2)]
    ]
    assert len(set(draws)) == 4
    assert sample_generator(0, "train", 1).random() == draws[0]


def test_a_trailing_zero_is_another_sample():
    assert sample_generator(0, "train", 1).random() != sample_generator(0, "train", 1, 0).random()


def test_a_longer_set_begins_with_the_shorter():
    assert torch.equal(shape_images(3, size=(16, 16))[0], shape_images(5, size=(16, 16))[0][:3])
    assert (spam_table(3).features == spam_table(8).features[:3]).all()


def test_the_global_generator_is_left_alone():
    before = torch.default_generator.get_state()
    shape_images(2, size=(16, 16))
    _ = Faces(identities=1, pictures=1)[0]
    assert torch.equal(before, torch.default_generator.get_state())


@pytest.mark.parametrize("make", [ShapeImages, Faces, TranslationPairs, lambda split: spam_table(1, split=split)])
def test_an_unknown_split_is_an_error_with_the_choices(make):
    with pytest.raises(ValueError, match=r"'holdout', expected one of train, val, test"):
        make("holdout")


def test_an_index_beyond_the_end_is_an_error():
    data = ShapeImages(count=3)
    assert int(data[-1][1]["image_id"]) == 2
    with pytest.raises(IndexError, match="3 samples"):
        _ = data[3]
    with pytest.raises(ValueError, match="none below 0"):
        sample_generator(-1, "train", 0)
