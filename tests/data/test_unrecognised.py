"""What is no data set gets a sentence of its own, and a good one pays nothing for it."""

import json

import numpy as np
import PIL.Image
import pytest

from vidi.data.recognise import recognise
from vidi.data.unrecognised import refuse_broken_json, refuse_known

COCO = {"images": [], "annotations": [], "categories": []}


def pictures(folder, count=3):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        PIL.Image.fromarray(np.full((4, 4, 3), number, dtype=np.uint8)).save(folder / f"{number}.png")


def refusal(path):
    with pytest.raises(ValueError) as raised:  # noqa: PT011, the text is compared
        recognise(path)
    return str(raised.value)


def test_an_archive_is_to_be_unpacked(tmp_path):
    (tmp_path / "set.zip").write_bytes(b"PK")
    place = tmp_path / "set.zip"
    assert refusal(place) == f"{place}: an archive: unpack it first, e.g. unzip set.zip -d set, and name the folder"


@pytest.mark.parametrize("place", ["set", "set/a.json", "set/annotations/a.json"])
def test_a_json_that_is_cut_short_is_told_with_its_byte(tmp_path, place):
    pictures(tmp_path / "set" / "train")
    text = '{"images": [], "annotations": [{"ü": 1}, '
    path = tmp_path / ("set/a.json" if place == "set" else place)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    size = len(text.encode())
    told = refusal(tmp_path / place)
    assert told.startswith(f"{path}, line 1, column {len(text) + 1}: ")
    assert told.endswith(f"(byte {size} of {size}: the file is cut short, get it again)")


def test_a_json_that_is_wrong_in_its_middle_is_not_called_cut(tmp_path):
    (tmp_path / "a.json").write_text('{"ü": 1 2}')
    assert refusal(tmp_path).endswith("line 1, column 9: Expecting ',' delimiter (byte 9 of 11)")
    (tmp_path / "a.json").write_text('{"images": "un')
    assert "Unterminated string starting at (byte 11 of 14: the file is cut short, get it again)" in refusal(tmp_path)


def test_pictures_without_labels(tmp_path):
    pictures(tmp_path / "plain")
    told = refusal(tmp_path / "plain")
    assert told.startswith(
        f"{tmp_path / 'plain'}: 3 pictures without any label. `vidi predict` takes them as they are; "
    )
    assert f"({tmp_path / 'plain'}/CLASS/*.jpg, two classes or more)" in told
    assert "\n" not in told
    pictures(tmp_path / "one" / "cats", 1)
    assert refusal(tmp_path / "one").startswith(
        f"{tmp_path / 'one'}: 1 picture in one folder (cats): one class teaches nothing, and there are no other labels."
    )
    (tmp_path / "plain" / "notes.txt").write_text("labels may be in here")
    assert "not a data set that vidi knows. It holds 3 files .png, 1 file .txt. A data set needs one of" in refusal(
        tmp_path / "plain"
    )


def test_one_picture_is_no_data_set(tmp_path):
    pictures(tmp_path, 1)
    told = f"{tmp_path / '0.png'}: one picture; a data set is a folder. `vidi predict` takes pictures"
    assert refusal(tmp_path / "0.png") == told


def test_good_json_and_other_files_are_left_to_others(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(COCO) + "\n\n")
    (tmp_path / "b.bin").write_bytes(b"0")
    for path in (tmp_path, tmp_path / "a.json", tmp_path / "b.bin"):
        refuse_broken_json(path)
        refuse_known(path)
    (tmp_path / "empty.json").write_bytes(b"")
    (tmp_path / ".editor").mkdir()
    for name in (".editor/settings.json", ".notes.json"):
        (tmp_path / name).write_text('{"a": 1, // settings of an editor')
    refuse_known(tmp_path)
    refuse_broken_json(tmp_path)


def test_class_folders_beside_a_broken_json_are_not_taken_for_classes(tmp_path):
    for name in ("a", "b"):
        pictures(tmp_path / name)
    assert recognise(tmp_path).format == "class_folders"
    (tmp_path / "boxes.json").write_text('{"images": [')
    assert "boxes.json, line 1" in refusal(tmp_path)
