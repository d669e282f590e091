"""What a cascade makes of small pictures, beside bilinear interpolation.

    python -m benchmarks.enlarged_pictures BASE ENLARGER mnist.npz --out enlarged.png

BASE is a run that makes small pictures, ENLARGER one of `enlarger_tiny`, both of the same data. The second pair of rows
begins with held-out pictures made smaller, instead of those of the base. FID, precision and recall are beside as many
other held-out pictures at the large size.
"""

import argparse
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

import vidi
from benchmarks.sampling_steps import TOLD, held_out
from vidi.engine.plots import image_grid
from vidi.generative.diffusion.cascade import Enlarger, enlarged, made_smaller
from vidi.metrics.generation_score import picture_set, score_sets
from vidi.weights.extractors import extractor

COUNT = 200
SHOWN = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("enlarger")
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    enlarger, judge = cast(Enlarger, vidi.load(given.enlarger)), extractor()
    real = held_out(given.enlarger, given.data, enlarger, 2 * COUNT)
    truth, large = picture_set([real[0::2]], judge, "real"), real[1::2]
    starts = {
        "base": vidi.sample(vidi.load(given.base), COUNT),
        "held-out pictures made smaller": made_smaller(large, enlarger.criterion.factor),
    }
    shown: list[Tensor] = []
    print(f"| small pictures | enlarged by | {' | '.join(TOLD)} |")
    for start, small in starts.items():
        ways: dict[str, Any] = {
            "bilinear interpolation": enlarged(small, enlarger.size),
            "diffusion": enlarger.enlarge(small, generator=torch.Generator().manual_seed(0)),
        }
        for way, pictures in ways.items():
            made = picture_set([pictures], judge, "generated")
            values = score_sets(truth, made, judge, real_set=given.data, splits=1).values
            print(f"| {start} | {way} | {' | '.join(f'{values[name]:.3g}' for name in TOLD)} |", flush=True)
            shown.append(pictures[:SHOWN])
    image_grid(given.out, torch.cat([*shown, large[:SHOWN]]), columns=SHOWN)


if __name__ == "__main__":
    main()
