"""Order and shares of batches: functions of (seed, epoch, step), each sample once an epoch."""

import itertools
import math
from typing import Any

import pytest
import torch
from pytorch_metric_learning.samplers import MPerClassSampler
from torch.utils.data import Dataset

from vidi.data.loading import (
    Balance,
    Plan,
    Steps,
    derived_seed,
    epoch_order,
    evaluation_loader,
    seeded_draws,
    size_of,
    training_loader,
)
from vidi.preprocess import Preprocess


def test_an_epoch_holds_every_sample_once_and_keeps_the_short_batch() -> None:
    plan = Plan(count=10, batch_size=4)
    assert plan.steps_per_epoch == 3
    batches = list(Steps(plan, 0, 3, 0))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(index for batch in batches for _, index in batch) == list(range(10))
    assert {epoch for batch in batches for epoch, _ in batch} == {0}


def test_every_seed_and_epoch_has_an_order_of_its_own() -> None:
    orders = {(seed, epoch): tuple(epoch_order(50, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(set(orders.values())) == 9
    assert all(sorted(order) == list(range(50)) for order in orders.values())
    assert tuple(epoch_order(50, 1, 2)) == orders[1, 2]
    walked = [tuple(index for rows in Steps(Plan(50, 50, seed=1), e, e + 1, 0) for _, index in rows) for e in range(3)]
    assert walked == [orders[1, epoch] for epoch in range(3)]


class Numbered(Dataset[Any]):
    """Pictures of one value, their number."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        return torch.full((3, 4, 4 + index % 2), index, dtype=torch.uint8), {"label": torch.tensor(index)}


def drawn(sample: Any) -> Any:
    """Augment by a number that is drawn."""
    return sample[0], {**sample[1], "identity": torch.rand(())}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_functions_of_seed_epoch_and_index(workers: int) -> None:
    """Whatever the workers, the step that a run begins with, and what was drawn before."""
    plan, preprocess = Plan(10, 4, seed=7), Preprocess(exact=(4, 4))
    torch.rand(workers)
    loader = training_loader(Numbered(), preprocess, plan, augment=drawn, first=2, last=6, workers=workers)
    batches: list[Any] = list(loader)
    assert len(batches) == len(loader) == 4
    for step, batch in enumerate(batches, 2):
        epoch = step // 3
        rows = plan.micro_batches(step, 0, epoch_order(10, 7, epoch))[0]
        assert [int(target["label"]) for target in batch.targets] == rows
        for row, target in zip(rows, batch.targets, strict=True):
            with seeded_draws(7, epoch, row, 1):
                assert target["identity"] == torch.rand(())


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_walks_a_data_set_in_order_with_equal_canvases_together(workers: int) -> None:
    preprocess = Preprocess()
    for process, labels in ((0, [0, 3, 6, 9]), (1, [1, 4, 7]), (2, [2, 5, 8])):
        chunks = list(
            evaluation_loader(Numbered(), preprocess, batch_size=3, process=process, processes=3, workers=workers)
        )
        assert [int(target["label"]) for _, targets in chunks for target in targets] == labels
        assert [len(targets) for _, targets in chunks] == ([3, 1] if process == 0 else [3])
        batches, targets = chunks[0]
        for rows, batch in batches:
            own: Any = batch
            assert {row % 2 for row in rows} in ({0}, {1})  # every second one is wider
            assert [int(target["label"]) for target in own.targets] == [int(targets[row]["label"]) for row in rows]
            assert own.mask.all()
        assert sorted(row for rows, _ in batches for row in rows) == [0, 1, 2]


def test_a_data_set_without_a_length_is_refused() -> None:
    with pytest.raises(TypeError, match="received a list_iterator without a length"):
        size_of(iter([1]))
    assert size_of(Numbered()) == 10


def test_steps_of_a_resumed_run_are_those_of_a_whole_one() -> None:
    plan = Plan(count=10, batch_size=4, seed=5)
    assert list(Steps(plan, 0, 9, 0))[4:] == list(Steps(plan, 4, 9, 0))


def test_processes_and_micro_batches_share_a_global_batch() -> None:
    whole = Plan(count=11, batch_size=4)
    shared = Plan(count=11, batch_size=4, processes=2, accumulate=2)
    order = epoch_order(11, 0, 0)
    for step in range(2):
        parts = [rows for process in (0, 1) for rows in shared.micro_batches(step, process, order)]
        assert [len(rows) for rows in parts] == [1, 1, 1, 1]
        assert sorted(itertools.chain(*parts)) == sorted(whole.micro_batches(step, 0, order)[0])
    assert whole.steps_per_epoch == shared.steps_per_epoch == 3
    last = [shared.micro_batches(2, process, order) for process in (0, 1)]
    assert last == [[[order[8]]], [[order[9]]]]  # a third would need two more micro-batches, one of them empty
    assert (whole.left_out, shared.left_out) == (0, 1)


@pytest.mark.system("1.1-EPOCHS")
@pytest.mark.parametrize("least", [1, 2])
@pytest.mark.parametrize(("processes", "accumulate"), [(1, 1), (1, 3), (2, 1), (2, 2), (3, 2)])
def test_epochs_of_every_length_are_shared_out(processes: int, accumulate: int, least: int) -> None:
    """No sample twice, none left out but the few that cannot be shared, no micro-batch too large or too small."""
    for usual, count in itertools.product((1, 2, 3, 4), range(processes, 40)):
        batch_size = usual * processes * accumulate
        plan = Plan(count, batch_size, 3, processes, accumulate, least)
        parts: list[list[tuple[int, int]]] = []
        for process in range(processes):
            own = list(Steps(plan, 0, plan.steps_per_epoch, process))
            assert len(own) == len(Steps(plan, 0, plan.steps_per_epoch, process))
            assert len(own) * processes == sum(plan.shape(s)[1] for s in range(plan.steps_per_epoch)) * processes
            parts += own
        seen = [index for part in parts for _, index in part]
        sizes = [len(part) for part in parts]
        smallest = min(least, usual) if count >= batch_size else 1
        assert len(set(seen)) == len(seen) == count - plan.left_out
        assert sum(plan.shape(step)[0] for step in range(plan.steps_per_epoch)) == len(seen)
        assert max(sizes) <= usual
        assert min(sizes) >= smallest
        assert plan.steps_per_epoch in (math.ceil(count / batch_size), count // batch_size)
        if smallest == 1:
            assert plan.left_out < processes  # none where one process trains
        elif usual > 2 and accumulate == 1:
            assert plan.left_out < smallest * processes


def test_a_batch_of_one_is_kept_where_it_is_all_there_is() -> None:
    assert list(Steps(Plan(1, 8, least=2), 0, 2, 0)) == [[(0, 0)], [(1, 0)]]
    assert Plan(3, 1, least=2).left_out == 0
    assert [len(rows) for rows in Steps(Plan(9, 4, least=2), 0, 2, 0)] == [4, 4]
    assert Plan(9, 4, least=2).steps_per_epoch == 2


@pytest.mark.parametrize(
    ("count", "batch", "message"),
    [(1, 8, "1 samples cannot be shared by 2"), (20, 6, "multiple of"), (9, 0, "multiple")],
)
def test_impossible_shares_are_refused(count: int, batch: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plan(count=count, batch_size=batch, processes=2, accumulate=2)


def test_seeds_differ_by_each_number_and_by_their_count() -> None:
    seeds = {derived_seed(*numbers) for numbers in [(0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0)]}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeded_draws_leave_the_global_generator_as_it_was() -> None:
    before = torch.default_generator.get_state()
    with seeded_draws(1, 2, 3):
        first = torch.rand(3)
    assert torch.equal(torch.default_generator.get_state(), before)
    with seeded_draws(1, 2, 3):
        assert torch.equal(torch.rand(3), first)


# ----------------------------------------------------------------------------------------------------------------------
# Batches of P identities with K pictures each


def labels_of(*counts: int) -> torch.Tensor:
    """Return so many samples of each identity, in any order; identities are numbers with gaps."""
    labels = (7 * torch.arange(len(counts)) + 3).repeat_interleave(torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]


def batches_of(balance: Balance, epoch: int = 0) -> list[list[int]]:
    rows = balance.order(5, epoch)
    size = balance.identities * balance.per_identity
    assert len(rows) == balance.count == balance.batches * size
    return [rows[start : start + size] for start in range(0, len(rows), size)]


@pytest.mark.system("7.2.2-PKSAMPLER")
@pytest.mark.parametrize(
    ("counts", "per_identity", "identities"),
    [([4] * 6, 4, 3), ([4] * 7, 2, 3), ([1, 2, 3, 9, 30], 3, 2), ([5, 1, 8, 2, 2, 2], 4, 6), ([3] * 4, 1, 4)],
)
def test_every_batch_holds_p_identities_with_k_pictures_each(counts, per_identity, identities) -> None:
    labels = labels_of(*counts)
    balance = Balance(labels, per_identity, identities)
    for epoch in range(4):
        for batch in batches_of(balance, epoch):
            own = labels[batch].view(identities, per_identity)
            assert (own == own[:, :1]).all()
            assert len(own[:, 0].unique()) == identities
            for picture, rows in zip(own[:, 0], torch.tensor(batch).view(identities, -1), strict=True):
                have = int((labels == picture).sum())
                assert len(rows.unique()) == min(per_identity, have)  # repeated only where there are too few


@pytest.mark.system("7.2.2-PKSAMPLER")
def test_an_epoch_of_equal_identities_shows_every_picture_once() -> None:
    balance = Balance(labels_of(*[4] * 6), 2, 3)
    assert balance.batches == 4
    assert sorted(balance.order(0, 0)) == list(range(24))


@pytest.mark.system("7.2.2-PKSAMPLER")
def test_an_identity_with_very_many_pictures_is_in_each_batch_once() -> None:
    """30 pictures of one person, 4 of each of three others: 3 batches of two, then nobody is left to be beside it."""
    labels = labels_of(30, 4, 4, 4)
    balance = Balance(labels, 2, 2)
    assert balance.batches == 6
    seen = set()
    for epoch in range(20):
        batches = batches_of(balance, epoch)
        assert all((labels[batch] == 3).sum() == 2 for batch in batches)
        seen.update(itertools.chain(*batches))
    assert seen == set(range(42))


@pytest.mark.system("7.2.2-PKSAMPLER")
def test_who_is_left_out_and_beside_whom_differs_by_epoch() -> None:
    labels = labels_of(*[2] * 7)
    balance = Balance(labels, 2, 2)
    assert balance.batches == 3
    missing, together = set(), set()
    for epoch in range(60):
        batches = batches_of(balance, epoch)
        missing |= set(labels.tolist()) - {int(labels[row]) for batch in batches for row in batch}
        together |= {tuple(sorted(labels[batch].unique().tolist())) for batch in batches}
    assert missing == set(labels.tolist())
    assert len(together) == 7 * 6 / 2


@pytest.mark.system("7.2.2-PKSAMPLER")
def test_batches_have_the_make_up_of_pytorch_metric_learnings() -> None:
    labels = labels_of(4, 4, 4, 4, 4, 4)
    theirs = list(MPerClassSampler(labels, 2, batch_size=6, length_before_new_iter=12))
    ours = Balance(labels, 2, 3).order(0, 0)
    for order in (theirs, ours):
        for start in (0, 6):
            assert sorted(labels[order[start : start + 6]].bincount().tolist())[-3:] == [2, 2, 2]


@pytest.mark.system("7.2.2-PKSAMPLER")
def test_balanced_steps_are_functions_of_seed_and_epoch() -> None:
    balance = Balance(labels_of(*[5] * 8), 2, 4)
    plan = Plan(balance.count, 8, seed=3, balance=balance)
    assert (plan.steps_per_epoch, plan.left_out) == (6, 0)
    steps = list(Steps(plan, 0, 18, 0))
    assert steps[7:] == list(Steps(plan, 7, 18, 0))
    assert [row for step in steps[6:12] for _, row in step] == balance.order(3, 1)
    assert plan.order(0) == balance.order(3, 0) != balance.order(3, 1)
    assert balance.order(3, 0) != balance.order(4, 0)
    halves = [list(Steps(Plan(balance.count, 8, 3, 2, balance=balance), 0, 6, process)) for process in (0, 1)]
    for one, other, whole in zip(*halves, steps, strict=False):
        assert sorted(one + other) == sorted(whole)


@pytest.mark.parametrize(("per_identity", "identities"), [(0, 2), (2, 0), (2, 4)])
def test_batches_of_more_identities_than_there_are_are_refused(per_identity: int, identities: int) -> None:
    with pytest.raises(ValueError, match="received 3 identities for batches of"):
        Balance(labels_of(4, 4, 4), per_identity, identities)
