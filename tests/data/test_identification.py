"""Galleries, probes and verification pairs, of generated faces and of any labels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidi.data.faces import Faces
from vidi.data.identification import gallery_split, verification_pairs

LABELS = Faces(identities=12, pictures=5).labels


@pytest.mark.system("0-DATA-FACE")
def test_every_enrolled_person_has_gallery_and_probes():
    split = gallery_split(LABELS, per_identity=2)
    assert torch.bincount(LABELS[split.gallery]).tolist() == [2] * 12
    assert torch.bincount(LABELS[split.probes]).tolist() == [3] * 12
    assert len(split.strangers) == 0
    assert torch.equal(torch.cat([split.gallery, split.probes]).sort().values, torch.arange(60))


@pytest.mark.system("0-DATA-FACE")
def test_an_open_set_leaves_strangers_out_of_the_gallery():
    split = gallery_split(LABELS, enrolled=0.75, seed=3)
    known, strangers = set(LABELS[split.gallery].tolist()), set(LABELS[split.strangers].tolist())
    assert len(known) == 9
    assert len(strangers) == 3
    assert not known & strangers
    assert known == set(LABELS[split.probes].tolist())
    assert sum(map(len, split)) == 60
    assert not torch.equal(gallery_split(LABELS, seed=4).gallery, gallery_split(LABELS, seed=5).gallery)


@pytest.mark.system("0-DATA-FACE")
@given(count=st.integers(0, 200), seed=st.integers(0, 5))
def test_pairs_are_balanced_true_and_different(count, seed):
    places, same = verification_pairs(LABELS, count, seed=seed)
    assert places.shape == (count, 2)
    assert int(same.sum()) == count // 2
    assert torch.equal(LABELS[places[:, 0]] == LABELS[places[:, 1]], same)
    assert len({tuple(sorted(pair)) for pair in places.tolist()}) == count
    assert (places[:, 0] != places[:, 1]).all()
    again, _ = verification_pairs(LABELS, count, seed=seed)
    assert torch.equal(places, again)


def test_too_few_samples_are_an_error_that_counts_them():
    with pytest.raises(ValueError, match="asked for 100 pairs of one identity, the 5 samples have 10"):
        verification_pairs(torch.zeros(5, dtype=torch.int64), 200)
    with pytest.raises(ValueError, match="the 0 samples have 0"):
        verification_pairs(torch.zeros(0, dtype=torch.int64), 2)
    with pytest.raises(ValueError, match="identity 7 has 2 samples, expected more than 2"):
        gallery_split(torch.tensor([7, 7]), per_identity=2)
    with pytest.raises(ValueError, match="nobody would be in the gallery"):
        gallery_split(LABELS, enrolled=0.0)
