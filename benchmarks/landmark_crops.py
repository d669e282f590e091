"""Pictures about the faces of photos with 68 landmarks, of which five are kept, as a data set in COCO's form.

`python -m benchmarks.landmark_crops faces_train.json OUT [--crops 20]`, then
`vidi train face_landmarks_tiny --weights RUN --data OUT`: drawn faces teach what an eye is, photos how it looks.

The points are those of 300-W (Sagonas et al. 2013): 36 to 41 and 42 to 47 go round the eyes, 30 is the nose's tip, 48
and 54 are the corners of the mouth. Photos lie in `images/` beside the json. A crop shows 1.2 to 3 times the side of
the face's box, turned by up to 15 degrees, every other one without colours.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import rgb_to_grayscale

from vidi import files
from vidi.data.portrait import LANDMARKS
from vidi.ops.alignment import moved_points, warped

SIDE = 128  # of a crop, pixels
WIDEST, CLOSEST = 3.0, 1.2  # sides of a crop in those of a face
TURNED, SHIFTED = math.radians(15), 0.15  # at most; the shift in sides of the crop
FOREHEAD = 0.25  # of a box's height, which begins at the brows


def five_points(points: Tensor) -> Tensor:
    """Return eyes, nose and mouth corners, N 5 2, of 68 landmarks N 68 2."""
    eyes = [points[:, start : start + 6].mean(1) for start in (36, 42)]
    return torch.stack([*eyes, points[:, 30], points[:, 48], points[:, 54]], 1)


def drawn_matrix(box: Tensor, generator: torch.Generator) -> Tensor:
    """Draw the similarity 2 3 from a photo to a crop about the face in a box x y w h."""
    draws = torch.rand(4, generator=generator)
    side = float(box[2:].max()) * CLOSEST * (WIDEST / CLOSEST) ** float(draws[0])
    angle = TURNED * (2 * float(draws[1]) - 1)
    scale = SIDE / side
    linear = scale * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = SIDE / 2 + SIDE * SHIFTED * (2 * draws[2:] - 1)
    return torch.cat([linear, (middle - linear @ (box[:2] + box[2:] / 2))[:, None]], 1)


def faces_in(crop: Tensor, boxes: Tensor, points: Tensor) -> list[dict[str, Any]]:
    """Return the faces whose five points lie in a crop, in its pixels, as COCO has them."""
    scale = float(crop[:, :2].det().sqrt())
    found = []
    for box, five in zip(boxes, moved_points(points, crop[None]), strict=True):
        if (five < 0).any() or (five > SIDE).any():
            continue
        middle = moved_points((box[:2] + box[2:] / 2)[None], crop)[0]
        w, h = (box[2:] * scale).tolist()
        x, y = float(middle[0]) - w / 2, float(middle[1]) - h / 2 - FOREHEAD * h
        left, top, right, low = (min(max(side, 0.0), float(SIDE)) for side in (x, y, x + w, y + (1 + FOREHEAD) * h))
        shown = torch.cat([five, torch.full((5, 1), 2.0)], 1).flatten().tolist()
        place = {"bbox": [left, top, right - left, low - top], "area": (right - left) * (low - top)}
        found.append({"category_id": 1, "iscrowd": 0, "keypoints": shown, "num_keypoints": 5, **place})
    return found


def write_crops(source: Path, out: Path, crops: int, seed: int) -> tuple[int, int]:
    """Write crops of all photos of a json, and their faces; return how many of both."""
    told = files.read_json(source)
    generator = torch.Generator().manual_seed(seed)
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for photo in told["images"]:
        own = [row for row in told["annotations"] if row["image_id"] == photo["id"]]
        boxes = torch.tensor([row["bbox"] for row in own]).float()
        points = five_points(torch.tensor([row["keypoints"] for row in own]).float().view(len(own), 68, 3)[..., :2])
        picture = files.read_image(source.parent / "images" / photo["file_name"]).float() / 255
        for box in boxes:
            for _ in range(crops):
                matrix = drawn_matrix(box, generator)
                crop, number = warped(picture, matrix, (SIDE, SIDE)), len(images) + 1
                if number % 2:
                    crop = rgb_to_grayscale(crop, 3)
                name = f"{number:05}.png"
                files.write_image(out / "images" / name, (crop * 255).round().byte())
                images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
                for face in faces_in(matrix, boxes, points):
                    rows.append({"id": len(rows) + 1, "image_id": number, **face})
    face = {"id": 1, "name": "face", "keypoints": list(LANDMARKS), "skeleton": []}
    told = {"images": images, "annotations": rows, "categories": [face]}
    files.write_json(out / "annotations.json", told)
    return len(images), len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="json of photos with faces of 68 landmarks")
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("--crops", type=int, default=20, help="about each face")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    images, faces = write_crops(asked.source, asked.out, asked.crops, asked.seed)
    print(f"{asked.out}: {images} pictures with {faces} faces")


if __name__ == "__main__":
    main()
