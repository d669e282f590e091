"""COCO json: conventions by hand on tiny sets, masks against pycocotools, every fault, the real sets' counts."""

import copy
import json
import pickle
from typing import cast

import numpy as np
import PIL.Image
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from torchvision import tv_tensors

from vidi.data.faults import DataFaults, OnFault
from vidi.data.readers.coco_json import find_layout
from vidi.data.readers.mask_table import MaskTable
from vidi.data.recognise import open_dataset

HEIGHT, WIDTH = 20, 30

TINY = {
    "images": [
        {"id": 7, "file_name": "b.png", "height": HEIGHT, "width": WIDTH},
        {"id": 3, "file_name": "a.png", "height": HEIGHT, "width": WIDTH},
    ],
    "categories": [{"id": 90, "name": "cat"}, {"id": 4, "name": "dog"}],  # ids with gaps, not in order
    "annotations": [
        {"id": 1, "image_id": 3, "category_id": 90, "bbox": [1, 2, 3, 4], "area": 11.5, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 4, "bbox": [0.5, 0, 10, 20], "area": 200, "iscrowd": 1},
        {"id": 5, "image_id": 3, "category_id": 4, "bbox": [10, 10, 20, 10], "iscrowd": 0},
    ],
}


def tiny():
    return copy.deepcopy(TINY)


def write(root, content, name="instances_train.json", missing=()):
    (root / "images").mkdir(exist_ok=True)
    for picture in ("a.png", "b.png"):
        if picture not in missing:
            PIL.Image.new("RGB", (WIDTH, HEIGHT)).save(root / "images" / picture)
    (root / name).write_text(json.dumps(content))
    return root


def open_source(root, on_fault: OnFault = "raise", source="train"):
    layout = find_layout(root)
    assert layout is not None
    return layout.sources[source](part="all", on_fault=on_fault)


@pytest.mark.system("4.0-FORMAT")
def test_boxes_labels_crowd_areas_and_ids(tmp_path):
    dataset = open_source(write(tmp_path, tiny()))
    assert dataset.categories == ("dog", "cat")  # by id: 4, 90
    assert dataset.kinds == {"image_id", "boxes", "labels", "crowd", "areas"}
    assert len(dataset) == 2
    image, target = dataset[0]
    assert isinstance(image, tv_tensors.Image)
    assert image.shape == (3, HEIGHT, WIDTH)
    assert target["image_id"].item() == 7
    assert target["boxes"].tolist() == [[0.5, 0, 10.5, 20]]
    assert target["crowd"].tolist() == [True]
    image, target = dataset[-1]
    assert target["image_id"].item() == 3
    assert isinstance(target["boxes"], tv_tensors.BoundingBoxes)
    assert target["boxes"].canvas_size == (HEIGHT, WIDTH)
    assert target["boxes"].tolist() == [[1, 2, 4, 6], [10, 10, 30, 20]]
    assert target["labels"].tolist() == [1, 0]
    assert target["crowd"].tolist() == [False, False]
    assert target["areas"].tolist() == [11.5, 200.0]  # the second is not in the file: width * height
    assert (target["areas"].dtype, target["boxes"].dtype, target["labels"].dtype) == (
        torch.float64,
        torch.float32,
        torch.int64,
    )
    with pytest.raises(IndexError, match="image 2 of a data set of 2"):
        dataset[2]


def test_an_image_without_annotations_has_empty_targets(tmp_path):
    content = tiny()
    content["annotations"] = content["annotations"][:1]
    content["annotations"][0]["segmentation"] = [[1, 2, 4, 2, 4, 6]]
    _, target = open_source(write(tmp_path, content))[0]
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].shape == (0,)
    assert target["masks"].shape == (0, HEIGHT, WIDTH)


def test_targets_are_copies(tmp_path):
    dataset = open_source(write(tmp_path, tiny()))
    dataset[1][1]["boxes"].zero_()
    dataset[1][1]["labels"].zero_()
    assert dataset[1][1]["boxes"].tolist()[0] == [1, 2, 4, 6]
    assert dataset[1][1]["labels"].tolist() == [1, 0]


def test_pickles_small_for_loader_workers(tmp_path):
    dataset = open_source(write(tmp_path, tiny()))
    assert pickle.loads(pickle.dumps(dataset))[0][1]["boxes"].tolist() == [[0.5, 0, 10.5, 20]]
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=1)
    assert [int(target["image_id"]) for _, target in loader] == [7, 3]


