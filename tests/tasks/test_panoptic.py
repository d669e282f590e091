"""What the scores of panoptic segmentation say of queries that became no segment."""

import torch

from vidi.results.panoptic_map import PanopticMap, Segment
from vidi.tasks.panoptic import PanopticScorer

NAMES = ("sphere", "ground")
TARGET = {
    "panoptic": torch.ones(4, 4, dtype=torch.int32),
    "semantic": torch.ones(4, 4, dtype=torch.uint8),
    "crowd": torch.zeros(0, dtype=torch.bool),
}


def nothing(absent: int, unsure: int, hidden: int) -> PanopticMap:
    fallen = {"without an object": absent, "below the score": unsure, "hidden by others": hidden}
    return PanopticMap(torch.zeros(4, 4, dtype=torch.int32), (), NAMES, fallen)


def test_queries_that_fell_are_counted_per_image_and_reason() -> None:
    scorer = PanopticScorer(NAMES)
    scorer.update([nothing(5, 2, 0)], [TARGET])
    scorer.update([nothing(6, 1, 1)], [TARGET])
    numbers = scorer.compute()
    assert {key: value for key, value in numbers.items() if key.startswith("queries_")} == {
        "queries_without_an_object": 5.5,
        "queries_below_the_score": 1.5,
        "queries_hidden_by_others": 0.5,
    }
    assert numbers["pq"] == 0


def test_systems_without_queries_have_none() -> None:
    scorer = PanopticScorer(NAMES)
    scorer.update([PanopticMap(TARGET["panoptic"], (Segment(1, 1, 1.0, False),), NAMES)], [TARGET])
    numbers = scorer.compute()
    assert numbers["pq"] == 1
    assert not any(key.startswith("queries_") for key in numbers)


def test_each_class_has_its_qualities_and_its_true_segments() -> None:
    names = ("sphere", "ground", "sky", None)
    scorer = PanopticScorer(names)
    assert scorer.by_class() == []
    ids = torch.ones(4, 4, dtype=torch.int32)
    ids[2:] = 2
    target = {"panoptic": ids, "semantic": (ids - 1).byte(), "crowd": torch.zeros(1, dtype=torch.bool)}
    found = PanopticMap(ids, (Segment(1, 0, 0.9, True), Segment(2, 0, 0.8, True)), names)
    scorer.update([found], [target])
    scorer.compute()
    assert scorer.by_class() == [
        {"class": "sphere", "segments": 1, "pq": 1 / 1.5, "sq": 1.0, "rq": 1 / 1.5},
        {"class": "ground", "segments": 1, "pq": 0.0, "sq": 0.0, "rq": 0.0},
        {"class": "sky", "segments": 0, "pq": None, "sq": None, "rq": None},
    ]
    verdict = scorer.judged(found, target)
    assert verdict == (1 / 3, "PQ 0.33")
    void = {"panoptic": ids * 0, "semantic": torch.full((4, 4), 255, dtype=torch.uint8)}
    assert scorer.judged(PanopticMap(ids * 0, (), names), void) is None
