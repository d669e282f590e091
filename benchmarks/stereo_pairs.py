"""Bad pixels of block matching on real pairs, beside OpenCV's: `python -m benchmarks.stereo_pairs FOLDER`.

FOLDER has a folder for each scene with left.png, right.png and disp_left.png (16 bits, disparity x 256, 0 unknown). The
motorcycle of scikit-image, Middlebury 2014, comes last, with its depth in metres: its calibration is known.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import skimage.data
import torch
from torch import Tensor

from vidi.files import read_grey16, read_image
from vidi.metrics.depth import DepthEvaluator, DisparityEvaluator
from vidi.ops.block_matching import StereoMatch, block_matching
from vidi.ops.stereo import disparity_to_depth

WINDOW, UNIQUENESS = 11, 0.05
FOCAL, BASELINE, SHIFT = 994.978, 0.193001, 31.086  # of the motorcycle: pixels, metres, and the principal points' shift

Match = Callable[[Tensor, Tensor, int], StereoMatch]


def opencv(left: Tensor, right: Tensor, disparities: int) -> StereoMatch:
    """Match grey pictures by StereoBM with the same window and checks."""
    grey = [cv2.cvtColor(image.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY) for image in (left, right)]
    matcher = cv2.StereoBM.create(-(-disparities // 16) * 16, WINDOW)
    matcher.setUniquenessRatio(round(100 * UNIQUENESS))
    matcher.setDisp12MaxDiff(1)
    found = torch.from_numpy(matcher.compute(*grey).astype(np.float32) / 16)  # fixed point, negative where not found
    return StereoMatch(found.clamp(min=0), found >= 0)


MATCHERS: dict[str, Match] = {
    "sad": lambda left, right, D: block_matching(
        left, right, disparities=D, window=WINDOW, cost="sad", uniqueness=UNIQUENESS
    ),
    "ssd": lambda left, right, D: block_matching(
        left, right, disparities=D, window=WINDOW, cost="ssd", uniqueness=UNIQUENESS
    ),
    "census": lambda left, right, D: block_matching(
        left, right, disparities=D, window=WINDOW, cost="census", uniqueness=UNIQUENESS
    ),
    "OpenCV": opencv,
}


def pairs(folder: Path) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """Yield the name of each scene, both pictures and the disparity, 0 where it is not known."""
    for scene in sorted(folder.iterdir()):
        if (scene / "disp_left.png").exists():
            disparity = read_grey16(scene / "disp_left.png").float().squeeze() / 256
            yield scene.name, read_image(scene / "left.png"), read_image(scene / "right.png"), disparity
    left, right, disparity = skimage.data.stereo_motorcycle()
    left, right = (torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in (left, right))
    yield "motorcycle", left, right, torch.from_numpy(disparity).nan_to_num(0, 0, 0)


def rows(folder: Path) -> Iterator[str]:
    """Yield the lines of the table; of each matcher "bad 2.0 of all / bad 2.0 of the found / found", in percent."""
    yield f"| scene | {' | '.join(MATCHERS)} |"
    yield "|---" * (len(MATCHERS) + 1) + "|"
    for name, left, right, truth in pairs(folder):
        cells = []
        for match in MATCHERS.values():
            found = match(left, right, int(truth.max()) + 2)
            scores = []
            for known in (truth > 0, (truth > 0) & found.valid):
                evaluator = DisparityEvaluator()
                evaluator.update(found.disparity, truth, known, found.valid)
                scores.append(evaluator.compute())
            numbers = scores[0]["bad2"], scores[1]["bad2"], scores[0]["coverage"]
            cells.append(" / ".join(f"{100 * number:.1f}" for number in numbers))
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    for label, match in MATCHERS.items():
        scores = metres(match(left, right, int(truth.max()) + 2), truth)
        yield f"motorcycle in metres, {label}: " + ", ".join(f"{name} {value:.4g}" for name, value in scores.items())


def metres(found: StereoMatch, truth: Tensor) -> dict[str, float]:
    """Score the depth of the motorcycle."""
    maps = [disparity_to_depth(d[None, None] + SHIFT, focal=FOCAL, baseline=BASELINE) for d in (found.disparity, truth)]
    evaluator = DepthEvaluator(protocols=("metric",))
    evaluator.update(maps[0].values[0, 0], maps[1].values[0, 0], truth > 0, found.valid)
    scores = evaluator.compute()
    return {name: scores[name] for name in ("abs_rel_metric", "rmse_metric", "delta1_metric", "coverage")}


if __name__ == "__main__":
    for line in rows(Path(sys.argv[1])):
        print(line, flush=True)
