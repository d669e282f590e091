"""All losses of chapter 7.2 under one protocol. `python -m benchmarks.identity_losses ORL --out FILE.csv`.

Musgrave, Belongie, Lim 2020 (arXiv 2003.08505): the same network, data, batches, steps and rate for every loss; what a
loss has to be told is chosen on people who are neither trained on nor scored; nothing has seen those who are scored.

    people of a split    20 of 29 train, 9 are scored; other numbers of people in the same shares
    network              EfficientNet-Lite0 with ImageNet's weights; its last stage learns, the norms stay
    pictures             each as it is, mirrored, and in twelve versions moved a little, half of them mirrored; the
                         stages that do not learn see all of them once, before anything is trained
    a loss               is trained for `--steps` steps of 8 people with 4 pictures, each in a version that is drawn
    choice               with several candidates each is trained on 13 of the 20 first, and the one with the least equal
                         error rate on the other 7 is trained on all 20
    vectors              of a picture: the mean of its own and of its mirror image's
    scores               tar: of pairs of one person, where one of a hundred pairs of two is accepted; eer;
                         recall1: one picture of each person in a gallery, the mean over 20 galleries
    over splits          the mean, and its standard error

In the same table: the pixels themselves, Fisher's faces (PCA, then LDA; Belhumeur et al. 1997), and the averages of
the network's last map before it learns anything. `ORL` is a folder of people, or `faces` for generated ones, which have
the points that `--aligned` turns them upright by; upright copies of photos are made by `vidi data upright`.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor, nn

import vidi
from vidi import files
from vidi.data.faces import Faces
from vidi.data.identification import gallery_split
from vidi.data.loading import Balance, derived_seed
from vidi.data.recognise import open_dataset
from vidi.embedding.choices import CHOICES, choice_of
from vidi.embedding.embedder import embedder_efficientnet_lite0
from vidi.embedding.vectors import EmbeddingModel
from vidi.metrics.retrieval import retrieval_scores
from vidi.metrics.verification import equal_error_rate, roc, tar_at_far
from vidi.model import Step
from vidi.ops.alignment import aligned_face
from vidi.ops.neighbours import distances
from vidi.ops.similarity import normalized
from vidi.preprocess import Batch, Placement
from vidi.tasks.identity import FAR

SIZE = (112, 92)  # ORL's
TRAINED, FITTED = 20 / 29, 13 / 20  # of the people; of those who train, while others choose
PEOPLE, PICTURES = 8, 4  # of a batch
NETWORK, WEIGHTS = "embedder_efficientnet_lite0", "efficientnet_lite0/pypi/imagenet1k"
FROZEN = 6  # stages of seven
RATE, BACKBONE_RATE, WEIGHT_DECAY, WARM_UP = 1e-3, 0.3, 1e-4, 20
TURN, SCALE, SHIFT, LIGHT = math.radians(10), 0.12, 0.06, 0.2  # at most; shifts as shares of the sides
VERSIONS = 12  # of each picture
GALLERIES = 20
GENERATED = 40  # people, with 10 pictures each as in ORL

CANDIDATES: dict[str, tuple[dict[str, Any], ...]] = {
    "contrastive": ({"margin": 4.0}, {"margin": 16.0}, {"margin": 64.0}),
    "triplet": ({"margin": 0.2}, {"margin": 0.5}),
    "drawn_triplet": ({"margin": 0.2}, {"margin": 0.5}),
    "angular_triplet": ({},),
    "tuple": ({},),
    "n_pairs": ({"penalty": 0.0}, {"penalty": 0.02}),
    "nt_xent": ({"temperature": 0.1}, {"temperature": 0.5}),
    "softmax": ({},),
    "normalized_softmax": ({"scale": 8.0}, {"scale": 16.0}),
    "arcface": ({"margin": 0.3, "scale": 16.0}, {"margin": 0.5, "scale": 32.0}),
}
COMPONENTS = (20, 50, 100)  # of the PCA before the LDA
BASELINES = ("pixels", "pca_lda", "imagenet")
SCORES = ("tar", "eer", "recall1")

# ----------------------------------------------------------------------------------------------------------------------
# Data


class Pictures(NamedTuple):
    """Pictures of people, normalised as the network takes them, and what its first stages make of them."""

    images: Tensor  # N 3 H W
    maps: Tensor  # N 2+V C h w, of the picture as it is, of its mirror image, and of its versions
    labels: Tensor  # N

    def of(self, people: Tensor) -> "Pictures":
        """Return those of some people, who are numbered anew."""
        rows = torch.isin(self.labels, people)
        return Pictures(self.images[rows], self.maps[rows], self.labels[rows].unique(return_inverse=True)[1])


def read(data: str, *, aligned: bool) -> Pictures:
    """Read a folder of people, or draw generated ones.

    Raises:
        ValueError: if pictures of a folder are to be aligned.
    """
    if data == "faces":
        dataset: Any = Faces("test", identities=GENERATED, size=(2 * SIZE[0], 2 * SIZE[1]))
    elif aligned:
        raise ValueError(
            f"{data} tells no landmarks; expected `faces`, or a copy by `vidi data upright` without --aligned"
        )
    else:
        dataset = open_dataset(data, "all", needs=("label",))
    preprocess = embedder_efficientnet_lite0(size=SIZE).preprocess
    placed = []
    for row in range(len(dataset)):
        image, target = dataset[row]
        if aligned:
            image = aligned_face(image.float() / 255, target["keypoints"][0].as_subclass(Tensor).float(), SIZE)[0]
        placed.append(preprocess.place(image, {}))
    images = preprocess.collate(placed).images
    return Pictures(images, maps_of(images), dataset.labels)


@torch.no_grad()
def maps_of(images: Tensor) -> Tensor:
    """Return what the stages that do not learn make of pictures and of their versions."""
    backbone: Any = pretrained().eval().network.backbone
    early = nn.Sequential(backbone.stem, *backbone.stages[:FROZEN])
    generator = torch.Generator().manual_seed(0)
    versions = [images, images.flip(3), *(moved(images, generator) for _ in range(VERSIONS))]
    return torch.stack([torch.cat([early(part) for part in version.split(32)]) for version in versions], 1)


def split_people(people: Tensor, seed: int, share: float) -> tuple[Tensor, Tensor]:
    """Draw a share of the people, and the others."""
    people = people[torch.randperm(len(people), generator=torch.Generator().manual_seed(seed))]
    first = round(share * len(people))
    return people[:first], people[first:]


# ----------------------------------------------------------------------------------------------------------------------
# Training and scores


class LastStages(nn.Module):
    """The stages of a backbone that learn: from the maps of those before to the last map."""

    def __init__(self, backbone: Any):
        super().__init__()
        self.stages = nn.Sequential(*backbone.stages[FROZEN:])

    def forward(self, maps: Tensor) -> list[Tensor]:
        return [self.stages(maps)]


def pretrained(**options: Any) -> EmbeddingModel:
    """Return the network with ImageNet's weights and a head that knows nothing."""
    model = vidi.create(NETWORK, backbone_weights=WEIGHTS, size=SIZE, **options)
    assert isinstance(model, EmbeddingModel)
    return model


