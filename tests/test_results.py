"""What `predict()` gives: order, wording, plain values and drawings."""

import copy
import dataclasses
import io
import json
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from vidi.ops.boxes_3d import FRONT, box_3d_corners, project_points
from vidi.ops.masks import CodedMasks, decode_masks
from vidi.ops.palette import class_colour
from vidi.ops.skeletons import COCO_SKELETON, Skeleton
from vidi.results.anchor_sizes import AnchorSizes
from vidi.results.categories import category_names
from vidi.results.classification import Classification
from vidi.results.detections import Detections
from vidi.results.embedding import Embedding
from vidi.results.result import Result, settle
from vidi.results.semantic_map import SemanticMap

NAMES = ("sphere", "box", None, "person")


def detections(*, masks: bool = False, count: int = 3) -> Detections:
    boxes = torch.tensor([[10.0, 12.0, 40.0, 50.0], [60.5, 20.0, 90.0, 80.0], [5.0, 70.0, 25.0, 95.0]])[:count]
    return Detections(
        boxes,
        torch.tensor([0.6, 0.9, 0.3])[:count],
        torch.tensor([0, 3, 0])[:count],
        NAMES,
        rectangles(boxes) if masks else None,
    )


def rectangles(boxes: Tensor, size: tuple[int, int] = (100, 120)) -> Tensor:
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


def noise(size: tuple[int, int] = (100, 120)) -> PIL.Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


ARM = Skeleton(("shoulder", "elbow", "wrist"), ((0, 1), (1, 2)))
CAMERA = torch.tensor([[100.0, 0.0, 60.0], [0.0, 100.0, 50.0], [0.0, 0.0, 1.0]])


def poses() -> Detections:
    """Two things with arms, the surer one last; the first has no wrist."""
    points = torch.tensor([[[20.0, 20.0], [25.0, 30.0], [0.0, 0.0]], [[70.0, 30.0], [80.0, 45.0], [85.0, 70.0]]])
    sure = torch.tensor([[0.9, 0.8, 0.0], [0.7, 0.6, 0.5]])[..., None]
    boxes = torch.tensor([[10.0, 12.0, 40.0, 50.0], [60.5, 20.0, 90.0, 80.0]])
    keypoints = torch.cat((points, sure), 2)
    return Detections(boxes, torch.tensor([0.6, 0.9]), torch.tensor([0, 3]), NAMES, keypoints=keypoints, skeleton=ARM)


def in_space() -> Detections:
    """A box in front of the camera, and one that reaches behind it."""
    space = torch.tensor([[0.0, 0.0, 5.0, 1.0, 2.0, 0.5, 0.5], [0.0, 0.0, 0.4, 1.0, 1.0, 1.0, 0.0]])
    boxes = torch.tensor([[45.0, 25.0, 75.0, 75.0], [5.0, 5.0, 110.0, 95.0]])
    return Detections(boxes, torch.tensor([0.9, 0.6]), torch.tensor([0, 1]), NAMES, boxes_3d=space, intrinsics=CAMERA)


def classes(size: tuple[int, int] = (100, 120)) -> Tensor:
    labels = torch.zeros(size, dtype=torch.uint8)
    labels[:, 60:] = 1
    labels[80:] = 255
    return labels


ALL = {
    "classification": Classification(torch.tensor([0.1, 0.6, 0.2, 0.1]), NAMES),
    "detections": detections(),
    "masks": detections(masks=True),
    "poses": poses(),
    "in space": in_space(),
    "no detections": detections(masks=True, count=0),
    "semantic": SemanticMap(classes(), ("road", "sky")),
    "embedding": Embedding(torch.tensor([0.6, -0.8]), "cosine"),
    "anchors": AnchorSizes(torch.tensor([[30.0, 40.0], [10.0, 10.0]]), 0.75),
}


@pytest.fixture(params=ALL)
def result(request: pytest.FixtureRequest) -> Result:
    return ALL[request.param]


