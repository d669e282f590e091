"""Mining: against pytorch-metric-learning and slow loops; what is drawn, and what is counted."""

from collections import Counter
from typing import Any

import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.miners import BatchHardMiner, TripletMarginMiner
from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_triplets_indices
from torch import Tensor

from tests.embedding.losses import batch_of, drawn
from tests.references import metric_learning as slow
from vidi.embedding.mining import count_triplets, drawn_triplets, hardest_triplets, mined_triplets
from vidi.ops.triplets import Triplets

THEIR_KINDS = {"semi_hard": "semihard", "hard": "hard", "violating": "all", "easy": "easy"}
BLOCKS = [2**22, 3 * 20]


def listed(triplets: Triplets | tuple[Tensor, ...]) -> list[tuple[int, ...]]:
    return [tuple(row) for row in torch.stack(list(triplets), 1).tolist()]


@pytest.fixture(params=BLOCKS, ids=["whole", "blocks"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidi.ops.blocks.LARGEST", request.param)


@pytest.mark.system("7.2.2-SEMIHARD")
@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("kind", THEIR_KINDS)
@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_mined_triplets_are_those_of_pytorch_metric_learning(margin: float, kind: str) -> None:
    embeddings, identities = batch_of(5, 4)
    distance = LpDistance(power=2, normalize_embeddings=False)
    theirs = TripletMarginMiner(margin=margin, type_of_triplets=THEIR_KINDS[kind], distance=distance)
    ours = mined_triplets(embeddings, identities, margin=margin, kind=kind)
    assert sorted(listed(ours)) == sorted(listed(theirs(embeddings.detach(), identities)))
    assert len(ours.anchor) > 20


@pytest.mark.system("7.2.2-SEMIHARD")
@pytest.mark.usefixtures("block")
def test_every_triplet_is_of_one_kind_and_counted() -> None:
    margin = 0.7
    embeddings, identities = batch_of(5, 4, seed=2)
    everything = listed(mined_triplets(embeddings, identities, kind="all"))
    assert sorted(everything) == sorted(listed(get_all_triplets_indices(identities)))
    expected = slow.kinds(embeddings.tolist(), identities.tolist(), margin)
    for kind, of_kind in expected.items():
        assert set(listed(mined_triplets(embeddings, identities, margin=margin, kind=kind))) == of_kind
    counts = count_triplets(embeddings, identities, margin=margin)
    assert counts._asdict() == {kind: len(expected[kind]) for kind in ("easy", "semi_hard", "hard")}
    assert sum(counts) == len(everything) == 20 * 3 * 16
    assert count_triplets(embeddings, identities) == count_triplets(embeddings, identities, margin=0.2)


@pytest.mark.system("7.2.2-SEMIHARD")
@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("kind", ["semi_hard", "all", "hard"])
def test_each_pair_draws_one_negative_of_the_kind(kind: str) -> None:
    """FaceNet: all pairs (anchor, positive), a random negative within the margin."""
    embeddings, identities = batch_of(5, 4)
    possible = set(listed(mined_triplets(embeddings, identities, margin=0.6, kind=kind)))
    seen: Counter[tuple[int, ...]] = Counter()
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        one = listed(drawn_triplets(embeddings, identities, margin=0.6, kind=kind, generator=generator))
        assert {row[:2] for row in one} == {row[:2] for row in possible}
        assert len({row[:2] for row in one}) == len(one)
        seen.update(one)
    assert set(seen) <= possible
    assert len(seen) > 0.8 * len(possible)


@pytest.mark.system("7.2.2-SEMIHARD")
def test_draws_are_uniform_and_the_generators_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pair each way; seven negatives, of which five are semi-hard for the first anchor."""
    places = torch.tensor([0.0, 1.0, -0.9, -1.05, -1.06, -1.07, -1.08, -1.09, -3.0])[:, None]
    identities = torch.tensor([0, 0, *range(1, 8)])
    counts: Counter[int] = Counter()
    for seed in range(400):
        generator = torch.Generator().manual_seed(seed)
        found = drawn_triplets(places, identities, margin=0.2, generator=generator)
        assert found.anchor.tolist() == [0]
        counts[int(found.negative[0])] += 1
    assert set(counts) == {3, 4, 5, 6, 7}
    assert all(50 < count < 110 for count in counts.values())
    generator = torch.Generator().manual_seed(3)
    whole = drawn_triplets(places, identities, kind="all", generator=generator)
    monkeypatch.setattr("vidi.ops.blocks.LARGEST", 1)
    again = drawn_triplets(places, identities, kind="all", generator=torch.Generator().manual_seed(3))
    assert listed(whole) == listed(again)


@pytest.mark.usefixtures("block")
def test_the_hardest_are_those_of_pytorch_metric_learning() -> None:
    embeddings, identities = batch_of(5, 4)
    identities[identities == 4] = torch.arange(4, 8)  # those have no positive
    theirs = BatchHardMiner(distance=LpDistance(power=2, normalize_embeddings=False))(embeddings.detach(), identities)
    ours = hardest_triplets(embeddings, identities)
    assert listed(ours) == listed(theirs)
    assert len(ours.anchor) == 16


@pytest.mark.system("7.2.2-SEMIHARD")
def test_equal_vectors_are_hard_and_never_semi_hard() -> None:
    vectors = drawn(1, 6).expand(6, 6)
    identities = torch.arange(6) % 3
    assert count_triplets(vectors, identities) == (0, 0, 24)
    assert count_triplets(vectors, identities, margin=0) == (0, 0, 24)
    assert len(mined_triplets(vectors, identities, kind="hard").anchor) == 24


@pytest.mark.system("7.2.2-SEMIHARD")
@pytest.mark.parametrize(
    "identities",
    [torch.zeros(4), torch.arange(4), torch.zeros(1), torch.zeros(0)],
    ids=["one", "each", "one picture", "none"],
)
def test_batches_without_triplets_have_none(identities: Tensor) -> None:
    labels = identities.long()
    vectors = drawn(len(labels), 6)
    assert count_triplets(vectors, labels) == (0, 0, 0)
    for found in (
        mined_triplets(vectors, labels, kind="all"), drawn_triplets(vectors, labels), hardest_triplets(vectors, labels)
    ):  # fmt: skip
        assert listed(found) == []
        assert found.anchor.dtype == torch.int64


@pytest.mark.parametrize("options", [{"kind": "soft"}, {"kind": "hard", "margin": -1}])
def test_what_no_triplet_is_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"received (triplets 'soft'|margin=-1)"):
        mined_triplets(drawn(4, 6), torch.arange(4) % 2, **options)