def learner(**options: Any) -> EmbeddingModel:
    """Return the network without the stages that do not learn."""
    model = pretrained(**options)
    network: Any = model.network
    network.backbone = LastStages(network.backbone)
    return model


def trained(pictures: Pictures, loss: str, options: Mapping[str, Any], *, steps: int, seed: int) -> EmbeddingModel:
    """Train the network by a loss; equal seeds give equal first weights and batches to all losses."""
    torch.default_generator.manual_seed(seed)
    people = len(pictures.labels.unique())
    model = learner(identities=people, loss=loss, **options).train()
    backbone: Any = model.network.backbone
    backbone.eval()  # its norms keep the statistics of ImageNet, as Musgrave et al. have it
    balance = Balance(pictures.labels, PICTURES, min(PEOPLE, people))
    slow = list(backbone.parameters())
    known = set(map(id, slow))
    fast = [parameter for parameter in model.parameters() if id(parameter) not in known]
    groups = [{"params": slow, "peak": BACKBONE_RATE * RATE}, {"params": fast, "peak": RATE}]
    optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)
    for step, rows in zip(range(steps), batches(balance, seed), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * min((step + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        generator = torch.Generator().manual_seed(derived_seed(seed, step))
        versions = torch.randint(2, 2 + VERSIONS, (len(rows),), generator=generator)
        batch = batch_of(pictures.maps[rows, versions], pictures.labels[rows])
        losses = model.losses("network", batch, Step(step, steps, generator))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, scale, shift, mirror and light pictures, each by its own draws; what comes in is the border's pixels."""
    count, (H, W) = len(images), images.shape[2:]

    def draw(*shape: int) -> Tensor:
        return 2 * torch.rand(count, *shape, generator=generator) - 1

    angle, scale, mirror = TURN * draw(), torch.exp(SCALE * draw()), draw().sign()
    cos, sin = angle.cos() * scale, angle.sin() * scale
    maps = torch.zeros(count, 2, 3)  # from places in the new picture to places in the old one, both from -1 to 1
    maps[:, 0, 0], maps[:, 0, 1] = cos * mirror, -sin * H / W
    maps[:, 1, 0], maps[:, 1, 1] = sin * mirror * W / H, cos
    maps[:, :, 2] = 2 * SHIFT * draw(2)
    places = F.affine_grid(maps, list(images.shape), align_corners=False)
    images = F.grid_sample(images, places, padding_mode="border", align_corners=False)
    return images * (1 + LIGHT * draw(1, 1, 1)) + LIGHT * draw(1, 1, 1)


def batches(balance: Balance, seed: int) -> Iterator[list[int]]:
    """Yield the rows of one batch after the other, epoch after epoch."""
    size = balance.per_identity * balance.identities
    epoch = 0
    while True:
        order = balance.order(seed, epoch)
        yield from (order[start : start + size] for start in range(0, len(order), size))
        epoch += 1


def batch_of(maps: Tensor, labels: Tensor) -> Batch:
    """Return a batch as a training has it, with maps in the place of images."""
    masks = torch.ones(len(maps), *maps.shape[2:], dtype=torch.bool)
    return Batch(maps, masks, [Placement(SIZE, SIZE)] * len(maps), [{"label": label} for label in labels])


@torch.no_grad()
def vectors_of(model: EmbeddingModel, is_directed: bool, pictures: Pictures) -> Tensor:
    """Return vectors as the model compares them: means of a picture and its mirror image."""
    placements = [Placement(SIZE, SIZE)] * len(pictures.maps)
    both = [model.decode(model(pictures.maps[:, side]), placements) for side in (0, 1)]
    vectors = torch.stack([torch.stack([result.vector for result in results]) for results in both]).mean(0)
    return normalized(vectors) if is_directed else vectors


@torch.no_grad()
def averages_of(model: EmbeddingModel, pictures: Pictures) -> Tensor:
    """Return the averages of the last map over a picture and its mirror image, of length 1."""
    network: Any = model.network
    maps = network.backbone(pictures.maps[:, :2].flatten(0, 1))[-1]
    return normalized(maps.unflatten(0, (-1, 2)).mean((1, 3, 4)))


def scores_of(vectors: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the three scores of people whom nothing has seen."""
    first, second = torch.triu_indices(len(labels), len(labels), offset=1)
    curve = roc(distances(vectors, vectors)[first, second], labels[first] == labels[second])
    found = []
    for seed in range(GALLERIES):
        split = gallery_split(labels, seed=seed)
        gallery = vectors[split.gallery], labels[split.gallery]
        scored = retrieval_scores(vectors[split.probes], labels[split.probes], gallery=gallery, ks=(1,))
        found.append(scored.recall[1])
    return {"tar": tar_at_far(curve, FAR), "eer": equal_error_rate(curve), "recall1": sum(found) / len(found)}


# ----------------------------------------------------------------------------------------------------------------------
# Rows of the table


def row_of(name: str, pictures: Pictures, seed: int, steps: int) -> dict[str, Any]:
    """Choose a candidate among the people who train, train or fit it on all of them, and score it on the others."""
    begun = time.process_time()
    training, unseen = split_people(pictures.labels.unique(), seed, TRAINED)
    fitted, choosing = (pictures.of(people) for people in split_people(training, seed, FITTED))
    options = candidates(name)
    errors = [0.0]
    if len(options) > 1:
        embeds = (embedding_of(name, fitted, own, steps, seed) for own in options)
        errors = [scores_of(embed(choosing), choosing.labels)["eer"] for embed in embeds]
    chosen = options[errors.index(min(errors))]
    scored = pictures.of(unseen)
    scores = scores_of(embedding_of(name, pictures.of(training), chosen, steps, seed)(scored), scored.labels)
    words = " ".join(f"{key}={value}" for key, value in chosen.items())
    return {"loss": name, "split": seed, **scores, "chosen": words, "seconds": time.process_time() - begun}


def candidates(name: str) -> Sequence[Mapping[str, Any]]:
    """Return what a loss may be told."""
    if name == "pca_lda":
        return [{"components": count} for count in COMPONENTS]
    return CANDIDATES.get(name, ({},))


def embedding_of(
    name: str, training: Pictures, options: Mapping[str, Any], steps: int, seed: int
) -> Callable[[Pictures], Tensor]:
    """Train or fit what makes vectors of pictures."""
    flat = training.images.flatten(1)
    if name == "pixels":
        return lambda scored: scored.images.flatten(1)
    if name == "imagenet":
        return partial(averages_of, learner().eval())
    if name == "pca_lda":
        count = min(options["components"], len(flat) - len(training.labels.unique()))
        pca = PCA(count, whiten=True, random_state=0).fit(flat)
        lda = LinearDiscriminantAnalysis().fit(pca.transform(flat), training.labels)
        return lambda scored: normalized(torch.from_numpy(lda.transform(pca.transform(scored.images.flatten(1)))))
    choice = choice_of(name)
    return partial(vectors_of, trained(training, name, options, steps=steps, seed=seed), choice.unit or choice.cosine)


def summary(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the table: means over splits, and their standard errors."""
    yield f"{'loss':20}" + "".join(f"{score:>18}" for score in SCORES) + f"{'seconds':>10}"
    for name in dict.fromkeys(row["loss"] for row in rows):
        own = [row for row in rows if row["loss"] == name]
        cells = ""
        for score in SCORES:
            values = torch.tensor([row[score] for row in own], dtype=torch.float64)
            error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
            cells += f"{float(values.mean()):10.3f} +-{error:5.3f}"
        yield f"{name:20}{cells}{sum(row['seconds'] for row in own) / len(own):10.1f}"


def main() -> None:
    """Write a row for each loss and split as they come, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a folder of people, or `faces`")
    parser.add_argument("--out", type=Path, required=True, help="CSV, a row for each loss and split")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--losses", nargs="+", default=[*BASELINES, *CANDIDATES], choices=[*BASELINES, *CHOICES])
    parser.add_argument("--aligned", action="store_true", help="turn faces upright by their points")
    asked = parser.parse_args()
    pictures = read(asked.data, aligned=asked.aligned)
    rows: list[dict[str, Any]] = []
    for seed in range(asked.splits):
        for name in asked.losses:
            rows.append(row_of(name, pictures, seed, asked.steps))
            files.write_csv(asked.out, rows)
            print(
                ", ".join(
                    f"{key} {value:.3f}" if isinstance(value, float) else f"{value}" for key, value in rows[-1].items()
                )
            )
    print("\n".join(summary(rows)))


if __name__ == "__main__":
    main()
