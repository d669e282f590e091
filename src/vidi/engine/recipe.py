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
    """How a system is trained.

    Attributes:
        epochs: passes over the data.
        steps: updates after which the training ends, if that is earlier.
        batch_size: pictures of an update, over all processes and accumulated parts.
        accumulate: parts that a batch goes through the network in, one after the other, to need less memory.
        optimizer: what turns gradients into updates.
        learning_rate: of the optimizer, at the height of the schedule.
        backbone_rate: times the learning rate: that of the network's backbone; 0 keeps it as it is.
        momentum: of sgd and rmsprop.
        nesterov: whether sgd looks ahead.
        betas: of adam and adamw.
        weight_decay: of the weights, per step, times the learning rate.
        decay_norms: whether it reaches biases, norms, class tokens and positions.
        schedule: of the learning rate.
        milestones: of the step schedule, as shares of the training.
        decay: of the step schedule at each milestone, of the exponential one over the training.
        power: of the polynomial schedule.
        warmup: steps in which the rate rises, or a share of all steps if it is a number with a point, as 0.05.
        clip: largest norm of the gradient; none: any.
        ema: decay of the averaged weights, which then are validated and saved as best; none: no averaging.
        norm_momentum: share of the newest batch in the statistics of batch norms; none: the network's own.
        precision: of the numbers in the network.
        channels_last: whether pictures lie in memory as convolutions are fastest on them.
        compile: whether torch.compile makes the network faster, after minutes of compiling.
        device: auto takes a GPU if there is one.
        augment: how pictures are moved and changed in training, see vidi.data.transforms.
        mix: how pictures of a batch are mixed.
        world_scenes: pictures, or sentences, of the built-in data.
        world_size: of the pictures of the built-in data.
        frame_gap: frames from one of a video to its neighbours.
        per_identity: pictures of each identity in a batch; none: as they come.
        workers: processes that read pictures beside the training; 0: itself.
        seed: of everything that is drawn.
        validate_every: epochs between validations; the last epoch is always validated.
        judge: of generated pictures: digits, inception or the run of a classifier; none: nobody.
        judged_pictures: generated at each validation, and as many real ones; no more than there are.
        validate_first: whether the weights that a training begins with are scored too.
        log_every: steps between lines.
        checkpoint_seconds: between states written for going on after a stop.
        keep_state: whether an ended training keeps its state, four times the weights, to go on to more epochs.
        threads: of the processor; none: as many as torch takes. Trainings beside each other are faster with few each.
    """

    epochs: int = 20
    steps: int | None = None
    batch_size: int = 32
    accumulate: int = 1

    optimizer: Literal["sgd", "adagrad", "rmsprop", "rmsprop_tf", "adam", "adamw"] = "adamw"
    learning_rate: float = 1e-3
    backbone_rate: float = 1.0
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    decay_norms: bool = False
    schedule: Literal["cosine", "step", "polynomial", "exponential", "constant"] = "cosine"
    milestones: tuple[float, ...] = (0.67, 0.89)
    decay: float = 0.1
    power: float = 0.9
    warmup: int | float = 0
    clip: float | None = None
    ema: float | None = None
    norm_momentum: float | None = None

    precision: Literal["float32", "bf16", "fp16"] = "float32"
    channels_last: bool = True
    compile: bool = False
    device: Literal["auto", "cpu"] = "auto"

    augment: AugmentChoice = "none"
    mix: MixChoice = "none"
    world_scenes: int = 2000
    world_size: tuple[int, int] = (128, 128)
    frame_gap: int = 1
    per_identity: int | None = None
    workers: int = 0

    seed: int = 0
    validate_every: int = 1
    judge: str | None = "digits"
    judged_pictures: int = 1000
    validate_first: bool = False
    log_every: int = 10
    checkpoint_seconds: float = 60.0
    keep_state: bool = False
    threads: int | None = None
