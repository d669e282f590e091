"""The numbers of a training. A system's recipe is this dataclass with the system's own defaults.

Every field is a key of `vidi train NAME key=value`, beside the arguments of the system's builder.
"""

from dataclasses import dataclass
from typing import Literal

AugmentChoice = Literal[
    "none",
    "flip",
    "shift",
    "crop",
    "crop_randaugment",
    "resized_crop",
    "resized_crop_randaugment",
    "boxes",
    "dihedral_boxes",
    "slight_crop",
]
MixChoice = Literal["none", "mixup", "cutmix"]

NORM_MOMENTUM = 0.1
"""torch's share of the newest batch in a norm's statistics: networks that were published with 0.01 or less forget in
hundreds of steps what their first weights, or other pictures, gave; few steps on one's own leave a network that is
right in training and wrong in use."""


@dataclass(frozen=True)
class Recipe:
    """How a system is trained; `epochs` counts passes over the data, `steps` (when given) ends the training earlier."""

    # duration and batches
    epochs: int = 20
    steps: int | None = None
    batch_size: int = 32  # global: over all processes and accumulated micro-batches
    accumulate: int = 1

    # optimizer and schedule
    optimizer: Literal["sgd", "adagrad", "rmsprop", "rmsprop_tf", "adam", "adamw"] = "adamw"
    learning_rate: float = 1e-3
    backbone_rate: float = 1.0  # times `learning_rate`: the rate of the network's backbone, where it has one
    momentum: float = 0.9  # SGD, RMSProp
    nesterov: bool = False  # SGD
    betas: tuple[float, float] = (0.9, 0.999)  # Adam, AdamW
    weight_decay: float = 1e-4
    decay_norms: bool = False  # whether weight decay reaches biases, normalisation, class tokens and positions
    schedule: Literal["cosine", "step", "polynomial", "exponential", "constant"] = "cosine"
    milestones: tuple[float, ...] = (0.67, 0.89)  # of the step schedule, as fractions of the training
    decay: float = 0.1  # of the step schedule at each milestone, of the exponential one over the training
    power: float = 0.9  # of the polynomial schedule
    warmup: int | float = 0  # steps, or a share of all steps where it is a number with a point: 0.05
    clip: float | None = None  # largest norm of the gradient
    ema: float | None = None  # decay of the averaged weights, which then are those validated and saved as best
    norm_momentum: float | None = None  # of the running statistics of batch norms; None: the network's own

    # numerics
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    channels_last: bool = True
    compile: bool = False
    device: Literal["auto", "cpu"] = "auto"

    # data
    augment: AugmentChoice = "none"  # see vidi.data.transforms
    mix: MixChoice = "none"  # see vidi.data.transforms
    world_scenes: int = 2000  # training scenes, or sentences, when the data is the world
    world_size: tuple[int, int] = (128, 128)
    frame_gap: int = 1  # frames from one of a video to its neighbours
    per_identity: int | None = None  # pictures of each identity in a batch, the K of P x K; None: as they come
    workers: int = 0

    # looking at it
    seed: int = 0
    validate_every: int = 1  # epochs; the last epoch is always validated
    judge: str | None = "digits"  # of generated pictures: an extractor or the run of a classifier; None: nobody
    judged_pictures: int = 1000  # generated at each validation, and as many real ones; no more than there are
    validate_first: bool = False  # before the first step too: how good the weights are that it begins with
    log_every: int = 10  # steps
    checkpoint_seconds: float = 60.0  # between states written for resuming
