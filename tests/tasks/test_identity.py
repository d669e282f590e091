"""The scores of embeddings of people who were never seen, and the data that a training and an evaluation see."""

import itertools
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from torch import Tensor

from tests.closeness import NUMBERS
from vidi import files
from vidi.data.faults import DataFaults
from vidi.data.identification import verification_pairs
from vidi.engine.datasets import Source
from vidi.engine.recipe import Recipe
from vidi.metrics.retrieval import cluster_distances, retrieval_scores
from vidi.metrics.verification import equal_error_rate, fold_accuracies, roc, tar_at_far
from vidi.ops.neighbours import distances
from vidi.results.embedding import Embedding
from vidi.tasks import identity
from vidi.tasks.identity import FAR, IDENTITY, IdentityScorer


def scored(vectors: Tensor, labels: Tensor, metric: str = "euclidean") -> IdentityScorer:
    scorer = IdentityScorer(())
    for number, (vector, label) in enumerate(zip(vectors, labels, strict=True)):
        scorer.update([Embedding(vector, metric)], [{"label": label, "image_id": torch.tensor(number)}])
    return scorer


def people(count: int = 6, pictures: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    labels = torch.arange(count).repeat_interleave(pictures)
    centres = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    return (centres[labels] + 0.6 * torch.randn(len(labels), 5, generator=generator, dtype=torch.float64)).abs(), labels


@pytest.mark.system("7.0-OBJECTIVE")
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan", "chi_square"])
def test_scores_are_those_of_all_pairs_and_of_all_searches(metric: str) -> None:
    vectors, labels = people()
    scores = scored(vectors, labels, metric).compute()
    first, second = torch.triu_indices(24, 24, offset=1)
    curve = roc(distances(vectors, vectors, metric=metric)[first, second], labels[first] == labels[second])
    found = retrieval_scores(vectors, labels, metric=metric)
    assert FAR == 0.01
    assert scores["tar"] == pytest.approx(tar_at_far(curve, 0.01), rel=NUMBERS)
    assert scores["eer"] == pytest.approx(equal_error_rate(curve), rel=NUMBERS)
    assert (scores["recall1"], scores["recall5"]) == (found.recall[1], found.recall[5])
    assert scores["map_at_r"] == found.map_at_r
    assert scores["intra_inter"] == pytest.approx(cluster_distances(vectors, labels, metric=metric).ratio, rel=NUMBERS)
    assert 0.5 < scores["accuracy"] < 1
    assert 0 < scores["tar"] < 1


def test_accuracy_is_that_of_ten_folds_of_pairs_which_are_looked_up_by_their_pictures() -> None:
    vectors, labels = people()
    drawn = verification_pairs(labels, 2 * 36)  # as many pairs of one person as there are: 6 x 6
    apart = torch.stack([(vectors[one] - vectors[other]).norm() for one, other in drawn.places.tolist()])
    expected = fold_accuracies(apart, drawn.same, torch.arange(72) % 10).mean
    assert scored(vectors, labels).compute()["accuracy"] == pytest.approx(expected, rel=NUMBERS)


@pytest.mark.parametrize(("alike", "sizes"), [(10, (5, 1, 1, 1)), (9, (4, 3, 1))])
def test_ten_folds_need_ten_pairs_of_each_kind(alike: int, sizes: tuple[int, ...]) -> None:
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    scorer = scored(people(len(labels), 1)[0], labels)
    assert int(scorer.pairs.same.sum()) == alike
    assert ("accuracy" in scorer.compute()) == (alike >= 10)


def test_pairs_are_those_of_the_papers_test() -> None:
    """Huang et al. 2007 (LFW), view 2: ten sets of 300 pairs of each kind."""
    assert (identity.FOLDS, identity.PAIRS_OF_A_FOLD) == (10, 300)


def test_people_who_lie_apart_are_told_apart() -> None:
    vectors = torch.eye(4).repeat_interleave(5, 0)
    scores = scored(vectors, torch.arange(4).repeat_interleave(5)).compute()
    assert scores == {
        "tar": 1.0, "eer": 0.0, "accuracy": 1.0, "recall1": 1.0, "recall5": 1.0, "map_at_r": 1.0, "intra_inter": 0.0,
        "threshold": 0.0,
    }  # fmt: skip


def test_folds_are_left_out_where_there_are_too_few_pairs_and_one_picture_is_no_pair() -> None:
    vectors, labels = people(3, 2)
    labels = torch.cat((labels, torch.tensor([3])))
    scorer = scored(torch.cat((vectors, vectors[:1] + 0.1)), labels)
    assert "accuracy" not in scorer.compute()
    assert scorer.remarks() == [
        "1 of 4 identities have one picture: nothing is searched for them, and no pair of one identity is theirs"
    ]
    assert scored(vectors, labels[:6]).remarks() == []


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_pairs_of_one_kind_have_no_score(labels: list[int]) -> None:
    scorer = scored(torch.randn(3, 4), torch.tensor(labels))
    with pytest.raises(ValueError, match=r"received 3 pictures of . identities, expected two identities or more"):
        scorer.compute()


def test_of_many_pictures_whole_people_are_paired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "PAIRED", 10)
    vectors, labels = people()
    scorer = scored(vectors, labels)
    assert len(scorer.pairs.same) == 8 * 7 // 2
    assert scorer.remarks() == ["pairs are those of 8 of 24 pictures"]
    assert scorer.compute()["eer"] == scored(vectors[:8], labels[:8]).compute()["eer"]


