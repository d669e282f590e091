"""DeepLab v3+ from files that segmentation-models-pytorch writes: the same numbers in float64."""

from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch

from tests.closeness import OUTPUTS, assert_close
from vidi.weights.creation import create
from vidi.weights.local_files import load_file, usual_arguments
from vidi.weights.table import layouts_of
from vidi.weights.tables.smp_deeplab import LAYOUT

NAMES = ("deeplabv3plus_resnet18", "deeplabv3plus_resnet50", "deeplabv3plus_resnet101")


def theirs(encoder: str, classes: int, **options: Any) -> Any:
    torch.default_generator.manual_seed(0)
    return smp.DeepLabV3Plus(encoder, encoder_weights=None, classes=classes, **options).eval()


def assert_equal_outputs(ours: Any, reference: Any) -> None:
    images = torch.randn(1, 3, 64, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = reference.double()(images)
        assert_close(ours.double().network(images).logits, expected, OUTPUTS)
    assert expected.std() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_has_its_place(name: str) -> None:
    with torch.device("meta"):
        tensors = theirs(name.removeprefix("deeplabv3plus_"), 21).state_dict()
        ours = create(name, **LAYOUT.arguments).network.state_dict()
    found = LAYOUT.ours(torch.nn.Module(), tensors)
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in ours.items()}
    assert set(LAYOUT.by_category) <= ours.keys()
    assert layouts_of(name) == [LAYOUT]


def test_what_save_pretrained_writes_needs_no_arguments(tmp_path: Path) -> None:
    reference = theirs("resnet18", 21)
    reference.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    assert usual_arguments("deeplabv3plus_resnet18", path) == LAYOUT.arguments
    model = create("deeplabv3plus_resnet18", weights=str(path))
    assert model.origin[1]["rates"] == (12, 24, 36)  # recorded, so that a run that begins with it is built alike
    assert_equal_outputs(model, reference)


def test_a_state_dict_of_other_classes_and_stride(tmp_path: Path) -> None:
    reference = theirs("resnet18", 5, encoder_output_stride=8)
    path = tmp_path / "own.pth"
    torch.save(reference.state_dict(), path)
    model = create("deeplabv3plus_resnet18", categories=5, stride=8, **usual_arguments("deeplabv3plus_resnet18", path))
    assert load_file(model, "deeplabv3plus_resnet18", path) == "segmentation-models-pytorch"
    assert_equal_outputs(model, reference)


def test_other_categories_get_a_new_last_layer(tmp_path: Path) -> None:
    reference = theirs("resnet18", 21)
    torch.save(reference.state_dict(), tmp_path / "own.pth")
    model = create("deeplabv3plus_resnet18", weights=str(tmp_path / "own.pth"), categories=("road", "sky"))
    assert model.network.score.weight.shape[0] == 2
    assert torch.equal(model.network.backbone.stem.conv.weight, reference.encoder.conv1.weight)


def test_another_decoder_is_refused(tmp_path: Path) -> None:
    torch.save(theirs("resnet18", 21, decoder_aspp_separable=False).state_dict(), tmp_path / "own.pth")
    with pytest.raises(ValueError, match="as segmentation-models-pytorch's: the rename table does not fit"):
        create("deeplabv3plus_resnet18", weights=str(tmp_path / "own.pth"))
    with pytest.raises(ValueError, match=r"deeplabv3plus_resnet18 has no weights 'absent\.pth'"):
        create("deeplabv3plus_resnet18", weights="absent.pth")
