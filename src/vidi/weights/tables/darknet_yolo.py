"""The file of the whole YOLOv3 in Darknet's format: `yolov3.weights`, 62,001,757 numbers for COCO's 80 classes.

Its layers are those of yolov3.cfg: the backbone, then for each scale, coarsest first, the path from above, the
convolutions of the neck, and the head. In the network backbone, neck and heads are modules of their own.
"""

from pathlib import Path

from torch import nn

from vidi.detection.yolo import Yolo
from vidi.results.categories import Categories
from vidi.weights.darknet_files import Header, load_darknet
from vidi.weights.tables.torchvision_retinanet import coco_categories


def load_yolo(network: Yolo, path: str | Path) -> Header:
    """Load a Darknet file of the whole detector into a network (`yolov3().network`) and return its header.

    Categories are those of the file, in its order; COCO's 80 in the authors'. `load_darknet(network.backbone, path)`
    reads the file of the trunk, `darknet53.conv.74`.

    Raises:
        FileNotFoundError, ValueError: as `load_darknet`; the network is then as it was.
    """
    return load_darknet(in_file_order(network), path)


def darknet_categories() -> Categories:
    """Return the names of the authors' 80 outputs: COCO's categories without the ids that are not used."""
    return tuple(name for name in coco_categories() if name is not None)


def in_file_order(network: Yolo) -> nn.ModuleList:
    """Return the parts of a network in the order in which Darknet has them; they are shared, not copied."""
    neck = network.neck
    parts: list[nn.Module] = [network.backbone]
    for scale in reversed(range(len(network.heads))):
        if scale < len(neck.reduce):
            parts.append(neck.reduce[scale])
        parts += [neck.blocks[scale], network.heads[scale]]
    return nn.ModuleList(parts)
