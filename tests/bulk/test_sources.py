"""What is found where it was named, under which names, and whose share it is."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.cli.tiny_sets import write_picture
from vidi.bulk.sources import ARCHIVE, CAMERA, MEMBER, PICTURE, VIDEO, Listing, key_of, listing_of
from vidi.catalog.listed import UsageError

OUT = Path("out")


@pytest.fixture(autouse=True)
def _working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def pictures(*names: str) -> None:
    for name in names:
        write_picture(Path(name), (4, 4))


def write_tar(path: str, *names: str) -> None:
    with tarfile.open(path, "w") as archive:
        for name in names:
            archive.add(name, arcname=name)


def found(*arguments: str, out: Path = OUT) -> list[str]:
    listing = listing_of(arguments, out)
    return [listing.sources[row] for row in range(len(listing))]


def names_of(listing: Listing) -> list[str]:
    return [listing.name(row) for row in range(len(listing))]


def test_folders_are_read_whole_in_order_and_what_else_they_hold_is_counted() -> None:
    pictures("photos/b/2.jpg", "photos/a/1.png", "photos/3.jpg", "photos/.hidden/4.jpg")
    Path("photos/notes.txt").write_text("")
    Path("photos/clip.mp4").write_text("")
    listing = listing_of(["photos"], OUT)
    assert found("photos/") == ["photos/3.jpg", "photos/a/1.png", "photos/b/2.jpg", "photos/clip.mp4"]
    assert listing.kinds.tolist() == [PICTURE, PICTURE, PICTURE, VIDEO]
    assert names_of(listing) == ["3", "a/1", "b/2", "clip"]
    assert listing.skipped == {".txt": 1}


def test_globs_lists_and_single_files() -> None:
    pictures("p/a/1.jpg", "p/b/2.jpg", "q/3.jpg")
    assert found("p/**/*.jpg") == ["p/a/1.jpg", "p/b/2.jpg"]
    Path("list.txt").write_text("p/a/1.jpg\n\n q/3.jpg \ngone.jpg\nfolder/unknown\n")
    listing = listing_of(["list.txt"], OUT)
    assert found("list.txt") == ["folder/unknown", "gone.jpg", "p/a/1.jpg", "q/3.jpg"]  # told where they are read
    assert names_of(listing) == ["folder/unknown", "gone", "p/a/1", "q/3"]
    Path("folders.txt").write_text("p\nq\n")
    assert found("folders.txt") == ["p/a/1.jpg", "p/b/2.jpg", "q/3.jpg"]
    assert names_of(listing_of(["p/a/1.jpg"], OUT)) == ["1"]
    assert names_of(listing_of(["p/a/1.jpg", "p/b/2.jpg"], OUT)) == ["a/1", "b/2"]


def test_several_roots_keep_their_names_apart() -> None:
    pictures("x/p/1.jpg", "y/p/1.jpg")
    assert names_of(listing_of(["x/p", "y/p"], OUT)) == ["p/1", "p-2/1"]


def test_names_that_differ_in_their_suffix_or_case_keep_it() -> None:
    pictures("p/1.jpg", "p/1.png", "p/2.jpg", "p/3.JPG", "p/3.png", "p/4.jpg", "p/4.jpg.jpg", "p/4.png")
    listing = listing_of(["p"], OUT)
    assert names_of(listing) == ["1.jpg", "1.png", "2", "3.JPG", "3.png", "4.jpg", "4.jpg.jpg", "4.png"]
    assert listing.doubled.tolist() == [True, True, False, True, True, True, True, True]


def test_archives_give_their_pictures_and_where_those_lie() -> None:
    pictures("a.png", "b/c.jpg")
    Path("a.txt").write_text("a caption")
    write_tar("shard.tar", "a.png", "a.txt", "b/c.jpg")
    Path("broken.tar").write_bytes(b"no archive" * 100)
    listing = listing_of(["shard.tar", "broken.tar"], OUT)
    assert found("shard.tar", "broken.tar") == ["broken.tar", "shard.tar/a.png", "shard.tar/b/c.jpg"]
    assert listing.kinds.tolist() == [ARCHIVE, MEMBER, MEMBER]
    assert names_of(listing) == ["broken", "shard.tar/a", "shard.tar/b/c"]
    assert listing.skipped == {".txt in .tar": 1}
    archive, offset, size = listing.places[1].tolist()
    data = Path(listing.archives[archive]).read_bytes()
    assert data[offset : offset + size] == Path("a.png").read_bytes()


def test_an_entry_has_one_key_however_it_is_spelt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pictures("p/a/1.jpg", "p/2.jpg")
    whole = listing_of(["p"], OUT).keys.tolist()
    for arguments in (["./p/"], [str(tmp_path / "p")], ["p/**/*.jpg"], ["p/2.jpg", "p/a/1.jpg"], ["p", "p/2.jpg"]):
        assert sorted(listing_of(arguments, OUT).keys.tolist()) == sorted(whole), arguments
    assert sorted(listing_of(["p"], tmp_path / "out").keys.tolist()) == sorted(whole)
    monkeypatch.chdir("p")
    assert sorted(listing_of(["a", "2.jpg"], Path("../out")).keys.tolist()) == sorted(whole)
    assert key_of("../p/2.jpg") in whole
    assert listing_of(["."], Path("elsewhere/out")).keys.tolist() != whole


def test_shares_are_whole_and_without_doubles() -> None:
    pictures(*(f"p/{row}.jpg" for row in range(40)))
    listing = listing_of(["p"], OUT)
    for processes in (1, 2, 3, 7):
        shares = [listing.share(process, processes) for process in range(processes)]
        assert np.sort(np.concatenate(shares)).tolist() == list(range(40))
        assert all(len(share) for share in shares[:3])
    pictures("p/new.jpg")  # where others go does not depend on it
    later = listing_of(["p"], OUT)
    before = {listing.sources[row] for row in listing.share(1, 3).tolist()}
    assert {later.sources[row] for row in later.share(1, 3).tolist()} - {"p/new.jpg"} == before


def test_a_camera_is_of_the_first_process() -> None:
    listing = listing_of(["0", "/dev/video1"], OUT)
    assert found("0", "/dev/video1") == ["/dev/video0", "/dev/video1"]
    assert listing.kinds.tolist() == [CAMERA, CAMERA]
    assert [listing.share(process, 2).tolist() for process in (0, 1)] == [[0, 1], []]


def test_what_was_made_is_no_source() -> None:
    pictures("p/1.jpg", "p/out/1.jpg", "p/outer/2.jpg")
    assert found("p", out=Path("p/out")) == ["p/1.jpg", "p/outer/2.jpg"]
    with pytest.raises(UsageError, match="holds the photos"):
        listing_of(["p"], Path("p"))


@pytest.mark.parametrize(
    ("argument", "error", "told"),
    [
        ("gone.jpg", FileNotFoundError, "no such file or folder"),
        ("gone/*.jpg", FileNotFoundError, "no file or folder matches"),
        ("https://x.org/a.jpg", ValueError, "vidi fetches nothing"),
        ("a.zip", ValueError, "an archive: unpack it first"),
        ("empty", ValueError, "there is nothing to predict on: found 1 .csv"),
    ],
)
def test_what_is_no_source_is_one_sentence(argument: str, error: type[Exception], told: str) -> None:
    Path("a.zip").write_bytes(b"PK")
    Path("empty").mkdir()
    Path("empty/a.csv").write_text("")
    with pytest.raises(error, match=told):
        listing_of([argument], OUT)


def test_without_pyav_videos_are_skipped_or_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidi.bulk.sources.has_pyav", lambda: False)
    pictures("p/1.jpg")
    Path("p/clip.mov").write_text("")
    listing = listing_of(["p"], OUT)
    assert (len(listing), listing.skipped) == (1, {".mov": 1})
    for argument in ("p/clip.mov", "0"):
        with pytest.raises(ValueError, match=r"pip install 'vidi\[video\]'"):
            listing_of([argument], OUT)
