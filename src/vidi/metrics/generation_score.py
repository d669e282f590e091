"""The score of a generator with all that it depends on, so that no two are compared that cannot be (notes 8.1).

    real pictures, generated ones, in batches B 3 H W in [0, 1]
        -> Extractor            any callable: features B D, and probabilities B K where it classifies
        -> GenerationScore      FID, precision and recall, share of distinct neighbours, Inception score
                                and its Protocol: extractor, resizing, sizes, counts, real set, k, splits

Another extractor, another resizing (Parmar et al. 2022, arXiv 2104.11222) or another count gives other numbers for the
same pictures. So a score is written with its protocol, and the difference of scores of two protocols is an error.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vidi.metrics.frechet import fid, normal_of_features
from vidi.metrics.generation import distinct_neighbours, inception_score, precision_recall


class Extracted(NamedTuple):
    """What an extractor makes of pictures."""

    features: Float[Tensor, "N D"]
    probabilities: Float[Tensor, "N K"] | None = None  # of classes; without, there is no Inception score


@dataclass(frozen=True)
class Extractor:
    """A callable from pictures to features, and what makes its numbers what they are."""

    name: str
    digest: str  # of its weights: `digest_of`
    resize: str  # what is done to pictures before the network sees them
    run: Callable[[Float[Tensor, "B 3 H W"]], Extracted]  # of pictures in [0, 1]


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of named tensors: of their names, types, shapes and numbers, in whatever order they come."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Protocol:
    """All that a score of the same pictures depends on."""

    extractor: str
    digest: str
    resize: str
    real_set: str
    real_size: tuple[int, int]  # H, W of the pictures, before they are resized
    generated_size: tuple[int, int]
    real_count: int
    generated_count: int
    k: int  # of precision and recall
    splits: int  # of the Inception score


@dataclass(frozen=True)
class GenerationScore:
    """Scores by name, and how they came about.

    `fid` is best at 0; `precision`, `recall` and `distinct_neighbours` are shares; `inception_score` is 1 to K.
    """

    values: Mapping[str, float]
    protocol: Protocol
    errors: Mapping[str, float] = field(default_factory=dict)  # standard error of `fid`, deviation of `inception_score`

    def record(self) -> dict[str, Any]:
        """Return plain values to write as JSON: scores, errors and protocol."""
        return {"values": dict(self.values), "errors": dict(self.errors), "protocol": asdict(self.protocol)}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "GenerationScore":
        """Return what was written.

        Raises:
            ValueError: if the record is not that of a score.
        """
        names = {each.name for each in fields(Protocol)}
        if not ({"values", "errors", "protocol"} <= record.keys() and names == record["protocol"].keys()):
            raise ValueError(f"received {sorted(record)}, expected the record of a score with its whole protocol")
        known = dict(record["protocol"])
        sizes = {name: tuple(known[name]) for name in ("real_size", "generated_size")}  # JSON has lists only
        return cls(dict(record["values"]), Protocol(**{**known, **sizes}), dict(record["errors"]))

    def minus(self, other: "GenerationScore") -> dict[str, float]:
        """Return by how much each number of this score is higher than the other's.

        Raises:
            ValueError: if they come from two protocols, saying where these differ.
        """
        ours, theirs = asdict(self.protocol), asdict(other.protocol)
        differing = [f"{name} ({ours[name]} and {theirs[name]})" for name in ours if ours[name] != theirs[name]]
        if differing:
            raise ValueError(f"these scores cannot be compared, they differ in {', '.join(differing)}")
        return {name: value - other.values[name] for name, value in self.values.items()}


class PictureSet(NamedTuple):
    """What an extractor makes of a set of pictures, and their size."""

    extracted: Extracted
    size: tuple[int, int]  # H, W


@torch.no_grad()
def score_generation(
    real: Iterable[Float[Tensor, "_ 3 _ _"]],
    generated: Iterable[Float[Tensor, "_ 3 _ _"]],
    extractor: Extractor,
    *,
    real_set: str,
    k: int = 3,
    splits: int = 10,
) -> GenerationScore:
    """Score generated pictures against real ones.

    Args:
        real: batches of pictures in [0, 1].
        generated: as many pictures as there are real ones, for scores like other people's.
        extractor: of the features.
        real_set: name of the real pictures, and of their split.
        k: the neighbour that the spheres of precision and recall reach to.
        splits: of the Inception score.

    Raises:
        ValueError: if pictures of a set differ in size, there are too few of them (four, and more than k), fewer than
            splits where the extractor classifies, or features are NaN or infinite.
    """
    sets = (picture_set(real, extractor, "real"), picture_set(generated, extractor, "generated"))
    return score_sets(*sets, extractor, real_set=real_set, k=k, splits=splits)


@torch.no_grad()
def score_sets(
    real: PictureSet, generated: PictureSet, extractor: Extractor, *, real_set: str, k: int = 3, splits: int = 10
) -> GenerationScore:
    """Score generated pictures against real ones of which the extractor's features are known, as `score_generation`."""
    (truth, real_size), (made, generated_size) = real, generated
    distance = fid(normal_of_features(truth.features), made.features)
    shares = precision_recall(truth.features, made.features, k=k)
    values = {"fid": distance.value, "precision": shares.precision, "recall": shares.recall}
    values["distinct_neighbours"] = distinct_neighbours(truth.features, made.features)
    errors = {} if distance.error is None else {"fid": distance.error}
    if made.probabilities is not None:
        opinion = inception_score(made.probabilities, splits=splits)
        values["inception_score"], errors["inception_score"] = opinion.mean, opinion.deviation
    protocol = Protocol(
        extractor=extractor.name,
        digest=extractor.digest,
        resize=extractor.resize,
        real_set=real_set,
        real_size=real_size,
        generated_size=generated_size,
        real_count=len(truth.features),
        generated_count=len(made.features),
        k=k,
        splits=splits,
    )
    return GenerationScore(values, protocol, errors)


@torch.no_grad()
def picture_set(batches: Iterable[Float[Tensor, "_ 3 _ _"]], extractor: Extractor, name: str) -> PictureSet:
    """Return what the extractor makes of all batches of pictures in [0, 1]; `name` is for the error.

    Raises:
        ValueError: if pictures differ in size, or there are none.
    """
    found, sizes = [], set()
    for pictures in batches:
        found.append(extractor.run(pictures))
        sizes.add((pictures.shape[2], pictures.shape[3]))
    if len(sizes) != 1:
        given = ", ".join(f"{H} x {W}" for H, W in sorted(sizes)) or "none"
        raise ValueError(f"received {name} pictures of these sizes: {given}; expected pictures of one size")
    features = torch.cat([each.features for each in found])
    opinions = [each.probabilities for each in found if each.probabilities is not None]
    return PictureSet(Extracted(features, torch.cat(opinions) if opinions else None), sizes.pop())