class TestEveryResult:
    def test_is_plain_json(self, result: Result) -> None:
        plain = result.to_dict()
        assert json.loads(json.dumps(plain, allow_nan=False)) == plain

    def test_is_one_line(self, result: Result) -> None:
        assert str(result)
        assert "\n" not in str(result)

    def test_drawing_leaves_the_image_alone(self, result: Result) -> None:
        image = noise()
        before = image.tobytes()
        drawn = result.draw(image)
        assert image.tobytes() == before
        assert drawn.mode == "RGB"
        assert drawn.width == 480
        assert drawn.height >= 400

    def test_draws_on_tensors_arrays_and_files_alike(self, result: Result, tmp_path) -> None:
        image = noise()
        array = np.asarray(image)
        tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
        image.save(tmp_path / "image.png")
        expected = result.draw(image).tobytes()
        for same in (array, tensor, tensor.float() / 255, tmp_path / "image.png", str(tmp_path / "image.png")):
            assert result.draw(same).tobytes() == expected

    def test_draws_from_a_threshold_on(self, result: Result) -> None:
        drawn = [result.draw(noise(), threshold=threshold).tobytes() for threshold in (0.5, 1.1)]
        assert drawn[0] == result.draw(noise()).tobytes()
        assert (drawn[0] != drawn[1]) == (isinstance(result, Detections) and len(result) > 0)

    def test_remembers_its_picture(self, result: Result, tmp_path: Path) -> None:
        found = copy.copy(result)
        with pytest.raises(ValueError, match=r"knows no picture; draw it on one"):
            found.save(tmp_path / "a.png")
        assert found._repr_png_() is None
        settle(found, picture=noise)
        expected = result.draw(noise())
        assert found.drawn().tobytes() == expected.tobytes()
        assert found.save(tmp_path / "a.png") == tmp_path / "a.png"
        assert PIL.Image.open(tmp_path / "a.png").tobytes() == expected.tobytes()
        assert PIL.Image.open(io.BytesIO(found._repr_png_() or b"")).tobytes() == expected.tobytes()
        assert json.loads(found.to_json()) == found.to_dict()

    def test_cannot_be_changed(self, result: Result) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            result.categories = ()  # type: ignore[attr-defined]

    def test_refuses_images_of_other_shapes(self, result: Result) -> None:
        with pytest.raises(ValueError, match=r"\(4, 100, 120\)|\(100, 120, 4\)"):
            result.draw(torch.zeros(4, 100, 120, dtype=torch.uint8))


@pytest.mark.parametrize("name", ["classification", "detections", "anchors"])
def test_large_images_keep_their_size(name: str) -> None:
    image = PIL.Image.new("RGB", (600, 500), (90, 120, 60))
    drawn = ALL[name].draw(image)
    assert image.getcolors() == [(300_000, (90, 120, 60))]
    assert drawn.width == 600
    assert drawn.height >= 500
    assert drawn.tobytes() != image.tobytes()


class TestCategoryNames:
    def test_counts_become_names(self) -> None:
        assert category_names(3) == ("class 0", "class 1", "class 2")

    def test_names_stay(self) -> None:
        assert category_names(["cat", None]) == ("cat", None)

    @pytest.mark.parametrize("categories", [0, (), (None, None)])
    def test_refuses_nothing(self, categories) -> None:
        with pytest.raises(ValueError, match="at least one named category"):
            category_names(categories)

    def test_refuses_a_single_string(self) -> None:
        with pytest.raises(TypeError, match="'cat'"):
            category_names("cat")


