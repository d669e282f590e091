"""Galleries: identities come and go, answers of others stay, and what was kept comes back as it was."""

import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from tests.embedding.losses import drawn
from vidi import files
from vidi.embedding import gallery_rows
from vidi.embedding.gallery import Gallery
from vidi.ops.exact_search import has_faiss
from vidi.ops.neighbours import nearest

NAMES = ("Ann", "Bob", "Cem", "Dora", "Eve")
CENTRES = 4 * drawn(5, 6)
QUERIES = CENTRES + 0.2 * drawn(5, 6, seed=2)
SEARCHES = ("torch", "faiss") if has_faiss() else ("torch",)


def filled(metric: str = "euclidean", pictures: int = 6, **options: Any) -> Gallery:
    """Return a gallery of five people with some pictures each."""
    made = Gallery(6, metric=metric, **options)
    for number, name in enumerate(NAMES):
        made.enrol(name, CENTRES[number] + 0.2 * drawn(pictures, 6, seed=10 + number))
    return made


def names_of(gallery: Gallery, queries: Tensor = QUERIES, **options: Any) -> list[str | None]:
    """Return whom each query shows."""
    return [answer.name for answer in gallery.query(queries, **options)]


def answers(gallery: Gallery, queries: Tensor, k: int) -> list[dict[str, Any]]:
    """Return all that a gallery says."""
    return [answer.to_dict() for answer in gallery.query(queries, k=k, weights="distance")]


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


# ----------------------------------------------------------------------------------------------------------------------
# On disk


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.system("7.1.1-GALLERY")
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_gallery_comes_back_as_it_was(tmp_path: Path, metric: str) -> None:
    gallery = filled(metric, threshold=0.75, model="m")
    gallery.remove("Bob")
    gallery.save(tmp_path / "people")
    again = Gallery.open(tmp_path / "people", model="m")
    assert answers(again, QUERIES, 9) == answers(gallery, QUERIES, 9)
    assert (again.counts(), again.names()) == (gallery.counts(), gallery.names())
    assert (again.metric, again.threshold, again.model, again.width) == (metric, 0.75, "m", 6)
    assert torch.equal(again.vectors(), gallery.vectors())
    for each in (gallery, again):
        each.enrol("Zoe", drawn(1, 6, seed=30))  # gets the same number
        with pytest.raises(ValueError, match="are enrolled as"):
            each.enrol("Dora", gallery.vectors("Ann").double())
    again.save(tmp_path / "people")
    assert answers(Gallery.open(tmp_path / "people"), QUERIES, 30) == answers(gallery, QUERIES, 30)


def test_an_empty_gallery_comes_back_empty(tmp_path: Path) -> None:
    Gallery(6).save(tmp_path)
    again = Gallery.open(tmp_path)
    assert len(again) == 0
    again.enrol("Ann", drawn(1, 6))
    again.save(tmp_path)
    again.remove("Ann")
    again.save(tmp_path)
    assert list(contents(tmp_path)) == ["gallery.json"]
    assert Gallery.open(tmp_path).query(QUERIES[:1])[0].name is None


@pytest.mark.system("7.1.1-GALLERY")
def test_adding_and_renaming_rewrite_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_rows, "SEGMENT", 8)
    gallery = filled()  # 30 rows: 8, 8, 8, 6
    gallery.save(tmp_path)
    before = contents(tmp_path)
    assert len(before) == 5
    stamps = {name: (tmp_path / name).stat().st_mtime_ns for name in before}
    opened = Gallery.open(tmp_path)
    opened.enrol("Zoe", drawn(3, 6))
    opened.save(tmp_path)
    after = contents(tmp_path)
    full = {entry["file"] for entry in json.loads(before["gallery.json"])["segments"] if entry["rows"] == 8}
    assert len(full) == 3
    assert {f"{name}.safetensors" for name in full} == set(before) & set(after) - {"gallery.json"}
    assert [entry["rows"] for entry in json.loads(after["gallery.json"])["segments"]] == [8, 8, 8, 8, 1]
    for name in full:
        path = tmp_path / f"{name}.safetensors"
        assert path.stat().st_mtime_ns == stamps[path.name]
    opened.rename("Zoe", "Zara")
    opened.save(tmp_path)
    renamed = contents(tmp_path)
    assert {name for name in renamed if renamed[name] != after.get(name)} == {"gallery.json"}


