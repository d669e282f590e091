"""Galleries: identities come and go, answers of others stay, and what was kept comes back as it was."""

import math
from typing import Any

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from tests.embedding.galleries import CENTRES, NAMES, QUERIES, SEARCHES, answers, filled, names_of
from tests.embedding.losses import drawn
from vidi.embedding.gallery import Gallery
from vidi.ops.neighbours import nearest

# ----------------------------------------------------------------------------------------------------------------------
# Queries


@pytest.mark.system("7.1-OPENWORLD", "7.1.1-GALLERY", "7.1.1-KNN")
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(("k", "weights"), [(1, "uniform"), (7, "uniform"), (7, "distance")])
def test_people_are_those_of_scikit_learn(k: int, weights: str, metric: str) -> None:
    gallery, queries = filled(metric), drawn(40, 6, seed=3, scale=3.0)
    theirs = KNeighborsClassifier(k, weights=weights, metric=metric)  # type: ignore[arg-type]
    theirs.fit(gallery.vectors().numpy(), gallery.names())
    for search in SEARCHES:
        found = gallery.query(queries, k=k, weights=weights, search=search)
        assert [answer.name for answer in found] == theirs.predict(queries.float().numpy()).tolist()
        distances, _ = theirs.kneighbors(queries.float().numpy())
        ours = torch.tensor([[match.distance for match in answer.nearest] for answer in found])
        torch.testing.assert_close(ours.double(), torch.from_numpy(distances).double(), rtol=1e-5, atol=1e-6)


def test_an_answer_says_who_speaks_for_it() -> None:
    gallery = Gallery(1, metric="euclidean")
    gallery.enrol("Ann", torch.tensor([[0.0], [4.0]]))
    gallery.enrol("Bob", torch.tensor([[1.0]]))
    (answer,) = gallery.query(torch.tensor([[0.25]]), k=3)
    assert (answer.name, answer.distance) == ("Ann", 0.25)
    assert answer.share == pytest.approx(2 / 3)
    assert [(match.name, match.distance) for match in answer.nearest] == [("Ann", 0.25), ("Bob", 0.75), ("Ann", 3.75)]
    assert str(answer) == "Ann (67% of the votes; nearest: Ann at 0.2500)"
    (weighted,) = gallery.query(torch.tensor([[0.8]]), k=3, weights="distance")
    assert weighted.name == "Bob"
    votes = {"Ann": 1 / 0.8 + 1 / 3.2, "Bob": 1 / 0.2}
    assert weighted.share == pytest.approx(votes["Bob"] / sum(votes.values()))


@pytest.mark.system("7.1-OPENWORLD")
def test_a_query_that_verifies_with_nobody_is_a_stranger() -> None:
    gallery = filled(threshold=2)
    queries = torch.cat([QUERIES, QUERIES + 20])
    assert names_of(gallery, queries, k=3) == [*NAMES, *[None] * 5]
    assert None not in names_of(gallery, queries, k=3, threshold=math.inf)
    assert names_of(gallery, queries, k=3, threshold=0) == [None] * 10
    (stranger,) = gallery.query(queries[5:6])
    assert str(stranger).startswith("a stranger (nearest: ")
    gallery.threshold = None
    assert None not in names_of(gallery, queries)
    one = Gallery(1, metric="euclidean", threshold=1)
    one.enrol("Ann", torch.tensor([[1.0]]))
    assert names_of(one, torch.tensor([[0.0], [2.5]])) == ["Ann", None]  # the threshold itself verifies


def test_nobody_is_known_in_an_empty_gallery() -> None:
    gallery = Gallery(6)
    for threshold in (None, 1.0):
        (answer,) = gallery.query(QUERIES[:1], k=3, threshold=threshold)
        assert answer.to_dict() == {"name": None, "share": 0.0, "distance": None, "nearest": []}
    assert str(answer) == "a stranger (the gallery is empty)"
    assert gallery.counts() == {}
    assert filled().query(QUERIES[:0]) == []


