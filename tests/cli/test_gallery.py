"""Commands that compare pictures: what they say of generated people, and of what cannot be compared."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import vidi as package
from tests.cli.command import vidi
from vidi import files
from vidi.data.faces import Faces
from vidi.embedding.gallery import Gallery
from vidi.ops.alignment import aligned_face

PEOPLE = ("Ann", "Bob", "Cem")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each of three people, three pictures in it, and one stranger."""
    folder = tmp_path_factory.mktemp("people")
    faces = Faces("test", identities=4, pictures=3)
    for index in range(12):
        person, picture = divmod(index, 3)
        place = folder / "known" / PEOPLE[person] if person < 3 else folder / "stranger"
        files.write_image(place / f"{picture}.png", faces[index][0].as_subclass(torch.Tensor))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedder after a few steps."""
    folder = tmp_path_factory.mktemp("runs") / "faces"
    done = vidi(
        "train", "embedder_tiny", "dimensions=8", "world_scenes=32", "epochs=1", "batch_size=16", "--out", folder
    )
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def people(run: Path, photos: Path) -> Path:
    """A gallery of all but the stranger, in the folder that the test works in."""
    done = vidi("gallery", "add", "people", run, photos / "known")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        *(f"{name}: 3 pictures added" for name in PEOPLE),
        "people: 9 pictures of 3 identities",
    ]
    return Path("people")


# ----------------------------------------------------------------------------------------------------------------------
# Vectors and pairs


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_embed_writes_the_vector_of_each_picture(run: Path, photos: Path, suffix: str) -> None:
    done = vidi("embed", run, photos / "known", "--out", f"made/vectors{suffix}")
    assert done.code == 0, done.err
    assert done.out == f"made/vectors{suffix}: 9 vectors of 8 numbers, compared by the euclidean distance\n"
    paths = sorted((photos / "known").rglob("*.png"))
    expected = package.load(run).embed(paths).numpy()
    path = Path(f"made/vectors{suffix}")
    if suffix == ".npz":
        found = files.read_npz(path)
        assert found["paths"].tolist() == list(map(str, paths))
        vectors = found["vectors"]
    else:
        rows = files.read_csv(path)
        assert [row.pop("path") for row in rows] == list(map(str, paths))
        vectors = np.array([[float(value) for value in row.values()] for row in rows])
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
    found = vidi("embed", run, photos / "stranger", "--json").json()
    assert (found["file"], found["width"], len(found["pictures"])) == ("vectors.npz", 8, 3)


def test_embed_leaves_out_what_it_cannot_read(run: Path, photos: Path) -> None:
    shutil.copytree(photos / "stranger", "some")
    Path("some/broken.png").write_bytes(Path("some/0.png").read_bytes()[:300])
    done = vidi("embed", run, "some")
    assert done.code == 3
    assert "broken.png: damaged image" in done.err
    assert "1 of 4 pictures could not be read" in done.err
    assert len(files.read_npz("vectors.npz")["vectors"]) == 3
    alone = vidi("embed", run, "some/broken.png")
    assert alone.code == 3
    assert "no picture could be embedded" in alone.err


def test_verify_compares_two_pictures_by_the_threshold_of_the_run(run: Path, photos: Path) -> None:
    one, other = photos / "known/Ann/0.png", photos / "known/Bob/1.png"
    found = vidi("verify", run, one, other, "--json").json()
    vectors = package.load(run).embed([one, other]).double()
    assert found["distance"] == pytest.approx(float((vectors[0] - vectors[1]).norm()), rel=1e-4)
    assert found["threshold"] == json.loads((run / "scores.json").read_text())["threshold"]
    assert found["same"] == (found["distance"] <= found["threshold"])
    assert (found["first"], found["metric"]) == (str(one), "euclidean")
    same = vidi("verify", run, one, one)
    assert same.out.startswith("one identity (euclidean distance 0.0000, threshold ")
    far = vidi("verify", run, one, other, "--threshold", "0")
    assert far.out.startswith("two identities (euclidean distance ")
    assert far.out.endswith(", threshold 0.0000)\n")


def test_without_a_threshold_verify_says_the_distance_only(run: Path, photos: Path) -> None:
    package.load(run).save("saved")
    done = vidi("verify", "saved", photos / "known/Ann/0.png", photos / "known/Ann/1.png")
    assert done.out.startswith("no threshold is known: say one with --threshold (euclidean distance ")
    found = vidi("verify", "saved", photos / "known/Ann/0.png", photos / "known/Ann/1.png", "--json").json()
    assert (found["threshold"], found["same"]) == (None, None)


# ----------------------------------------------------------------------------------------------------------------------
# Galleries


@pytest.mark.system("7.1-OPENWORLD", "7.1.1-GALLERY")
def test_a_gallery_knows_whom_it_was_shown_and_forgets_whom_it_should(run: Path, photos: Path, people: Path) -> None:
    found = vidi("gallery", "query", people, run, photos / "known", "--json").json()
    assert [Path(row["image"]).parent.name for row in found] == [row["name"] for row in found]
    assert max(row["distance"] for row in found) < 1e-4
    stranger = vidi("gallery", "query", people, run, photos / "stranger", "--threshold", "0", "--json").json()
    assert [row["name"] for row in stranger] == [None] * 3
    done = vidi("gallery", "remove", people, "Bob")
    assert done.out.splitlines() == ["Bob: 3 pictures removed", "people: 6 pictures of 2 identities"]
    left = vidi("gallery", "query", people, run, photos / "known", "--json").json()
    assert [row["name"] for row in left if "Bob" not in row["image"]] == ["Ann"] * 3 + ["Cem"] * 3
    assert "Bob" not in {row["name"] for row in left}
    done = vidi("gallery", "rename", people, "Ann", "Ann Lee")
    assert done.out == "people: Ann is Ann Lee now\n"
    assert vidi("gallery", "add", people, run, photos / "stranger", "--name", "Dora").code == 0
    now = vidi("gallery", "query", people, run, photos, "--json").json()
    assert {row["name"] for row in now if "Bob" not in row["image"]} == {"Ann Lee", "Cem", "Dora"}


def test_list_says_what_is_there(run: Path, people: Path) -> None:
    found = vidi("gallery", "list", people, "--json").json()
    assert found["names"] == dict.fromkeys(PEOPLE, 3)
    assert found["threshold"] == json.loads((run / "scores.json").read_text())["threshold"]
    assert (found["metric"], found["width"]) == ("euclidean", 8)
    assert found["model"].startswith("embedder_tiny ")
    lines = vidi("gallery", "list", people).out.splitlines()
    assert lines[:3] == [f"{name}: 3 pictures" for name in PEOPLE]
    assert lines[3].startswith("people: 9 pictures of 3 identities; euclidean distance, threshold ")


def test_what_is_enrolled_is_not_embedded_again(
    run: Path, photos: Path, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in people.iterdir()}
    with monkeypatch.context() as without:
        without.setattr("vidi.api.predict_files", lambda *_, **__: pytest.fail("embedded again"))
        done = vidi("gallery", "add", people, run, photos / "known")
    assert done.code == 0, done.err
    assert done.out == "people: 9 pictures of 3 identities; 9 pictures there before\n"
    assert {path.name: path.read_bytes() for path in people.iterdir()} == before
    done = vidi("gallery", "add", people, run, photos / "known/Ann/0.png", "--name", "Anna")
    assert done.code == 3
    assert "pictures of 'Anna' are enrolled as 'Ann'" in done.err


def test_neighbours_vote_and_answers_are_drawn(run: Path, photos: Path, people: Path) -> None:
    words = ("--k", "4", "--votes", "distance", "--out", "named")
    found = vidi("gallery", "query", people, run, photos / "known/Cem", *words, "--json").json()
    assert all(len(row["nearest"]) == 4 and row["name"] == "Cem" for row in found)
    assert [row["drawn"] for row in found] == [f"named/{number}.png" for number in range(3)]
    assert files.read_image("named/0.png").shape[0] == 3
    text = vidi("gallery", "query", people, run, photos / "known/Cem/0.png").out
    assert text.startswith(f"{photos / 'known/Cem/0.png'}: Cem (100% of the votes; nearest: Cem at ")
    done = vidi("gallery", "query", people, run, photos / "known/Cem", "--votes", "loudness")
    assert done.code == 3
    assert "weights='loudness'" in done.err


def test_a_threshold_stays_with_the_gallery(run: Path, photos: Path) -> None:
    assert vidi("gallery", "add", "people", run, photos / "known", "--threshold", "0").code == 0
    assert Gallery.open("people").threshold == 0
    found = vidi("gallery", "query", "people", run, photos / "stranger", "--json").json()
    assert [row["name"] for row in found] == [None] * 3
    assert vidi("gallery", "add", "people", run, photos / "known", "--threshold", "1e9").code == 0
    found = vidi("gallery", "query", "people", run, photos / "stranger", "--json").json()
    assert None not in [row["name"] for row in found]


def test_a_broken_picture_keeps_nobody_else_out(run: Path, photos: Path) -> None:
    shutil.copytree(photos / "known", "some")
    Path("some/Bob/1.png").write_bytes(b"not a picture")
    done = vidi("gallery", "add", "people", run, "some")
    assert done.code == 3
    assert "Bob/1.png: not an image of a known format" in done.err
    assert "1 of 9 pictures could not be read" in done.err
    assert Gallery.open("people").counts() == {"Ann": 3, "Bob": 2, "Cem": 3}


def test_wrong_folders_and_models_are_told(run: Path, photos: Path, people: Path, classifier: Path) -> None:
    ann = photos / "known/Ann/0.png"
    Path("empty").mkdir()
    Path("text.txt").write_text("no picture")
    cases = {
        ("gallery", "query", "nowhere", run, ann): (3, "nowhere: no gallery here"),
        ("gallery", "list", run): (3, "no gallery here"),
        ("gallery", "add", run, run, ann): (3, "no gallery here"),
        ("gallery", "add", "new", run, "empty"): (3, "empty"),
        ("gallery", "add", "new", run, "text.txt"): (3, "text.txt"),
        ("gallery", "add", "new", run, "missing"): (3, "missing"),
        ("gallery", "add", "new", "no_run", ann): (2, "no_run does not exist; expected a run folder"),
        ("gallery", "add", "new", classifier, ann): (2, "is a system for classification"),
        ("gallery", "add", "new", run, ann, "--name", " "): (3, "expected a line of 1 to 255 letters"),
        ("gallery", "remove", people, "Zoe"): (3, "nobody in the gallery is called 'Zoe'"),
        ("gallery", "rename", people, "Ann", "Bob"): (3, "there is somebody called 'Bob'"),
        ("embed", run, ann, "--out", "vectors.txt"): (2, "expected a file that ends in .npz or .csv"),
        ("embed", "no_run", ann): (2, "no_run does not exist; expected a run folder"),
        ("verify", run, ann, photos): (2, "is a folder; expected a picture"),
        ("verify", run, ann, "missing.png"): (3, "missing.png"),
    }
    for words, (code, message) in cases.items():
        done = vidi(*words)
        assert (done.code, message in done.err) == (code, True), (words, done.code, done.err)
    assert not Path("new").exists()


def test_a_gallery_is_asked_by_its_own_model(run: Path, photos: Path, people: Path) -> None:
    model = package.load(run)
    with torch.no_grad():
        next(model.parameters()).mul_(1.5)
    model.save("other")
    done = vidi("gallery", "query", people, "other", photos / "known/Ann/0.png")
    assert done.code == 3
    assert "query it with the model that enrolled it" in done.err


def test_galleries_and_vectors_are_of_clip_too(photos: Path) -> None:
    package.create("clip_tiny").save("clip")
    done = vidi("gallery", "add", "people", "clip", photos / "known")
    assert done.code == 0, done.err
    facts = vidi("gallery", "list", "people", "--json").json()
    assert (facts["metric"], facts["threshold"]) == ("cosine", None)
    found = vidi("gallery", "query", "people", "clip", photos / "known", "--json").json()
    assert [Path(row["image"]).parent.name for row in found] == [row["name"] for row in found]


# ----------------------------------------------------------------------------------------------------------------------
# Landmarks


def test_upright_models_ask_for_landmarks_and_say_where_there_is_no_face(photos: Path) -> None:
    package.create("embedder_tiny", dimensions=8, aligned=True).save("upright")
    package.create("face_landmarks_tiny").save("finder")
    ann = photos / "known/Ann"
    done = vidi("embed", "upright", ann)
    assert done.code == 2
    assert "embeds upright faces; say with --landmarks which run" in done.err
    done = vidi("embed", "upright", ann, "--landmarks", "finder")
    assert done.code == 3
    assert "0.png: no face was found" in done.err


def test_faces_are_turned_upright_where_landmarks_are_found(
    photos: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package.create("embedder_tiny", dimensions=8, aligned=True).save("upright")
    package.create("face_landmarks_tiny").save("finder")
    sample, target = Faces("test", identities=4, pictures=3)[0]
    points = target["keypoints"][0].as_subclass(torch.Tensor)
    monkeypatch.setattr("vidi.detection.landmarks.find_landmarks", lambda *_: [points])
    found = vidi("embed", "upright", photos / "known/Ann/0.png", "--landmarks", "finder")
    assert found.code == 0, found.err
    model = package.load("upright")
    (expected,) = model.predict_samples([(sample, {"keypoints": points[None]})])
    np.testing.assert_allclose(files.read_npz("vectors.npz")["vectors"][0], expected.vector, rtol=1e-3, atol=1e-5)
    facts = vidi("gallery", "add", "people", "upright", photos / "known/Ann/0.png", "--landmarks", "finder")
    assert facts.code == 0, facts.err
    other = vidi("gallery", "add", "people", run, photos / "known/Ann/0.png")
    assert other.code == 3
    assert "not of" in other.err


def test_upright_copies_keep_their_folders_and_are_what_upright_models_see(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package.create("face_landmarks_tiny").save("finder")
    none = vidi("data", "upright", "finder", photos / "known", "--out", "upright", "--size", "56,46")
    assert none.code == 3
    assert "no face was found" in none.err
    points = torch.tensor([[20.0, 26.0], [40.0, 24.0], [31.0, 35.0], [23.0, 45.0], [40.0, 44.0]])
    found = iter([points, None, *[points] * 7])
    monkeypatch.setattr("vidi.detection.landmarks.find_landmarks", lambda *_: [next(found)])
    done = vidi("data", "upright", "finder", photos / "known", "--out", "upright", "--size", "56,46", "--json")
    assert done.json() == {"folder": "upright", "pictures": 8, "without": [str(photos / "known/Ann/1.png")]}
    written = sorted(path.relative_to("upright") for path in Path("upright").rglob("*.png"))
    assert written == sorted(Path(name, f"{n}.png") for name in PEOPLE for n in range(3) if (name, n) != ("Ann", 1))
    picture = files.read_image(photos / "known/Cem/2.png").float() / 255
    expected = aligned_face(picture, points, (56, 46))
    assert torch.equal(files.read_image(Path("upright/Cem/2.png")), (expected * 255).round().byte())
    assert vidi("data", "upright", "finder", photos / "nobody", "--out", "copy").code == 3
    assert vidi("data", "upright", "finder", photos, "--out", "copy", "--size", "56").code == 2