def test_who_was_removed_is_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_rows, "SEGMENT", 8)
    gallery = filled()
    gone = gallery.vectors("Bob")
    gallery.save(tmp_path)
    first = contents(tmp_path)
    assert gallery.remove("Bob") == 6
    gallery.save(tmp_path)
    left = contents(tmp_path)
    assert not any(row.numpy().tobytes() in data for row in gone for data in left.values())
    assert b"Bob" not in left["gallery.json"]
    assert [entry["rows"] for entry in json.loads(left["gallery.json"])["segments"]] == [6, 4, 8, 6]
    assert len(set(first) & set(left)) == 3  # the JSON, and the segments that he was not in


def test_a_failure_leaves_the_former_gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = filled()
    gallery.save(tmp_path)
    before = answers(gallery, QUERIES, 30)
    gallery.enrol("Zoe", drawn(3, 6))

    def full(*_: object) -> None:
        raise OSError(28, "no space left on the disk")

    monkeypatch.setattr(files, "write_json", full)
    with pytest.raises(OSError, match="no space left"):
        gallery.save(tmp_path)
    monkeypatch.undo()
    (tmp_path / f".{'0' * 64}.safetensors.0123456789ab.tmp").write_bytes(b"of a killed process")
    again = Gallery.open(tmp_path)
    assert answers(again, QUERIES, 30) == before
    gallery.save(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]
    assert "Zoe" in Gallery.open(tmp_path)


