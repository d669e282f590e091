"""Rendering of the world, one core: images a second with image, masks, boxes and depth. `python -m benchmarks.world`.

The one absolute bar: no peer renders this, so the ratio is to the bar itself.
"""

import statistics
import time
from collections.abc import Iterator, Sequence

import torch

from vidi.data.world.dataset import World

BAR = 300.0  # images a second at 128 x 128 with DETECTION, on one core
DETECTION = ("masks", "boxes", "labels", "depth")
STEREO = ("right", "disparity", "disparity_valid")
VIDEO = ("neighbours", "poses", "intrinsics")
IMAGES, ROUNDS = 100, 5


def images_per_second(size: tuple[int, int], targets: Sequence[str]) -> list[float]:
    """Give the rate of every round in rising order, by the time that this thread had the processor."""
    world = World("test", count=IMAGES, size=size, targets=targets)
    rates = []
    for _ in range(ROUNDS):
        start = time.thread_time()
        for index in range(IMAGES):
            world[index]
        rates.append(IMAGES / (time.thread_time() - start))
    return sorted(rates)


def lines() -> Iterator[str]:
    """Yield one row per kind of sample; only the first has a bar."""
    torch.set_num_threads(1)
    for name, size, targets, bar in (
        ("world 128, boxes, masks, depth", (128, 128), DETECTION, BAR),
        ("world 128, stereo pair", (128, 128), STEREO, None),
        ("world 128, three frames", (128, 128), VIDEO, None),
        ("world 512, boxes, masks, depth", (512, 512), DETECTION, None),
    ):
        rates = images_per_second(size, targets)
        rate = statistics.median(rates)
        spread = f"{rate:8.0f}/s [{rates[0]:.0f}..{rates[-1]:.0f}]"
        verdict = "no bar" if bar is None else f"bar {bar:g}/s {'reached' if rate >= bar else 'MISSED'}"
        yield f"{name:<38} {'images, one core':<30} {spread:<57} {verdict}"


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
