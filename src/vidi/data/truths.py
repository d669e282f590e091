"""Targets as sure results: what stands beside predictions and on contact sheets draws itself as predictions do."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vidi.data.portrait import LANDMARKS
from vidi.data.world.names import JOINTS, SKELETON
from vidi.ops.segments import segments_of
from vidi.ops.skeletons import COCO_SKELETON, Skeleton
from vidi.ops.stereo import disparity_to_depth
from vidi.results.caption import Caption
from vidi.results.categories import Categories
from vidi.results.classification import Classification
from vidi.results.depth_map import DepthMap
from vidi.results.detections import Detections
from vidi.results.panoptic_map import PanopticMap, Segment
from vidi.results.result import Result
from vidi.results.semantic_map import SemanticMap

SKELETONS = {
    len(skeleton.joints): skeleton for skeleton in (COCO_SKELETON, Skeleton(JOINTS, SKELETON), Skeleton(LANDMARKS))
}


def known_skeleton(joints: int) -> Skeleton:
    """Return the skeleton of COCO, the world or faces by its number of joints; of another, one without bones."""
    return SKELETONS.get(joints) or Skeleton(tuple(f"joint {number}" for number in range(joints)))


def class_truth(target: Mapping[str, Any], categories: Categories) -> Classification:
    """Return the class of a picture as a sure result."""
    return Classification(torch.nn.functional.one_hot(target["label"], len(categories)).float(), categories)


def object_truth(target: Mapping[str, Any], categories: Categories) -> Detections:
    """Return the objects of a picture as sure results, with the masks, joints and boxes in space that the target has.

    Boxes in space need a camera: without one nothing says where in the picture they are.
    """
    more: dict[str, Any] = {}
    if "masks" in target:
        masks = target["masks"]
        more["masks"] = masks.as_subclass(Tensor).bool() if isinstance(masks, Tensor) else masks
    if "keypoints" in target:
        visible = (target["visibility"] > 0).float()[..., None]
        more["keypoints"] = torch.cat((target["keypoints"].as_subclass(Tensor), visible), 2)
        more["skeleton"] = known_skeleton(more["keypoints"].shape[1])
    if "boxes_3d" in target and "intrinsics" in target:
        more |= {"boxes_3d": target["boxes_3d"], "intrinsics": target["intrinsics"]}
    boxes = target["boxes"].as_subclass(Tensor)
    return Detections(boxes, torch.ones(len(boxes)), target["labels"], categories, **more)


def semantic_truth(target: Mapping[str, Any], categories: Categories) -> SemanticMap:
    """Return the class of each pixel as a result."""
    return SemanticMap(target["semantic"].as_subclass(Tensor), categories)


def panoptic_truth(target: Mapping[str, Any], categories: Categories) -> PanopticMap:
    """Return the segments of a picture as sure results, crowds among them."""
    truth = segments_of(target)
    columns = zip(truth.ids.tolist(), truth.labels.tolist(), truth.is_object.tolist(), strict=True)
    found = tuple(Segment(number, label, 1.0, is_thing) for number, label, is_thing in columns)
    ids = target["panoptic"].as_subclass(Tensor)
    known = torch.isin(ids, truth.ids)  # all but void
    return PanopticMap(torch.where(known, ids, 0).int(), found, categories)


def caption_truth(target: Mapping[str, Any], categories: Categories = ()) -> Caption:
    """Return what is said of a picture as a result."""
    return Caption(target["caption"])


def depth_truth(target: Mapping[str, Any], categories: Categories = ()) -> DepthMap:
    """Return the depth of each pixel as a result: what was measured, or what the disparity of a pair says.

    The disparities of cameras that are not known give depth in an unknown unit, and without any of them none is valid.
    """
    disparity = target["disparity"].as_subclass(Tensor) if "disparity" in target else None
    focal = float(target["intrinsics"][0, 0]) if "intrinsics" in target else None
    known: dict[str, Any] = {"focal": focal, "focal_source": None if focal is None else "data set"}
    if "depth" in target:
        depth, valid = (target[name].as_subclass(Tensor) for name in ("depth", "depth_valid"))
        return DepthMap(depth, valid.bool() & depth.isfinite() & (depth > 0), "metres", **known, disparity=disparity)
    if disparity is None:
        H, W = next(target[name] for name in ("right", "neighbours") if name in target).shape[-2:]
        return DepthMap(torch.zeros(H, W), torch.zeros(H, W, dtype=torch.bool), "relative", **known)
    rig = None if focal is None or "baseline" not in target else (focal, float(target["baseline"]))
    length, apart = rig or (1.0, 1.0)
    found = disparity_to_depth(disparity[None, None], focal=length, baseline=apart)
    valid = found.valid[0, 0] & target["disparity_valid"].as_subclass(Tensor).bool()
    return DepthMap(found.values[0, 0], valid, "metres" if rig else "relative", **known, disparity=disparity)


def truths(target: Mapping[str, Any], categories: Categories, semantic_categories: Categories) -> Iterator[Result]:
    """Yield all that can be drawn of what a target says: a picture's class, its objects, the class of each pixel."""
    if "label" in target:
        yield class_truth(target, categories)
    if "boxes" in target:
        yield object_truth(target, categories)
    if "panoptic" in target and "semantic" in target:
        yield panoptic_truth(target, semantic_categories)
    if "semantic" in target:
        yield semantic_truth(target, semantic_categories)
    if "depth" in target or "disparity" in target:
        yield depth_truth(target)
    if "caption" in target:
        yield caption_truth(target)
