"""Vision transformers of torchvision: the table of files against torchvision's, and tensors into our networks."""

from typing import Any

import pytest
import torch
import torchvision
from torchvision.models.vision_transformer import VisionTransformer as Theirs
from torchvision.models.vision_transformer import interpolate_embeddings

from tests.closeness import assert_close
from tests.parity.networks import randomise
from vidi.backbones import vit
from vidi.model import Supervised
from vidi.weights.loading import load_tensors
from vidi.weights.packed_projections import unpacked
from vidi.weights.renaming import renamed
from vidi.weights.tables import torchvision_vit

SMALL: dict[str, Any] = {"width": 24, "depth": 2, "heads": 3, "hidden": 40}


def theirs(size: int = 32) -> Theirs:
    network = Theirs(size, patch_size=8, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=40, num_classes=5)
    randomise(network)
    torch.nn.init.normal_(network.heads.head.weight)  # type: ignore[union-attr]
    return network.eval()


def ours(size: int = 32) -> Supervised:
    return vit.vit_b_16(categories=5, size=(size, size), patch=8, **SMALL).eval()


def one_and_others(names: list[str]) -> list[Any]:
    """Leave all but the first to the extended suite."""
    return [names[0], *(pytest.param(name, marks=pytest.mark.extended) for name in names[1:])]


@pytest.mark.parametrize("name", list(torchvision_vit.PUBLISHED))
def test_torchvision_says_the_same(name: str) -> None:
    model, _, version = name.split("/")
    published = torchvision.models.get_model_weights(model)[version.upper()]
    source = torchvision_vit.PUBLISHED[name]
    transforms = published.transforms()
    scores = published.meta["_metrics"]["ImageNet-1K"]
    assert source.files[0].url == published.url
    assert source.files[0].sha256 in source.files[0].name
    assert source.score == {key.replace("acc@", "top"): value for key, value in scores.items()}
    assert [source.preprocess.shorter] == transforms.resize_size
    assert source.preprocess.crop == tuple(transforms.crop_size * 2)
    assert source.arguments.get("size", (224, 224)) == published.meta["min_size"]
    assert (source.preprocess.mean, source.preprocess.std) == (tuple(transforms.mean), tuple(transforms.std))
    assert transforms.interpolation.value == source.preprocess.interpolation
    assert ("SWAG" in str(published.meta.get("license"))) == (source.licence == "CC-BY-NC-4.0")


def test_every_file_of_torchvision_is_there() -> None:
    models = ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14")
    published = {f"{m}/torchvision/{w.name.lower()}" for m in models for w in torchvision.models.get_model_weights(m)}
    assert published == set(torchvision_vit.PUBLISHED)


@pytest.mark.parametrize("name", one_and_others(list(torchvision_vit.PUBLISHED)))
def test_the_names_and_shapes_of_every_file_fit_its_builder(name: str) -> None:
    """torchvision counts the parameters of each file; on the meta device nothing is computed."""
    source = torchvision_vit.PUBLISHED[name]
    weights = torchvision.models.get_model_weights(source.model)[source.version.split("/")[1].upper()]
    with torch.device("meta"):
        model = getattr(vit, source.model)(categories=source.categories(), **source.arguments)
        published = torchvision.models.get_model(source.model, image_size=weights.meta["min_size"][0])
    tensors = source.layout.convert(renamed(published.state_dict(), source.layout.names))
    state = model.network.state_dict()
    assert {key: value.shape for key, value in tensors.items()} == {key: value.shape for key, value in state.items()}
    assert sum(p.numel() for p in model.parameters()) == weights.meta["num_params"]


def test_published_tensors_load_and_give_the_same() -> None:
    network, model = theirs(), ours()
    load_tensors(model, network.state_dict(), torchvision_vit.PUBLISHED["vit_b_16/torchvision/imagenet1k_v1"].layout)
    images = torch.randn(2, 3, 32, 32)
    assert_close(model(images).logits, network(images), 1e-5)


def test_files_of_old_versions_have_other_names_for_the_same_layers() -> None:
    state = theirs().state_dict()
    old = {key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v for key, v in state.items()}
    assert old.keys() != state.keys()
    one, two = (unpacked(renamed(tensors, torchvision_vit.CLASSIFIER)) for tensors in (old, state))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.system("3.2-VIT")
@pytest.mark.parametrize("size", [48, 16])
def test_positions_of_another_size_are_interpolated_as_torchvision_does(size: int) -> None:
    source, target, model = theirs().double(), theirs(size).double(), ours(size).double()
    target.load_state_dict(interpolate_embeddings(size, 8, source.state_dict()))  # type: ignore[arg-type]
    model.network.load_state_dict(torchvision_vit.LAYOUT.ours(model.network, source.state_dict()))
    images = torch.randn(2, 3, size, size, dtype=torch.float64)
    outputs = model.network(images).logits
    assert_close(outputs, target(images), 1e-9)


def test_rows_that_are_not_three_times_as_many_are_refused() -> None:
    with pytest.raises(ValueError, match=r"8 rows, expected those of queries, keys and values"):
        unpacked({"a.query_key_value.bias": torch.zeros(8)})


@pytest.mark.system("3.2-VIT")
def test_loading_fits_the_positions_to_the_size_of_the_model() -> None:
    network, model = theirs(), ours(48)
    load_tensors(model, network.state_dict(), torchvision_vit.PUBLISHED["vit_b_16/torchvision/imagenet1k_v1"].layout)
    state = interpolate_embeddings(48, 8, network.state_dict())  # type: ignore[arg-type]
    table = model.get_parameter("network.backbone.positions.table")
    torch.testing.assert_close(table, state["encoder.pos_embedding"])
