"""Without a RUN the best published weights on this machine predict; where there are none, that is said."""

import pytest

from vidi.catalog.listed import UsageError
from vidi.catalog.names import entry
from vidi.starting import installed as module
from vidi.starting.installed import BEST_BY, best_installed, installed
from vidi.weights.table import PUBLISHED


def test_the_best_of_the_installed_ones_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_installed", lambda name: True)
    found = installed("detection")
    scores = [row.score["ap"] for row in PUBLISHED.values() if entry(row.model).task.name == "detection" and row.score]
    assert found[0].score == max(scores)
    assert best_installed() == best_installed("detection") == found[0]
    ordered = [one.score for one in found if one.score is not None]
    assert ordered == sorted(ordered, reverse=True)
    assert found[-1].score is None  # what has no score comes last
    assert str(found[0]) == (
        f"{found[0].name} with the weights {found[0].weights} for detection, ap {found[0].score:g} as published "
        f"({found[0].licence})"
    )


def test_only_what_is_here_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"resnet18/torchvision/imagenet1k_v1", "resnet50/torchvision/imagenet1k_v1"}
    monkeypatch.setattr(module, "is_installed", lambda name: name in here)
    found = best_installed("classification")
    assert (found.name, found.weights) == ("resnet50", "torchvision/imagenet1k_v1")
    assert best_installed() == found  # no detector is here
    with pytest.raises(UsageError, match=r"no published weights for detection are on this machine: name a RUN, or"):
        best_installed("detection")
    with pytest.raises(UsageError, match=r"received task 'depth', expected one with published weights: detection, "):
        best_installed("depth")
    monkeypatch.setattr(module, "is_installed", lambda name: False)
    with pytest.raises(UsageError, match=r"^no published weights are on this machine: .*--download PHOTOS"):
        best_installed()


def test_every_task_with_published_weights_has_a_score_to_compare_by() -> None:
    tasks = {entry(row.model).task.name for row in PUBLISHED.values()}
    assert tasks <= set(BEST_BY)
    for task, score in BEST_BY.items():
        assert any(score in row.score for row in PUBLISHED.values() if entry(row.model).task.name == task)
