"""MaskFormer and Mask2Former from files of transformers: every tensor of the published sizes, and old names."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    ResNetConfig,
    SwinConfig,
)

from tests.closeness import FLOAT32, assert_close
from vidi import files
from vidi.catalog.table import CATALOG
from vidi.segmentation.mask2former import mask2former_resnet18, mask2former_swin_l, mask2former_swin_t
from vidi.segmentation.maskformer import maskformer_resnet50, maskformer_swin_t
from vidi.weights.categories import ade20k_categories
from vidi.weights.layouts import Layout
from vidi.weights.local_files import load_file
from vidi.weights.table import PUBLISHED, layouts_of
from vidi.weights.tables import transformers_mask2former, transformers_maskformer

STAGES = [f"stage{k}" for k in (1, 2, 3, 4)]
SWIN_T: dict[str, Any] = {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7}
SWIN_L: dict[str, Any] = {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48], "window_size": 12}


def shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def maskformer_of(backbone: Any, labels: int = 171) -> Any:
    config = MaskFormerConfig(backbone_config=backbone.to_dict(), num_labels=labels)  # type: ignore[call-arg]
    return MaskFormerForInstanceSegmentation(config)


def mask2former_of(backbone: Any, **numbers: Any) -> Any:
    return Mask2FormerForUniversalSegmentation(Mask2FormerConfig(backbone_config=backbone.to_dict(), **numbers))


def swin_of(numbers: dict[str, Any]) -> Any:
    return SwinConfig(**{**numbers, "out_features": STAGES})


def resnet_of(**numbers: Any) -> Any:
    return ResNetConfig(**{**numbers, "out_features": STAGES})


CASES = [
    pytest.param(
        lambda: maskformer_of(resnet_of()),
        lambda: maskformer_resnet50(categories=171, norm="frozen"),
        transformers_maskformer.LAYOUT,
        id="maskformer_resnet50",
    ),
    pytest.param(
        lambda: maskformer_of(swin_of(SWIN_T)),
        lambda: maskformer_swin_t(categories=171),
        transformers_maskformer.LAYOUT,
        id="maskformer_swin_t",
        marks=pytest.mark.extended,
    ),
    pytest.param(
        lambda: mask2former_of(swin_of(SWIN_T), num_labels=133),
        lambda: mask2former_swin_t(),
        transformers_mask2former.LAYOUT,
        id="mask2former_swin_t",
    ),
    pytest.param(
        lambda: mask2former_of(swin_of(SWIN_L), num_labels=133, num_queries=200),
        lambda: mask2former_swin_l(),
        transformers_mask2former.LAYOUT,
        id="mask2former_swin_l",
        marks=pytest.mark.extended,
    ),
]


@pytest.mark.parametrize(("theirs", "ours", "layout"), CASES)
def test_every_tensor_of_a_published_size_has_its_place(theirs: Any, ours: Any, layout: Layout) -> None:
    with torch.device("meta"):
        tensors, model = theirs().state_dict(), ours()
    expected = shapes(model.network.state_dict())
    found = shapes(layout.ours(model.network, tensors))
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    assert {name: shape for name, shape in found.items() if not name.endswith("num_batches_tracked")} == {
        name: shape for name, shape in expected.items() if name not in counters
    }
    assert set(layout.by_category) <= expected.keys()
    assert layout in layouts_of(model.origin[0])


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("maskformer_resnet50_semantic", lambda: maskformer_of(resnet_of(), 150)),
        pytest.param(
            "maskformer_swin_t_semantic",
            lambda: maskformer_of(swin_of(SWIN_T), 150),
            marks=pytest.mark.extended,
        ),
    ],
)
def test_published_scene_parsers_have_their_builders(name: str, theirs: Any) -> None:
    row = PUBLISHED[f"{name}/transformers/ade20k"]
    with torch.device("meta"):
        tensors = theirs().state_dict()
        model: Any = CATALOG[name].builder(categories=row.categories(), **row.arguments)
    found, expected = shapes(row.layout.ours(model.network, tensors)), shapes(model.network.state_dict())
    assert {key: shape for key, shape in found.items() if not key.endswith("num_batches_tracked")} == expected
    assert row.files[0].name == f"{row.files[0].url.split('/')[4]}.bin"
    assert (row.preprocess.shorter, row.preprocess.longest) == (512, 2048)
    assert model.preprocess == row.preprocess


def test_categories_of_ade20k() -> None:
    """The challenge's objectInfo150: places of some of its classes."""
    names = ade20k_categories()
    assert len(names) == len(set(names)) == 150
    assert (names[0], names[12], names[20], names[76], names[127], names[149]) == (
        *("wall", "person", "car", "boat", "bicycle", "flag"),
    )


OLD_NAMES = {  # as files of 2022 have them, and as the modules have since
    "encoder.swin.embeddings": "encoder.embeddings",
    "encoder.swin.encoder": "encoder.encoder",
    "encoder.swin.layernorm": "encoder.layernorm",
    "attention.q_proj": "attention.self.query",
    "attention.k_proj": "attention.self.key",
    "attention.v_proj": "attention.self.value",
    "attention.o_proj": "attention.output.dense",
    "attention.relative_position_bias.relative_position_bias_table": "attention.self.relative_position_bias_table",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def test_old_names_of_a_swin_are_known() -> None:
    small: dict[str, Any] = {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2], "window_size": 3}
    with torch.device("meta"):
        tensors = mask2former_of(swin_of(small), num_labels=4).state_dict()
    old: dict[str, Tensor] = {}
    for name, value in tensors.items():
        renamed = name
        for new, former in OLD_NAMES.items():
            if "pixel_level_module.encoder" in name:
                renamed = renamed.replace(new, former)
        old[renamed] = value
    index = "model.pixel_level_module.encoder.encoder.layers.0.blocks.0.attention.self.relative_position_index"
    old[index] = torch.zeros(9, 9, dtype=torch.int64)
    assert old.keys() != tensors.keys()
    layout = transformers_mask2former.LAYOUT
    assert shapes(layout.ours(torch.nn.Module(), old)) == shapes(layout.ours(torch.nn.Module(), tensors))


def test_a_file_on_this_machine_is_loaded(tmp_path: Path) -> None:
    backbone = resnet_of(embedding_size=16, hidden_sizes=[16, 32, 64, 128], depths=[2] * 4, layer_type="basic")
    numbers = {"encoder_layers": 1, "decoder_layers": 3, "dim_feedforward": 24, "encoder_feedforward_dim": 16}
    sizes = {"feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "num_queries": 5, "num_labels": 4}
    theirs = mask2former_of(backbone, **numbers, **sizes).eval()
    files.write_tensors(tmp_path / "model.safetensors", theirs.state_dict())
    shape: dict[str, Any] = {
        "queries": 5,
        "width": 32,
        "hidden": 24,
        "layers": 2,
        "pixel_layers": 1,
        "pixel_hidden": 16,
    }
    model = mask2former_resnet18(categories=4, things=2, backbone_width=16, **shape)
    assert load_file(model, "mask2former_resnet18", tmp_path / "model.safetensors") == "transformers"
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = theirs(images), model.eval()(images)
    assert_close(found.class_logits, expected.class_queries_logits, FLOAT32)
    assert_close(found.mask_logits, expected.masks_queries_logits, FLOAT32)
