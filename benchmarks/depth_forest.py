"""A forest on the pixels of a depth image against features and scikit-learn. `python -m benchmarks.depth_forest`.

Both use the same trees, grown by scikit-learn. Every pixel of the picture is classified: a person before a wall. What a
user of scikit-learn must do is to compute all 2,000 features of a pixel first (by our compiled loop, in strips, as the
whole table takes 2.3 GiB at 640 x 480); `ready` leaves that out.
"""

import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier

from benchmarks.timing import compare
from vidi.data.world.depth_bodies import DepthBodies
from vidi.segmentation.body_parts.depth_features import depth_features, draw_offsets
from vidi.segmentation.body_parts.pixel_forest import PartPicture, PixelForest, gather_pixels
from vidi.segmentation.body_parts.trees import binary_tree, joined

FEATURES, TREES, DEPTH = 2000, 3, 20
PICTURES, PIXELS = 60, 100  # learnt from
WALL = 4.4  # metres
STRIP = 32_768  # pixels whose table is computed at once
BAR, READY_BAR, MEMORY_BAR = 10.0, 1.5, 50.0  # times, times, MB
CLASSES = len(DepthBodies.parts)


def part_picture(split: str, index: int) -> PartPicture:
    """Give a body before a wall, and its parts."""
    image, target = DepthBodies(split, count=index + 1)[index]
    depth = torch.where(image[0] > 0, image[0], WALL).numpy()
    return PartPicture(depth, target["parts"].numpy(), float(target["intrinsics"][0, 0]))


def grown() -> tuple[RandomForestClassifier, PixelForest]:
    """Grow scikit-learn's forest, and carry it over."""
    offsets = draw_offsets(FEATURES, 0.6, torch.Generator().manual_seed(0))
    tables, labels = [], []
    for index in range(PICTURES):
        picture = part_picture("train", index)
        samples = gather_pixels([picture], CLASSES, offsets.numpy(), PIXELS, np.random.default_rng(index))
        pixels = torch.from_numpy(samples.source.pixels[:, 1:])
        tables.append(depth_features(torch.from_numpy(picture.depth), pixels, offsets, focal=picture.focal).numpy())
        labels.append(samples.labels)
    peer = RandomForestClassifier(TREES, criterion="entropy", max_depth=DEPTH, random_state=0)
    peer.fit(np.concatenate(tables), np.concatenate(labels))
    if len(peer.classes_) != CLASSES:
        raise ValueError(f"the pictures show {len(peer.classes_)} parts, expected {CLASSES}")
    trees = [
        binary_tree(t.children_left, t.children_right, t.feature, t.threshold, t.value[:, 0])
        for t in (one.tree_ for one in peer.estimators_)
    ]
    return peer, PixelForest(joined(trees), offsets.numpy())


def lines() -> Iterator[str]:
    """Yield a row for each size, one with ready features, and one of memory."""
    peer, forest = grown()
    offsets = torch.from_numpy(forest.thetas)
    small = part_picture("val", 0)
    large = PartPicture(np.kron(small.depth, np.ones((2, 2), np.float32)), small.parts, 2 * small.focal)
    for depth, _, focal in (small, large):
        height, width = depth.shape
        pixels = np.argwhere(depth > 0).astype(np.int32)
        picture, rows = torch.from_numpy(depth), torch.from_numpy(pixels)

        def theirs(picture=picture, rows=rows, focal=focal) -> np.ndarray:
            strips = (rows[start : start + STRIP] for start in range(0, len(rows), STRIP))
            tables = (depth_features(picture, strip, offsets, focal=focal).numpy() for strip in strips)
            return np.concatenate([peer.predict_proba(table) for table in tables])

        def ours(depth=depth, pixels=pixels, focal=focal) -> np.ndarray:
            return forest.probabilities(depth, pixels, focal)

        _check(ours(), theirs())
        name = f"forest, {TREES} trees, {width}x{height}"
        yield compare(name, {"vidi": ours, "features + sklearn": theirs}, rounds=3).line("features + sklearn", BAR)
    yield _ready_row(peer, forest, large)
    yield _memory_row(forest, large)


def _check(found: np.ndarray, expected: np.ndarray) -> None:
    """Refuse to time answers that differ by more than the rounding of float32."""
    differing = (found.argmax(1) != expected.astype(np.float32).argmax(1)).mean()
    if np.abs(found - expected).max() > 2e-7 or differing > 1e-5:
        raise ValueError("the probabilities differ")


def _ready_row(peer: RandomForestClassifier, forest: PixelForest, picture: PartPicture) -> str:
    """Compare on the pixels of one strip, whose features scikit-learn is given."""
    pixels = np.argwhere(picture.depth > 0).astype(np.int32)
    pixels = pixels[len(pixels) // 2 :][: 2 * STRIP]
    offsets = torch.from_numpy(forest.thetas)
    table = depth_features(torch.from_numpy(picture.depth), torch.from_numpy(pixels), offsets, focal=picture.focal)
    features = table.numpy()
    contestants: dict[str, Callable[[], object]] = {
        "vidi": lambda: forest.probabilities(picture.depth, pixels, picture.focal),
        "sklearn, ready features": lambda: peer.predict_proba(features),
    }
    _check(forest.probabilities(picture.depth, pixels, picture.focal), np.asarray(peer.predict_proba(features)))
    row = compare(f"the same, {len(pixels) // 1024}k pixels", contestants, rounds=5)
    return row.line("sklearn, ready features", READY_BAR)


def _memory_row(forest: PixelForest, picture: PartPicture) -> str:
    """Measure what a classification takes besides its result."""
    pixels = np.argwhere(picture.depth > 0).astype(np.int32)
    tracemalloc.start()
    result = forest.probabilities(picture.depth, pixels, picture.focal)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    extra, table = (peak - result.nbytes) / 1e6, len(pixels) * FEATURES * 4 / 1e6
    verdict = "reached" if extra <= MEMORY_BAR else "MISSED"
    sizes = f"{extra:.0f} MB against {table:.0f} MB"
    label, peer = "the same, memory beside the result", "table of features"
    return f"{label:<38} {peer:<30} {sizes:<57} bar {MEMORY_BAR:g} MB {verdict}"


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