def test_two_writers_do_not_lose_each_others_people(tmp_path: Path) -> None:
    filled().save(tmp_path)
    first, second = Gallery.open(tmp_path), Gallery.open(tmp_path)
    first.enrol("Zoe", drawn(1, 6))
    second.enrol("Yan", drawn(1, 6, seed=1))
    first.save(tmp_path)
    with pytest.raises(ValueError, match="the gallery was changed since it was opened; open it again"):
        second.save(tmp_path)
    with pytest.raises(FileExistsError, match="already holds a gallery"):
        filled().save(tmp_path)
    assert "Zoe" in Gallery.open(tmp_path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_last_byte(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def another(path: Path) -> None:
    files.write_tensors(path, {"vectors": torch.zeros(1)})


def edited(**changes: Any) -> Any:
    def edit(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


@pytest.mark.system("7.1.1-GALLERY")
@pytest.mark.parametrize(
    ("pattern", "damage", "message"),
    [
        ("*.safetensors", cut, "not a valid safetensors file"),
        ("*.safetensors", flip_last_byte, "damaged: its content is not what its name says"),
        ("*.safetensors", Path.unlink, "missing; gallery.json names it"),
        ("*.safetensors", another, "expected 30 rows of 6 numbers"),
        ("gallery.json", cut, "damaged, or not the JSON of a gallery"),
        ("gallery.json", lambda path: path.write_text("[]"), "damaged, or not the JSON of a gallery"),
        ("gallery.json", edited(vidi_gallery=2), "a gallery of format 2, expected 1"),
        ("gallery.json", edited(metric="taxi"), "an unknown metric"),
        ("gallery.json", edited(names={"0": "Ann", "1": "Ann"}), "a name twice"),
        ("gallery.json", edited(names={"0": "Ann"}), "rows of nobody that gallery.json names"),
        ("gallery.json", edited(names={**{str(n): str(n) for n in range(6)}}), "damaged: '5' has no vector"),
        ("gallery.json", edited(names=3), "damaged: AttributeError"),
        ("gallery.json", edited(segments=[{"file": "../x", "rows": 1}]), "not called by a digest"),
    ],
)
def test_a_damaged_gallery_says_so(tmp_path: Path, pattern: str, damage: Any, message: str) -> None:
    filled().save(tmp_path)
    (path,) = tmp_path.glob(pattern)
    damage(path)
    with pytest.raises(ValueError, match=message) as error:
        Gallery.open(tmp_path)
    assert str(path if "nobody" not in message else tmp_path) in str(error.value)


def test_a_segment_that_is_named_twice_is_damage(tmp_path: Path) -> None:
    filled().save(tmp_path)
    path = tmp_path / "gallery.json"
    segments = json.loads(path.read_text())["segments"]
    edited(segments=segments * 2)(path)
    with pytest.raises(ValueError, match="some pictures are in it twice"):
        Gallery.open(tmp_path)


def test_a_gallery_of_another_model_or_none_is_refused(tmp_path: Path) -> None:
    filled(model="ours").save(tmp_path)
    with pytest.raises(ValueError, match="the vectors are of the model ours, not of theirs"):
        Gallery.open(tmp_path, model="theirs")
    with pytest.raises(FileNotFoundError, match="no gallery here"):
        Gallery.open(tmp_path / "nothing")


# ----------------------------------------------------------------------------------------------------------------------
# Any sequence of changes


class GalleryAgainstDict(RuleBasedStateMachine):
    """Enrol, remove, rename, save and open in any order: as a dict of lists would do it."""

    names = st.sampled_from(NAMES[:4])
    points = st.lists(st.integers(0, 11), min_size=1, max_size=4)

    @initialize()
    def start(self) -> None:
        self.segment, gallery_rows.SEGMENT = gallery_rows.SEGMENT, 3
        self.folder = Path(tempfile.mkdtemp())
        self.gallery = Gallery(2, metric="euclidean")
        self.model: dict[str, list[int]] = {}

    def teardown(self) -> None:
        gallery_rows.SEGMENT = self.segment
        shutil.rmtree(self.folder)

    @rule(name=names, points=points)
    def enrol(self, name: str, points: list[int]) -> None:
        vectors = torch.tensor([[point, point**2] for point in points]).float()
        if any(point in others for point in points for owner, others in self.model.items() if owner != name):
            with pytest.raises(ValueError, match="are enrolled as"):
                self.gallery.enrol(name, vectors)
            return
        own = self.model.setdefault(name, [])
        new = [point for point in dict.fromkeys(points) if point not in own]
        own += new
        assert self.gallery.enrol(name, vectors) == len(new)

    @rule(name=names)
    def remove(self, name: str) -> None:
        if name not in self.model:
            with pytest.raises(ValueError, match="nobody in the gallery"):
                self.gallery.remove(name)
            return
        assert self.gallery.remove(name) == len(self.model.pop(name))

    @rule(name=names, new=names)
    def rename(self, name: str, new: str) -> None:
        if name not in self.model or (new in self.model and new != name):
            with pytest.raises(ValueError, match=r"nobody in the gallery|there is somebody called"):
                self.gallery.rename(name, new)
            return
        self.gallery.rename(name, new)
        self.model = {new if key == name else key: points for key, points in self.model.items()}

    @rule()
    def save_and_open(self) -> None:
        self.gallery.save(self.folder)
        self.gallery = Gallery.open(self.folder)

    @invariant()
    def is_the_same(self) -> None:
        assert list(self.gallery) == list(self.model)
        assert self.gallery.counts() == {name: len(points) for name, points in self.model.items()}
        for name, points in self.model.items():
            assert self.gallery.vectors(name)[:, 0].int().tolist() == points
        for point in (0, 5, 11):
            (answer,) = self.gallery.query(torch.tensor([[float(point), float(point**2)]]), threshold=0)
            assert answer.name == next((name for name, points in self.model.items() if point in points), None)


TestGalleryAgainstDict = GalleryAgainstDict.TestCase
TestGalleryAgainstDict.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)
