"""DETR weights of its authors and of transformers: names, shapes, files."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d
from transformers import DetrConfig, DetrForObjectDetection

from tests.closeness import FLOAT32, assert_close
from vidi import files
from vidi.detection import detr
from vidi.model import Supervised
from vidi.weights.local_files import load_file
from vidi.weights.renaming import renamed
from vidi.weights.tables.facebook_detr import PUBLISHED

BACKBONE = {"detr_resnet50": "resnet50", "detr_resnet50_dc5": "resnet50", "detr_resnet101": "resnet101"}


def authors_network(backbone: str) -> nn.ModuleDict:
    """The modules of the authors' network, which are torch's and torchvision's, under the authors' names."""
    body = getattr(torchvision.models, backbone)(norm_layer=FrozenBatchNorm2d)
    del body.fc
    sizes: dict[str, Any] = {"d_model": 256, "nhead": 8, "dim_feedforward": 2048}
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(**sizes), 6, enable_nested_tensor=False)
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**sizes), 6, nn.LayerNorm(256))
    mlp = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(256, n) for n in (256, 256, 4)])})
    return nn.ModuleDict(
        {
            "transformer": nn.ModuleDict({"encoder": encoder, "decoder": decoder}),
            "class_embed": nn.Linear(256, 92),
            "bbox_embed": mlp,
            "query_embed": nn.Embedding(100, 256),
            "input_proj": nn.Conv2d(2048, 256, 1),
            "backbone": nn.ModuleList([nn.ModuleDict({"body": body})]),
        }
    )


def shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}


@pytest.mark.parametrize(
    "name", [name if "resnet50/" in name else pytest.param(name, marks=pytest.mark.extended) for name in PUBLISHED]
)
def test_every_published_tensor_has_its_place(name: str) -> None:
    source = PUBLISHED[name]
    with torch.device("meta"):
        theirs = authors_network(BACKBONE[source.model]).state_dict()
        ours = getattr(detr, source.model)(categories=source.categories(), **source.arguments)
    assert shapes(source.layout.convert(renamed(theirs, source.layout.names))) == shapes(ours.network.state_dict())
    assert len(ours.criterion.named) == 80
    assert set(source.layout.by_category) == {"class_head.weight", "class_head.bias"}


def test_packed_projections_go_to_queries_keys_and_values() -> None:
    source = PUBLISHED["detr_resnet50/facebook/coco"]
    packed = torch.randn(3 * 256, 256)
    names = {
        "transformer.encoder.layers.5.self_attn.in_proj_weight": "encoder.layers.5.attention",
        "transformer.decoder.layers.0.self_attn.in_proj_weight": "decoder.layers.0.self_attention",
        "transformer.decoder.layers.0.multihead_attn.in_proj_weight": "decoder.layers.0.cross_attention",
    }
    ours = source.layout.convert(renamed(dict.fromkeys(names, packed), source.layout.names))
    for attention in names.values():
        for part, rows in zip(("query", "key", "value"), packed.chunk(3), strict=True):
            assert torch.equal(ours[f"{attention}.{part}.weight"], rows)


def test_sources_are_files_with_a_digest_in_their_names() -> None:
    for source in PUBLISHED.values():
        assert source.files[0].sha256 in source.files[0].name
        assert len(source.files[0].sha256) == 8
        assert source.preprocess.resized((480, 640)) == (800, 1066)
    assert {s.model: s.score["ap"] for s in PUBLISHED.values()} == {
        "detr_resnet50": 42.0,
        "detr_resnet50_dc5": 43.3,
        "detr_resnet101": 43.5,
    }


# ----------------------------------------------------------------------------------------------------------------------
# Files of transformers

SHAPE: dict[str, Any] = {"encoder_layers": 1, "decoder_layers": 2}


def their_model() -> Any:
    numbers: dict[str, Any] = {
        "use_timm_backbone": True,
        "backbone": "resnet18",
        "use_pretrained_backbone": False,
        "num_labels": 5,
        "num_queries": 7,
        "d_model": 32,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
    }
    return DetrForObjectDetection(DetrConfig(**numbers, **SHAPE)).eval()


def our_model(categories: int = 5) -> Supervised:
    sizes: dict[str, Any] = {"queries": 7, "width": 32, "hidden": 48, "stride": 32, "norm": "frozen"}
    return detr.detr_resnet18(categories=categories, **sizes, **SHAPE).eval()


def test_a_saved_model_of_transformers_gives_its_numbers(tmp_path: Path) -> None:
    """Its files keep the names that its modules had before version 5."""
    theirs = their_model()
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    assert any("conv_encoder" in name for name in files.read_tensors(path))
    model = our_model()
    assert load_file(model, "detr_resnet18", path) == "transformers"
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected, outputs = theirs(images), model(images)
    assert_close(outputs.class_logits, expected.logits, FLOAT32)
    assert_close(outputs.boxes_cxcywh_normalized, expected.pred_boxes, FLOAT32)

    other = our_model(categories=3)
    before = other.network.class_head.weight.clone()  # type: ignore[union-attr,operator]
    with pytest.raises(ValueError, match="class_head"):
        load_file(other, "detr_resnet18", path)
    load_file(other, "detr_resnet18", path, new_head=True)
    assert torch.equal(other.network.class_head.weight, before)  # type: ignore[union-attr]
    assert torch.equal(other.network.queries, model.network.queries)  # type: ignore[arg-type]
