"""Files of torchvision, timm and transformers on this machine, into our vision transformers."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer as TorchvisionViT
from transformers import ViTConfig, ViTForImageClassification, ViTModel

from tests.closeness import assert_close
from vidi import files
from vidi.backbones import vit
from vidi.model import Supervised
from vidi.nn.positional import resized_positions
from vidi.weights.local_files import load_file


def theirs(publisher: str) -> nn.Module:
    if publisher == "torchvision":
        network: Any = TorchvisionViT(32, 8, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=96, num_classes=5)
        nn.init.normal_(network.heads.head.weight)
        return network.eval()
    if publisher == "timm":
        numbers: dict[str, Any] = {
            "img_size": 32,
            "patch_size": 8,
            "embed_dim": 24,
            "depth": 2,
            "num_heads": 3,
            "num_classes": 5,
        }
        return timm.create_model("vit_tiny_patch16_224", **numbers).eval()
    return ViTForImageClassification(transformers_config()).eval()


def transformers_config() -> ViTConfig:
    numbers = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}
    return ViTConfig(**numbers, image_size=32, patch_size=8, num_labels=5)  # type: ignore[call-arg]


def ours(size: tuple[int, int] = (32, 32), categories: int = 5, eps: float = 1e-6) -> Supervised:
    return vit.vit_tiny(categories=categories, size=size, patch=8, width=24, depth=2, heads=3, eps=eps).eval()


def written(network: nn.Module, folder: Path) -> Path:
    path = folder / "model.safetensors"
    files.write_tensors(path, {key: value.contiguous() for key, value in network.state_dict().items()})
    return path


def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("publisher", ["torchvision", "timm", "transformers"])
def test_a_file_gives_its_publisher_s_numbers(publisher: str, tmp_path: Path) -> None:
    network = theirs(publisher)
    model = ours(eps=1e-12 if publisher == "transformers" else 1e-6)
    assert load_file(model, "vit_tiny", written(network, tmp_path)) == publisher
    expected: Any = network(images())
    expected = expected if isinstance(expected, Tensor) else expected.logits
    assert_close(model(images()).logits, expected, 1e-5)


@pytest.mark.system("3.2-VIT")
def test_what_transformers_saves_is_read(tmp_path: Path) -> None:
    """Its files keep the names of before version 5, its modules have others."""
    network = theirs("transformers")
    network.save_pretrained(tmp_path)  # type: ignore[operator]
    model = ours(eps=1e-12)
    assert load_file(model, "vit_tiny", tmp_path / "model.safetensors") == "transformers"
    assert_close(model(images()).logits, network(images()).logits, 1e-5)


def test_names_of_transformers_before_version_5(tmp_path: Path) -> None:
    network = theirs("transformers")
    old = {}
    for key, value in network.state_dict().items():
        name = key.replace("vit.layers.", "vit.encoder.layer.")
        for part in ("query", "key", "value"):
            name = name.replace(f"attention.{part[0]}_proj.", f"attention.attention.{part}.")
        name = name.replace("attention.o_proj.", "attention.output.dense.")
        old[name.replace("mlp.fc1.", "intermediate.dense.").replace("mlp.fc2.", "output.dense.")] = value
    files.write_tensors(tmp_path / "model.safetensors", old)
    model = ours(eps=1e-12)
    load_file(model, "vit_tiny", tmp_path / "model.safetensors")
    assert_close(model(images()).logits, network(images()).logits, 1e-5)


def test_a_file_without_a_head_is_loaded_below_a_new_one(tmp_path: Path) -> None:
    network = ViTModel(transformers_config()).eval()
    model = ours(categories=7, eps=1e-12)
    nn.init.normal_(model.get_parameter("network.head.linear.weight"))
    head = model.get_parameter("network.head.linear.weight").clone()
    path = written(network, tmp_path)
    with pytest.raises(ValueError, match=r"2 missing: head\.linear\.weight"):
        load_file(model, "vit_tiny", path)
    load_file(model, "vit_tiny", path, new_head=True)
    assert torch.equal(model.get_parameter("network.head.linear.weight"), head)
    tokens = model.network.backbone.tokens(images())  # type: ignore[operator, union-attr]
    assert_close(tokens, network(images()).last_hidden_state, 1e-5)


@pytest.mark.parametrize(
    ("publisher", "rule"),
    [("torchvision", {"align_corners": True}), ("timm", {"antialias": True}), ("transformers", {})],
)
def test_positions_follow_the_rule_of_the_publisher(publisher: str, rule: dict, tmp_path: Path) -> None:
    network, model = theirs(publisher), ours((24, 16))
    load_file(model, "vit_tiny", written(network, tmp_path))
    (table,) = (value for value in network.state_dict().values() if value.shape == (1, 17, 24))
    received = model.get_parameter("network.backbone.positions.table")
    torch.testing.assert_close(received, resized_positions(table, (3, 2), **rule))


@pytest.mark.parametrize("under", ["model", "state_dict", None])
def test_files_of_torch_hold_tensors_alone_or_under_a_name(under: str | None, tmp_path: Path) -> None:
    state = theirs("timm").state_dict()
    files.write_state(tmp_path / "file.pth", state if under is None else {under: state, "epoch": 3})
    model = ours()
    assert load_file(model, "vit_tiny", tmp_path / "file.pth") == "timm"
    assert torch.equal(model.get_parameter("network.backbone.encoder.norm.bias"), state["norm.bias"])


def test_a_file_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    model = ours()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    files.write_tensors(tmp_path / "other.safetensors", {"conv1.weight": torch.zeros(2)})
    tried = "; ".join(
        rf"as {publisher}'s: the rename table does not fit 1 tensors: conv1\.weight \(0 rows match\)"
        for publisher in ("timm", "torchvision", "transformers")
    )
    with pytest.raises(ValueError, match=rf"other\.safetensors does not fit vit_tiny: {tried}$"):
        load_file(model, "vit_tiny", tmp_path / "other.safetensors")
    shallow = theirs("timm")
    shallow.blocks = shallow.blocks[:1]  # type: ignore[index]
    with pytest.raises(
        ValueError,
        match=r"fit vit_tiny: as timm's: the weights do not fit .* missing: backbone\.encoder\.layers\.1[^;]*$",
    ):
        load_file(model, "vit_tiny", written(shallow, tmp_path))
    with pytest.raises(FileNotFoundError):
        load_file(model, "vit_tiny", tmp_path / "nothing.safetensors")
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
