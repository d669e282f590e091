"""Training an attentional cascade (Viola & Jones 2001, table 2; section 4.2.3 of the notes).

    objects N H W, pictures without objects -> stage by stage:
        negatives = windows of the pictures that pass all stages so far (bootstrapping)
        AdaBoost adds stumps over a draw of the Haar features, and after each the threshold is lowered until
        `recall` of the held-out objects pass; the stage ends when at most `false_positives` of held-out negatives do
    -> Cascade, rates of every stage

The more is rejected, the harder the negatives become and the more stumps a stage needs. Differs from the paper: a
stage chooses from a random part of the 162,336 features (another part each time), and objects that a stage rejects are
not shown to the next, which could not win them back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8

from vidi.detection.viola_jones.boosting import Booster, Round
from vidi.detection.viola_jones.cascade import SLACK, Cascade, Rates, Stage, of_stumps, overall_rates
from vidi.detection.viola_jones.haar import HaarFeatures, Windows, haar_features
from vidi.detection.viola_jones.scanning import image_pyramid, scan_level, window_scales

FEWEST = 4
"""Windows of a kind without which no stage is trained."""


@dataclass(frozen=True)
class Plan:
    """The numbers of a training.

    Raises:
        ValueError: for numbers that none can have.
    """

    stages: int = 14  # at most
    recall: float = 0.995  # d: share of the objects that each stage keeps
    false_positives: float = 0.4  # f: share of the other windows that each stage lets pass
    overall_false_positives: float = 1e-6  # F: training ends below
    stumps: int = 200  # of a stage, at most
    candidates: int = 12_000  # features that a stage chooses from
    negatives: int = 2_000  # windows that a stage is trained on, beside as many for its threshold as `held_out` says
    held_out: float = 0.25  # share of the windows of both kinds that choose the threshold and the end of a stage
    scale_factor: float = 1.25  # of the windows that negatives are drawn from
    step: int = 1  # pixels between them

    def __post_init__(self) -> None:
        shares = {k: getattr(self, k) for k in ("recall", "false_positives", "overall_false_positives", "held_out")}
        wrong = [f"{name}={value}" for name, value in shares.items() if not 0 < value < 1]
        counts = {k: getattr(self, k) for k in ("stages", "stumps", "candidates", "negatives", "step")}
        wrong += [f"{name}={value}" for name, value in counts.items() if value < 1]
        if wrong:
            raise ValueError(f"received {', '.join(wrong)}; expected shares between 0 and 1, and counts of 1 or more")


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that negatives are cut from; windows that meet an object's box are none."""

    pixels: UInt8[np.ndarray, "H W"]
    objects: Float64[np.ndarray, "M 4"] = field(default_factory=lambda: np.zeros((0, 4)))  # xyxy


class TrainedStage(NamedTuple):
    """What a stage came to."""

    rates: Rates  # on held-out windows that passed the stages before
    stumps: int
    negatives: int  # that it was trained on


class Training(NamedTuple):
    """A trained cascade and how its stages did."""

    cascade: Cascade
    stages: tuple[TrainedStage, ...]

    @property
    def rates(self) -> Rates:
        """D and F of the whole."""
        return overall_rates([stage.rates for stage in self.stages])


def train_cascade(
    objects: UInt8[np.ndarray, "N H W"],
    pictures: Sequence[Picture],
    plan: Plan,
    random: np.random.Generator,
    *,
    held_out: UInt8[np.ndarray, "M H W"] | None = None,
) -> Training:
    """Train stages until the plan's false-positive rate is reached, or too few windows pass to train on.

    Args:
        objects: grey windows of objects.
        pictures: what to take other windows from.
        plan: targets and sizes.
        random: of all draws.
        held_out: windows of objects that set the thresholds; by default the last `plan.held_out` of `objects`, which
            should not show what others show.

    Raises:
        ValueError: if there are too few objects or negatives for a single stage.
    """
    if held_out is None:
        cut = max(1, round(len(objects) * plan.held_out))
        objects, held_out = objects[:-cut], objects[-cut:]
    if len(objects) < 1 or len(held_out) < 1:
        raise ValueError(f"received {len(objects) + len(held_out)} objects, expected two with some contrast or more")
    window = (objects.shape[1], objects.shape[2])
    every = haar_features(window)
    training, chosen = Windows(objects), Windows(held_out)
    training, chosen = training[training.show_something()], chosen[chosen.show_something()]
    done: list[TrainedStage] = []
    stages: list[Stage] = []
    used = every[:0]
    cascade = of_stumps(window, stages, used)
    wanted = round(plan.negatives / (1 - plan.held_out))
    while len(stages) < plan.stages and min(len(training), len(chosen)) > 0:
        others = Windows(mine_negatives(cascade, pictures, wanted, plan, random))
        if len(others) < FEWEST:
            break
        cut = max(1, round(len(others) * plan.held_out))
        drawn = np.sort(random.choice(len(every), min(plan.candidates, len(every)), replace=False))
        found = _train_stage(
            training, others[: len(others) - cut], chosen, others[len(others) - cut :], every[drawn], plan
        )
        if found is None:
            break
        stage, rates = found
        done.append(TrainedStage(rates, len(stage.rounds), len(others) - cut))
        stages.append(_renumbered(stage, len(used)))
        used = _joined(used, every[drawn][[one.stump.feature for one in stage.rounds]])
        cascade = of_stumps(window, stages, used)
        training, chosen = (one[cascade.passes(one)] for one in (training, chosen))
        if overall_rates([one.rates for one in done]).false_positive < plan.overall_false_positives:
            break
    if not stages:
        received = f"{len(objects)} objects and {len(pictures)} pictures for other windows"
        raise ValueError(f"received {received}, of which no stage could be trained: too few windows, or no contrast")
    return Training(cascade, tuple(done))


