"""The controller, the policy gradient against enumeration, rewards, and searches for known best networks."""

import math
from collections import Counter
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import pytest
import scipy.stats
import torch
from torch import Tensor

from tests.closeness import EXACT, NUMBERS, assert_close
from tests.conftest import Learnt
from tests.settings import SEED
from vidi.data.shapes import ShapeImages
from vidi.engine.recipe import Recipe
from vidi.search.architecture_search import (
    Child,
    Controller,
    best_so_far,
    cost_aware_reward,
    policy_search,
    random_search,
    reinforce_loss,
)
from vidi.search.search_space import SearchSpace, StageOptions, searched_net
from vidi.search.short_training import Samples, Scores, ShortTraining

OPTIONS = (2, 3, 2)
EVERY = torch.tensor(list(product(*(range(count) for count in OPTIONS))))  # 12 3


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lively(options: tuple[int, ...] = OPTIONS) -> Controller:
    """Return a controller in float64 whose probabilities are far from even."""
    controller = Controller(options, width=6).double()
    for parameter in controller.parameters():
        torch.nn.init.normal_(parameter, generator=seeded(parameter.numel()))
    return controller


def flat_gradient(loss: Tensor, controller: Controller) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(controller.parameters()))])


# ----------------------------------------------------------------------------------------------------------------------
# Controller


@pytest.mark.system("2.7-NAS")
def test_the_policy_is_a_distribution_over_sequences() -> None:
    controller = lively()
    log_probabilities = controller.log_probabilities(EVERY)
    assert log_probabilities.shape == (12, 3)
    probabilities = log_probabilities.sum(1).exp().detach()
    assert float(probabilities.sum()) == pytest.approx(1, rel=EXACT)
    assert float(probabilities.max() / probabilities.min()) > 3
    # the first token's probability does not depend on those after it, the last one's does on those before
    assert len(log_probabilities[:6, 0].unique()) == 1
    assert len(log_probabilities[EVERY[:, 2] == 0, 2].unique()) == 6


@pytest.mark.system("2.7-NAS")
def test_sequences_are_drawn_with_their_probability_and_seeded() -> None:
    controller = lively()
    drawn = controller.sample(4000, seeded())
    counts = Counter(map(tuple, drawn.tolist()))
    expected = controller.log_probabilities(EVERY).sum(1).exp().detach() * 4000
    observed = [counts[tuple(row)] for row in EVERY.tolist()]
    assert scipy.stats.chisquare(observed, expected.numpy()).pvalue > 0.01
    assert torch.equal(drawn, controller.sample(4000, seeded()))
    assert not torch.equal(drawn, controller.sample(4000, seeded(1)))
    assert all(p.grad is None for p in controller.parameters())


def test_all_networks_are_about_as_likely_at_first() -> None:
    probabilities = Controller(OPTIONS).log_probabilities(EVERY).sum(1).exp() * 12
    assert ((probabilities > 0.8) & (probabilities < 1.25)).all()


