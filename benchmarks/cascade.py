"""Cascades against OpenCV on one thread, boosting rounds against scikit-learn. `python -m benchmarks.cascade`.

The scans give the same raw hits; the rounds find stumps of which ours is at least as right, as scikit-learn's trees
split by impurity. `vidi, sorting included` counts the sorting of the features once in fifty rounds.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import cv2.data
import numpy as np
import skimage.data
from sklearn.tree import DecisionTreeClassifier

from benchmarks.timing import compare
from vidi.detection.viola_jones.boosting import Presorted
from vidi.detection.viola_jones.opencv_xml import read_cascade
from vidi.detection.viola_jones.scanning import scan

SIZES = ((640, 480), (1280, 960))
CASCADES = {"frontalface_default": 0.5, "frontalface_alt2": 0.5}  # name -> bar
SAMPLES, FEATURES, ROUNDS = 10_000, 5_000, 50
ROUND_BAR, SORTED_BAR = 50.0, 20.0


def photo(width: int, height: int) -> np.ndarray:
    """Make a grey photo of a size."""
    grey = cv2.cvtColor(skimage.data.astronaut(), cv2.COLOR_RGB2GRAY)
    return cv2.resize(np.hstack([grey, grey[:, ::-1]]), (width, height), interpolation=cv2.INTER_AREA)


def lines() -> Iterator[str]:
    """Yield a row for each size and cascade, and two for boosting."""
    cv2.setNumThreads(1)
    for name, bar in CASCADES.items():
        for size in SIZES:
            yield _scan_row(name, photo(*size), bar)
    yield from _boosting_rows()


def _scan_row(name: str, image: np.ndarray, bar: float | None) -> str:
    path = Path(cv2.data.haarcascades) / f"haarcascade_{name}.xml"
    ours, theirs = read_cascade(path), cv2.CascadeClassifier(str(path))
    contestants: dict[str, Callable[[], object]] = {
        "vidi": lambda: scan(image, ours, mode="image"),
        "cv2, 1 thread": lambda: theirs.detectMultiScale(image, 1.1, 0),
    }
    hits, expected = scan(image, ours, mode="image").boxes, np.asarray(theirs.detectMultiScale(image, 1.1, 0))
    if sorted(map(tuple, hits.tolist())) != sorted(map(tuple, expected.reshape(-1, 4).tolist())):
        raise ValueError(f"{name}: the raw hits differ")
    row = f"{name} {image.shape[1]}x{image.shape[0]}"
    return compare(row, contestants, rounds=5).line("cv2, 1 thread", bar)


def _boosting_rows() -> Iterator[str]:
    random = np.random.default_rng(0)
    labels = np.where(random.random(SAMPLES) < 0.5, 1, -1).astype(np.int8)
    features = random.normal(size=(FEATURES, SAMPLES)).astype(np.float32)
    features[17] += 0.5 * labels
    columns = np.ascontiguousarray(features.T)
    weights = random.dirichlet(np.ones(SAMPLES))
    presorted = Presorted(features)
    tree = DecisionTreeClassifier(max_depth=1)
    found = presorted.best_stump(labels, weights)
    tree.fit(columns, labels, sample_weight=weights)
    if found is None or found.error > weights[tree.predict(columns) != labels].sum() + 1e-9:
        raise ValueError("the stump is not the best one")
    contestants: dict[str, Callable[[], object]] = {
        "vidi": lambda: presorted.best_stump(labels, weights),
        "sklearn, max_depth=1": lambda: tree.fit(columns, labels, sample_weight=weights),
    }
    name = f"boosting round, {SAMPLES // 1000}k x {FEATURES // 1000}k"
    rounds = compare(name, contestants, rounds=3)
    yield rounds.line("sklearn, max_depth=1", ROUND_BAR)
    sorting = compare("sorting", {"vidi": lambda: Presorted(features)}, rounds=1).median("vidi")
    ours = rounds.median("vidi") * ROUNDS + sorting
    ratio = rounds.median("sklearn, max_depth=1") * ROUNDS / ours
    verdict = "reached" if ratio >= SORTED_BAR else "MISSED"
    yield f"{f'{name}, {ROUNDS} with sorting':<38} {'sklearn, max_depth=1':<30} {ratio:8.2f}x, {ours:.1f} s in all, bar {SORTED_BAR:g}x {verdict}"  # noqa: E501


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
