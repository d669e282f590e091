"""Criteria of networks that embed: what compares the pictures of a batch by whom or what they show.

    network(*inputs).embeddings B D, `label` of the targets B
    -> rows of all processes, with gradient      B' D, B'
    -> a loss of `vidi.losses.embedding` or `vidi.losses.triplets`

A loss of pairs or triplets is no mean over pictures: halves of a batch have less than half of its pairs. So every
process takes the loss of the joint batch; two processes train as one with their batches side by side. Losses against
templates are means over pictures, and need no others.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from vidi.embedding.mining import drawn_triplets
from vidi.losses.triplets import MARGIN, listed_triplet_loss
from vidi.model import Losses, Step, in_float32
from vidi.preprocess import AnyBatch

BatchLoss = Callable[[Tensor, Tensor], Tensor]
"""(embeddings B D, identities B) -> scalar: `nt_xent_loss`, or a partial of it with other options."""
TemplateLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(embeddings B D, templates K D, labels B) -> scalar: `arcface_loss`, or a partial of it."""


def labels_of(batch: AnyBatch, device: torch.device) -> Int64[Tensor, " B"]:
    """Return whom each picture of a batch shows; ValueError where a target does not say."""
    batch.require("label")
    return torch.stack([target["label"] for target in batch.targets]).to(device)


class BatchCriterion:
    """A loss of all embeddings of a step, of all processes, by identity."""

    def __init__(self, loss: BatchLoss, *, name: str):
        self.loss, self.name = loss, name

    def __call__(self, network: nn.Module, batch: AnyBatch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: Any, batch: AnyBatch, step: Step) -> Losses:
        """Return the loss of the joint batch, the same in every process."""
        embeddings = step.gather(outputs.embeddings)
        return {self.name: self.loss(embeddings, step.gather(labels_of(batch, embeddings.device)))}


class DrawnTripletCriterion:
    """FaceNet's loss: all pairs of one identity, each with one negative that is drawn among those of a kind.

    Args:
        margin: m, in squared distance.
        kind: of triplets, see `vidi.embedding.mining.mined_triplets`.
    """

    def __init__(self, *, margin: float | int = MARGIN, kind: str = "semi_hard"):
        self.margin, self.kind = margin, kind

    def __call__(self, network: nn.Module, batch: AnyBatch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: Any, batch: AnyBatch, step: Step) -> Losses:
        """Return the loss of the joint batch; all processes draw the same."""
        embeddings = step.gather(outputs.embeddings)
        identities = step.gather(labels_of(batch, embeddings.device))
        triplets = drawn_triplets(
            embeddings, identities, margin=self.margin, kind=self.kind, generator=step.joint_generator()
        )
        return {"triplet": listed_triplet_loss(embeddings, triplets, margin=self.margin)}


class TemplateCriterion(nn.Module):
    """A loss of embeddings against one template for each identity; the templates are learnt with the network.

    Args:
        loss: of embeddings, templates and labels.
        identities: K.
        dimensions: D.
        name: of the loss.
    """

    def __init__(self, loss: TemplateLoss, identities: int, dimensions: int, *, name: str):
        super().__init__()
        self.loss, self.name = loss, name
        self.templates = nn.Parameter(torch.empty(identities, dimensions))  # K D
        nn.init.normal_(self.templates, std=0.01)  # the authors' code; only directions matter, and the rate

    def forward(self, network: nn.Module, batch: AnyBatch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: Any, batch: AnyBatch, step: Step) -> Losses:
        """Return the loss of this batch: a mean over pictures, which steps share out."""
        return {self.name: self.loss(outputs.embeddings, self.templates, labels_of(batch, outputs.embeddings.device))}