class TestClassification:
    def test_best_class(self) -> None:
        result = Classification(torch.tensor([0.11, 0.83, 0.06]), ("tiger cat", "tabby", "lynx"))
        assert (result.label, result.name, result.score) == (1, "tabby", pytest.approx(0.83))
        assert [name for name, _ in result.top(2)] == ["tabby", "tiger cat"]
        assert str(result) == "tabby 0.83, tiger cat 0.11, lynx 0.06"

    def test_leaves_out_what_rounds_to_nothing(self) -> None:
        assert str(Classification(torch.tensor([0.999, 0.001]), ("a", "b"))) == "a 1.00"

    def test_unnamed_outputs_never_win(self) -> None:
        result = Classification(torch.tensor([0.2, 0.1, 0.7, 0.0]), NAMES)
        assert result.label == 0
        assert [name for name, _ in result.top(9)] == ["sphere", "box", "person"]

    def test_ties_keep_the_order_of_the_classes(self) -> None:
        assert [name for name, _ in Classification(torch.full((40,), 0.025), category_names(40)).top(3)] == [
            "class 0",
            "class 1",
            "class 2",
        ]

    def test_bars_are_below_the_picture(self) -> None:
        image = noise((500, 600))
        drawn = Classification(torch.tensor([0.25, 0.75]), ("a", "b")).draw(image)
        assert drawn.crop((0, 0, 600, 500)).tobytes() == image.tobytes()
        strip = np.asarray(drawn)[500:].astype(int)
        first, second = np.array_split(strip, 2)
        filled = [(np.ptp(part, axis=2) > 30).any(axis=0).sum() for part in (first, second)]
        assert filled[0] == pytest.approx(3 * filled[1], rel=0.1)

    def test_long_names_are_cut(self) -> None:
        drawn = Classification(torch.tensor([0.9, 0.1]), ("m" * 300, "b")).draw(noise((480, 30)))
        assert drawn.width == 240
        assert (np.asarray(drawn)[480:, [0, -1]] == 255).all()

    def test_refuses_another_number_of_categories(self) -> None:
        with pytest.raises(ValueError, match="2 probabilities for 3 categories"):
            Classification(torch.tensor([0.5, 0.5]), ("a", "b", "c"))

    def test_refuses_numbers_that_are_not_finite(self) -> None:
        with pytest.raises(ValueError, match="not finite"):
            Classification(torch.tensor([0.5, torch.nan]), ("a", "b"))