# ----------------------------------------------------------------------------------------------------------- masks


def ellipse(cy, cx, ry, rx):
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1


def uncompressed(mask):
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return {"size": [HEIGHT, WIDTH], "counts": [0, *counts] if flat[0] else counts}


def compressed(mask):
    run = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [HEIGHT, WIDTH], "counts": cast(bytes, run["counts"]).decode()}


@pytest.mark.parametrize("encode", [compressed, uncompressed])
def test_both_run_length_forms_give_the_mask(tmp_path, encode):
    masks = [ellipse(8, 12, 5, 9), ellipse(0, 0, 4, 30), np.ones((HEIGHT, WIDTH), bool)]
    content = tiny()
    for annotation, mask in zip(content["annotations"], masks, strict=True):
        annotation |= {"segmentation": encode(mask), "image_id": 3}
        del annotation["bbox"]
        annotation["bbox"] = [0, 0, 5, 5]
        annotation.pop("area", None)
    dataset = open_source(write(tmp_path, content))
    _, target = dataset[1]
    assert isinstance(target["masks"], tv_tensors.Mask)
    assert target["masks"].dtype == torch.bool
    assert torch.equal(target["masks"], torch.from_numpy(np.stack(masks)))
    assert target["areas"].tolist() == [float(mask.sum()) for mask in masks]


def test_polygons_are_filled_as_pycocotools_fills_them(tmp_path):
    rings = [[2.2, 3.1, 20.7, 4.4, 14.9, 18.3], [22, 1, 29, 1, 29, 9.5, 22, 9.5]]
    content = tiny()
    for annotation in content["annotations"]:
        annotation["segmentation"] = rings[:1]
    content["annotations"][0]["segmentation"] = rings
    _, target = open_source(write(tmp_path, content))[1]
    for row, parts in enumerate((rings, rings[:1])):
        runs = coco_mask.merge(coco_mask.frPyObjects(parts, HEIGHT, WIDTH))
        assert torch.equal(target["masks"][row], torch.from_numpy(coco_mask.decode(runs)).bool())


def test_masks_need_a_segmentation_everywhere(tmp_path):
    content = tiny()
    content["annotations"][0]["segmentation"] = [[1, 2, 4, 2, 4, 6]]
    content["annotations"][1]["segmentation"] = []
    dataset = open_source(write(tmp_path, content))
    assert "masks" not in dataset.kinds
    assert "masks" not in dataset[0][1]


# ------------------------------------------------------------------------------------------------------- keypoints


def with_keypoints(content):
    content["categories"][1]["keypoints"] = ["nose", "tail", "paw"]
    content["annotations"][2]["keypoints"] = [11, 12, 2, 0, 0, 0, 13, 14, 1]
    return content


@pytest.mark.parametrize("joined", [True, False])
def test_keypoints_are_pixel_centres_and_can_be_joined(tmp_path, joined):
    if joined:
        write(tmp_path, tiny())
        only = with_keypoints(tiny())
        only["annotations"] = only["annotations"][2:]
        write(tmp_path, only, name="person_keypoints_train.json")
    else:
        write(tmp_path, with_keypoints(tiny()))
    dataset = open_source(tmp_path)
    assert {"keypoints", "visibility"} <= dataset.kinds
    assert dataset.keypoint_names == ("nose", "tail", "paw")
    _, target = dataset[1]
    assert isinstance(target["keypoints"], tv_tensors.KeyPoints)
    assert target["keypoints"].tolist() == [[[0, 0]] * 3, [[11.5, 12.5], [0, 0], [13.5, 14.5]]]
    assert target["visibility"].tolist() == [[0, 0, 0], [2, 0, 1]]
    assert target["visibility"].dtype == torch.uint8
    assert dataset[0][1]["keypoints"].shape == (1, 3, 2)


def test_keypoints_of_pictures_without_any_object_have_their_joints(tmp_path):
    content = with_keypoints(tiny())
    content["annotations"] = []
    _, target = open_source(write(tmp_path, content))[0]
    assert target["keypoints"].shape == (0, 3, 2)
    assert target["visibility"].shape == (0, 3)


def test_an_area_of_nothing_is_an_area(tmp_path):
    """As tools write it for lines and points; evaluation counts the object as small."""
    content = tiny()
    content["annotations"][0]["area"] = 0
    assert open_source(write(tmp_path, content))[1][1]["areas"].tolist() == [0.0, 200.0]


