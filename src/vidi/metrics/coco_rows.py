"""What COCO's evaluation takes: truths and predictions of a data set as flat arrays, also from COCO's files."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float64, Int64

from vidi.ops.masks import Rle, sizes_of_rles

Kind = Literal["boxes", "masks"]


class Truths(NamedTuple):
    """Annotated objects of a data set, one row each, in any order.

    `areas` are those of the annotation (COCO's: of the mask, also where boxes are scored). `sizes` are widths and
    heights where boxes were given so: `x + w - x` may differ from `w` in the last bit, which decides ties.
    """

    image: Int64[np.ndarray, " N"]  # 0..images-1, in the order of image ids
    category: Int64[np.ndarray, " N"]  # 0..categories-1
    boxes: Float64[np.ndarray, "N 4"]  # xyxy
    areas: Float64[np.ndarray, " N"]
    crowd: Bool[np.ndarray, " N"]
    masks: Sequence[Rle] | None = None
    sizes: Float64[np.ndarray, "N 2"] | None = None

    @classmethod
    def from_xywh(
        cls,
        image: Int64[np.ndarray, " N"],
        category: Int64[np.ndarray, " N"],
        boxes_xywh: Float64[np.ndarray, "N 4"],  # left, top, width, height as in a COCO file
        areas: Float64[np.ndarray, " N"],
        crowd: Bool[np.ndarray, " N"],
        masks: Sequence[Rle] | None = None,
    ) -> "Truths":
        """Take boxes as COCO writes them, so that overlaps equal pycocotools' to the last bit."""
        return cls(image, category, _xywh_to_xyxy(boxes_xywh), areas, crowd, masks, boxes_xywh[:, 2:])

    @classmethod
    def from_annotations(
        cls,
        annotations: Sequence[Mapping[str, Any]],  # masks are taken where every `segmentation` is run lengths
        image_ids: Sequence[int],
        category_ids: Sequence[int],
    ) -> "Truths":
        """Flatten COCO annotations; images and classes are numbered in the order of the ids (COCOeval sorts them).

        ValueError where an annotation has an image or category id that is not given.
        """
        return cls.from_xywh(
            *_numbered(annotations, image_ids, category_ids),
            boxes_xywh=_stacked(annotations),
            areas=np.array([row["area"] for row in annotations], np.float64),
            crowd=np.array([bool(row.get("iscrowd", 0)) for row in annotations], bool),
            masks=_segmentations(annotations),
        )


class Predictions(NamedTuple):
    """Detected objects, one row each, in any order; of equal scores the earlier row goes first within an image.

    `areas` decide the area range and default to those of the boxes or masks that are scored; `sizes` as in `Truths`.
    """

    image: Int64[np.ndarray, " P"]
    category: Int64[np.ndarray, " P"]
    boxes: Float64[np.ndarray, "P 4"]  # xyxy; not looked at where masks are scored
    scores: Float64[np.ndarray, " P"]
    masks: Sequence[Rle] | None = None
    areas: Float64[np.ndarray, " P"] | None = None
    sizes: Float64[np.ndarray, "P 2"] | None = None

    @classmethod
    def from_xywh(
        cls,
        image: Int64[np.ndarray, " P"],
        category: Int64[np.ndarray, " P"],
        boxes_xywh: Float64[np.ndarray, "P 4"],  # left, top, width, height as in a COCO file
        scores: Float64[np.ndarray, " P"],
        masks: Sequence[Rle] | None = None,
        areas: Float64[np.ndarray, " P"] | None = None,
    ) -> "Predictions":
        """Take boxes as COCO writes them, so that overlaps equal pycocotools' to the last bit."""
        return cls(image, category, _xywh_to_xyxy(boxes_xywh), scores, masks, areas, boxes_xywh[:, 2:])

    @classmethod
    def from_results(
        cls,
        results: Sequence[Mapping[str, Any]],  # with image_id, category_id, score, and bbox or run lengths
        image_ids: Sequence[int],
        category_ids: Sequence[int],
    ) -> "Predictions":
        """Flatten a COCO results file; images and classes are numbered in the order of the ids given.

        ValueError where a result has an image or category id that is not given.
        """
        return cls.from_xywh(
            *_numbered(results, image_ids, category_ids),
            boxes_xywh=_stacked(results),
            scores=np.array([row["score"] for row in results], np.float64),
            masks=_segmentations(results),
        )


def _xywh_to_xyxy(boxes_xywh: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], 1)


