"""Depth Pro against transformers', with the same random weights, in float64: outputs, gradients, depth in metres."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import DepthProConfig, DepthProForDepthEstimation, DepthProImageProcessor, Dinov2Config, Dinov2Model

from tests.closeness import EXACT, GRADIENTS, OUTPUTS, assert_close, largest
from tests.parity.networks import randomise
from vidi.backbones.vit import trunk
from vidi.depth.depth_pro import DepthPro, depth_pro, depth_pro_family
from vidi.depth.depth_pro_network import OVERLAPS, merged_patches, overlapping_patches
from vidi.weights.local_files import load_file
from vidi.weights.renaming import renamed
from vidi.weights.tables.transformers_depth_pro import LAYOUT, ORIGINAL, TRUNK

GRID = 8  # tokens along a patch: the least whose borders are whole ones
SIZES = {4: (), 8: (0,), 16: (1, 0)}  # layers that are used too, by the side of a token
NARROW = {"vit_width": 16, "vit_depth": 2, "vit_heads": 2, "width": 16, "channels": (12, 8, 10)}


def theirs_of(patch: int) -> Any:
    encoder: dict[str, Any] = {
        "model_type": "dinov2",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": GRID * patch,
        "patch_size": patch,
    }
    numbers: dict[str, Any] = {
        "patch_size": GRID * patch,
        "fusion_hidden_size": 16,
        "intermediate_hook_ids": list(SIZES[patch]),
        "intermediate_feature_dims": [16] * len(SIZES[patch]),
        "scaled_images_feature_dims": [12, 8, 10],
        "merge_padding_value": 1,
        "use_fov_model": True,
    }
    models: dict[str, Any] = {f"{name}_model_config": dict(encoder) for name in ("image", "patch", "fov")}
    return DepthProForDepthEstimation(DepthProConfig(**(numbers | models)))


def ours_of(patch: int) -> DepthPro:
    return depth_pro_family("depth_pro", side=GRID * patch, patch=patch, hooks=SIZES[patch], **NARROW)


@pytest.fixture(scope="module", params=[4, 8, pytest.param(16, marks=pytest.mark.extended)])
def pair(request: Any) -> Any:
    torch.default_generator.manual_seed(0)
    theirs = theirs_of(request.param).double().eval()
    randomise(theirs)
    with torch.no_grad():
        theirs.head.layers[4].weight.abs_()  # inverse depth is positive
        theirs.head.layers[4].bias.fill_(0.5)
    nn.init.constant_(theirs.fov_model.head.layers[-1].bias, 50.0)
    ours = ours_of(request.param).double().eval()
    network = ours.parts["network"]
    network.load_state_dict(LAYOUT.ours(network, known_levels(theirs.state_dict(), request.param)))
    size = 4 * GRID * request.param
    images = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return SimpleNamespace(theirs=theirs, ours=ours, network=network, images=images, patch=request.param)


def known_levels(tensors: dict[str, Any], patch: int) -> dict[str, Any]:
    """Name the last fusion as that of the table, which has all five levels, and drop what nothing runs through."""
    levels = 3 + len(SIZES[patch])
    names = {name: name.replace("fusion_stage.final.", f"fusion_stage.intermediate.{levels - 1}.") for name in tensors}
    return {name if levels == 5 else names[name]: value for name, value in tensors.items()}


@pytest.mark.system("6.1.3-DEPTHPRO")
def test_outputs_and_gradients(pair: Any) -> None:
    expected = pair.theirs(pair.images)
    found = pair.ours(pair.images)
    assert_close(found.canonical, expected.predicted_depth, OUTPUTS)
    assert_close(found.field_of_view, expected.field_of_view, OUTPUTS)
    assert (found.canonical > 0).all()
    assert found.canonical.std() > 0.01
    assert found.canonical.shape == pair.images[:, 0].shape

    direction = torch.randn(found.canonical.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for outputs, maps in ((expected, expected.predicted_depth), (found, found.canonical)):
        ((maps * direction).sum() + outputs.field_of_view.sum()).backward()
    raw = {name: p.grad for name, p in pair.theirs.named_parameters() if p.grad is not None}
    gradients = LAYOUT.ours(pair.network, known_levels(raw, pair.patch))
    assert_close(
        {n: p.grad for n, p in pair.network.named_parameters()}, gradients, GRADIENTS, size=largest(*gradients.values())
    )


@pytest.mark.system("6.1.3-DEPTHPRO")
def test_parts_run_alone_as_in_the_whole(pair: Any) -> None:
    with torch.no_grad():
        whole = pair.network(pair.images)
        assert_close(pair.network.canonical(pair.images), whole.canonical, EXACT)
        assert_close(pair.network.view(pair.images), whole.field_of_view, 1e-9)


@pytest.mark.system("6.1.3-DEPTHPRO")
def test_depth_in_metres_is_that_of_the_published_processing(pair: Any) -> None:
    """By the estimated focal length, in the size of the original, 10 km at most."""
    size = (50, 90)
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(3))
    placed = pair.ours.preprocess.place(image, {})
    batch = pair.ours.preprocess.collate([placed])
    batch = type(batch)(batch.images.double(), batch.mask, batch.placements, batch.targets)
    processor = DepthProImageProcessor(size={"height": batch.images.shape[2], "width": batch.images.shape[3]})
    given = processor((image * 255).round().byte(), return_tensors="pt")["pixel_values"]
    assert_close(given.double(), batch.images, 2 / 255)
    with torch.no_grad():
        outputs = pair.theirs(batch.images)
        (expected,) = processor.post_process_depth_estimation(outputs, target_sizes=[size])
        (found,) = pair.ours.predict_batch(batch)
    assert found.unit == "metres"
    assert found.focal_source == "estimated"
    assert found.focal == pytest.approx(float(expected["focal_length"]), rel=OUTPUTS)
    assert found.valid.all()
    true: Any = expected["predicted_depth"]
    assert_close(1 / found.depth.double(), 1 / true, 1e-6)  # results are float32


@pytest.mark.system("6.1.3-DEPTHPRO")
def test_a_focal_length_that_is_known_counts_more(pair: Any) -> None:
    image = torch.rand(3, 40, 60)
    model: Any = ours_of(4)
    nn.init.constant_(model.parts["network"].head[4].weight, 0.01)  # all of one sign
    nn.init.constant_(model.parts["network"].head[4].bias, 0.5)
    estimated, given = model.predict([image])[0], model.predict([image], focal_px=30.0)[0]
    assert given.focal == pytest.approx(30.0)
    assert given.focal_source == "given"
    assert estimated.focal is not None
    assert given.valid.all()
    assert_close(given.depth * (estimated.focal / 30.0), estimated.depth, 1e-4)


@pytest.mark.system("6.1.3-DEPTHPRO")
def test_patches_overlap_and_are_put_together_without_what_they_share() -> None:
    """5 x 5, 3 x 3 and 1 patches of 384 pixels; their maps of 24 x 24 give 96, 48 and 24 (section 3.1)."""
    for overlap, size, count in zip(OVERLAPS, (1536, 768, 384), (25, 9, 1), strict=True):
        rows = torch.arange(size, dtype=torch.float64)
        images = torch.stack((rows[:, None].expand(size, size), rows.expand(size, size)))[None].expand(2, -1, -1, -1)
        patches = overlapping_patches(images, 384, overlap)
        assert patches.shape == (2 * count, 2, 384, 384)
        tokens = nn.functional.avg_pool2d(patches, 16)
        assert torch.equal(merged_patches(tokens, 2, overlap), nn.functional.avg_pool2d(images, 16))


@pytest.mark.system("6.1.3-DEPTHPRO")
def test_the_published_numbers() -> None:
    """Section 3.1, table 16 and the published code: patches of 384, ViT-L/16, hooks 11 and 5, 952 M parameters."""
    with torch.device("meta"):
        model = depth_pro()
    network: Any = model.parts["network"]
    encoder = network.backbone.patch_encoder
    assert (encoder.size, encoder.strides, encoder.channels, len(encoder.encoder.layers)) == (
        (384, 384),
        (16,),
        (1024,),
        24,
    )
    assert encoder.encoder.layers[0].attention.heads == 16
    assert encoder.encoder.norm.eps == 1e-6
    assert network.backbone.hooks == (11, 5)
    assert OVERLAPS == (0.25, 0.5, 0.0)
    assert [layer[1].out_channels for layer in network.neck.scales] == [1024, 1024, 512]
    assert [len(layer) - 1 for layer in network.neck.layers] == [2, 3]
    assert [layer.kernel_size[0] for layer in network.field_of_view.head[::2]] == [3, 3, 6]  # section C.2
    assert model.preprocess.exact == (1536, 1536)
    assert (model.preprocess.mean, model.preprocess.std, model.preprocess.antialias) == ((0.5,) * 3, (0.5,) * 3, False)

    D, F = 1024, 256
    layer = 4 * (D * D + D) + (8 * D * D + 5 * D) + 4 * D + 2 * D
    transformer = (3 * 16 * 16 * D + D) + D + (24 * 24 + 1) * D + 24 * layer + 2 * D
    double = 4  # numbers of a 2 x 2 kernel
    scales = sum(D * own + double * own * own for own in (1024, 1024, 512))
    hooks = sum(D * F + times * double * F * F for times in (2, 3))
    whole, mix = double * D * D + D, 2 * D * D + D
    project = 9 * F * (1024 + 1024 + 512 + 256)
    unit = 2 * (9 * F * F + F)
    fusions = 9 * unit + 4 * double * F * F + 5 * (F * F + F)
    head = (9 * F * 128 + 128) + (double * 128 * 128 + 128) + (9 * 128 * 32 + 32) + 33
    view = (D * 128 + 128) + (9 * F * 128 + 128) + (9 * 128 * 64 + 64) + (9 * 64 * 32 + 32) + (36 * 32 + 1)
    expected = 3 * transformer + scales + hooks + whole + mix + project + fusions + head + view
    assert sum(p.numel() for p in model.parameters()) == expected
    assert round(expected / 1e6) == 951


@pytest.mark.system("6.1.3-DEPTHPRO")
def test_files_in_the_format_of_transformers(tmp_path: Any) -> None:
    theirs = theirs_of(16)
    save_file({name: value.contiguous() for name, value in theirs.state_dict().items()}, tmp_path / "model.safetensors")
    ours = ours_of(16)
    assert load_file(ours, "depth_pro", tmp_path / "model.safetensors") == "transformers"
    inside: Any = ours.parts["network"]
    assert torch.equal(inside.head[0].weight, theirs.head.layers[0].weight)
    assert torch.equal(inside.fusions[4].project.weight, theirs.fusion_stage.final.projection.weight)


@pytest.mark.system("6.1.3-DEPTHPRO")
def test_files_in_the_format_of_the_authors(tmp_path: Any) -> None:
    """Their names, of the published code, with packed projections and the levels in the other order."""
    ours, other = ours_of(16), ours_of(16)
    file = as_the_authors(ours.parts["network"].state_dict())
    assert len(file) == len(renamed(file, ORIGINAL)) + 4  # the unit that nothing runs through
    torch.save(file, tmp_path / "depth_pro.pt")
    assert load_file(other, "depth_pro", tmp_path / "depth_pro.pt") == "apple"
    assert_close(dict(other.state_dict()), dict(ours.state_dict()), EXACT)


def as_the_authors(ours: dict[str, Any]) -> dict[str, Any]:
    backwards = {new: old for old, new in ORIGINAL.items() if new is not None}
    packed: dict[str, Any] = {}
    for name, value in ours.items():
        before, part, after = name.rpartition(".attention.")[0], *name.rpartition(".")[::2]
        kind = part.rsplit(".", 1)[-1]
        if kind in ("query", "key", "value") and before:
            packed.setdefault(f"{before}.attention.query_key_value.{after}", []).append(value)
        else:
            packed[name] = value
    whole = {name: torch.cat(value) if isinstance(value, list) else value for name, value in packed.items()}
    unit = {f"decoder.fusions.4.resnet1.residual.{k}.{n}": torch.zeros(1) for k in (1, 3) for n in ("weight", "bias")}
    return renamed(whole, backwards) | unit


@pytest.mark.system("6.1.3-DEPTHPRO")
def test_the_transformer_is_that_of_dinov2() -> None:
    """With the scales of its branches, and what comes out of its layers before the last norm."""
    theirs: Any = Dinov2Model(
        Dinov2Config(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=16, patch_size=4)
    )
    randomise(theirs)
    ours = trunk("large", (16, 16), 4, width=16, depth=3, heads=2, layer_scale=1.0)
    ours.load_state_dict(renamed(theirs.state_dict(), TRUNK))
    theirs.double().eval()
    ours.double().eval()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    expected = theirs(images, output_hidden_states=True)
    last, second, first = ours.tokens_of_layers(images, (1, 0))
    assert_close(last, expected.last_hidden_state, OUTPUTS)
    assert_close(second, expected.hidden_states[2], OUTPUTS)
    assert_close(first, expected.hidden_states[1], OUTPUTS)
    assert_close(ours.tokens(images), last, EXACT)


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="patch=16 and hooks=\\(1,\\)"):
        depth_pro_family("depth_pro", hooks=(1,))
    with pytest.raises(ValueError, match="layers from 0 to 1"):
        depth_pro_family("depth_pro", vit_depth=2)
    with pytest.raises(ValueError, match="side=100"):
        depth_pro_family("depth_pro", side=100)
    with pytest.raises(ValueError, match="width=30"):
        depth_pro_family("depth_pro", width=30)
