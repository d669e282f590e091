"""Paths of other machines are found again, what is unclear is a fault, and one picture has one spelling."""

from pathlib import Path

import pytest

from tests.data.readers.pictures import text
from vidi.data.readers.places import Stock, find_place, gather


@pytest.fixture
def root(tmp_path):
    for name in ("images/1.png", "images/2.png", "images/a/3.png", "more/3.png", "more/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("written", "found", "is_guessed"),
    [
        ("images", "images", False),
        ("./images/1.png", "images/1.png", False),
        ("images\\a\\3.png", "images/a/3.png", False),
        ("../images", "images", False),  # as Roboflow writes a folder beside the yaml
        ("..\\images", "images", False),
        ("/home/me/set/images", "images", True),
        ("/images/1.png", "images/1.png", True),
        ("C:\\sets\\mine\\images\\a\\3.png", "images/a/3.png", True),
        ("data/obj/images/1.png", "images/1.png", True),
    ],
)
def test_a_path_is_found_by_its_longest_tail(root, written, found, is_guessed):
    place = find_place(written, [root])
    assert place is not None
    assert (place.path.relative_to(root).as_posix(), place.is_guessed) == (found, is_guessed)


def test_what_exists_is_taken_as_it_is(root, tmp_path):
    (root / "inner" / "images").mkdir(parents=True)
    place = find_place("../images", [root / "inner"])
    assert place is not None
    assert place.path.resolve() == root / "images"
    assert find_place("images", [root / "none", root]) == (root / "images", False)
    assert find_place("/home/me/images", [root], guess=False) is None
    assert find_place("elsewhere", [root]) is None
    assert find_place("x/../more", [root]) == (root / "more", True)
    assert find_place("a" * 5000, [root]) is None


def test_a_tail_must_lead_to_one_place(root):
    (root / "inner" / "more").mkdir(parents=True)
    bases = [root, root / "inner"]
    assert find_place("more", bases) == (root / "more", False)  # as it is written, the first base has it
    assert find_place("/srv/images/a/3.png", [*bases, root / "images" / ".."]) == (root / "images/a/3.png", True)
    with pytest.raises(
        ValueError, match=rf"^/srv/more is not there, and could be each of {root}/inner/more, {root}/more$"
    ):
        find_place("/srv/more", bases)
    (root / "inner" / "more" / "3.png").touch()
    listed = text(root / "train.txt", "/srv/more/3.png\n")
    (fault,) = gather([listed], Stock(root), bases).faults
    assert (fault.where, "could be each of" in fault.message) == ("line 1", True)


def names(found, root):
    return [path.relative_to(root).as_posix() for path in found.paths]


def test_folders_are_read_with_their_sub_folders(root):
    found = gather([root / "images"], Stock(root), [root])
    assert names(found, root) == ["images/1.png", "images/2.png", "images/a/3.png"]
    assert (found.folders, found.faults, found.remarks) == ([root / "images"], [], [])


def test_a_list_names_pictures_of_this_and_of_another_machine(root):
    lines = ["images/1.png", "", str(root / "images" / "2.png"), "D:\\elsewhere\\images\\a\\3.png", "gone\\a\\3.png"]
    listed = text(root / "lists" / "train.txt", "\r\n".join(lines))
    found = gather([listed], Stock(root), [root])
    assert names(found, root) == ["images/1.png", "images/2.png", "images/a/3.png"]
    assert len(found.faults) == 1  # a/3.png lies nowhere, and 3.png is two pictures
    assert str(found.faults[0]).startswith(f"{listed}: line 5: gone\\a\\3.png is not there, and 2 pictures have this")
    assert [str(remark) for remark in found.remarks] == [
        f"{listed}: paths of another machine, found by their last parts: 1 "
        f"(first: line 4, D:\\elsewhere\\images\\a\\3.png, is {root / 'images/a/3.png'})"
    ]


def test_a_unique_file_name_is_enough(root):
    listed = text(root / "lists" / "train.txt", "/srv/pictures/2.png\n")
    found = gather([listed], Stock(root), [root])
    assert names(found, root) == ["images/2.png"]
    assert "paths of another machine, found by their last parts: 1 (first: line 1, " in found.remarks[0].message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("images/9.png", "images/9.png is not there; looked below"),
        ("images", "images is no picture"),
        ("more/notes.txt", "is no picture"),
    ],
)
def test_lines_that_name_no_picture_are_faults(root, line, message):
    found = gather([text(root / "train.txt", f"images/1.png\n{line}\n")], Stock(root), [root])
    assert names(found, root) == ["images/1.png"]
    assert [(fault.where, message in fault.message) for fault in found.faults] == [("line 2", True)]


def test_one_picture_has_one_spelling(root, monkeypatch):
    monkeypatch.chdir(root)
    listed = text(root / "train.txt", f"images/1.png\nmore/../images/1.png\n{root / 'images/1.png'}\n")
    found = gather([listed, Path("images")], Stock(Path()), [Path()])
    assert found.paths == [Path("images/1.png"), Path("images/2.png"), Path("images/a/3.png")]
    assert [remark.message for remark in found.remarks] == [
        "pictures of this split that stand there before, used once: 3"
    ]


def test_other_files_are_no_split(root):
    assert "expected a folder" in gather([root / "images" / "1.png"], Stock(root), [root]).faults[0].message
