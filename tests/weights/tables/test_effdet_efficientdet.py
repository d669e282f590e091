"""The table of effdet's weights against effdet's own tables."""

import inspect
from importlib.metadata import distribution

import pytest
import torch
from effdet.config import get_efficientdet_config
from effdet.config.model_config import efficientdet_model_param_dict
from effdet.efficientdet import EfficientDet
from torch import Tensor

from vidi.detection import efficientdet
from vidi.weights.categories import coco_ids
from vidi.weights.published import Published
from vidi.weights.renaming import renamed
from vidi.weights.tables.effdet_efficientdet import BOX_ROWS, PUBLISHED, swapped, xy_first

TENSORS = [
    "efficientdet_d0/effdet/coco",
    "efficientdet_d0/effdet/tf_coco",
    "efficientdet_lite0/effdet/tf_coco",
    *(
        pytest.param(f"efficientdet_d{phi}/effdet/tf_coco", marks=pytest.mark.extended)
        for phi in range(1, 8)
    ),
]  # fmt: skip


def their_name(name: str) -> str:
    model, _, version = name.split("/")
    tag = version.removesuffix("coco").removeprefix("tf_").removesuffix("_")
    return ("tf_" if version.startswith("tf_") else "") + model + (f"_{tag}" if tag else "")


def published_scores() -> dict[str, float]:
    """The column "mAP (val2017)" of the table in effdet's description, by name."""
    rows = [
        row.split("|")
        for row in str(distribution("effdet").read_text("METADATA")).splitlines()
        if "efficientdet_" in row
    ]
    return {row[1].strip(): float(row[2]) for row in rows if len(row) == 9}


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_sources_say_what_effdet_says(name: str) -> None:
    ours, theirs = PUBLISHED[name], get_efficientdet_config(their_name(name))
    assert ours.files[0].url == theirs.url
    assert ours.files[0].url.endswith(f"-{ours.files[0].sha256}.pth")
    assert len(ours.files[0].sha256) >= 8
    assert ours.score == {"ap": published_scores()[their_name(name)]}
    preprocess = ours.preprocess
    assert (preprocess.longest, preprocess.stride) == tuple(theirs.image_size)
    assert preprocess.mean == tuple(theirs.get("mean", (0.485, 0.456, 0.406)))
    assert preprocess.std == tuple(theirs.get("std", (0.229, 0.224, 0.225)))


def test_every_file_with_a_digest_is_there() -> None:
    theirs = {
        name
        for name, config in efficientdet_model_param_dict.items()
        if config["url"] and any(source.model in name for source in PUBLISHED.values())
    }
    assert theirs - {"tf_efficientdet_d7x"} == {their_name(name) for name in PUBLISHED}  # D7x has eight levels


def built(source: Published) -> torch.nn.Module:
    builder = getattr(efficientdet, source.model)
    with torch.device("meta"):
        return builder(categories=source.categories(), **source.arguments).network


@pytest.mark.parametrize("name", TENSORS)
def test_every_published_tensor_has_its_place(name: str) -> None:
    source = PUBLISHED[name]
    with torch.device("meta"):
        theirs = EfficientDet(get_efficientdet_config(their_name(name)), pretrained_backbone=False).state_dict()
    expected = {key: value.shape for key, value in built(source).state_dict().items()}
    assert {key: value.shape for key, value in renamed(theirs, source.layout.names).items()} == expected
    assert set(BOX_ROWS) <= expected.keys()
    assert set(source.layout.by_category) <= expected.keys()


def test_sources_name_a_builder_and_its_arguments() -> None:
    for name, source in PUBLISHED.items():
        inspect.signature(getattr(efficientdet, source.model)).bind(categories=source.categories(), **source.arguments)
        assert name.split("/")[0] == source.model


def test_rows_of_the_box_head_change_places() -> None:
    assert swapped(torch.arange(8)).tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    tensors: dict[str, Tensor] = {name: torch.arange(4) for name in BOX_ROWS} | {"other": torch.arange(4)}
    assert {name: value.tolist() for name, value in xy_first(tensors).items()} == {
        **{name: [1, 0, 3, 2] for name in BOX_ROWS},
        "other": [0, 1, 2, 3],
    }


def test_categories_of_coco() -> None:
    names = coco_ids()
    assert len(names) == 90
    assert (names[0], names[11], names[89]) == ("person", None, "toothbrush")
