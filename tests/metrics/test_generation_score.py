"""Scores of generators carry their protocol: what they are made of, how they are written, and what is refused."""

import dataclasses
import hashlib
import json
import re

import pytest
import torch
from torch import Tensor

from vidi.metrics.frechet import fid, normal_of_features
from vidi.metrics.generation import distinct_neighbours, inception_score, precision_recall
from vidi.metrics.generation_score import (
    Extracted,
    Extractor,
    GenerationScore,
    digest_of,
    score_generation,
)

NUMBERS = ("fid", "precision", "recall", "distinct_neighbours")


def means(pictures: Tensor) -> Extracted:
    """Take the mean and the deviation of each colour as features, and the colours' shares as an opinion."""
    flat = pictures.double().flatten(2)
    return Extracted(torch.cat([flat.mean(2), flat.std(2)], 1), flat.mean(2) / flat.mean(2).sum(1, keepdim=True))


COLOURS = Extractor("colours", digest_of({}), "no resizing", means)
FEATURES = dataclasses.replace(COLOURS, run=lambda pictures: Extracted(means(pictures).features))


def pictures(count: int, seed: int, size: tuple[int, int] = (6, 8)) -> Tensor:
    """Draw pictures of different colours."""
    generator = torch.Generator().manual_seed(seed)
    tint = torch.rand(count, 3, 1, 1, generator=generator)
    return tint * torch.rand(count, 3, *size, generator=generator)


def score(real: Tensor, generated: Tensor, extractor: Extractor = COLOURS, **options) -> GenerationScore:
    return score_generation(real.split(7), generated.split(9), extractor, real_set="drawn/val", **options)


@pytest.mark.system("8.1.2-FID", "8.1.3-MPR", "8.1.1-IS")
def test_any_callable_gives_features_and_each_score_is_taken_of_them():
    real, generated = pictures(40, 0), pictures(30, 1, (5, 5))
    found = score(real, generated, k=2, splits=3)
    truth, made = means(real), means(generated)
    assert truth.probabilities is not None
    assert made.probabilities is not None
    distance, shares = (
        fid(normal_of_features(truth.features), made.features),
        precision_recall(*[truth.features, made.features], k=2),
    )
    opinion = inception_score(made.probabilities, splits=3)
    assert found.values == {
        "fid": distance.value,
        "precision": shares.precision,
        "recall": shares.recall,
        "distinct_neighbours": distinct_neighbours(truth.features, made.features),
        "inception_score": opinion.mean,
    }
    assert found.errors == {"fid": distance.error, "inception_score": opinion.deviation}
    without = score(real, generated, FEATURES)
    assert tuple(without.values) == NUMBERS
    assert tuple(without.errors) == ("fid",)


def test_a_record_says_all_that_the_score_depends_on():
    found = score(pictures(40, 0), pictures(30, 1, (5, 5)))
    record = json.loads(json.dumps(found.record()))
    assert record["protocol"] == {
        "extractor": "colours",
        "digest": hashlib.sha256(b"").hexdigest(),
        "resize": "no resizing",
        "real_set": "drawn/val",
        "real_size": [6, 8],
        "generated_size": [5, 5],
        "real_count": 40,
        "generated_count": 30,
        "k": 3,
        "splits": 10,
    }
    assert GenerationScore.of_record(record) == found
    for damaged in ({}, record | {"protocol": {"k": 3}}, {"values": {}}):
        with pytest.raises(ValueError, match="expected the record of a score with its whole protocol"):
            GenerationScore.of_record(damaged)


def test_scores_of_one_protocol_have_a_difference_and_others_none():
    real = pictures(40, 0)
    first, second = score(real, pictures(30, 1)), score(real, pictures(30, 2))
    assert second.minus(first) == {name: second.values[name] - first.values[name] for name in first.values}
    others = {
        "extractor": "others",
        "digest": "0",
        "resize": "32 x 32",
        "real_set": "drawn/test",
        "real_size": (6, 6),
        "generated_size": (8, 8),
        "real_count": 41,
        "generated_count": 31,
        "k": 4,
        "splits": 1,
    }
    assert set(others) == {each.name for each in dataclasses.fields(first.protocol)}
    for name, value in others.items():
        other = dataclasses.replace(second, protocol=dataclasses.replace(second.protocol, **{name: value}))
        message = f"they differ in {name} ({value} and {getattr(first.protocol, name)})"
        with pytest.raises(ValueError, match=re.escape(message)):
            other.minus(first)


def test_pictures_of_several_sizes_and_none_are_refused():
    some = pictures(12, 0)
    mixed = [some, pictures(12, 0, (3, 4))]
    with pytest.raises(ValueError, match="received generated pictures of these sizes: 3 x 4, 6 x 8; expected"):
        score_generation([some], mixed, COLOURS, real_set="drawn")
    with pytest.raises(ValueError, match="received real pictures of these sizes: none; expected"):
        score_generation([], [some], COLOURS, real_set="drawn")


def test_a_digest_is_of_names_types_shapes_and_numbers():
    tensors = {"b": torch.arange(6.0), "a": torch.zeros(2, dtype=torch.int64), "s": torch.tensor(2.0)}
    digest = digest_of(tensors)
    assert digest == digest_of(dict(reversed(tensors.items())))
    assert len(digest) == 64
    changes = [
        {"b": torch.arange(6.0).view(2, 3)},
        {"b": torch.arange(6.0) + 1e-6},
        {"a": torch.zeros(2, dtype=torch.float64)},
        {"c": torch.zeros(1)},
    ]
    assert len({digest, *(digest_of(tensors | change) for change in changes)}) == 5
    transposed = torch.arange(6.0).view(2, 3).T
    assert digest_of({"w": transposed}) == digest_of({"w": transposed.contiguous()})