def test_plots_show_the_curve_and_the_worst_pairs(tmp_path: Path) -> None:
    vectors, labels = people()
    scorer = scored(vectors, labels)
    scorer.compute()
    scorer.write_plots(tmp_path)
    with PIL.Image.open(tmp_path / "roc.png") as picture:
        assert picture.width > 300
    curve = [{key: float(value) for key, value in row.items()} for row in files.read_csv(tmp_path / "roc.csv")]
    whole = roc(scorer.pairs.distances, scorer.pairs.same)
    assert (curve[0]["true_accepts"], curve[-1]["true_accepts"]) == (0, 1)
    area = sum(
        (b["false_accepts"] - a["false_accepts"]) * (a["true_accepts"] + b["true_accepts"]) / 2
        for a, b in itertools.pairwise(curve)
    )
    assert area == pytest.approx(float(torch.trapezoid(whole.true_accepts, whole.false_accepts)), abs=1e-9)
    assert len(curve) < len(whole.thresholds)
    rows = files.read_csv(tmp_path / "wrong_pairs.csv")
    assert {row["taken_for"] for row in rows} == {"one identity", "two"}
    for row in rows:
        first, second = int(row["first"]), int(row["second"])
        apart = float((vectors[first] - vectors[second]).norm())
        assert float(row["distance"]) == pytest.approx(apart, rel=1e-9)
        wrongly_one = row["taken_for"] == "one identity"
        assert (labels[first] == labels[second]) != wrongly_one
        assert (apart <= float(row["threshold"])) == wrongly_one


