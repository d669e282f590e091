"""Galleries on disk: they come back as they were, whatever happened between, or say what is wrong."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.embedding.galleries import NAMES, QUERIES, answers, filled
from tests.embedding.losses import drawn
from vidi import files
from vidi.embedding import gallery_rows
from vidi.embedding.gallery import Gallery
from vidi.embedding.gallery_folder import content_digest


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


def test_a_digest_tells_shapes_and_names_apart() -> None:
    numbers = torch.arange(6.0)
    found = [{"a": numbers}, {"a": numbers.view(2, 3)}, {"a": numbers.view(3, 2)}, {"b": numbers}]
    assert len({content_digest(tensors) for tensors in found}) == 4