class TestDetections:
    def test_sorted_by_score(self) -> None:
        result = detections(masks=True)
        assert result.scores.tolist() == pytest.approx([0.9, 0.6, 0.3])
        assert result.labels.tolist() == [3, 0, 0]
        assert isinstance(result.masks, Tensor)
        assert torch.equal(result.masks, rectangles(result.boxes))

    def test_equal_scores_keep_their_order(self) -> None:
        boxes = torch.arange(160.0).view(40, 4)
        result = Detections(boxes, torch.full((40,), 0.5), torch.zeros(40, dtype=torch.int64), ("a",))
        assert torch.equal(result.boxes, boxes)

    def test_does_not_touch_what_it_is_given(self) -> None:
        scores = torch.tensor([0.1, 0.9], requires_grad=True)
        result = Detections(torch.zeros(2, 4), scores, torch.tensor([0, 1]), NAMES)
        assert scores.tolist() == pytest.approx([0.1, 0.9])
        assert not result.scores.requires_grad

    def test_unnamed_outputs_are_dropped(self) -> None:
        result = Detections(torch.zeros(3, 4), torch.tensor([0.1, 0.9, 0.5]), torch.tensor([0, 2, 3]), NAMES)
        assert [found.name for found in result] == ["person", "sphere"]

    def test_above_includes_the_threshold(self) -> None:
        result = detections(masks=True)
        kept = result.above(float(result.scores[1]))
        assert len(kept) == 2
        assert kept.masks is not None
        assert len(kept.masks) == 2
        assert len(result.above(1.0)) == 0

    def test_records(self) -> None:
        first, *_ = detections(masks=True)
        assert (first.name, first.label, first.box) == ("person", 3, (60.5, 20.0, 90.0, 80.0))
        assert first.mask is not None
        assert first.mask.shape == (100, 120)
        assert next(iter(detections())).mask is None

    def test_wording(self) -> None:
        assert str(dataclasses.replace(detections(), threshold=0.1)) == "2 sphere, 1 person"
        assert str(detections()) == "1 person, 1 sphere"  # the third scores 0.3
        assert repr(detections()) == "<Detections: 1 person, 1 sphere>"
        assert str(detections(count=0)) == "no objects"
        assert str(dataclasses.replace(detections(), threshold=0.95)) == "nothing above 0.95 (best 0.9)"

    def test_one_object_or_some(self) -> None:
        found = detections()
        assert found[0] == next(iter(found))
        assert found[-1].score == pytest.approx(0.3)
        assert found[1:].scores.tolist() == found.scores[1:].tolist()
        with pytest.raises(IndexError):
            found[3]

    def test_its_own_threshold_decides_what_is_shown(self) -> None:
        found = dataclasses.replace(detections(), threshold=0.7)
        assert len(found) == 3
        assert len(found.above()) == 1
        assert len(found.above(0.2)) == 3
        assert found.draw(noise()).tobytes() == detections().draw(noise(), threshold=0.7).tobytes()

    def test_coco_records(self) -> None:
        first, second, third = detections(masks=True).to_coco(7, [1, 5, 6, 18])
        assert (first["image_id"], first["category_id"], third["category_id"]) == (7, 18, 1)
        assert first["bbox"] == [60.5, 20.0, 29.5, 60.0]
        assert second["score"] == pytest.approx(0.6)
        assert "segmentation" not in detections().to_coco(7, [1, 5, 6, 18])[0]

    def test_masks_survive_json(self) -> None:
        result = detections(masks=True)
        assert isinstance(result.masks, Tensor)
        records = json.loads(json.dumps(result.to_coco(7, [1, 5, 6, 18])))
        assert torch.equal(decode_masks([r["segmentation"] for r in records], (100, 120)), result.masks)
        objects = json.loads(json.dumps(result.to_dict()))["objects"]
        assert torch.equal(decode_masks([o["mask"] for o in objects], (100, 120)), result.masks)

    def test_draws_boxes_in_the_colour_of_their_class(self) -> None:
        drawn = detections().draw(PIL.Image.new("RGB", (120, 100)))  # enlarged four times
        assert drawn.getpixel((80, 360)) == (0, 0, 0)  # below the threshold
        assert drawn.getpixel((40, 100)) == class_colour(0)
        assert drawn.getpixel((242, 200)) == class_colour(3)

    def test_draws_masks(self) -> None:
        drawn = detections(masks=True).draw(PIL.Image.new("RGB", (120, 100)), threshold=0.2)
        inside, outside = drawn.getpixel((60, 330)), drawn.getpixel((400, 380))
        assert inside == tuple(round(0.45 * value) for value in class_colour(0))
        assert outside == (0, 0, 0)

    def test_nothing_to_draw_leaves_the_picture(self) -> None:
        image = noise((480, 500))
        assert detections(count=0).draw(image).tobytes() == image.tobytes()

    @pytest.mark.parametrize("box", [(-50, -50, 0, 0), (590, 0, 900, 900), (0, 499, 600, 500), (300, 200, 300, 200)])
    @pytest.mark.parametrize("name", ["a", "a very long name " * 20])
    def test_tags_stay_inside(self, box, name: str) -> None:
        image = PIL.Image.new("RGB", (600, 500), (0, 255, 0))
        boxes = torch.tensor([box], dtype=torch.float32)
        result = Detections(boxes, torch.tensor([0.9]), torch.tensor([0]), (name,))
        columns, rows = np.nonzero((np.asarray(result.draw(image)) == class_colour(0)).all(axis=2).T)
        tag = (columns.max() - columns.min() + 1) * (rows.max() - rows.min() + 1)
        assert tag > 300  # the whole tag, in its place or pushed into the picture

    def test_crowds_do_not_bury_the_picture_under_tags(self) -> None:
        place = torch.rand(200, 2) * 470
        boxes = torch.cat([place, place + 8], dim=1)
        result = Detections(boxes, torch.rand(200) / 2 + 0.5, torch.zeros(200, dtype=torch.int64), ("sphere",))
        drawn = np.asarray(result.draw(PIL.Image.new("RGB", (480, 480))))
        assert (drawn == class_colour(0)).all(axis=2).mean() < 0.2

    def test_refuses_other_lengths(self) -> None:
        masks = CodedMasks.of(torch.zeros(1, 5, 5, dtype=torch.bool))  # whose number no shape check knows
        with pytest.raises(ValueError, match="2 boxes, 2 scores, 2 labels, 1 masks"):
            Detections(torch.zeros(2, 4), torch.zeros(2), torch.zeros(2).long(), NAMES, masks)

    def test_masks_are_kept_as_run_lengths(self) -> None:
        """A hundred of a picture of 2,000 x 2,000 are 400 MB as pixels; none is painted until it is asked for."""
        mask = torch.zeros(1, 2000, 2000, dtype=torch.bool)
        mask[0, 300:1300, 500:1500] = True
        coded = CodedMasks(CodedMasks.of(mask).runs * 100, (2000, 2000))
        tracemalloc.start()
        found = Detections(torch.zeros(100, 4), torch.rand(100), torch.zeros(100).long(), NAMES, coded)
        assert len(found.to_coco(1, [1, 2, 3, 4])) == len(found.to_dict()["objects"]) == 100
        assert len(pickle.loads(pickle.dumps(found.above(0.2)))) < 100
        assert tracemalloc.get_traced_memory()[1] < 3e6
        tracemalloc.stop()
        first = next(iter(found))
        assert first.mask is not None
        assert torch.equal(first.mask, mask[0])

    @pytest.mark.parametrize("label", [-1, 4])
    def test_refuses_labels_without_category(self, label: int) -> None:
        with pytest.raises(ValueError, match=rf"label {label}, expected 0\.\.3"):
            Detections(torch.zeros(1, 4), torch.zeros(1), torch.tensor([label]), NAMES)

    def test_refuses_boxes_that_are_not_finite(self) -> None:
        with pytest.raises(ValueError, match="boxes that are not finite"):
            Detections(torch.full((1, 4), torch.inf), torch.zeros(1), torch.tensor([0]), NAMES)

    def test_refuses_to_draw_masks_of_another_size(self) -> None:
        with pytest.raises(ValueError, match=r"\(100, 120\), expected \(50, 50\)"):
            detections(masks=True).draw(noise((50, 50)))

    def test_refuses_another_number_of_ids(self) -> None:
        with pytest.raises(ValueError, match="1 category ids for 4 categories"):
            detections().to_coco(1, [1])