# ---------------------------------------------------------------------------------------------------------- faults


def image(content, **values):
    content["images"][1] |= values


def thing(content, **values):
    content["annotations"][0] |= values


RUN = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}

FAULTS = {
    "box of no width": (lambda c: thing(c, bbox=[1, 2, 0, 4]), "annotation 1: .*no size.*a.png"),
    "box of negative height": (lambda c: thing(c, bbox=[1, 2, 3, -4]), "annotation 1: .*no size"),
    "box outside": (lambda c: thing(c, bbox=[30, 2, 3, 4]), "annotation 1: .*outside the image of 30 x 20"),
    "box of three numbers": (lambda c: thing(c, bbox=[1, 2, 3]), "annotation 1: .*four finite numbers"),
    "box with text": (lambda c: thing(c, bbox=[1, 2, 3, "x"]), "annotation 1: .*four finite numbers"),
    "box with a truth value": (lambda c: thing(c, bbox=[1, 2, 3, True]), "annotation 1: .*four finite numbers"),
    "box of text": (lambda c: thing(c, bbox="1 2 3 4"), "annotation 1: .*four finite numbers"),
    "infinite box": (lambda c: thing(c, bbox=[1, 2, 3, 10**400]), "annotation 1: .*four finite numbers"),
    "no box": (lambda c: c["annotations"][0].pop("bbox"), "annotation 1: .*four finite numbers"),
    "unknown class": (lambda c: thing(c, category_id=5), "annotation 1: there is no category 5 .*a.png"),
    "unknown image": (lambda c: thing(c, image_id=99), "annotation 1: there is no image 99"),
    "unknown image of text": (lambda c: thing(c, image_id="03"), "annotation 1: there is no image 03"),
    "image id between": (lambda c: thing(c, image_id=3.5), "annotation 1: image_id is 3.5, expected a whole number"),
    "no image id": (lambda c: thing(c, image_id=None), "annotation 1: image_id is None, expected a whole number"),
    "id twice": (lambda c: thing(c, id=5), "annotation 5: the id is used twice"),
    "no id": (lambda c: thing(c, id=None), "annotation None: id is None, expected a whole number or a text"),
    "crowd 2": (lambda c: thing(c, iscrowd=2), "annotation 1: iscrowd is 2"),
    "crowd of text": (lambda c: thing(c, iscrowd="no"), "annotation 1: iscrowd is 'no', expected a whole number"),
    "area of text": (lambda c: thing(c, area="large"), "annotation 1: area is 'large', expected a finite number"),
    "negative area": (lambda c: thing(c, area=-1), "annotation 1: area is -1"),
    "short polygon": (lambda c: thing(c, segmentation=[[1, 2, 3, 4]]), "annotation 1: polygon of 4 numbers"),
    "odd polygon": (lambda c: thing(c, segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "annotation 1: polygon of 7 numbers"),
    "polygon of text": (lambda c: thing(c, segmentation=[["a"] * 6]), "annotation 1: polygon: expected"),
    "mask of another size": (
        lambda c: thing(c, segmentation={**RUN, "size": [WIDTH, HEIGHT]}),
        r"annotation 1: mask of size \[30, 20\].*\[20, 30\]",
    ),
    "runs too short": (lambda c: thing(c, segmentation={**RUN, "counts": [5, 5]}), "annotation 1: .*10 of 600 pixels"),
    "negative run": (lambda c: thing(c, segmentation={**RUN, "counts": [-5, 605]}), "annotation 1: .*negative"),
    "malformed runs": (lambda c: thing(c, segmentation={**RUN, "counts": "}}"}), "annotation 1: .*malformed"),
    "runs of another kind": (lambda c: thing(c, segmentation={**RUN, "counts": 5}), "annotation 1: .*neither"),
    "image of negative size": (lambda c: image(c, width=-1), "image 3: height and width are 20 and -1"),
    "image of a size between": (lambda c: image(c, width=30.5), "image 3: width is 30.5, expected a whole number"),
    "image without a name": (lambda c: image(c, file_name=None), "image 3: file_name is None"),
    "image without an id": (lambda c: image(c, id=None), "image row 2: id is None"),
    "category without a name": (lambda c: c["categories"].append({"id": 5}), r"category 5 \(row 3\): name is None"),
    "image id twice": (lambda c: image(c, id=7), "image 7: the id is used twice"),
    "image elsewhere": (
        lambda c: image(c, file_name="../../other/c.png"),
        "image 3: the image file ../../other/c.png is missing, also by its last parts; .* looked for in .*images",
    ),
    "image of another row": (
        lambda c: [image(c, file_name="C:\\x\\b.png"), c["images"][0].update(file_name="C:\\y\\b.png")],
        "image 3: .*b.png is the file of image 7 already",
    ),
    "category twice": (
        lambda c: c["categories"].append({"id": 4, "name": "x"}),
        r"category 4 \(row 3\): the id is used twice",
    ),
}


OF_NO_IMAGE = ("unknown image", "unknown image of text", "image id between", "no image id")  # which one lost it?


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_names_file_and_id_and_can_be_dropped(tmp_path, name):
    content = tiny()
    break_it, message = FAULTS[name]
    break_it(content)
    write(tmp_path, content)
    objects = {identity: sum(a["image_id"] == identity for a in tiny()["annotations"]) for identity in (3, 7)}
    with pytest.raises(DataFaults, match=rf"instances_train\.json: {message}") as caught:
        open_source(tmp_path)
    assert "leave the faulty rows and their pictures out with --" in str(caught.value)
    dataset = open_source(tmp_path, "drop")
    assert dataset.faults == caught.value.faults
    for index in range(len(dataset)):
        _, target = dataset[index]
        if name not in OF_NO_IMAGE:
            assert len(target["labels"]) == objects[int(target["image_id"])], (
                "a picture that lost an object is left out"
            )


def test_bad_keypoints_are_faults(tmp_path):
    for points in ([1, 2], [1, 2, 3], [1, 2, 2] * 4, "text"):
        content = with_keypoints(tiny())
        content["annotations"][2]["keypoints"] = points
        with pytest.raises(DataFaults, match="annotation 5"):
            open_source(write(tmp_path, content))


def test_all_faults_come_at_once(tmp_path):
    content = tiny()
    thing(content, bbox=[1, 2, 0, 4])
    content["annotations"][1]["category_id"] = 1
    PIL.Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "empty.png")
    content["images"].append({"id": 9, "file_name": "../empty.png", "height": HEIGHT, "width": WIDTH})
    content["images"].append({"id": 8, "file_name": "gone.png", "height": HEIGHT, "width": WIDTH})
    content["annotations"].append({"id": 6, "image_id": 8, "category_id": 4, "bbox": [0, 0, 1, 1]})  # of a faulty image
    write(tmp_path, content, missing=("gone.png",))
    with pytest.raises(DataFaults) as caught:
        open_source(tmp_path)
    assert [fault.where for fault in caught.value.faults] == ["image 8", "annotation 1", "annotation 2"]
    assert "gone.png is missing" in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).faults == caught.value.faults
    dataset = open_source(tmp_path, "drop")
    assert [dataset.path(index).name for index in range(len(dataset))] == ["empty.png"]  # the others lost an object
    assert dataset.left_out == 2