def _train_stage(
    objects: Windows, others: Windows, held_objects: Windows, held_others: Windows, features: HaarFeatures, plan: Plan
) -> tuple[Stage, Rates] | None:
    """Boost until the held-out windows meet the targets, or the plan's number of stumps is reached."""
    values = np.concatenate([objects.values(features), others.values(features)], axis=1)  # F N
    labels = np.concatenate([np.ones(len(objects), np.int8), -np.ones(len(others), np.int8)])
    weights = np.concatenate([np.full(len(objects), 0.5 / len(objects)), np.full(len(others), 0.5 / len(others))])
    booster = Booster(values, labels, weights)
    rounds: list[Round] = []
    votes = np.zeros(len(held_objects) + len(held_others))
    while len(rounds) < plan.stumps:
        one = booster.step()
        if one is None:
            break
        rounds.append(one)
        row = features[one.stump.feature : one.stump.feature + 1]
        held = np.concatenate([held_objects.values(row), held_others.values(row)], axis=1)[0]
        votes += np.float32(one.vote) * one.stump._replace(threshold=np.float32(one.stump.threshold)).of_values(held)
        threshold, rates = _threshold(votes[: len(held_objects)], votes[len(held_objects) :], plan.recall)
        if rates.false_positive <= plan.false_positives:
            break
    return (Stage(rounds, threshold), rates) if rounds else None


def _threshold(objects: np.ndarray, others: np.ndarray, recall: float) -> tuple[float, Rates]:
    """Return the highest threshold on the votes that keeps `recall` of the objects, and the rates that it gives."""
    spared = int(np.floor((1 - recall) * len(objects) + 1e-9))
    threshold = float(np.float32(np.sort(objects)[spared]))
    limit = threshold - float(SLACK)
    return threshold, Rates(float((objects >= limit).mean()), float((others >= limit).mean()))


def _renumbered(stage: Stage, first: int) -> Stage:
    """Let the stumps of a stage point to features that lie one after the other from `first` on."""
    rounds = [one._replace(stump=one.stump._replace(feature=first + k)) for k, one in enumerate(stage.rounds)]
    return Stage(rounds, stage.threshold)


def _joined(one: HaarFeatures, other: HaarFeatures) -> HaarFeatures:
    return HaarFeatures(
        np.concatenate([one.rectangles, other.rectangles]),
        np.concatenate([one.weights, other.weights]),
        np.concatenate([one.tilted, other.tilted]),
    )


# ----------------------------------------------------------------------------------------------------------------------
# Bootstrapping


def mine_negatives(
    cascade: Cascade, pictures: Sequence[Picture], count: int, plan: Plan, random: np.random.Generator
) -> UInt8[np.ndarray, "N H W"]:
    """Return up to `count` windows that pass a cascade though they show no object, in random order.

    The pictures are walked in random order, all once and then mirrored; a picture gives at most four times its even
    share, so that no picture fills a stage while there are others.
    """
    share = max(1, -(-4 * count // max(1, len(pictures))))
    found, total = [np.zeros((0, *cascade.window), np.uint8)], 0
    for mirrored in (False, True):
        for index in random.permutation(len(pictures)).tolist():
            picture = _mirrored(pictures[index]) if mirrored else pictures[index]
            windows = _false_alarms(cascade, picture, plan, random)[: min(share, count - total)]
            found.append(windows)
            total += len(windows)
            if total == count:
                return random.permutation(np.concatenate(found))
    return random.permutation(np.concatenate(found))


def _mirrored(picture: Picture) -> Picture:
    boxes = picture.objects.copy()
    boxes[:, [0, 2]] = picture.pixels.shape[1] - boxes[:, [2, 0]]
    return Picture(np.ascontiguousarray(picture.pixels[:, ::-1]), boxes)


def _false_alarms(cascade: Cascade, picture: Picture, plan: Plan, random: np.random.Generator) -> np.ndarray:
    """Return the windows N H W of a picture that pass and meet no object, in random order."""
    H, W = cascade.window
    size = (picture.pixels.shape[0], picture.pixels.shape[1])
    scales = window_scales(size, cascade.window, plan.scale_factor)
    levels, places = [], [np.zeros((0, 3), np.int64)]
    for level in image_pyramid(picture.pixels, cascade.window, scales, step=plan.step):
        corners = scan_level(cascade, level, skips=False).corners
        corners = corners[~_meets(corners, (W, H), picture.objects / level.scale)]
        places.append(np.concatenate([np.full((len(corners), 1), len(levels)), corners], 1))
        levels.append(level.image)
    every = random.permutation(np.concatenate(places))[: plan.negatives * 2]
    windows = [levels[number][y : y + H, x : x + W] for number, x, y in every.tolist()]
    return np.array(windows, np.uint8).reshape(-1, H, W)


def _meets(corners: np.ndarray, size: tuple[int, int], boxes: np.ndarray) -> np.ndarray:
    """Tell which windows N share more than a quarter of their area, or of a box's, with one of boxes M 4 (xyxy)."""
    left = np.maximum(corners[:, None, 0], boxes[:, 0])
    top = np.maximum(corners[:, None, 1], boxes[:, 1])
    right = np.minimum(corners[:, None, 0] + size[0], boxes[:, 2])
    bottom = np.minimum(corners[:, None, 1] + size[1], boxes[:, 3])
    shared = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    lesser = np.minimum(size[0] * size[1], (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    return np.any(shared > 0.25 * lesser, axis=1)