class TestPoses:
    def test_joints_follow_their_objects(self) -> None:
        result = poses()
        assert result.keypoints is not None
        assert result.keypoints[0, 2].tolist() == [85, 70, 0.5]
        kept = result.above(0.7)
        assert kept.keypoints is not None
        assert kept.keypoints.shape == (1, 3, 3)
        assert kept.skeleton is ARM

    def test_records_name_the_joints_that_there_are(self) -> None:
        first, second = poses().to_dict()["objects"]
        assert set(first["keypoints"]) == {"shoulder", "elbow", "wrist"}
        assert second["keypoints"] == {
            "shoulder": {"x": 20.0, "y": 20.0, "score": pytest.approx(0.9)},
            "elbow": {"x": 25.0, "y": 30.0, "score": pytest.approx(0.8)},
        }
        unnamed = dataclasses.replace(poses(), skeleton=None).to_dict()["objects"][1]["keypoints"]
        assert set(unnamed) == {"0", "1"}

    def test_coco_counts_pixels_from_their_middle(self) -> None:
        record = poses().to_coco(7, [1, 5, 6, 18])[1]
        assert record["keypoints"] == pytest.approx([19.5, 19.5, 0.9, 24.5, 29.5, 0.8, -0.5, -0.5, 0.0])

    def test_draws_joints_and_bones_but_not_what_is_absent(self) -> None:
        black = PIL.Image.new("RGB", (120, 100))  # enlarged four times
        drawn = poses().draw(black, threshold=0.1)
        assert drawn.getpixel((4 * 70, 4 * 30)) == class_colour(3)
        assert drawn.getpixel((4 * 75, 150)) == class_colour(3)  # half-way to the elbow
        assert drawn.getpixel((4 * 20, 4 * 20)) == class_colour(0)
        assert drawn.getpixel((2, 2)) == (0, 0, 0)  # no wrist at the corner, where absent joints lie
        bare = dataclasses.replace(poses(), skeleton=None).draw(black, threshold=0.1)
        assert bare.getpixel((4 * 75, 150)) == (0, 0, 0)
        assert bare.getpixel((4 * 70, 4 * 30)) == class_colour(3)

    def test_refuses_a_skeleton_of_other_joints(self) -> None:
        with pytest.raises(ValueError, match="received 3 keypoints per object, expected the 17"):
            dataclasses.replace(poses(), skeleton=COCO_SKELETON)
        with pytest.raises(ValueError, match="keypoints that are not finite"):
            dataclasses.replace(poses(), keypoints=torch.full((2, 3, 3), torch.nan))


