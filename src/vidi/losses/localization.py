"""The loss of a class and a box together: R-CNN, sliding windows, the localizer."""

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vidi.losses.classification import cross_entropy


def localization_losses(
    class_logits: Float[Tensor, "R K"],
    labels: Int64[Tensor, " R"],
    boxes: Float[Tensor, "R 4"],
    truths: Float[Tensor, "R 4"],
    *,
    has_box: Bool[Tensor, " R"],
    box_weight: float | int,
    count: Float[Tensor, ""],
) -> dict[str, Tensor]:
    """Return the multi-task loss of localisation: cross entropy + lambda 1[c is no background] MSE (notes 4.3.1).

    Args:
        class_logits: of each image, window or region, the background's included where there is one.
        labels: of the outputs.
        boxes: predicted, in whatever units and form.
        truths: in the same; means nothing where there is no box.
        has_box: False for background.
        box_weight: lambda.
        count: that divides both sums, mostly the number of rows over all processes.

    Returns:
        "classification" and "box"; the squared error of a box is the mean over its four numbers.
    """
    errors = F.mse_loss(boxes[has_box], truths[has_box], reduction="none").mean(1)
    log_loss = cross_entropy(class_logits, labels, reduction="sum")
    return {"classification": log_loss / count, "box": box_weight * errors.sum() / count}
