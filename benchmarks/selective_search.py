"""Superpixels and proposals on one thread against scikit-image and OpenCV. `python -m benchmarks.selective_search`.

A photo of 500 x 375. The labels are scikit-image's. OpenCV's are others (four neighbours, single precision, and by
default scales of 150 up and at least 100 pixels): its row gets the same scale and least size, and the fast modes are
compared both as they are and with OpenCV's scales. Recall is compared in the tests.
"""

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import skimage.data
from skimage.segmentation import felzenszwalb as skimage_felzenszwalb

from benchmarks.timing import compare
from vidi.detection.regions.selective_search import selective_search
from vidi.ops.superpixels import felzenszwalb

SCALE, SIGMA, MIN_SIZE = 100, 0.8, 100
OPENCV_SCALES, OPENCV_MIN_SIZE = (150, 300, 450), 100
SKIMAGE_BAR, OPENCV_BAR = 2.0, 0.5


def photo() -> np.ndarray:
    """Make an RGB photo of 500 x 375 pixels."""
    return cv2.resize(skimage.data.astronaut(), (500, 375), interpolation=cv2.INTER_AREA)


def lines() -> Iterator[str]:
    """Yield two rows for superpixels, against each peer, and two for the fast mode."""
    cv2.setNumThreads(1)
    image = photo()
    bgr = np.ascontiguousarray(image[..., ::-1])
    graph = cv2.ximgproc.segmentation.createGraphSegmentation(SIGMA, SCALE, MIN_SIZE)

    def ours() -> np.ndarray:
        return felzenszwalb(image, scale=SCALE, sigma=SIGMA, min_size=MIN_SIZE)

    def skimages() -> np.ndarray:
        return skimage_felzenszwalb(image, scale=SCALE, sigma=SIGMA, min_size=MIN_SIZE)

    def opencvs_fast() -> object:
        search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(bgr)
        search.switchToSelectiveSearchFast()
        return search.process()

    if not np.array_equal(ours(), skimages()):
        raise ValueError("the superpixels differ from scikit-image's")
    contestants: dict[str, Callable[[], object]] = {
        "vidi": ours,
        "skimage": skimages,
        "cv2, 1 thread": lambda: graph.processImage(bgr),
    }
    superpixels = compare("felzenszwalb 500x375", contestants, rounds=5)
    yield superpixels.line("skimage", SKIMAGE_BAR)
    yield superpixels.line("cv2, 1 thread", OPENCV_BAR)
    for name, options in (
        ("", {}),
        (", scales of cv2", {"scales": OPENCV_SCALES, "min_size": OPENCV_MIN_SIZE}),
    ):
        contestants = {
            "vidi": lambda options=options: selective_search(image, mode="fast", most=None, **options),
            "cv2, 1 thread": opencvs_fast,
        }
        found = len(selective_search(image, mode="fast", most=None, **options))
        row = f"selective search, fast{name} ({found})"
        yield compare(row, contestants, rounds=3).line("cv2, 1 thread", OPENCV_BAR)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
