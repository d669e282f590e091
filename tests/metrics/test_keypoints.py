"""Object keypoint similarity and COCO's ten numbers for keypoints, against pycocotools."""

import contextlib
import copy
import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.cocoeval import COCOeval
from tests.closeness import EXACT, assert_close
from tests.references.coco_reference import COCO

from vidi.metrics.keypoints import (
    OTHER_SIGMA,
    KeypointEvaluator,
    KeypointPredictions,
    KeypointScores,
    KeypointTruths,
    joint_sigmas,
    keypoint_scores,
    keypoint_similarities,
)
from vidi.ops.skeletons import COCO_SKELETON
from vidi.results.detections import Detections

Record = dict[str, Any]

IMAGES, CATEGORIES, JOINTS = 6, 3, 17
SIGMAS = joint_sigmas(COCO_SKELETON.joints)


def annotations_and_results(seed: int, per_image: int) -> tuple[list[Record], list[Record]]:
    """Draw persons of all sizes, some crowds, some without joints; results near them, many with equal scores."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image in range(IMAGES):
        for _ in range(rng.integers(0, per_image)):
            side = float(rng.choice([8.0, 32.0, 50.0, 96.0, 150.0]))
            corner = rng.uniform(0, 100, 2)
            points = corner + rng.uniform(0, side, (JOINTS, 2))
            seen = rng.choice([0, 1, 2], JOINTS) * (rng.random() < 0.8)
            category = int(rng.integers(CATEGORIES - 1))  # the last has no truth
            annotations.append(
                {
                    "image_id": image,
                    "category_id": category,
                    "bbox": [*corner.tolist(), side, 1.3 * side],
                    "area": float(rng.choice([0.7 * side**2, side**2])),
                    "iscrowd": int(rng.random() < 0.15),
                    "keypoints": np.concatenate((points, seen[:, None]), 1).flatten().tolist(),
                    "num_keypoints": int((seen > 0).sum()),
                }
            )
            for _ in range(rng.integers(0, 4)):
                found = points + rng.normal(0, rng.choice([0.0, 0.02, 0.08, 0.5]) * side, (JOINTS, 2))
                results.append(
                    {
                        "image_id": image if rng.random() < 0.9 else int(rng.integers(IMAGES)),
                        "category_id": category if rng.random() < 0.9 else int(rng.integers(CATEGORIES)),
                        "keypoints": np.concatenate((found, np.ones((JOINTS, 1))), 1).flatten().tolist(),
                        "score": float(rng.choice([0.1, 0.4, 0.5, 0.9, rng.random()])),
                    }
                )
    return annotations, results


def reference(annotations: list[Record], results: list[Record]) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i} for i in range(IMAGES)],
            "categories": [{"id": k, "name": str(k)} for k in range(CATEGORIES)],
            "annotations": [{"id": n, **copy.deepcopy(row)} for n, row in enumerate(annotations, 1)],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def columns(rows: list[Record]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image, category = (np.array([row[key] for row in rows], np.int64) for key in ("image_id", "category_id"))
    return image, category, np.array([row["keypoints"] for row in rows]).reshape(len(rows), JOINTS, 3)


def scored(annotations: list[Record], results: list[Record]) -> KeypointScores:
    image, category, points = columns(annotations)
    corners = np.array([row["bbox"] for row in annotations]).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    areas = np.array([row["area"] for row in annotations], np.float64)
    crowd = np.array([row["iscrowd"] for row in annotations], bool)
    visibility = points[..., 2].astype(np.uint8)
    found_image, found_category, found = columns(results)
    return keypoint_scores(
        KeypointTruths(image, category, points[..., :2], visibility, corners, areas, crowd),
        KeypointPredictions(found_image, found_category, found[..., :2], np.array([row["score"] for row in results])),
        images=IMAGES,
        categories=CATEGORIES,
        sigmas=SIGMAS,
    )


@pytest.mark.system("5.2.1-OKS")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("per_image", [4, 16])
def test_the_ten_numbers_are_those_of_pycocotools(seed: int, per_image: int) -> None:
    annotations, results = annotations_and_results(seed, per_image)
    ours, theirs = scored(annotations, results), reference(annotations, results)
    assert_close(list(ours.numbers().values()), theirs.stats)
    areas = [0, 2, 3]  # COCO scores no small persons
    assert_close(ours.precision[..., areas], theirs.eval["precision"][..., 0])
    assert_close(ours.recall[..., areas], theirs.eval["recall"][..., 0])


def test_the_ap_of_a_class_is_its_part_of_the_mean() -> None:
    scores = scored(*annotations_and_results(2, 16))
    for found, whole in ((scores.ap_per_class(), scores.ap), (scores.ap_per_class(5), scores.ap75)):
        assert found[-1] == -1  # no truth
        assert_close(found[:-1].mean(), whole)
        assert len(set(found[:-1].tolist())) == CATEGORIES - 1
    assert_close(scores.ap_per_class(), np.mean([scores.ap_per_class(t) for t in range(10)], 0))


@pytest.mark.system("5.2.1-OKS")
def test_similarities_are_those_of_pycocotools() -> None:
    annotations, results = annotations_and_results(7, 12)
    theirs = reference(annotations, results)
    for image in range(IMAGES):
        for category in range(CATEGORIES):
            place = (image, category)
            truths, found = (
                [row for row in rows if (row["image_id"], row["category_id"]) == place]
                for rows in (annotations, results)
            )
            found = sorted(found, key=lambda row: -row["score"])[:20]
            expected = theirs.ious[place]
            if not len(expected):
                continue
            _, _, known = columns(truths)
            boxes = np.array([row["bbox"] for row in truths])
            boxes[:, 2:] += boxes[:, :2]
            ours = keypoint_similarities(
                columns(found)[2][..., :2],
                known[..., :2],
                known[..., 2].astype(np.uint8),
                boxes,
                np.array([row["area"] for row in truths]),
                SIGMAS,
            )
            assert_close(ours, expected)


def test_similarity_by_hand() -> None:
    """A wrist as far off as twice its deviation times the root of the area has exp(-1/2), a missing one counts not."""
    points = np.array([[[10.0, 10.0], [50.0, 50.0], [0.0, 0.0]]])
    visibility = np.array([[2, 1, 0]], np.uint8)
    moved = points + np.array([[[0.0, 0.0], [2 * 0.062 * 10, 0.0], [99.0, 99.0]]])
    box, area = np.array([[0.0, 0.0, 60.0, 60.0]]), np.array([100.0])
    sigmas = joint_sigmas(("neck", "left_wrist", "right_knee"))
    found = keypoint_similarities(moved, points, visibility, box, area, sigmas)
    assert found.item() == pytest.approx((1 + math.exp(-0.5)) / 2)


def test_sigmas_are_of_both_sides_and_known_for_every_joint() -> None:
    expected = COCOeval(iouType="keypoints").params.kpt_oks_sigmas
    np.testing.assert_allclose(SIGMAS, expected, rtol=1e-15)
    assert joint_sigmas(("left_mouth_corner", "right_wrist")).tolist() == [OTHER_SIGMA, 0.062]


# ----------------------------------------------------------------------------------------------------------------------
# The evaluator


def person(visible: int = 2) -> dict[str, torch.Tensor]:
    return {
        "image_id": torch.tensor(3),
        "boxes": torch.tensor([[0.0, 0.0, 40.0, 60.0], [50.0, 0.0, 60.0, 10.0]]),
        "labels": torch.tensor([1, 0]),
        "keypoints": torch.tensor([[[5.0, 5.0], [20.0, 30.0]], [[0.0, 0.0], [0.0, 0.0]]]),
        "visibility": torch.tensor([[visible, visible], [0, 0]], dtype=torch.uint8),
    }


def found(target: dict[str, torch.Tensor], shift: float = 0.0) -> Detections:
    points = torch.cat((target["keypoints"] + shift, torch.ones(2, 2, 1)), 2)
    return Detections(target["boxes"], torch.tensor([0.9, 0.8]), target["labels"], ("ball", "person"), keypoints=points)


def test_things_without_joints_are_not_scored() -> None:
    evaluator = KeypointEvaluator(2, [0.1, 0.1])
    evaluator.update([found(person())], [person()])
    scores = evaluator.compute()
    assert (scores.ap, scores.ar) == pytest.approx((1.0, 1.0), rel=EXACT)
    assert (scores.precision[:, :, 0] == -1).all()


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 1.0), (300.0, 0.0)])
def test_joints_in_their_place_or_not(shift: float, expected: float) -> None:
    evaluator = KeypointEvaluator(2, [0.1, 0.1])
    evaluator.update([found(person(), shift)], [person()])
    assert evaluator.compute().ap == pytest.approx(expected, rel=EXACT)


def test_without_a_visible_joint_there_is_nothing_to_score() -> None:
    evaluator = KeypointEvaluator(2, [0.1, 0.1])
    evaluator.update([found(person())], [person(visible=0)])
    assert set(evaluator.compute().numbers().values()) == {-1.0}


def test_what_cannot_be_scored_is_refused() -> None:
    evaluator = KeypointEvaluator(2, [0.1, 0.1, 0.1])
    with pytest.raises(ValueError, match="joints, expected 3"):
        evaluator.update([found(person())], [person()])
    plain = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), ("a", "b"))
    with pytest.raises(ValueError, match="has no keypoints"):
        evaluator.update([plain], [person()])
    with pytest.raises(ValueError, match="no images to score"):
        evaluator.compute()
    twice = KeypointEvaluator(2, [0.1, 0.1])
    twice.update([found(person())], [person()])
    with pytest.raises(ValueError, match="given before"):
        twice.update([found(person())], [person()])
