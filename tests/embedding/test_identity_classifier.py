"""A classifier of people knows those of its training and no other; a gallery of its vectors takes anybody."""

from typing import Any

import pytest
import torch

from tests.closeness import assert_close
from vidi.data.faces import Faces
from vidi.embedding.identity_classifier import identity_classifier
from vidi.embedding.recognition import recognise

KNOWN = ("ann", "ben", "cid")


@pytest.mark.system("7.1.1-PLAIN")
def test_a_stranger_gets_the_name_of_somebody_else_and_a_gallery_names_him() -> None:
    """Whoever comes is one of three to the softmax, however sure; another person is another output, and new weights."""
    model = identity_classifier(categories=KNOWN, width=16, dimensions=32)
    faces = Faces("test", identities=5, pictures=2, size=(64, 64), nuisance=0.0)
    pictures = [faces[row][0] for row in range(len(faces))]
    for result in model.predict(pictures):
        assert result.name in KNOWN
        assert float(result.probabilities.sum()) == pytest.approx(1, abs=1e-5)
    grown = identity_classifier(categories=(*KNOWN, "dan"), width=16, dimensions=32)
    assert {n for n, p in grown.named_parameters() if p.shape != model.state_dict()[n].shape} == {
        "network.head.linear.weight", "network.head.linear.bias"
    }  # fmt: skip

    vectors = model.embed(pictures)
    gallery, queries = vectors[::2], vectors[1::2]
    assert recognise(queries, gallery, torch.arange(5)).identities.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.system("7.1.1-PLAIN")
def test_vectors_are_the_hidden_layer_of_length_1() -> None:
    model: Any = identity_classifier(categories=3, dimensions=8)
    picture = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    image = model.preprocess.collate([model.preprocess.place(picture, {})]).images
    map_ = model.network.backbone(image)[-1]
    hidden = model.network.head.hidden(map_.mean((2, 3))).relu()
    assert_close(model.network(image).logits, model.network.head.linear(hidden), 1e-6)
    assert_close(model.embed([picture]), hidden / hidden.norm(), 1e-5)
    assert model.embed([]).shape == (0, 0)