class TestBoxesInSpace:
    def test_records(self) -> None:
        record = in_space().to_dict()["objects"][0]["box_3d"]
        assert record == {"centre": [0, 0, 5], "size": [1, 2, 0.5], "yaw": 0.5}
        assert "box_3d" not in detections().to_dict()["objects"][0]

    def test_draws_the_edges_where_the_camera_sees_them(self) -> None:
        drawn = in_space().draw(PIL.Image.new("RGB", (120, 100)), threshold=0.1)
        space = in_space().boxes_3d
        assert space is not None
        corners = 4 * project_points(box_3d_corners(space[:1]), CAMERA)[0]
        for start, end in ((0, 1), (3, 7), (4, 6)):
            x, y = ((corners[start] + corners[end]) / 2).round().int().tolist()
            assert drawn.getpixel((x, y)) == class_colour(0)
        front = box_3d_corners(space[:1])[0, list(FRONT)].mean(0)
        x, y = (4 * project_points(front, CAMERA)).round().int().tolist()
        assert drawn.getpixel((x, y)) == class_colour(0)  # the front is crossed out

    def test_what_reaches_behind_the_camera_keeps_its_flat_box(self) -> None:
        drawn = in_space().draw(PIL.Image.new("RGB", (120, 100)), threshold=0.1)
        assert drawn.getpixel((4 * 5, 200)) == class_colour(1)

    def test_another_camera_sees_them_elsewhere(self) -> None:
        moved = in_space().with_camera(CAMERA * torch.tensor([[2.0], [2.0], [1.0]]))
        assert moved.boxes_3d is not None
        assert moved.boxes_3d[0, 2:6].tolist() == [5, 1, 2, 0.5]
        assert moved.boxes_3d[0, 0].item() == pytest.approx((60 - 120) / 200 * 5)
        with pytest.raises(ValueError, match="no 3-D boxes"):
            detections().with_camera(CAMERA)

    def test_refuses_boxes_without_a_camera(self) -> None:
        with pytest.raises(ValueError, match="expected the camera"):
            dataclasses.replace(in_space(), intrinsics=None)


class TestSkeleton:
    def test_mirrors_swap_sides(self) -> None:
        assert ARM.mirrored() == [0, 1, 2]
        assert COCO_SKELETON.mirrored()[:7] == [0, 2, 1, 4, 3, 6, 5]

    def test_refuses_half_a_pair(self) -> None:
        with pytest.raises(ValueError, match="'left_eye' without 'right_eye'"):
            Skeleton(("nose", "left_eye")).mirrored()


