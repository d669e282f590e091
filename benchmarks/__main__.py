"""Run every benchmark and print the table of ratios against the bars: `python -m benchmarks [NAME ...]`."""

import sys
from importlib import import_module

# name of the module -> item of the performance page; each module has `lines()`, which yields rows of the table
BENCHMARKS: dict[str, str] = {
    "coco": "COCO's twelve numbers, masks from run lengths",
    "masks": "COCO's twelve numbers for masks, and pasting",
    "nms": "non-maximum suppression",
    "roi": "pooling of regions",
    "deformable_attention": "multi-scale deformable attention against transformers",
    "semantic": "confusion counts against torchmetrics",
    "panoptic": "panoptic quality against torchmetrics and panopticapi",
    "cascade": "cascades against OpenCV, boosting rounds",
    "many_pictures": "many pictures against a plain loop, large JPEGs at a reduced scale",
    "ssd": "SSD300: what follows the network, against torchvision",
    "detection": "detectors end to end against torchvision",
    "selective_search": "superpixels and selective search against scikit-image and OpenCV",
    "matcher": "matching of queries and objects",
    "kmeans": "anchor sizes by k-means",
    "world": "rendering of scenes",
    "optimizer": "optimizer steps on the parameters of ResNet-50",
    "inference": "forward passes, fused inference",
    "serving": "requests over HTTP against the bare loop and a plain FastAPI handler",
    "transformer": "encoder forward and training step against torch.nn.TransformerEncoder",
    "generation": "generation with and without the cache",
    "diffusion": "samplers against the bare loop and diffusers' schedulers, guidance, memory",
    "generated_pictures": "FID against torchmetrics and pytorch-fid, precision and recall",
    "depth_forest": "body parts of depth images against features and scikit-learn",
    "block_matching": "block matching against OpenCV's StereoBM",
    "training": "training steps against the bare loop",
    "warp": "warping by disparity with its backward against kornia",
    "metric_learning": "semi-hard mining, NT-Xent and ArcFace against pytorch-metric-learning",
    "gallery": "queries among a million vectors against NumPy and faiss, adding",
    "vit": "vision transformers, forward and training step against timm",
}


def main(names: list[str]) -> int:
    """Print the rows of the named benchmarks (default: all); the exit code is 1 where a bar is missed."""
    unknown = sorted(set(names) - BENCHMARKS.keys())
    if unknown:
        print(f"no benchmark named {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
        return 2
    missed = 0
    for name in names or BENCHMARKS:
        print(f"{name}: {BENCHMARKS[name]}")
        for line in import_module(f"benchmarks.{name}").lines():
            print("  " + line, flush=True)
            missed += line.endswith("MISSED")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