# ---------------------------------------------------------------------------------------------------- loose spellings


def loose(content):
    """Write every number of a json in another form."""
    forms = [str, float, lambda value: [value], lambda value: f"{value}.0"]
    for row, annotation in enumerate([a for part in ("annotations", "images", "categories") for a in content[part]]):
        for key in ("id", "image_id", "category_id", "area", "iscrowd", "height", "width"):
            if key in annotation:
                annotation[key] = forms[row % len(forms)](annotation[key])
        if "bbox" in annotation:
            annotation["bbox"] = [str(value) for value in annotation["bbox"]]
    return content


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_numbers_in_other_forms_are_those_numbers(tmp_path):
    content = tiny()
    content["annotations"][0]["area"] = 11
    expected = open_source(write(tmp_path, content))
    dataset = open_source(write(tmp_path, loose(content)))
    assert dataset.categories == expected.categories
    assert len(dataset) == 2
    assert all(same(dataset[index][1], expected[index][1]) for index in range(2))
    assert dataset.faults == ()
    told = {remark.message for remark in dataset.remarks}
    assert "values of bbox are written as text and are read as numbers: 12 (first: annotation 1)" in told


def test_ids_that_are_texts_are_looked_up(tmp_path):
    content = tiny()
    names = {3: "000000000003", 7: "photo b"}
    for row in content["images"]:
        row["id"] = names[row["id"]]
    for row in content["annotations"]:
        row |= {"image_id": names[row["image_id"]], "id": f"annotation-{row['id']}"}
    for row in content["categories"]:
        row["id"] = row["name"]
    for row, name in zip(content["annotations"], ("cat", "dog", "dog"), strict=True):
        row["category_id"] = name
    dataset = open_source(write(tmp_path, content))
    assert dataset.categories == ("cat", "dog")  # by id, as texts
    assert [dataset[index][1]["labels"].tolist() for index in range(2)] == [[1], [0, 1]]
    assert [dataset[index][1]["image_id"].item() for index in range(2)] == [0, 1]  # a text is no number
    assert dataset.remarks == ()