class TestSemanticMap:
    def test_shares_leave_out_ignored_pixels(self) -> None:
        labels = classes()
        labels[:, :90] = 0
        labels[80:] = 255
        result = SemanticMap(labels, ("road", "sky", "car"))
        assert result.to_dict() == {
            "size": [100, 120],
            "classes": [{"label": 0, "name": "road", "share": 0.75}, {"label": 1, "name": "sky", "share": 0.25}],
        }
        assert str(result) == "road 75%, sky 25%"

    def test_wording_of_rare_and_many_classes(self) -> None:
        labels = torch.zeros(100, 100, dtype=torch.uint8)
        labels[0, :4] = torch.arange(1, 5, dtype=torch.uint8)
        assert str(SemanticMap(labels, category_names(5))) == "class 0 100%, class 1 <1%, class 2 <1%, 2 more"
        assert str(SemanticMap(torch.full((2, 2), 255, dtype=torch.uint8), ("a",))) == "all ignored"

    def test_tints_by_class_over_a_legend(self) -> None:
        labels = classes((500, 600))
        drawn = SemanticMap(labels, ("background", "sky")).draw(PIL.Image.new("RGB", (600, 500)))
        assert drawn.width == 600
        assert drawn.height > 510
        assert drawn.getpixel((20, 20)) == (0, 0, 0)  # background
        assert drawn.getpixel((300, 400)) == (0, 0, 0)  # ignored
        assert drawn.getpixel((300, 40)) == tuple(round(140 / 255 * value) for value in class_colour(1))
        legend = np.asarray(drawn)[500:]
        assert all((legend == class_colour(k)).all(axis=2).sum() > 100 for k in (0, 1))

    @pytest.mark.parametrize("label", [0, 255])
    def test_background_and_ignored_pixels_stay(self, label: int) -> None:
        image = noise((480, 500))
        labels = torch.full((480, 500), label, dtype=torch.uint8)
        drawn = SemanticMap(labels, ("background",)).draw(image)
        assert drawn.crop((0, 0, 500, 480)).tobytes() == image.tobytes()

    def test_legends_of_many_classes_are_bounded(self) -> None:
        labels = torch.arange(200, dtype=torch.uint8).repeat(200, 1)
        drawn = SemanticMap(labels, category_names(200)).draw(PIL.Image.new("RGB", (200, 200)))
        assert drawn.height < 480 + 150
        assert (np.asarray(drawn)[480:, -1] == 255).all()

    def test_refuses_classes_without_category(self) -> None:
        with pytest.raises(ValueError, match=r"label 1, expected 0\.\.0"):
            SemanticMap(classes(), ("road",))

    def test_refuses_an_image_of_another_size(self) -> None:
        with pytest.raises(ValueError, match="expected"):
            SemanticMap(classes(), ("road", "sky")).draw(noise((50, 50)))


class TestEmbedding:
    def test_says_its_numbers_and_how_they_are_compared(self) -> None:
        plain = ALL["embedding"].to_dict()
        assert plain == {"embedding": pytest.approx([0.6, -0.8]), "metric": "cosine"}
        assert str(ALL["embedding"]) == "a vector of 2 numbers"

    def test_other_metrics_and_numbers_that_are_none_are_refused(self) -> None:
        with pytest.raises(ValueError, match="received metric='l2', expected one of euclidean, cosine"):
            Embedding(torch.ones(2), "l2")
        with pytest.raises(ValueError, match="received vector that are not finite"):
            Embedding(torch.tensor([1.0, torch.nan]))


class TestAnchorSizes:
    def test_smallest_first(self) -> None:
        result = AnchorSizes(torch.tensor([[30.0, 40.0], [10.0, 10.0], [20.0, 20.0]]), 0.75)
        assert result.sizes.tolist() == [[10, 10], [20, 20], [30, 40]]
        assert str(result) == "10x10, 20x20, 30x40 (mean IoU 0.750)"
        assert result.to_dict()["sizes"][2] == {"width": 30.0, "height": 40.0}

    def test_draws_about_the_centre(self) -> None:
        drawn = AnchorSizes(torch.tensor([[100.0, 60.0]]), 1.0).draw(PIL.Image.new("RGB", (500, 500)))
        rows, columns = np.nonzero((np.asarray(drawn) == class_colour(0)).all(axis=2))
        assert (columns.min(), columns.max(), rows.min(), rows.max()) == (200, 299, 220, 279)

    def test_refuses_sizes_that_are_not_positive(self) -> None:
        with pytest.raises(ValueError, match="positive"):
            AnchorSizes(torch.tensor([[0.0, 10.0]]), 1.0)
