"""What several tests need: OpenCV's cascades, pictures, random cascades with trees and tilted features."""

from pathlib import Path

import cv2.data
import numpy as np
import skimage.data

from vidi.detection.viola_jones.cascade import Cascade
from vidi.detection.viola_jones.haar import HaarFeatures


def opencv_file(name: str) -> Path:
    return Path(cv2.data.haarcascades) / f"haarcascade_{name}.xml"


def astronaut() -> np.ndarray:
    """RGB, H W 3."""
    return skimage.data.astronaut()


def random_cascade(seed: int, *, depth: int = 2, tilted: bool = True, stages: int = 3) -> Cascade:
    """Draw a cascade for windows of 14 x 12 whose stages pass about half of what they see."""
    random = np.random.default_rng(seed)
    window, trees = (14, 12), 4 * stages
    nodes = random.integers(1, depth + 1, trees)
    M = int(nodes.sum())
    turned = random.random(M) < 0.4 if tilted else np.zeros(M, bool)
    rectangles = np.zeros((M, 3, 4), np.int32)
    for row in range(M):
        if turned[row]:
            w, h = 2 * random.integers(1, 3, 2)  # even: halves balance the whole
            x, y = random.integers(h, window[1] - w + 1), random.integers(0, window[0] - w - h + 1)
            rectangles[row, :2] = [[x, y, w, h], [x, y, w // 2, h]]
        else:
            w, h = 2 * random.integers(1, 4, 2)
            x, y = random.integers(0, window[1] - w + 1), random.integers(0, window[0] - h + 1)
            rectangles[row] = [[x, y, w, h], [x, y, w // 2, h], [x, y, w, h // 2]]
    weights = np.tile(np.array([-1, 2, 0], np.float32), (M, 1))
    weights[~turned & (random.random(M) < 0.5)] = [-1, 1.5, 0.5]
    children = []
    for size in nodes.tolist():  # a chain: each node's lower branch ends, its upper one goes on
        children += [[-k, k + 1 if k + 1 < size else -(k + 1)] for k in range(size)]
    return Cascade(
        window,
        np.full(stages, 4, np.int32),
        random.normal(-1.2, 0.1, stages).astype(np.float32),
        nodes.astype(np.int32),
        random.permutation(M).astype(np.int32),
        random.normal(0, 0.02, M).astype(np.float32),
        np.array(children, np.int32),
        random.normal(0, 1, M + trees).astype(np.float32),
        HaarFeatures(rectangles, weights, turned),
    )
