"""Files in a published format that are in no table: recognised by their names, loaded whole or refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.weights.tables.test_darknet_yolo import layers_of
from tests.weights.test_darknet_files import WIDE, body_of
from vidi import files
from vidi.backbones.resnet import resnet18
from vidi.detection.yolo import yolov3_small
from vidi.weights.creation import create
from vidi.weights.local_files import load_file, usual_arguments
from vidi.weights.reading import read_tensors


def test_darknet_files_of_a_detector_are_read(tmp_path: Path) -> None:
    donor: Any = yolov3_small(categories=3)
    (tmp_path / "own.weights").write_bytes(WIDE + body_of(layers_of(donor.network)))
    model = create("yolov3_small", weights=str(tmp_path / "own.weights"), categories=3)
    assert torch.equal(model.network.heads[0].predict.weight, donor.network.heads[0].predict.weight)
    with pytest.raises(ValueError, match="belongs to another network"):
        create("yolov3_small", weights=str(tmp_path / "own.weights"), categories=4)


def test_what_torchvision_saves_is_read_and_a_new_head_left(tmp_path: Path) -> None:
    import torchvision

    theirs = torchvision.models.resnet18(num_classes=5)
    torch.save({"state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}}, tmp_path / "own.pth")
    model: Any = resnet18(categories=5)
    load_file(model, "resnet18", tmp_path / "own.pth")
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(model.eval()(images).logits, theirs.eval()(images))
    other: Any = resnet18(categories=2)
    with pytest.raises(ValueError, match=r"own.pth does not fit resnet18: as torchvision's: .*head.linear.weight"):
        load_file(other, "resnet18", tmp_path / "own.pth")
    load_file(other, "resnet18", tmp_path / "own.pth", new_head=True)
    assert torch.equal(other.network.backbone.stem.conv.weight, theirs.conv1.weight)


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    files.write_state(tmp_path / "numbers.pth", {"epoch": 3})
    with pytest.raises(ValueError, match="holds no named tensors"):
        read_tensors(tmp_path / "numbers.pth")


@pytest.mark.parametrize(
    ("detector", "classifier"),
    [
        ("retinanet_resnet18_fpn", "resnet18"),
        ("fasterrcnn_resnet50_fpn", "resnet50"),
        ("detr_resnet50", "resnet50"),
        ("ssd300_vgg16", "vgg16"),
        ("centernet_resnet18", "resnet18"),
        ("yolov3", "darknet53"),
    ],
)
def test_a_detector_has_the_backbone_of_the_classifier(detector: str, classifier: str) -> None:
    with torch.device("meta"):
        ours, theirs = (create(name).network.backbone.state_dict() for name in (detector, classifier))
    assert {name: value.shape for name, value in ours.items()} == {n: v.shape for n, v in theirs.items()}


def test_files_of_a_publisher_come_with_the_names_of_their_categories() -> None:
    darknet = usual_arguments("yolov3", Path("yolov3.weights"))["categories"]
    assert (len(darknet), darknet[0], darknet[-1]) == (80, "person", "toothbrush")
    assert None not in darknet
    assert usual_arguments("resnet18", Path("own.pth"))["categories"][281] == "tabby"
    assert usual_arguments("fasterrcnn_resnet50_fpn", Path("own.pth"))["norm"] == "frozen"
    assert usual_arguments("yolov3_small", Path("own.weights")) == {}
