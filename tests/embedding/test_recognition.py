"""Recognition by neighbours, and strangers by verification."""

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from tests.embedding.losses import drawn
from vidi.embedding.recognition import STRANGER, recognise

PEOPLE = torch.arange(30) % 5
GALLERY = 4 * drawn(5, 6)[PEOPLE] + 0.2 * drawn(30, 6, seed=1)
QUERIES = 4 * drawn(5, 6) + 0.2 * drawn(5, 6, seed=2)


@pytest.mark.system("7.1.1-KNN")
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(("k", "weights"), [(1, "uniform"), (7, "uniform"), (7, "distance")])
def test_people_are_those_of_scikit_learn(k: int, weights: str, metric: str) -> None:
    queries = drawn(40, 6, seed=3, scale=3.0)
    theirs = KNeighborsClassifier(k, weights=weights, metric=metric).fit(GALLERY.numpy(), PEOPLE.numpy())  # type: ignore[arg-type]
    found = recognise(queries, GALLERY, PEOPLE, k=k, weights=weights, metric=metric)
    assert found.identities.tolist() == theirs.predict(queries.numpy()).tolist()
    assert (found.shares <= 1).all()


@pytest.mark.system("7.2-VERIFY")
def test_a_query_is_a_stranger_where_its_nearest_picture_does_not_verify() -> None:
    queries = torch.cat([QUERIES, QUERIES + 20])
    assert recognise(queries, GALLERY, PEOPLE, k=3, threshold=2).identities.tolist() == [*range(5), *[STRANGER] * 5]
    assert STRANGER not in recognise(queries, GALLERY, PEOPLE, k=3).identities
    apart = torch.tensor([[0.0], [3.0]])
    exactly = recognise(apart, torch.tensor([[1.0]]), torch.tensor([4]), threshold=1.0)
    assert exactly.identities.tolist() == [4, STRANGER]
    assert exactly.shares.tolist() == [1, 1]


@pytest.mark.system("7.1.1-KNN")
def test_a_person_leaves_without_a_trace_in_the_answers_of_others() -> None:
    stay = PEOPLE != 2
    left = recognise(QUERIES, GALLERY[stay], PEOPLE[stay], k=3)
    assert [int(i) for i in left.identities if i != 2] == left.identities.tolist()
    assert left.identities[[0, 1, 3, 4]].tolist() == [0, 1, 3, 4]


def test_identities_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="received the identity -1, expected none below 0"):
        recognise(QUERIES, GALLERY, PEOPLE - 1)
