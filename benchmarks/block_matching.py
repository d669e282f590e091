"""Block matching on one thread against OpenCV's StereoBM. `python -m benchmarks.block_matching`.

A grey pair of 640 x 480, 64 disparities: a random texture, its near half shifted by 20 pixels, the rest by 5. Ours is
the sum of absolute differences, with uniqueness asked as StereoBM does; OpenCV's prefilter stays on. The check from the
other side is no part of the bar: ours matches the right picture to the left one over all disparities; OpenCV's, off by
default, looks only at the best ones of the left picture.
"""

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch
from scipy import ndimage

from benchmarks.timing import compare
from vidi.ops.block_matching import StereoMatch, block_matching

SIZE, DISPARITIES, UNIQUENESS = (480, 640), 64, 0.15
WINDOWS = (9, 21)
BAR = 0.5


def pair() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the left picture, the right one and the disparity of the left one."""
    H, W = SIZE
    texture = ndimage.gaussian_filter(np.random.default_rng(0).random((H, W + DISPARITIES)), 1.0)
    texture = (255 * (texture - texture.min()) / (texture.max() - texture.min())).astype(np.uint8)
    disparity = np.full(SIZE, 5)
    disparity[H // 2 :] = 20
    columns = np.arange(W) + DISPARITIES
    left = texture[:, DISPARITIES:]
    right = np.stack([texture[y, np.minimum(columns + disparity[y], W + DISPARITIES - 1)] for y in range(H)])
    return np.ascontiguousarray(left), np.ascontiguousarray(right), disparity


def lines() -> Iterator[str]:
    """Yield for each window a row without and one with the check from the right picture."""
    cv2.setNumThreads(1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    left, right, truth = pair()
    pictures = torch.from_numpy(left)[None], torch.from_numpy(right)[None]
    for window in WINDOWS:
        for consistency in (None, 1):
            opencv = cv2.StereoBM.create(DISPARITIES, window)
            opencv.setUniquenessRatio(round(100 * UNIQUENESS))
            opencv.setDisp12MaxDiff(-1 if consistency is None else consistency)

            def ours(window: int = window, consistency: int | None = consistency) -> StereoMatch:
                return block_matching(
                    *pictures, disparities=DISPARITIES, window=window, uniqueness=UNIQUENESS, consistency=consistency
                )

            def theirs(matcher: cv2.StereoBM = opencv) -> np.ndarray:
                return matcher.compute(left, right)

            found = theirs() / 16  # fixed point
            both = ours().valid.numpy() & (found >= 0)
            both[:, -DISPARITIES:] = False  # the right picture ends there
            wrong = [np.abs(d - truth)[both] > 1 for d in (ours().disparity.numpy(), found)]
            if both.mean() < 0.5 or max(float(share.mean()) for share in wrong) > 0.02:
                raise ValueError(f"the disparities differ: {both.mean():.3f} of the pixels found by both")
            contestants: dict[str, Callable[[], object]] = {"vidi": ours, "cv2, 1 thread": theirs}
            checked = "" if consistency is None else ", left-right check"
            timed = compare(f"block matching, window {window}{checked}", contestants)
            yield timed.line("cv2, 1 thread", BAR if consistency is None else None)
    torch.set_num_threads(threads)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