def test_ids_beyond_64_bits_are_looked_up_too(tmp_path):
    content = tiny()
    content["images"][0]["id"] = content["annotations"][1]["image_id"] = 2**70
    dataset = open_source(write(tmp_path, content))
    assert [len(dataset[index][1]["labels"]) for index in range(2)] == [1, 2]


@pytest.mark.parametrize("absent", [{"height": None}, {"width": 0}, {"height": None, "width": None}])
def test_sizes_that_a_json_does_not_tell_are_those_of_the_files(tmp_path, absent):
    content = tiny()
    image(content, **absent)
    dataset = open_source(write(tmp_path, content))
    assert dataset[1][1]["boxes"].canvas_size == (HEIGHT, WIDTH)
    assert [remark.message for remark in dataset.remarks] == [
        "image rows have no height and width, the files are asked for them: 1 (first: image 3)"
    ]


def test_a_segmentation_without_a_box_gets_its_envelope(tmp_path):
    content = tiny()
    del content["annotations"][0]["bbox"]
    content["annotations"][0]["segmentation"] = [[2, 3, 9, 4.5, 5, 12], [20, 1, 22.5, 2, 21, 3]]
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[5:9, 11:20] = True
    content["annotations"][1] |= {"bbox": None, "segmentation": compressed(mask)}
    content["annotations"][2] |= {"bbox": [], "segmentation": uncompressed(mask)}
    del content["annotations"][2]["iscrowd"]
    dataset = open_source(write(tmp_path, content))
    assert dataset[1][1]["boxes"].tolist() == [[2, 1, 22.5, 12], [11, 5, 20, 9]]
    assert dataset[0][1]["boxes"].tolist() == [[11, 5, 20, 9]]
    assert [remark.message for remark in dataset.remarks] == [
        "annotations have no bbox, it is the envelope of their mask: 3 (first: annotation 1)"
    ]


MOVED = ("images\\", "D:\\work\\images\\", "/home/me/images/", "../images/", "\\\\nas\\x\\")


@pytest.mark.parametrize("before", MOVED)
def test_paths_of_other_machines_are_followed(tmp_path, before):
    content = tiny()
    for row in content["images"]:
        row["file_name"] = before + row["file_name"]
    dataset = open_source(write(tmp_path, content))
    assert [dataset.path(index).name for index in range(2)] == ["b.png", "a.png"]
    assert [remark.message.partition(" (")[0] for remark in dataset.remarks] == [
        "image files named by a path of another machine, found by its last parts: 2"
    ]


def test_bad_points_leave_their_picture_out(tmp_path):
    content = with_keypoints(tiny())
    content["annotations"][2]["keypoints"] = [1, 2]
    dataset = open_source(write(tmp_path, content), "drop")
    assert [dataset.path(index).name for index in range(len(dataset))] == ["b.png"]


def test_only_the_keys_that_are_asked_for_are_given(tmp_path, monkeypatch):
    content = with_keypoints(tiny())
    for annotation in content["annotations"]:
        annotation["segmentation"] = [[1, 2, 9, 2, 4, 6]]
    dataset = open_source(write(tmp_path, content))
    assert {"masks", "keypoints"} <= set(dataset[0][1])
    narrow = dataset.giving(["boxes", "labels", "identity"])
    assert narrow.kinds == {"image_id", "boxes", "labels"}

    def refuse(*_):
        raise AssertionError("masks were decoded")

    monkeypatch.setattr(MaskTable, "coded", refuse)
    assert set(narrow[0][1]) == {"image_id", "boxes", "labels"}
    assert {"masks", "keypoints"} <= dataset.kinds  # the data set itself is as it was