def test_every_pair_on_the_wrong_side_of_the_threshold_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pair at the threshold is accepted: it is wrong if it shows two people."""
    vectors = torch.tensor([0.0, 2.0, 10.0, 11.0, 13.0, 17.0, 20.0, 24.0, 100.0, 130.0])[:, None]
    labels = torch.tensor([0, 0, 1, 2, 1, 3, 4, 4, 5, 5])
    scorer = scored(vectors, labels)
    threshold = scorer.compute()["threshold"]
    assert threshold == 9  # 11 of 41 pairs of two people are accepted, and 3 of 4 of one
    wrong = {
        (one, other)
        for one, other in itertools.combinations(range(10), 2)
        if (float((vectors[one] - vectors[other]).norm()) <= threshold) != bool(labels[one] == labels[other])
    }
    assert {(1, 3), (3, 6), (8, 9)} < wrong  # two are at the threshold
    scorer.write_plots(tmp_path)
    rows = files.read_csv(tmp_path / "wrong_pairs.csv")
    assert {(int(row["first"]), int(row["second"])) for row in rows} == wrong
    assert len(rows) == len(wrong)
    monkeypatch.setattr(identity, "WRONG", 1)
    scorer.write_plots(tmp_path)
    assert len(files.read_csv(tmp_path / "wrong_pairs.csv")) == 2  # one of each kind


def test_corners_are_the_points_between_which_a_curve_is_straight() -> None:
    """Of steps up, along and aslant; two that are aslant may lead in two directions."""
    steps = {"up": (0, 1), "along": (1, 0), "aslant": (1, 1)}
    walk = ["up", "up", "along", "along", "aslant", "up", "aslant", "along", "up", "aslant", "aslant", "along"]
    curve = torch.tensor([(0, 0), *(steps[step] for step in walk)]).cumsum(0) / 8
    corners = [i for i, corner in enumerate(identity._corners(*curve.T).tolist()) if corner]
    assert corners == [0, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12]  # all but between up and up, along and along


@pytest.mark.parametrize(("count", "identities", "pictures"), [(3, 2, 2), (8, 4, 2), (40, 4, 10), (2000, 200, 10)])
def test_built_in_people_have_two_pictures_or_more(count: int, identities: int, pictures: int) -> None:
    faces = IDENTITY.built_in["faces"].opens("train", count, Recipe(world_size=(32, 32)), ("label",))
    assert (faces.identities, faces.pictures) == (identities, pictures)
    assert faces[0][1].keys() == {"image_id", "label"}
    assert torch.equal(faces[1][0], faces[1][0])
    assert faces._kept is not None


# ----------------------------------------------------------------------------------------------------------------------
# Real data


def write_people(root: Path, names: str, pictures: int = 3) -> None:
    for shade, name in enumerate(names):
        for number in range(pictures):
            pixels = torch.full((3, 20, 16), 20 * shade + number, dtype=torch.uint8)
            files.write_image(root / name / f"{number}.png", pixels)


def opened(root: Path) -> dict[str, Any]:
    return Source.of(root, IDENTITY).open_for_training(Recipe())


def test_a_quarter_of_the_people_is_never_trained_on(tmp_path: Path) -> None:
    write_people(tmp_path, "abcdefgh")
    splits = opened(tmp_path)
    names = {split: set(dataset.categories) for split, dataset in splits.items()}
    assert names["train"] | names["val"] == set("abcdefgh")
    assert not names["train"] & names["val"]
    assert len(names["val"]) == 2
    for dataset in splits.values():
        assert dataset.labels.tolist() == sorted([*range(len(dataset.categories))] * 3)
        for row in range(len(dataset)):
            image, target = dataset[row]
            shown = dataset.categories[int(target["label"])]
            assert int(image[0, 0, 0]) // 20 == "abcdefgh".index(shown)
        assert dataset.left_out == 0
    assert IDENTITY.says["identities"](splits["train"]) == 6
    assert "val is a quarter of the classes of the set" in Source.of(tmp_path, IDENTITY).describe()


def test_folders_of_splits_have_people_of_their_own(tmp_path: Path) -> None:
    write_people(tmp_path / "train", "abc")
    write_people(tmp_path / "val", "de")
    splits = opened(tmp_path)
    assert splits["train"].categories == ("a", "b", "c")
    assert splits["val"].categories == ("d", "e")
    assert splits["val"].labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_too_few_people_are_refused(tmp_path: Path) -> None:
    write_people(tmp_path, "abc")
    with pytest.raises(ValueError, match="received 3 classes, 3 of them with two images or more, expected at least 4"):
        opened(tmp_path)


def test_people_with_one_picture_are_trained_on_and_never_scored(tmp_path: Path) -> None:
    write_people(tmp_path, "abcdef", pictures=1)
    with pytest.raises(ValueError, match="received 6 classes, 0 of them with two images or more, expected at least 4"):
        opened(tmp_path)
    write_people(tmp_path, "bd", pictures=2)
    splits = opened(tmp_path)
    assert splits["val"].categories == ("b", "d")
    assert splits["train"].categories == ("a", "c", "e", "f")


def test_pictures_that_do_not_say_whom_they_show_are_refused(tmp_path: Path) -> None:
    files.write_image(tmp_path / "images" / "a.png", torch.zeros(3, 8, 8, dtype=torch.uint8))
    with pytest.raises((ValueError, DataFaults), match=r"names of splits or of parts|not a data set"):
        opened(tmp_path)


def test_people_of_the_orl_set_are_split_as_whole_people(shared_data: Path) -> None:
    splits = opened(shared_data / "orl_faces")
    assert (len(splits["train"].categories), len(splits["val"].categories)) == (22, 7)
    assert not set(splits["train"].categories) & set(splits["val"].categories)
    assert len(splits["val"]) == 70
