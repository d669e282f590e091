"""DeepID2's crops: which there are, which are chosen, and components as scikit-learn has them."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA

from tests.closeness import FLOAT32, OUTPUTS, assert_close
from vidi.api import load
from vidi.data.faces import Faces
from vidi.embedding.deepid2_crops import (
    Crop,
    CropError,
    PrincipalComponents,
    SomePeople,
    choose_crops,
    cut,
    deepid2_crops,
    fixed_crops,
    joined,
)
from vidi.metrics.verification import equal_error_rate, roc
from vidi.ops.neighbours import distances


@pytest.mark.system("7.2.1-DEEPID2TTA")
def test_there_are_200_crops_of_every_place_size_colour_and_side() -> None:
    crops = fixed_crops()
    assert len(set(crops)) == 200
    for crop in crops:
        assert 0 <= crop.top <= crop.top + crop.share <= 1 + 1e-9
        assert 0 <= crop.left <= crop.left + crop.share <= 1 + 1e-9
    assert {len({crop[field] for crop in crops}) for field in (2, 3, 4)} == {2}
    for share, step in ((0.6, 0.1), (0.8, 0.05)):  # five places, from one side to the other
        for field in (0, 1):
            found = sorted({crop[field] for crop in crops if crop.share == share})
            assert found == pytest.approx([step * place for place in range(5)])


def test_a_crop_shows_its_part_of_the_image() -> None:
    images = torch.arange(10.0)[None, None, :, None].expand(1, 3, 10, 10) + torch.arange(10.0) * 100
    images = images * torch.tensor([1.0, 2.0, 3.0])[None, :, None, None]
    plain = next(c for c in fixed_crops() if not (c.is_grey or c.is_mirrored) and c.share == 0.6 and c.top > 0.3)
    top, left = round(plain.top * 10), round(plain.left * 10)
    seen = cut(images, plain, (6, 6))
    assert torch.equal(seen, images[:, :, top : top + 6, left : left + 6])
    assert torch.equal(cut(images, plain._replace(is_mirrored=True), (6, 6)), seen.flip(3))
    grey = cut(images, plain._replace(is_grey=True), (6, 6))
    assert torch.equal(grey, seen.mean(1, keepdim=True).expand(1, 3, 6, 6))
    assert cut(images, plain, (3, 4)).shape == (1, 3, 3, 4)


def test_smaller_crops_are_smoothed() -> None:
    """A third as wide: weights 1 2 3 2 1 of nine, where 0 and 1 alternate."""
    stripes = (torch.arange(21) % 2).float().expand(1, 3, 21, 21)
    seen = cut(stripes, Crop(0.0, 0.0, 1.0, is_grey=False, is_mirrored=False), (7, 7))[0, 0, 3, 1:-1]
    assert_close(seen, torch.tensor([4 / 9, 5 / 9, 4 / 9, 5 / 9, 4 / 9]), FLOAT32)


@pytest.mark.system("7.2.1-DEEPID2TTA")
def test_the_error_of_some_crops_is_that_of_their_joined_vectors() -> None:
    vectors, labels = torch.randn(12, 5, 3, dtype=torch.float64), torch.arange(12) % 4
    first, second = torch.triu_indices(12, 12, offset=1)
    for chosen in ([2], [0, 3], [4, 1, 2]):
        together = joined(vectors, chosen)
        assert torch.equal(together, torch.cat([vectors[:, crop] for crop in chosen], 1))
        apart = distances(together, together, metric="cosine")[first, second]
        expected = equal_error_rate(roc(apart, labels[first] == labels[second]))
        assert CropError(vectors, labels)(chosen) == pytest.approx(expected, abs=1e-9)
    with pytest.raises(ValueError, match="pairs of one kind"):
        CropError(vectors, torch.zeros(12, dtype=torch.int64))


@pytest.mark.system("7.2.1-DEEPID2TTA")
def test_what_was_added_first_is_taken_away_where_others_do_better_together() -> None:
    """0 is best alone, so that it comes first; but 1 and 2 with 3 need no 0: only a step back finds them."""
    errors = {frozenset({0}): 0.3, frozenset({0, 1}): 0.25, frozenset({0, 1, 2}): 0.2, frozenset({1, 2}): 0.1}
    errors |= {frozenset({1, 2, 3}): 0.05, frozenset({1, 2, 3, 4}): 0.04}

    def error(chosen: object) -> float:
        return errors.get(frozenset(chosen), 0.5)  # type: ignore[call-overload]

    assert choose_crops(error, 5, 2) == [0, 1]
    assert choose_crops(error, 5, 3) == [1, 2, 3]
    assert sorted(choose_crops(error, 5, 4)) == [1, 2, 3, 4]
    assert choose_crops(lambda _: 0.5, 5, 4) == [0, 1, 2, 3]  # without a gain there is no step back
    with pytest.raises(ValueError, match="received count=6 and 5 crops, expected 1 to 5"):
        choose_crops(error, 5, 6)


@pytest.mark.system("7.2.1-DEEPID2TTA")
def test_components_are_those_of_scikit_learn() -> None:
    vectors = torch.randn(40, 25, dtype=torch.float64) @ torch.randn(25, 25, dtype=torch.float64)
    ours, theirs = PrincipalComponents.of(vectors, 7), PCA(7, svd_solver="full").fit(vectors.numpy())
    signs = torch.sign((ours.directions * torch.from_numpy(theirs.components_)).sum(1))
    assert_close(ours.directions, signs[:, None] * torch.from_numpy(theirs.components_), OUTPUTS)
    assert_close(ours.variances, torch.from_numpy(theirs.explained_variance_), OUTPUTS)
    assert_close(ours.mean, torch.from_numpy(theirs.mean_), OUTPUTS)
    expected = signs * torch.from_numpy(theirs.transform(vectors.numpy()))
    assert_close(ours.reduced(vectors), expected, OUTPUTS)
    assert (ours.directions.gather(1, ours.directions.abs().argmax(1, keepdim=True)) > 0).all()
    with pytest.raises(ValueError, match=r"received count=26 and \(40, 25\) numbers"):
        PrincipalComponents.of(vectors, 26)


@pytest.mark.system("7.2.1-DEEPID2TTA", "B7.9")
def test_the_numbers_of_the_paper() -> None:
    with torch.device("meta"):
        parts: Any = deepid2_crops().parts
    ensemble = parts["crops"]
    assert parts["network"].linear.weight.shape == (8192, 160)  # section 2: a softmax over 8192 people
    assert ensemble.chosen.shape == (25,)
    assert ensemble.directions.shape == (180, 4000)


@pytest.mark.system("7.2.1-DEEPID2TTA")
def test_crops_are_chosen_once_on_people_whom_the_network_never_saw(tmp_path: Path) -> None:
    sizes = {"size": (32, 32), "whole": (48, 48), "channels": (2, 2, 2, 2), "dimensions": 8}
    model = deepid2_crops(identities=10, **sizes, chosen=3, components=6)  # type: ignore[arg-type]
    faces = Faces(identities=10, pictures=3, size=(48, 48))
    network, crops = model.stages()
    ensemble: Any = model.parts["crops"]
    trained, developed = network.prepare(faces), crops.prepare(faces)
    assert isinstance(trained, SomePeople)
    assert set(trained.labels.tolist()) == {0, 1, 2, 3, 5, 6, 7, 8}
    assert set(developed.labels.tolist()) == {4, 9}
    assert [int(developed[row][1]["label"]) for row in range(len(developed))] == developed.labels.tolist()
    crops.model.fit(developed)  # type: ignore[attr-defined]
    assert len(set(ensemble.chosen.tolist())) == 3
    pictures = [faces[row][0] for row in range(3)]
    vectors = model.embed(pictures)
    assert vectors.shape == (3, 6)  # as many as there are pictures of theirs
    batch = model.preprocess.collate([model.preprocess.place(*faces[row]) for row in range(3)])
    deepid2: Any = model.parts["network"]
    seen = [cut(batch.images, fixed_crops()[place], (32, 32)) for place in ensemble.chosen.tolist()]
    with torch.no_grad():
        together = torch.cat([deepid2.eval()(crop).embeddings for crop in seen], 1)
    assert_close(vectors, F.normalize((together - ensemble.mean) @ ensemble.directions.T), 1e-5)
    assert_close(vectors.norm(dim=1), torch.ones(3), 1e-5)
    model.save(tmp_path)
    assert_close(load(tmp_path).embed(pictures), vectors, 1e-5)