def test_a_long_list_of_faults_is_cut_in_the_message_only(tmp_path):
    content = tiny()
    content["annotations"] = [{"id": i, "image_id": 3, "category_id": 4, "bbox": [0, 0, 0, 0]} for i in range(50)]
    with pytest.raises(DataFaults, match=r"50 faults.*\n(.*\n){20}.*and 30 more") as caught:
        open_source(write(tmp_path, content))
    assert len(caught.value.faults) == 50


def test_boxes_over_the_border_are_clipped_and_remarked(tmp_path):
    content = tiny()
    thing(content, bbox=[-5, 2, 10, 4])
    content["annotations"][2]["bbox"] = [10, 10, 20.4, 10]  # rounding: no remark
    dataset = open_source(write(tmp_path, content))
    assert dataset[1][1]["boxes"].tolist() == [[0, 2, 5, 6], [10, 10, 30, 20]]
    assert [(remark.where, "5 px over the border" in remark.message) for remark in dataset.remarks] == [
        ("annotation 1", True)
    ]


def test_nan_bad_syntax_and_another_json_are_errors(tmp_path):
    write(tmp_path, tiny())
    path = tmp_path / "instances_train.json"
    path.write_text(path.read_text().replace("[1, 2, 3, 4]", "[1,\n NaN, 3, 4]"))
    with pytest.raises(ValueError, match=r"instances_train\.json, line 2.*NaN"):
        open_source(tmp_path)
    path.write_text('{"images": 1, "annotations": [], "categories": []}')
    with pytest.raises(ValueError, match=r"instances_train\.json.*list of objects named 'images'"):
        open_source(tmp_path)
    path.write_text('["images", "annotations", "categories"]')
    with pytest.raises(ValueError, match=r"instances_train\.json: expected COCO json"):
        open_source(tmp_path)


def test_an_image_of_another_size_than_its_annotations_is_an_error(tmp_path):
    write(tmp_path, tiny())
    PIL.Image.new("RGB", (HEIGHT, WIDTH)).save(tmp_path / "images" / "a.png")
    dataset = open_source(tmp_path)
    with pytest.raises(ValueError, match=r"a\.png: the image has 20 x 30 pixels, its boxes are for 30 x 20"):
        dataset[1]


def test_nothing_left_is_an_error_even_when_faults_are_dropped(tmp_path):
    write(tmp_path, tiny(), missing=("a.png", "b.png"))
    with pytest.raises(DataFaults, match="2 faults"):
        open_source(tmp_path, "drop")


# --------------------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize(
    ("json_file", "image_folder"),
    [
        ("instances_train.json", "images"),
        ("annotations/instances_train2017.json", "train2017"),
        ("annotations/instances_train2017.json", "images/train2017"),
        ("train/_annotations.coco.json", "train"),
        ("train.json", "."),
    ],
)
def test_layouts_in_use_are_found(tmp_path, json_file, image_folder):
    (tmp_path / json_file).parent.mkdir(exist_ok=True)
    (tmp_path / image_folder).mkdir(exist_ok=True, parents=True)
    (tmp_path / json_file).write_text(json.dumps(tiny()))
    for name in ("a.png", "b.png"):
        PIL.Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / image_folder / name)
    assert len(open_source(tmp_path)) == 2
    assert len(open_source(tmp_path / json_file)) == 2


def test_two_files_for_one_split_have_to_be_named(tmp_path):
    write(tmp_path, tiny())
    write(tmp_path, tiny(), name="boxes_train.json")
    with pytest.raises(ValueError, match=r"two COCO files for train, .*name one"):
        find_layout(tmp_path)


def test_two_folders_for_one_split_are_told_with_their_folders(tmp_path):
    for folder in ("val", "valid"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "_annotations.coco.json").write_text(json.dumps(tiny()))
    both = r"val/_annotations\.coco\.json and valid/_annotations\.coco\.json"
    with pytest.raises(ValueError, match=f"two COCO files for val, {both}: name one"):
        find_layout(tmp_path)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("annotations.json", "all"),  # in a folder called test_...: the set's own name speaks of no split
        ("annotations/train/boxes.json", "train"),
        ("valid/boxes.json", "val"),
        ("instances_test-dev2017.json", "test"),  # its `dev` is no validation
    ],
)
def test_which_split_a_file_is(tmp_path, name, source):
    root = tmp_path / "test_of_cells"
    (root / name).parent.mkdir(parents=True)
    (root / name).write_text(json.dumps(tiny()))
    layout = find_layout(root)
    assert layout is not None
    assert list(layout.sources) == [source]