def test_the_first_enrolled_wins_where_all_else_is_equal() -> None:
    gallery = Gallery(2)
    for name in ("Bob", "Ann", "Cem"):
        gallery.enrol(name, torch.tensor([[1.0, 0.0]]), [f"{ord(name[0]):064x}"])
    for search in SEARCHES:
        (answer,) = gallery.query(torch.tensor([[2.0, 0.0]]), k=2, search=search)
        assert [match.name for match in answer.nearest] == ["Bob", "Ann"]
        assert answer.name == "Bob"


def test_a_vector_without_a_direction_is_as_far_from_all_by_cosine() -> None:
    gallery = filled("cosine", threshold=0.9)
    (answer,) = gallery.query(torch.zeros(1, 6), k=30)
    assert answer.name is None
    assert {round(match.distance, 6) for match in answer.nearest} == {1.0}
    with pytest.raises(ValueError, match="a vector of length 0, which has no direction"):
        gallery.enrol("Zoe", torch.zeros(1, 6))
    by_distance = filled()
    assert by_distance.enrol("Zoe", torch.zeros(1, 6)) == 1
    assert names_of(by_distance, torch.zeros(1, 6)) == ["Zoe"]


def test_by_cosine_lengths_do_not_matter() -> None:
    short, long = Gallery(6), Gallery(6)
    for gallery, scale in ((short, 0.01), (long, 100.0)):
        for name, centre in zip(NAMES, CENTRES, strict=True):
            gallery.enrol(name, scale * centre[None])
    torch.testing.assert_close(short.vectors(), long.vectors())
    torch.testing.assert_close(long.vectors().norm(dim=1), torch.ones(5))
    assert names_of(short, 7 * QUERIES) == list(NAMES)


@pytest.mark.parametrize("metric", ["manhattan", "chi_square"])
def test_learnt_similarities_have_galleries_too(metric: str) -> None:
    gallery = Gallery(6, metric=metric)
    for number, name in enumerate(NAMES):
        gallery.enrol(name, (CENTRES[number] + 0.2 * drawn(3, 6, seed=10 + number)).abs())
    near = nearest(QUERIES.abs().float(), gallery.vectors(), 4, metric=metric)
    found = gallery.query(QUERIES.abs(), k=4)
    assert [answer.name for answer in found] == list(NAMES)
    ours = torch.tensor([[match.distance for match in answer.nearest] for answer in found])
    torch.testing.assert_close(ours, near.distances)


# ----------------------------------------------------------------------------------------------------------------------
# Coming, going and other names


@pytest.mark.system("7.1-OPENWORLD", "B7.13")
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_answers_about_others_stay_whoever_comes_and_goes(metric: str) -> None:
    threshold = {"euclidean": 2, "cosine": 0.05}[metric]
    gallery, alone = filled(metric, threshold=threshold), filled(metric, threshold=threshold)
    before = answers(gallery, QUERIES, 3)
    gallery.enrol("Zoe", 40 + drawn(9, 6, seed=9) if metric == "euclidean" else -CENTRES[:1])
    gallery.remove("Cem")
    after = answers(gallery, QUERIES, 3)
    assert [row for row in (0, 1, 3, 4) if after[row] != before[row]] == []
    assert after[2]["name"] is None
    assert "Cem" not in {match["name"] for answer in after for match in answer["nearest"]}
    gallery.remove("Zoe")
    alone.remove("Cem")
    assert answers(gallery, QUERIES, 30) == answers(alone, QUERIES, 30)


@pytest.mark.system("7.1.1-GALLERY")
def test_several_pictures_are_enrolled_and_more_later() -> None:
    gallery = Gallery(6)
    assert gallery.enrol("Ann", drawn(3, 6)) == 3
    assert gallery.enrol("Bob", drawn(2, 6, seed=1)) == 2
    assert gallery.enrol(" Ann ", drawn(4, 6, seed=2)) == 4
    assert gallery.counts() == {"Ann": 7, "Bob": 2}
    assert list(gallery) == ["Ann", "Bob"]
    assert len(gallery) == 9
    assert gallery.vectors("Bob").shape == (2, 6)
    assert gallery.names() == ["Ann"] * 3 + ["Bob"] * 2 + ["Ann"] * 4


