"""Data that is not as it should be: a message with file and row, exit code 3 (1 for a check), nothing lost."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.command import vidi
from tests.cli.tiny_sets import (
    SMALL_CLASSIFIER,
    SMALL_DETECTOR,
    coco,
    cut_in_half,
    write_classes,
    write_coco,
    write_picture,
)
from vidi import files

# ----------------------------------------------------------------------------------------------------------------------
# Paths and pictures


@pytest.mark.parametrize("command", [("train", "resnet18", "--data"), ("data", "check")])
def test_a_path_that_does_not_exist(command: tuple[str, ...]) -> None:
    done = vidi(*command, "nothing")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("vidi: nothing: no such ")
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", [("train", "resnet18", "--data"), ("data", "check")])
def test_an_empty_folder(command: tuple[str, ...]) -> None:
    Path("empty").mkdir()
    done = vidi(*command, "empty")
    assert done.code == 3
    assert "empty: not a data set that vidi knows. It holds nothing: the folder is empty." in done.err
    assert "class_folders: ROOT/train/CLASS/*.jpg" in done.err


def test_photos_that_do_not_exist(classifier: Path) -> None:
    Path("empty").mkdir()
    assert vidi("predict", classifier, "nothing.jpg").err == "vidi: nothing.jpg: no such file or folder\n"
    assert vidi("predict", classifier, "empty").err.startswith("vidi: empty holds no images (.jpg, ")
    assert vidi("predict", classifier, "empty").code == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_a_truncated_picture_stops_a_training_and_leaves_no_folder(workers: int) -> None:
    broken = cut_in_half(write_classes(Path("photos")) / "red" / "red3.jpg")
    done = vidi("train", *SMALL_CLASSIFIER, "--data", "photos", f"workers={workers}")
    assert done.code == 3
    assert f"{broken.resolve()}: cannot be read as an image: " in done.err
    assert "leave the faulty rows and their pictures out with --drop-faults" in done.err
    assert not Path("runs/resnet18").exists()  # nothing was learnt: the name is free for the next attempt


def test_truncated_pictures_of_both_splits_are_named_before_the_first_step() -> None:
    write_coco(Path("cells"), coco(20))
    broken = [cut_in_half(Path(f"cells/images/{row}.jpg")) for row in range(0, 20, 2)]
    done = vidi("train", *SMALL_DETECTOR, "--data", "cells")
    assert (done.code, done.out) == (3, "")
    assert all(f"{path.resolve()}: " in done.err for path in broken)
    assert "10 faults in the data set" in done.err


def test_what_is_dropped_is_counted_in_terminal_report_and_configuration() -> None:
    write_coco(Path("cells"), coco(20))
    for row in range(3):
        cut_in_half(Path(f"cells/images/{row}.jpg"))
    done = vidi("train", *SMALL_DETECTOR, "--data", "cells", "--drop-faults", "--out", "run")
    assert done.code == 0, done.err
    left = json.loads(Path("run/config.json").read_text())["data"]["left_out"]
    assert (left["faults"], sum(left["images"].values())) == (3, 3)
    images = f"{left['images']['train']} of train and {left['images']['val']} of val"
    spoken = f"3 faults dropped; images left out for them: {images}"
    assert spoken in done.out
    assert spoken in Path("run/report.md").read_text()
    scored = vidi("eval", "run", "--split", "all", "--json")
    assert scored.code == 0
    assert "3 faults dropped; images left out for them: 3 of all" in scored.err
    scored.json()  # what is said does not stand in the way of the numbers
    refused = vidi("eval", "run", "--split", "all", "--data", "cells")
    assert refused.code == 3
    assert "3 faults in the data set" in refused.err


def test_a_training_without_an_object_stops() -> None:
    content = coco(8)
    content["annotations"] = []
    write_coco(Path("cells"), content)
    done = vidi("train", *SMALL_DETECTOR, "--data", "cells")
    assert done.code == 3
    assert "no object in " in done.err
    for annotation in (wrong := coco(8))["annotations"]:
        annotation["category_id"] = 7
    write_coco(Path("cells"), wrong)
    done = vidi("train", *SMALL_DETECTOR, "--data", "cells", "--drop-faults")
    assert done.code == 3
    assert "8 faults in the data set" in done.err
    assert not Path("runs").exists()


def test_a_check_finds_every_truncated_picture() -> None:
    photos = write_classes(Path("photos"))
    broken = [cut_in_half(photos / "red" / f"red{row}.jpg") for row in (1, 7)]
    done = vidi("data", "check", "photos", "--json")
    assert done.code == 1
    assert {fault["file"] for fault in json.loads(done.out)["faults"]} == {str(path) for path in broken}


def test_a_truncated_photo_does_not_keep_the_others_from_being_predicted(classifier: Path) -> None:
    for name in "abc":
        write_picture(Path(f"photos/{name}.jpg"))
    cut_in_half(Path("photos/b.jpg"))
    Path("photos/._a.jpg").write_bytes(b"what another system leaves beside a photo")
    done = vidi("predict", classifier, "photos", "--out", "drawn")
    assert done.code == 3
    assert [line.split(":")[0] for line in done.out.splitlines()[:2]] == ["photos/a.jpg", "photos/c.jpg"]
    assert sorted(path.name for path in Path("drawn").iterdir()) == ["a.jpg", "c.jpg"]
    fault, pace, count = done.err.splitlines()
    assert fault.startswith("vidi: photos/b.jpg: ")
    assert pace.startswith("3 pictures in ")
    assert count == "vidi: 1 of 3 pictures could not be read"


def test_a_photo_that_is_none(classifier: Path) -> None:
    Path("notes.txt").write_text("buy milk")
    done = vidi("predict", classifier, "notes.txt")
    assert done.code == 3
    assert done.err.startswith("vidi: notes.txt: not an image of a known format")


# ----------------------------------------------------------------------------------------------------------------------
# Annotations


def faulty() -> tuple[dict[str, Any], list[str]]:
    """Return a COCO json with a fault of each kind, and what a message must say of each."""
    content = coco()
    annotations = content["annotations"]
    annotations[0]["bbox"] = [100, 100, 5, 5]
    annotations[1]["bbox"] = [3, 3, 0, 4]
    annotations[2]["category_id"] = 9
    annotations[3]["image_id"] = 77
    annotations[4]["bbox"] = [1, 2, 3, "x"]
    content["images"].append({"id": 10, "file_name": "lost.jpg", "height": 48, "width": 48})
    return content, [
        "annotation 0: box [100, 100, 105, 105] (x1 y1 x2 y2) lies outside the image of 48 x 48 pixels (image 0.jpg)",
        "annotation 1: box [3, 3, 3, 7] (x1 y1 x2 y2) has no size (image 1.jpg)",
        "annotation 2: there is no category 9 (image 2.jpg)",
        "annotation 3: there is no image 77",
        "annotation 4: bbox [1, 2, 3, 'x']: expected four finite numbers",
        "image 10: the image file ",
    ]


def test_all_faults_of_annotations_are_told_at_once() -> None:
    content, expected = faulty()
    write_coco(Path("cells"), content)
    Path("cells/images/lost.jpg").unlink()
    done = vidi("train", *SMALL_DETECTOR, "--data", "cells")
    assert done.code == 3
    assert "cells: 6 faults in the data set" in done.err
    assert all(f"instances.json: {fault}" in done.err for fault in expected)
    assert "--drop-faults" in done.err
    assert not Path("runs").exists()
    checked = vidi("data", "check", "cells")
    assert checked.code == 1
    assert all(f"instances.json: {fault}" in checked.out for fault in expected)


def test_faulty_rows_can_be_left_out() -> None:
    content, _ = faulty()
    write_coco(Path("cells"), content)
    done = vidi("train", *SMALL_DETECTOR, "--data", "cells", "--drop-faults", "--json")
    assert done.json()["run"] == "runs/retinanet_tiny"
    assert json.loads(Path("runs/retinanet_tiny/config.json").read_text())["data"]["faults"] == "drop"


def test_faults_of_all_splits_are_told_at_once() -> None:
    wrong = coco(4)
    wrong["annotations"][0]["category_id"] = 9
    for split in ("train", "val"):
        write_coco(Path("cells"), wrong, f"instances_{split}.json")
    done = vidi("train", *SMALL_DETECTOR, "--data", "cells")
    assert done.code == 3
    assert "cells: 2 faults in the data set" in done.err
    assert all(
        f"instances_{split}.json: annotation 0: there is no category 9" in done.err for split in ("train", "val")
    )


def test_not_a_number_in_json_is_told_with_line_and_column() -> None:
    write_coco(Path("cells"), coco())
    path = Path("cells/instances.json")
    path.write_text(path.read_text().replace('"area": 400', '\n"area": NaN', 1))
    for words, code in ((("train", *SMALL_DETECTOR, "--data", "cells"), 3), (("data", "check", "cells"), 1)):
        done = vidi(*words)
        assert done.code == code
        assert "instances.json, line 2, column 9: NaN is not JSON" in done.out + done.err


def test_a_data_set_without_a_picture_to_validate_on() -> None:
    write_coco(Path("cells"), coco(1))
    done = vidi("train", *SMALL_DETECTOR, "--data", "cells")
    assert done.code == 3
    assert "holds no images" in done.err
    assert not Path("runs").exists()


def test_a_data_set_for_another_task(classes: Path) -> None:
    done = vidi("train", *SMALL_DETECTOR, "--data", classes)
    assert (done.code, done.err) == (3, f"vidi: {classes} has image_id, label; this task needs boxes, labels\n")


def test_a_model_and_a_data_set_of_other_categories(classifier: Path, classes: Path) -> None:
    shutil.copytree(classes, "other")
    Path("other/red").rename("other/crimson")
    done = vidi("eval", classifier, "--data", "other")
    assert done.code == 3
    assert "the model does not know crimson; the data set lacks red" in done.err


def test_a_split_that_a_data_set_does_not_have(classifier: Path) -> None:
    done = vidi("eval", classifier, "--split", "test")
    assert done.code == 3
    assert "there is no split 'test'; choose from train, val, all" in done.err


# ----------------------------------------------------------------------------------------------------------------------
# Run folders


def test_a_pickle_under_the_name_of_safetensors_is_refused(classifier: Path) -> None:
    shutil.copytree(classifier, "run")
    torch.save({"weight": torch.zeros(1)}, "run/weights.safetensors")
    done = vidi("predict", "run", write_picture(Path("1.png")))
    assert (done.code, done.out) == (3, "")
    assert "run/weights.safetensors: a pickle under the name of safetensors; pickles run code" in done.err


def test_weights_of_another_model_are_refused_in_one_line(classifier: Path) -> None:
    shutil.copytree(classifier, "run")
    weights = files.read_tensors("run/weights.safetensors")
    weights["another.weight"] = weights.pop("network.head.linear.bias")
    weights["network.head.linear.weight"] = torch.zeros(3, 5)
    files.write_tensors("run/weights.safetensors", weights)
    done = vidi("predict", "run", write_picture(Path("1.png")))
    assert done.code == 3
    assert done.err.startswith("vidi: run/weights.safetensors holds other weights than run/config.json describes: ")
    assert "1 missing (network.head.linear.bias...); 1 unknown (another.weight...); 1 of another shape" in done.err
    assert len(done.err.splitlines()) == 1


def test_a_configuration_of_another_version_is_told(classifier: Path) -> None:
    shutil.copytree(classifier, "run")
    config = json.loads(Path("run/config.json").read_text())
    config["recipe"][""]["batch_size"] = "many"
    Path("run/config.json").write_text(json.dumps(config))
    done = vidi("eval", "run")
    assert done.code == 3
    assert "the configuration's recipe is not one of this version: .batch_size: " in done.err
    config["model"] = "resnet17"
    Path("run/config.json").write_text(json.dumps(config))
    assert "no model is called 'resnet17'" in vidi("eval", "run").err
