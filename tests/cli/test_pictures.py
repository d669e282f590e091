"""Which pictures a command takes from what it was given, where the drawn ones go, and what it says of both."""

import io
from pathlib import Path

import PIL.Image
import pytest
from rich.console import Console

from tests.cli.command import vidi
from tests.cli.tiny_sets import write_picture
from vidi.cli.pictures import drawn_paths
from vidi.engine.console import paced


def drawn(folder: str, photos: list[str], *paths: str) -> list[str]:
    targets = drawn_paths(Path(folder), [Path(path) for path in paths], [Path(photo) for photo in photos])
    return [target.as_posix() for target in targets]


def test_the_tree_and_the_format_of_the_photos_are_kept() -> None:
    photos = ["p/a/1.jpg", "p/a/1.b.JPG", "p/b/c/2.webp", "p/3.tif", "p/4.gif", "p/5.bmp", "p/6.avif", "p/7.jp2"]
    assert drawn("out", ["p"], *photos) == [path.replace("p/", "out/", 1) for path in photos]
    unwritten = drawn("out", ["p"], "p/1.heic", "p/2.pgm", "p/3")
    assert unwritten == ["out/1.png", "out/2.png", "out/3.png"]
    assert drawn("out", ["x/1.jpg"], "x/1.jpg") == ["out/1.jpg"]


def test_photos_of_one_name_get_numbers() -> None:
    assert drawn("out", ["p", "q"], "p/1.jpg", "p/1.png", "q/1.jpg", "q/1-2.jpg") == [
        "out/1.jpg",
        "out/1-2.png",
        "out/1-3.jpg",
        "out/1-2-2.jpg",
    ]
    assert drawn("out", ["p"], "p/a.jpg", "p/A.jpg") == ["out/a.jpg", "out/A-2.jpg"]  # one file on many disks


def test_no_photo_is_written_over() -> None:
    assert drawn(".", ["1.jpg", "2.jpg"], "1.jpg", "2.jpg") == ["1-2.jpg", "2-2.jpg"]
    assert drawn("p/../p", ["p/1.jpg"], "p/1.jpg") == ["p/../p/1-2.jpg"]


def test_predict_says_what_it_skips_and_which_file_is_which(classifier: Path) -> None:
    for name in ("a/1.jpg", "a/1.png", "a/b/2.gif"):
        write_picture(Path("photos") / name)
    Path("photos/notes.txt").write_text("")
    Path("photos/a/clip.mp4").write_text("")
    done = vidi("predict", classifier, "photos", "--out", "drawn")
    assert done.code == 0, done.err
    skipped, pace = done.err.splitlines()
    assert skipped == (
        "vidi: skipped: 1 .mp4 (a video: take frames first, e.g. mkdir frames && ffmpeg -i NAME.mp4 frames/%05d.png), "
        "1 .txt"
    )
    assert pace.startswith("3 pictures in ")
    assert pace.endswith(" images/s")
    lines = done.out.splitlines()
    assert [line.partition(": ")[0] for line in lines[:3]] == [
        "photos/a/1.jpg",
        "photos/a/1.png -> drawn/a/1-2.png",
        "photos/a/b/2.gif",
    ]
    assert lines[3:] == ["drawn in drawn"]
    for name, kind in (("a/1.jpg", "JPEG"), ("a/1-2.png", "PNG"), ("a/b/2.gif", "GIF")):
        with PIL.Image.open(Path("drawn") / name) as picture:
            assert picture.format == kind
    assert len(list(Path("drawn").rglob("*.*"))) == 3


@pytest.mark.parametrize("text", ["0", "/dev/video9", "https://x.org/a.jpg", "clip.mp4"])
def test_predict_on_what_is_no_picture_is_one_sentence(classifier: Path, text: str) -> None:
    Path("clip.mp4").write_text("")
    done = vidi("predict", classifier, text)
    assert (done.code, done.out) == (3, "")
    assert len(done.err.splitlines()) == 1
    assert " first, e.g. " in done.err


def test_a_bar_and_the_speed() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100)
    assert list(paced(iter("ab"), 2, console)) == ["a", "b"]
    assert "pictures" in written.getvalue()
    assert "2/2" in written.getvalue() or "100%" in written.getvalue()
    plain = io.StringIO()
    assert list(paced(iter("a"), 1, Console(file=plain))) == ["a"]
    assert plain.getvalue().startswith("1 picture in 0.0 s, ")
    assert len(plain.getvalue().splitlines()) == 1
