"""All losses of chapter 7.2 under one protocol. `python -m benchmarks.identity_losses ORL --out FILE.csv`.

Musgrave, Belongie, Lim 2020 (arXiv 2003.08505): the same network, data, batches, steps and rate for every loss; what a
loss has to be told is chosen on people who are neither trained on nor scored; nothing has seen those who are scored.

    people of a split    20 of 40 train, 11 choose, 9 are scored; other numbers of people in the same shares
    a loss               is trained once for each of its candidates, for `--steps` steps of 8 people with 4 pictures
    choice               the candidate with the least equal error rate on the people who choose
    scores               tar: of pairs of one person, where one of a hundred pairs of two is accepted; eer;
                         recall1: one picture of each person in a gallery, the mean over 20 galleries
    over splits          the mean, and its standard error

In the same table: the pixels themselves, and Fisher's faces (PCA, then LDA; Belhumeur et al. 1997). `ORL` is a folder
of people, or `faces` for generated ones, which have the points that `--aligned` turns them upright by; upright copies
of photos are made by `vidi data upright`.
"""

import argparse
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from vidi import files
from vidi.data.faces import Faces
from vidi.data.identification import gallery_split
from vidi.data.loading import Balance, derived_seed
from vidi.data.recognise import open_dataset
from vidi.embedding.choices import CHOICES
from vidi.embedding.embedder import embedder_tiny
from vidi.embedding.vectors import EmbeddingModel
from vidi.metrics.retrieval import retrieval_scores
from vidi.metrics.verification import equal_error_rate, roc, tar_at_far
from vidi.model import Step
from vidi.ops.alignment import aligned_face
from vidi.ops.neighbours import distances
from vidi.ops.similarity import normalized
from vidi.preprocess import Batch, Placement
from vidi.tasks.identity import FAR

SIZE = (56, 46)  # half of ORL's
TRAINED, CHOOSING = 20 / 40, 11 / 40  # of the people
PEOPLE, PICTURES = 8, 4  # of a batch
RATE, WEIGHT_DECAY, WARM_UP = 1e-3, 1e-4, 20
GALLERIES = 20
GENERATED = 40  # people, with 10 pictures each as in ORL

CANDIDATES: dict[str, tuple[dict[str, Any], ...]] = {
    "contrastive": ({"margin": 0.5}, {"margin": 1.0}, {"margin": 2.0}),
    "triplet": ({"margin": 0.1}, {"margin": 0.2}, {"margin": 0.5}),
    "drawn_triplet": ({"margin": 0.1}, {"margin": 0.2}, {"margin": 0.5}),
    "angular_triplet": ({},),
    "tuple": ({},),
    "n_pairs": ({"penalty": 0.0}, {"penalty": 0.002}, {"penalty": 0.02}),
    "nt_xent": ({"temperature": 0.05}, {"temperature": 0.1}, {"temperature": 0.5}),
    "softmax": ({},),
    "normalized_softmax": ({"scale": 8.0}, {"scale": 16.0}, {"scale": 32.0}),
    "arcface": ({"margin": 0.3, "scale": 16.0}, {"margin": 0.3, "scale": 32.0}, {"margin": 0.5, "scale": 32.0}),
}
COMPONENTS = (20, 50, 100)  # of the PCA before the LDA
BASELINES = ("pixels", "pca_lda")
SCORES = ("tar", "eer", "recall1")

# ----------------------------------------------------------------------------------------------------------------------
# Data


class Pictures(NamedTuple):
    """Pictures of people, normalised as the network takes them."""

    images: Tensor  # N 3 H W
    labels: Tensor  # N

    def of(self, people: Tensor) -> "Pictures":
        """Return those of some people, who are numbered anew."""
        rows = torch.isin(self.labels, people)
        return Pictures(self.images[rows], self.labels[rows].unique(return_inverse=True)[1])


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
    preprocess = embedder_tiny(size=SIZE).preprocess
    placed = []
    for row in range(len(dataset)):
        image, target = dataset[row]
        if aligned:
            image = aligned_face(image.float() / 255, target["keypoints"][0].as_subclass(Tensor).float(), SIZE)[0]
        placed.append(preprocess.place(image, {}))
    return Pictures(preprocess.collate(placed).images, dataset.labels)


