"""Image files by the names in an annotation file: plain ones, and paths of other machines."""

from pathlib import Path

import pytest

from vidi.data.readers.image_files import ImageFiles
from vidi.data.readers.places import is_foreign


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    "name", ["C:\\a\\1.png", "a\\1.png", "/home/a/1.png", "../a/1.png", "a/../1.png", "C:/a/1.png"]
)
def test_paths_of_another_machine(name: str) -> None:
    assert is_foreign(name)


@pytest.mark.parametrize("name", ["1.png", "a/1.png", "a b/..1.png", "ü.png"])
def test_plain_names(name: str) -> None:
    assert not is_foreign(name)


def test_plain_names_are_in_the_folder_that_holds_most(tmp_path: Path) -> None:
    make(tmp_path, "a/1.png", "b/1.png", "b/2.png", "b/sub/3.png")
    places = ImageFiles([tmp_path / "none", tmp_path / "a", tmp_path / "b"], ["1.png", "2.png"])
    assert places.find("sub/3.png") == (tmp_path / "b", "sub/3.png", False)
    with pytest.raises(ValueError, match=r"b/4.png is missing; images were looked for in .*/a, .*/b$") as caught:
        places.find("4.png")
    assert "none" not in str(caught.value)  # it is not there, and nothing was looked for in it
    assert ImageFiles([tmp_path / "a", tmp_path / "b"], ["1.png"]).folder == tmp_path / "a"  # the first of equals


@pytest.mark.parametrize(
    "before", ["C:\\me\\set\\", "/home/me/set/", "..\\set\\", "../../set/", "set\\", "\\\\server\\share\\set\\"]
)
def test_the_longest_last_parts_that_exist_find_a_moved_file(tmp_path: Path, before: str) -> None:
    make(tmp_path, "set/images/1.png", "images/1.png", "set/images/2.png")
    places = ImageFiles([tmp_path, tmp_path / "images"], [])
    separator = "\\" if "\\" in before else "/"
    assert places.find(f"{before}images{separator}1.png") == (tmp_path, "set/images/1.png", True)


def test_a_moved_file_is_found_by_its_name_alone_if_that_is_unique(tmp_path: Path) -> None:
    make(tmp_path, "a/1.png", "b/1.png", "b/2.png")
    places = ImageFiles([tmp_path / "a", tmp_path / "b", tmp_path / "a/../b"], [])
    assert places.find("/x/y/2.png") == (tmp_path / "b", "2.png", True)  # one file, by whichever folder
    with pytest.raises(ValueError, match=r"/x/y/1.png is not there, and could be each of .*a/1.png, .*b/1.png"):
        places.find("/x/y/1.png")
    with pytest.raises(ValueError, match=r"/x/3.png is missing, also by its last parts; .*looked for in .*/a, .*/b"):
        places.find("/x/3.png")


def test_nothing_outside_the_folders_is_opened(tmp_path: Path) -> None:
    make(tmp_path, "secret.png", "set/1.png")
    places = ImageFiles([tmp_path / "set"], [])
    for name in ("../secret.png", str(tmp_path / "secret.png"), "..", "/"):
        with pytest.raises(ValueError, match="is missing"):
            places.find(name)


def test_a_backslash_may_be_part_of_a_name(tmp_path: Path) -> None:
    make(tmp_path, "a\\1.png")
    assert ImageFiles([tmp_path], []).find("a\\1.png") == (tmp_path, "a\\1.png", False)