@pytest.mark.parametrize("options", [(), (2, 0)])
def test_a_controller_decides_something(options: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Controller(options)


# ----------------------------------------------------------------------------------------------------------------------
# Policy gradient


@pytest.mark.system("2.7-NAS")
@pytest.mark.parametrize("baseline", [0.0, 0.37, -5.0])
def test_the_policy_gradient_is_unbiased_whatever_the_baseline(baseline: float) -> None:
    """The estimate of each sequence, weighted by its probability, sums to minus the gradient of E[R]."""
    controller = lively()
    rewards = torch.rand(12, generator=seeded(), dtype=torch.float64)
    probabilities = controller.log_probabilities(EVERY).sum(1).exp()
    exact = flat_gradient((probabilities * rewards).sum(), controller)
    expected = torch.zeros_like(exact)
    for row in range(12):
        one = slice(row, row + 1)
        loss = reinforce_loss(controller.log_probabilities(EVERY[one]), rewards[one], baseline)
        expected += float(probabilities[row].detach()) * flat_gradient(loss, controller)
    assert float(exact.abs().max()) > 1e-3
    assert_close(expected, -exact, NUMBERS)


@pytest.mark.system("2.7-NAS")
def test_estimates_from_drawn_sequences_average_to_the_gradient() -> None:
    """Over many draws, within five standard errors of each component; a baseline near E[R] makes them smaller."""
    controller = lively()
    rewards = 3 + torch.rand(12, generator=seeded(), dtype=torch.float64)
    mean = (controller.log_probabilities(EVERY).sum(1).exp() * rewards).sum()
    exact = flat_gradient(mean, controller)
    spreads = []
    for baseline in (0.0, float(mean.detach())):
        each = torch.stack([
            flat_gradient(reinforce_loss(controller.log_probabilities(EVERY[k : k + 1]), rewards[k : k + 1], baseline),
                          controller)
            for k in range(12)
        ])  # fmt: skip
        places = (controller.sample(3000, seeded()) * torch.tensor([6, 2, 1])).sum(1)
        drawn = each[places]
        error = drawn.std(0) / math.sqrt(3000)
        assert ((drawn.mean(0) + exact).abs() <= 5 * error + 1e-12).all()
        spreads.append(float(drawn.var(0).sum()))
    assert spreads[1] < spreads[0] / 4


@pytest.mark.system("2.7-NAS")
def test_a_batch_is_the_mean_of_its_sequences() -> None:
    log_probabilities = torch.tensor([[-1.0, -2.0], [-0.5, -0.25]])
    loss = reinforce_loss(log_probabilities, torch.tensor([0.9, 0.4]), 0.5)
    assert float(loss) == pytest.approx(-((0.4 * -3) + (-0.1 * -0.75)) / 2)


# ----------------------------------------------------------------------------------------------------------------------
# Rewards


@pytest.mark.system("2.7-NAS")
def test_cost_is_traded_for_accuracy() -> None:
    """MnasNet's w = -0.07: at twice the cost a network needs 5 % more of the accuracy."""
    assert cost_aware_reward(0.7, 100, 100) == 0.7
    assert cost_aware_reward(0.7 * 1.05, 200, 100) == pytest.approx(0.7, rel=2e-3)
    assert cost_aware_reward(0.7, 50, 100) == pytest.approx(0.7 * 0.5**-0.07)
    hard = partial(cost_aware_reward, target=100, within=0, beyond=-1)
    assert hard(0.7, 60) == 0.7
    assert hard(0.7, 200) == pytest.approx(0.35)
    for cost, target in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="above 0"):
            cost_aware_reward(0.5, cost, target)


# ----------------------------------------------------------------------------------------------------------------------
# Searches

LONG = (2, 3, 2, 4, 3, 2, 3, 2)  # 3,456 networks
BEST = (1, 2, 0, 3, 0, 1, 1, 0)


def closeness(tokens: tuple[int, ...]) -> float:
    """Score a network by the share of its tokens that are the best ones."""
    return sum(token == best for token, best in zip(tokens, BEST, strict=True)) / len(BEST)


@pytest.mark.system("2.7-NAS")
def test_the_controller_concentrates_on_the_best_network(learnt: Learnt) -> None:
    """Of 3,456 networks, the one of the best tokens gets half of the probability within 960 children."""
    controller = Controller(LONG)

    def probability() -> float:
        return float(controller.log_probabilities(torch.tensor([BEST])).sum().exp().detach())

    before = probability()
    children = policy_search(controller, closeness, steps=120, children=24, generator=seeded(SEED))
    assert before < 0.001
    learnt("probability of the best", probability(), least=0.5)
    rewards = [child.reward for child in children]
    assert len(rewards) == 120 * 24
    learnt("late reward", sum(rewards[-80:]) / 80, least=0.9)
    learnt("early reward", sum(rewards[:16]) / 16, most=0.55)
    assert all(child.reward == closeness(child.tokens) for child in children[:20])


@pytest.mark.system("2.7-NAS")
def test_a_token_that_matters_only_after_another_is_learnt(learnt: Learnt) -> None:
    """The reward is that of agreeing with the token before: independent decisions could not do better than half."""

    def agreement(tokens: tuple[int, ...]) -> float:
        return sum(a == b for a, b in pairwise(tokens)) / (len(tokens) - 1)

    children = policy_search(Controller((2,) * 4), agreement, steps=80, generator=seeded(SEED + 2))
    learnt("late reward", sum(child.reward for child in children[-80:]) / 80, least=0.9)