def _numbered(rows: Sequence[Mapping], image_ids: Sequence[int], category_ids: Sequence[int]) -> list[np.ndarray]:
    numbers = []
    for key, ids in (("image_id", image_ids), ("category_id", category_ids)):
        number_of = {identity: number for number, identity in enumerate(ids)}
        unknown = sorted({row[key] for row in rows} - number_of.keys())
        if unknown:
            raise ValueError(
                f"{key} {unknown[:5]} of {len(unknown)} unknown ones is not among the {len(ids)} known ids"
            )
        numbers.append(np.array([number_of[row[key]] for row in rows], np.int64))
    return numbers


def _stacked(rows: Sequence[Mapping]) -> np.ndarray:
    return np.array([row.get("bbox") or (0, 0, 0, 0) for row in rows], np.float64).reshape(-1, 4)


def _segmentations(rows: Sequence[Mapping]) -> list[Rle] | None:
    if rows and all(isinstance(row.get("segmentation"), Mapping) for row in rows):
        return [row["segmentation"] for row in rows]
    return None


Rows = TypeVar("Rows", Truths, Predictions)


def checked(name: str, rows: Rows, images: int, categories: int, kind: Kind) -> Rows:
    """Give the rows with the arrays that the kernels were compiled for; ValueError tells what is wrong with them."""
    count = len(rows.image)
    types = {"image": np.int64, "category": np.int64, "crowd": np.bool_}
    arrays = {}
    for field, values in rows._asdict().items():
        if values is None:
            continue
        if len(values) != count:
            raise ValueError(f"{name} have {count} rows in `image` and {len(values)} in `{field}`")
        if field != "masks":
            arrays[field] = np.ascontiguousarray(values, types.get(field, np.float64))
            if not np.isfinite(arrays[field]).all():
                bad = np.flatnonzero(~np.isfinite(arrays[field]).reshape(count, -1).all(1))
                raise ValueError(f"{name} have {field} that are not finite in {len(bad)} rows, first {bad[0]}")
    for field, limit in (("image", images), ("category", categories)):
        numbers = arrays[field]
        if count and not (numbers.min() >= 0 and numbers.max() < limit):
            raise ValueError(f"{name} have {field} {numbers.min()}..{numbers.max()}, expected 0..{limit - 1}")
    if kind == "masks" and rows.masks is None and count:
        raise ValueError(f"{name} have no masks, needed for kind 'masks'")
    return rows._replace(**arrays)


def check_mask_sizes(truths: Truths, predictions: Predictions, images: int) -> None:
    """Raise ValueError where masks of one image are not of one size."""
    image = np.concatenate([truths.image, predictions.image])
    masks = [*(truths.masks or ()), *(predictions.masks or ())]
    sizes = sizes_of_rles(masks)
    size_of_image = np.zeros((images, 2), np.int64)
    size_of_image[image] = sizes
    differs = (size_of_image[image] != sizes).any(1)
    if differs.any():
        raise ValueError(f"image {image[differs][0]} has masks of different sizes (H, W)")


def reordered(truths: Truths, order: np.ndarray) -> Truths:
    """Give the truths in another order of rows."""
    rows = {field: values[order] for field, values in truths._asdict().items() if isinstance(values, np.ndarray)}
    return Truths(**rows, masks=None if truths.masks is None else [truths.masks[i] for i in order])


def sizes_of(rows: Truths | Predictions) -> Float64[np.ndarray, "N 2"]:
    """Give widths and heights as they were given, else from the corners."""
    return rows.boxes[:, 2:] - rows.boxes[:, :2] if rows.sizes is None else rows.sizes
