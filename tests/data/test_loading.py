"""Order and shares of batches: functions of (seed, epoch, step), each sample once an epoch."""

import itertools

import pytest
import torch

from vidi.data.loading import Plan, Steps, derived_seed, epoch_order, seeded_draws


def test_an_epoch_holds_every_sample_once_and_keeps_the_short_batch() -> None:
    plan = Plan(count=10, batch_size=4)
    assert plan.steps_per_epoch == 3
    batches = list(Steps(plan, 0, 3, 0))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(index for batch in batches for _, index in batch) == list(range(10))
    assert {epoch for batch in batches for epoch, _ in batch} == {0}


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
    assert shared.steps_per_epoch == 2  # of the last three samples none is left for four micro-batches
    assert whole.steps_per_epoch == 3


@pytest.mark.parametrize(("count", "batch", "message"), [(3, 8, "cannot be shared"), (20, 6, "multiple of")])
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