def split_people(labels: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the people who train, those who choose and those who are scored."""
    people = labels.unique()
    people = people[torch.randperm(len(people), generator=torch.Generator().manual_seed(seed))]
    first = int(TRAINED * len(people))
    second = first + round(CHOOSING * len(people))
    return people[:first], people[first:second], people[second:]


# ----------------------------------------------------------------------------------------------------------------------
# Training and scores


def trained(pictures: Pictures, loss: str, options: Mapping[str, Any], *, steps: int, seed: int) -> EmbeddingModel:
    """Train the network by a loss; equal seeds give equal first weights and batches to all losses."""
    torch.default_generator.manual_seed(seed)
    people = len(pictures.labels.unique())
    model = embedder_tiny(identities=people, size=SIZE, loss=loss, **options).train()
    balance = Balance(pictures.labels, PICTURES, min(PEOPLE, people))
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    for step, rows in zip(range(steps), batches(balance, seed), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        generator = torch.Generator().manual_seed(derived_seed(seed, step))
        images = pictures.images[rows]
        mirrored = torch.rand(len(rows), generator=generator) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        losses = model.losses("network", batch_of(images, pictures.labels[rows]), Step(step, steps, generator))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def batches(balance: Balance, seed: int) -> Iterator[list[int]]:
    """Yield the rows of one batch after the other, epoch after epoch."""
    size = balance.per_identity * balance.identities
    epoch = 0
    while True:
        order = balance.order(seed, epoch)
        yield from (order[start : start + size] for start in range(0, len(order), size))
        epoch += 1


def batch_of(images: Tensor, labels: Tensor) -> Batch:
    """Return a batch as a training has it."""
    masks = torch.ones(len(images), *SIZE, dtype=torch.bool)
    return Batch(images, masks, [Placement(SIZE, SIZE)] * len(images), [{"label": label} for label in labels])


@torch.no_grad()
def vectors_of(model: EmbeddingModel, images: Tensor) -> Tensor:
    """Return vectors as the model compares them."""
    results = model.decode(model(images), [Placement(SIZE, SIZE)] * len(images))
    return torch.stack([result.vector for result in results])


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
    """Train or fit all candidates on one split, choose, and score the chosen one."""
    begun = time.process_time()
    training, choosing, unseen = (pictures.of(people) for people in split_people(pictures.labels, seed))
    best: tuple[float, str, Tensor] | None = None
    for options, embed in candidates(name, training, steps, seed):
        error = scores_of(embed(choosing.images), choosing.labels)["eer"]
        if best is None or error < best[0]:
            best = error, options, embed(unseen.images)
    assert best is not None
    scores = scores_of(best[2], unseen.labels)
    return {"loss": name, "split": seed, **scores, "chosen": best[1], "seconds": time.process_time() - begun}


def candidates(name: str, training: Pictures, steps: int, seed: int) -> Iterator[tuple[str, Any]]:
    """Yield every candidate in words, with what makes vectors of images."""
    flat = training.images.flatten(1)
    if name == "pixels":
        yield "", lambda images: images.flatten(1)
    elif name == "pca_lda":
        for count in COMPONENTS:
            pca = PCA(min(count, len(flat) - len(training.labels.unique())), whiten=True, random_state=0).fit(flat)
            lda = LinearDiscriminantAnalysis().fit(pca.transform(flat), training.labels)

            def project(images: Tensor, pca: PCA = pca, lda: LinearDiscriminantAnalysis = lda) -> Tensor:
                return normalized(torch.from_numpy(lda.transform(pca.transform(images.flatten(1)))))

            yield f"components={count}", project
    else:
        for options in CANDIDATES[name]:
            model = trained(training, name, options, steps=steps, seed=seed)
            words = " ".join(f"{key}={value}" for key, value in options.items())
            yield words, lambda images, model=model: vectors_of(model, images)


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
    parser.add_argument("--steps", type=int, default=300)
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