def test_a_picture_is_enrolled_once() -> None:
    gallery = Gallery(6)
    vectors = drawn(3, 6)
    assert gallery.enrol("Ann", vectors[[0, 1, 0]]) == 2
    assert gallery.enrol("Ann", vectors) == 1
    assert len(gallery) == 3
    torch.testing.assert_close(gallery.vectors().double(), vectors / vectors.norm(dim=1, keepdim=True))
    with pytest.raises(ValueError, match="pictures of 'Bob' are enrolled as 'Ann'"):
        gallery.enrol("Bob", torch.cat([drawn(1, 6, seed=4), vectors[:1]]))
    assert "Bob" not in gallery
    assert len(gallery) == 3
    gallery.remove("Ann")
    assert gallery.enrol("Bob", vectors) == 3


def test_a_key_says_which_pictures_are_the_same() -> None:
    gallery = Gallery(6)
    keys = [f"{number:064x}" for number in range(3)]
    assert gallery.enrol("Ann", drawn(3, 6), keys) == 3
    assert gallery.owner(keys[1]) == "Ann"
    assert gallery.owner(f"{7:064x}") is None
    assert gallery.enrol("Ann", drawn(2, 6, seed=5), [keys[2], f"{9:064x}"]) == 1
    with pytest.raises(ValueError, match="received 2 keys, expected a SHA-256 for each of 3 vectors"):
        gallery.enrol("Ann", drawn(3, 6, seed=6), keys[:2])
    with pytest.raises(ValueError, match="expected a SHA-256"):
        gallery.enrol("Ann", drawn(1, 6, seed=6), ["abc"])


def test_another_name_changes_no_answer_but_the_name() -> None:
    gallery = filled()
    gallery.rename("Bob", "Robert")
    assert names_of(gallery) == ["Ann", "Robert", "Cem", "Dora", "Eve"]
    assert list(gallery) == ["Ann", "Robert", "Cem", "Dora", "Eve"]
    gallery.rename("Ann", "Ann")
    assert gallery.enrol("Robert", drawn(1, 6)) == 1
    with pytest.raises(ValueError, match="there is somebody called 'Eve'"):
        gallery.rename("Ann", "Eve")
    for change in (gallery.remove, gallery.vectors, lambda name: gallery.rename(name, "Bert")):
        with pytest.raises(ValueError, match="nobody in the gallery is called 'Bob'"):
            change("Bob")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 256, "a\x00"])
def test_a_name_is_a_line_of_text(name: str) -> None:
    gallery = filled()
    with pytest.raises(ValueError, match="expected a line of 1 to 255 letters"):
        gallery.enrol(name, drawn(1, 6))
    with pytest.raises(ValueError, match="expected a line of 1 to 255 letters"):
        gallery.rename("Ann", name)
    assert gallery.enrol("x" * 255, drawn(1, 6)) == 1


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (torch.zeros(0, 6), "received no vector"),
        (torch.ones(1, 5), r"received vectors of shape \(1, 5\), expected \(n, 6\)"),
        (torch.full((1, 6), torch.nan), "a vector that is not finite"),
    ],
)
def test_vectors_that_cannot_be_compared_are_refused(vectors: Tensor, message: str) -> None:
    gallery = Gallery(6)
    with pytest.raises(ValueError, match=message):
        gallery.enrol("Ann", vectors)
    assert len(gallery) == 0
    assert "Ann" not in gallery


@pytest.mark.parametrize("wrong", [{"width": 0}, {"width": 3, "metric": "taxi"}, {"width": 3, "threshold": math.nan}])
def test_a_gallery_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="received"):
        Gallery(**wrong)
    with pytest.raises(ValueError, match="received k=0"):
        filled().query(QUERIES, k=0)
