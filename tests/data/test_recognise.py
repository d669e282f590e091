"""Recognition by content: the reason, the splits, and what an unknown path is told."""

import json

import PIL.Image
import pytest

from vidi.data.recognise import READERS, open_dataset, recognise


@pytest.mark.parametrize(
    ("name", "format", "splits"),
    [
        ("bccd", "coco_json", ["train", "val", "test"]),
        ("pennfudan", "coco_json", ["train", "val"]),
        ("coco_mini", "coco_json", ["train", "val"]),
        ("group_faces", "coco_json", ["train", "val", "test"]),
        ("camvid", "label_pairs", ["train", "val"]),
        ("mnist", "npz", ["train", "val", "test"]),
        ("cifar10", "npz", ["train", "val", "test"]),
        ("orl_faces", "class_folders", ["train", "val", "all"]),
        ("stereo", "stereo_folders", ["train", "val", "all"]),
        ("kitti_vo", "sequences", ["train", "val", "all"]),
    ],
)
def test_the_real_sets(shared_data, name, format, splits):
    found = recognise(shared_data / name)
    assert (found.format, list(found.splits)) == (format, splits)
    for split in splits:
        assert found.splits[split].note in found.reason


def test_reasons_say_what_was_seen(shared_data):
    assert recognise(shared_data / "bccd").reason == (
        "instances_test.json, instances_train.json, instances_val.json hold images, annotations and categories; "
        "splits of its own: train, val, test"
    )
    assert recognise(shared_data / "mnist").reason.endswith(
        "splits of its own: test; train is the other nine tenths; "
        "val is a tenth of train, drawn with seed 0, stratified by class"
    )
    assert recognise(shared_data / "bccd", format="voc_xml").format == "voc_xml"


def test_a_folder_of_something_else_is_not_taken_for_a_data_set(shared_data):
    with pytest.raises(ValueError, match="not a data set that vidi knows"):
        recognise(shared_data / "weights_cifar10_resnet20")


def test_an_unknown_folder_is_told_what_was_seen_and_what_is_needed(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "a.txt").write_text("x")
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "b.jpg")
    with pytest.raises(ValueError, match=r"1 folder \(notes\), 1 file \.txt, 1 file \.jpg") as caught:
        recognise(tmp_path)
    for name, reader in READERS.items():
        assert f"{name}: {reader.needs}" in str(caught.value)


def test_wrong_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such file or folder"):
        recognise(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="nothing: the folder is empty"):
        recognise(tmp_path)
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"a\.txt: not a data set .*one file of 5 bytes"):
        recognise(tmp_path / "a.txt")
    (tmp_path / "a.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"a\.npz: not an npz file"):
        recognise(tmp_path / "a.npz")


def test_unknown_formats_and_splits(tmp_path):
    with pytest.raises(ValueError, match="unknown format 'coco'; choose from captions_jsonl, npz, shards"):
        recognise(tmp_path, format="coco")
    for name in ("dog", "cat"):
        (tmp_path / name).mkdir()
        PIL.Image.new("RGB", (4, 4)).save(tmp_path / name / "a.png")
    with pytest.raises(ValueError, match="there is no split 'test'; choose from train, val, all"):
        open_dataset(tmp_path, "test")
    with pytest.raises(ValueError, match="not a data set that vidi knows") as caught:
        recognise(tmp_path, format="yolo_txt")
    assert "class_folders" not in str(caught.value)


def test_results_json_alone_is_no_data_set(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps([{"image_id": 1, "category_id": 1}]))
    (tmp_path / "empty.json").write_text("")
    with pytest.raises(ValueError, match="not a data set that vidi knows"):
        recognise(tmp_path)


def test_remarks_about_the_whole_set_come_with_each_split(tmp_path):
    for name in ("train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png", "left_over.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (4, 4)).save(tmp_path / name)
    found = recognise(tmp_path)
    for split in ("train", "val"):
        assert [remark.message for remark in found.open(split).remarks] == [
            "pictures not used because they lie outside the classes of the splits: 1 (first: left_over.png)"
        ]