def test_the_first_children_only_set_the_baseline() -> None:
    controller = Controller(OPTIONS)
    before = {name: value.clone() for name, value in controller.state_dict().items()}
    children = policy_search(controller, lambda tokens: 1.0, steps=1, children=3, generator=seeded())
    assert len(children) == 3
    assert all(torch.equal(value, before[name]) for name, value in controller.state_dict().items())
    policy_search(controller, lambda tokens: 1.0, steps=4, children=3, generator=seeded())
    for name, value in controller.state_dict().items():  # equal rewards teach nothing
        assert_close(value, before[name], 1e-6, size=1)


@pytest.mark.system("2.7-NAS")
@pytest.mark.parametrize("decay", [None, 0.5])
def test_the_baseline_is_the_moving_average_of_the_rewards_before(decay: float | None) -> None:
    """b starts as the mean of the first step; step t is compared with b_(t-1) and only then b = d b + (1 - d) mean."""
    asked: list[tuple[list[float], float]] = []

    def watched(log_probabilities: Tensor, rewards: Tensor, baseline: float) -> Tensor:
        asked.append((rewards.tolist(), baseline))
        return reinforce_loss(log_probabilities, rewards, baseline)

    drawn = iter(torch.rand(15, generator=seeded(4)).tolist())
    given: list[float] = []

    def reward(tokens: tuple[int, ...]) -> float:
        given.append(next(drawn))
        return given[-1]

    options = {} if decay is None else {"decay": decay}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vidi.search.architecture_search.reinforce_loss", watched)
        policy_search(Controller(OPTIONS), reward, steps=5, children=3, generator=seeded(), **options)
    means = [sum(given[3 * step : 3 * step + 3]) / 3 for step in range(5)]
    used = 0.8 if decay is None else decay  # of the documented default
    expected = [means[0]]
    for mean in means[1:-1]:
        expected.append(used * expected[-1] + (1 - used) * mean)
    assert [baseline for _, baseline in asked] == pytest.approx(expected, abs=1e-6)  # rewards are float32
    assert [rewards for rewards, _ in asked] == [pytest.approx(given[3 * k : 3 * k + 3]) for k in range(1, 5)]


def test_searches_are_functions_of_their_seed() -> None:
    space = SearchSpace((StageOptions(repeats=(1, 2), channels=(8, 16), stride=1),))
    runs = [random_search(space, sum, children=5, generator=seeded(seed)) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]
    assert [len(run) for run in runs] == [5, 5, 5]
    searches = []
    for seed in (0, 0, 1):
        torch.manual_seed(7)
        searches.append(policy_search(Controller(space.options), sum, steps=3, children=4, generator=seeded(seed)))
    assert searches[0] == searches[1] != searches[2]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"children": 0}, {"learning_rate": 0.0}, {"decay": 1.0}])
def test_searches_refuse_what_cannot_be(wrong: dict) -> None:
    with pytest.raises(ValueError, match="expected at least"):
        policy_search(Controller(OPTIONS), sum, **{"steps": 1, "generator": seeded(), **wrong})


def test_best_so_far_never_falls() -> None:
    children = [Child((k,), reward) for k, reward in enumerate((0.2, 0.1, 0.5, 0.4, 0.6))]
    assert best_so_far(children) == [0.2, 0.2, 0.5, 0.5, 0.6]
    assert best_so_far([]) == []


@pytest.mark.system("2.7-NAS")
def test_children_are_networks_that_are_trained(tmp_path: Path) -> None:
    """Tokens to networks to short trainings on shapes to rewards to updates, each network trained once."""
    space = SearchSpace((StageOptions((1,), (8, 16), 2, kernels=(3,), expansions=(1, 2), se_ratios=(0.0,)),))
    train, val = (Samples(ShapeImages(s, count=count, size=(16, 16))) for s, count in (("train", 64), ("val", 40)))
    training = ShortTraining(train, val, Recipe(steps=4, batch_size=16, learning_rate=0.01, device="cpu"))
    scores = Scores(training, tmp_path / "scores.json")

    def reward(tokens: tuple[int, ...]) -> float:
        build = partial(searched_net, categories=8, size=(16, 16), stages=space.decode(tokens), stem_width=8)
        return scores.of(str(tokens), build)

    controller = Controller(space.options, width=8)
    before = {name: value.clone() for name, value in controller.state_dict().items()}
    children = policy_search(controller, reward, steps=3, children=3, generator=seeded())
    assert len(children) == 9
    assert scores.by_name == {str(child.tokens): child.reward for child in children}
    assert len(scores.by_name) <= space.size() == 4
    assert any(not torch.equal(value, before[name]) for name, value in controller.state_dict().items())