def test_a_part_is_stratified_by_class(tmp_path):
    content = tiny() | {"annotations": []}
    content["images"] = [{"id": row, "file_name": f"{row}.png", "width": WIDTH, "height": HEIGHT} for row in range(40)]
    ids = [category["id"] for category in content["categories"]][:2]
    for row in range(40):
        box = {"id": row, "image_id": row, "category_id": ids[row >= 30], "bbox": [1, 1, 3, 3], "iscrowd": 0}
        content["annotations"].append(box)
        PIL.Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / f"{row}.png")
    (tmp_path / "instances_train.json").write_text(json.dumps(content))
    layout = find_layout(tmp_path)
    assert layout is not None
    val = layout.sources["train"](part="val", on_fault="raise")
    labels = [int(val.target(row)["labels"][0]) for row in range(len(val))]
    assert sorted(map(labels.count, set(labels))) == [1, 3]


# ---------------------------------------------------------------------------------------------------- the real sets


@pytest.mark.parametrize(
    ("name", "split", "images", "things", "crowd"),
    [
        ("bccd", "train", 205, 2804, 0),
        ("bccd", "val", 87, 1137, 0),
        ("bccd", "test", 72, 945, 0),
        ("pennfudan", "train", 120, 299, 0),
        ("pennfudan", "val", 25, 59, 0),
        ("coco_mini", "train", 80, 739, 8),
        ("coco_mini", "val", 40, 292, 2),
        ("group_faces", "train", 3, 16, 0),
        ("group_faces", "val", 1, 2, 0),
        ("group_faces", "test", 5, 25, 0),
    ],
)
def test_counts_of_the_real_sets(shared_data, name, split, images, things, crowd):
    dataset = open_dataset(shared_data / name, split)
    targets = [dataset.target(index) for index in range(len(dataset))]
    assert len(dataset) == images
    assert sum(len(target["labels"]) for target in targets) == things
    assert sum(int(target["crowd"].sum()) for target in targets) == crowd
    assert dataset.faults == ()


@pytest.mark.system("4.0-FORMAT")
def test_real_annotations_equal_pycocotools(shared_data):
    root = shared_data / "coco_mini"
    dataset = open_dataset(root, "val")
    reference = COCO(str(root / "annotations" / "instances_val2017.json"))
    points = COCO(str(root / "annotations" / "person_keypoints_val2017.json"))
    ids = sorted(reference.getCatIds())
    assert dataset.categories == tuple(row["name"] for row in reference.loadCats(ids))
    for index in range(len(dataset)):
        target = dataset.target(index)
        rows = reference.imgToAnns[int(target["image_id"])]
        height, width = target["boxes"].canvas_size
        x, y, w, h = torch.tensor([row["bbox"] for row in rows], dtype=torch.float64).reshape(-1, 4).unbind(1)
        boxes = torch.stack([x, y, (x + w).clamp(max=width), (y + h).clamp(max=height)], dim=1)
        assert torch.allclose(target["boxes"].double(), boxes, atol=1e-4)
        assert target["labels"].tolist() == [ids.index(row["category_id"]) for row in rows]
        assert target["areas"].tolist() == [row["area"] for row in rows]
        assert target["crowd"].tolist() == [bool(row["iscrowd"]) for row in rows]
        for mask, row in zip(target["masks"], rows, strict=True):
            assert torch.equal(mask, torch.from_numpy(reference.annToMask(row)).bool())
        for place, row in enumerate(rows):
            joints = points.anns.get(row["id"], {}).get("keypoints", [0] * 51)
            expected = torch.tensor(joints).reshape(17, 3)
            assert torch.equal(target["visibility"][place], expected[:, 2].to(torch.uint8))
            seen = expected[:, 2] > 0
            assert torch.equal(target["keypoints"][place][seen], expected[seen, :2] + 0.5)


def test_masks_of_real_pedestrians_equal_their_pngs(shared_data):
    root = shared_data / "pennfudan"
    dataset = open_dataset(root, "val")
    image, target = dataset[3]
    stem = dataset.path(3).stem
    painted = torch.from_numpy(np.array(PIL.Image.open(root / "masks" / f"{stem}.png")))
    assert image.shape[-2:] == painted.shape
    assert torch.equal(target["masks"].any(dim=0), painted > 0)
    assert target["areas"].tolist() == target["masks"].sum(dim=(1, 2)).tolist()
