"""Neural architecture search: a recurrent controller writes networks and is rewarded for their accuracy.

Zoph & Le 2017 (arXiv 1611.01578), section 3; Tan et al. 2019, "MnasNet" (1807.11626), section 3; notes 2.7.

    controller   LSTM: start, token 1, ..., token T-1 -> scores of the options of decision 1, ..., T
    child        tokens T -> network (vidi.search.search_space) -> short training -> validation accuracy
    reward       R = accuracy, or accuracy x (FLOPs / target)^w
    REINFORCE    gradient of E[R] = E[(R - b) grad log p(tokens)] with b a moving average of the rewards before

Differs from the notes: "gradient policy" is the policy gradient. Differs from the papers: REINFORCE as in the first
one, where MnasNet has proximal policy optimisation, but with one layer of LSTM and a larger learning rate, for dozens
of children and not for thousands. The first children only set the baseline: one that is taken from the very rewards
that it is subtracted from makes the gradient biased.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vidi.search.search_space import Tokens

Reward = Callable[[Tokens], float]
"""Scores a network; larger is better."""


class Drawn(Protocol):
    """A space of networks that can be drawn from evenly: of classifiers, of pyramids."""

    def sample(self, generator: torch.Generator) -> Tokens: ...


@dataclass(frozen=True)
class Child:
    """A network that a search has tried."""

    tokens: Tokens
    reward: float


# ----------------------------------------------------------------------------------------------------------------------
# Controller


class Controller(nn.Module):
    """A policy over sequences of T decisions: p(tokens) = product of p(token t | tokens before).

    Weights are drawn evenly from [-0.08, 0.08] (Zoph & Le 2017, section 4.1) by torch's global generator, so that all
    networks are about as likely at first.
    """

    def __init__(self, options: Sequence[int], *, width: int = 64):
        super().__init__()
        if not options or min(options) < 1:
            raise ValueError(f"received the options {tuple(options)}, expected at least one decision, and one of each")
        self.start = nn.Parameter(torch.zeros(width))  # what is read before the first decision
        self.tokens = nn.ModuleList(nn.Embedding(count, width) for count in options[:-1])
        self.cell = nn.LSTMCell(width, width)
        self.scores = nn.ModuleList(nn.Linear(width, count) for count in options)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.08, 0.08)

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Int[Tensor, "N T"]:
        """Draw sequences token by token."""
        x, state, drawn = self._begin(count)
        for step, scores in enumerate(self.scores):
            state = self.cell(x, state)
            drawn.append(torch.multinomial(scores(state[0]).softmax(1), 1, generator=generator)[:, 0])
            if step < len(self.tokens):
                x = self.tokens[step](drawn[-1])
        return torch.stack(drawn, dim=1)

    def log_probabilities(self, tokens: Int[Tensor, "N T"]) -> Float[Tensor, "N T"]:
        """Return log p(token t | tokens before) of given sequences; their sum over T is log p(tokens)."""
        x, state, chosen = self._begin(len(tokens))
        for step, scores in enumerate(self.scores):
            state = self.cell(x, state)
            chosen.append(scores(state[0]).log_softmax(1).gather(1, tokens[:, step : step + 1])[:, 0])
            if step < len(self.tokens):
                x = self.tokens[step](tokens[:, step])
        return torch.stack(chosen, dim=1)

    def _begin(self, count: int) -> tuple[Tensor, tuple[Tensor, Tensor], list[Tensor]]:
        """Return the first input, the empty state of the cell, and a list for what each step gives."""
        x = self.start.expand(count, -1)  # N D
        return x, (torch.zeros_like(x), torch.zeros_like(x)), []


def reinforce_loss(
    log_probabilities: Float[Tensor, "N T"], rewards: Float[Tensor, " N"], baseline: float | int
) -> Float[Tensor, ""]:
    """Return what has the policy gradient: -(R - b) log p(tokens), the mean over N sequences (Williams 1992).

    For sequences drawn from the policy, its expected gradient is that of -E[R], whatever the baseline is.
    """
    return -((rewards - baseline) * log_probabilities.sum(1)).mean()


# ----------------------------------------------------------------------------------------------------------------------
# Rewards


def cost_aware_reward(
    accuracy: float | int,
    cost: float | int,
    target: float | int,
    *,
    within: float | int = -0.07,
    beyond: float | int = -0.07,
) -> float:
    """Return accuracy x (cost / target)^w, with one w up to the target and another above it (MnasNet, eq. 2 and 3).

    Args:
        accuracy: of a network.
        cost: its FLOPs, multiply-adds or seconds.
        target: what it should cost.
        within, beyond: w; both -0.07 trade twice the cost for 5 % of the accuracy, 0 and -1 make the target a limit.

    Raises:
        ValueError: if a cost is not positive.
    """
    if cost <= 0 or target <= 0:
        raise ValueError(f"received cost={cost} and target={target}, expected both above 0")
    return accuracy * (cost / target) ** (within if cost <= target else beyond)


# ----------------------------------------------------------------------------------------------------------------------
# Searches


def policy_search(
    controller: Controller,
    reward: Reward,
    *,
    steps: int,
    children: int = 8,
    learning_rate: float = 0.02,
    decay: float = 0.8,
    generator: torch.Generator,
) -> list[Child]:
    """Train a controller by REINFORCE and return all children in the order in which it wrote them.

    Args:
        controller: trained in place by Adam.
        reward: called once per child, also for a network that was written before.
        steps: batches of children; all but the first update the controller.
        children: of a step.
        learning_rate: of the controller.
        decay: of the moving average of rewards that is the baseline: the weight of all steps but the last.
        generator: of the draws.

    Raises:
        ValueError: for a number out of range.
    """
    if steps < 1 or children < 1 or learning_rate <= 0 or not 0 <= decay < 1:
        raise ValueError(
            f"received steps={steps}, children={children}, learning_rate={learning_rate}, decay={decay}, expected at "
            "least 1, 1, above 0, and from 0 to below 1"
        )
    optimizer = torch.optim.Adam(controller.parameters(), learning_rate)
    baseline: float | None = None
    tried: list[Child] = []
    for _ in range(steps):
        tokens = controller.sample(children, generator)  # N T
        written = [Child(row, float(reward(row))) for row in map(tuple, tokens.tolist())]
        rewards = torch.tensor([child.reward for child in written])
        if baseline is None:
            baseline = float(rewards.mean())
        else:
            optimizer.zero_grad()
            reinforce_loss(controller.log_probabilities(tokens), rewards, baseline).backward()
            optimizer.step()
            baseline = decay * baseline + (1 - decay) * float(rewards.mean())
        tried += written
    return tried


def random_search(space: Drawn, reward: Reward, *, children: int, generator: torch.Generator) -> list[Child]:
    """Return children drawn evenly from a space: what a controller has to beat at an equal number of them."""
    drawn = [space.sample(generator) for _ in range(children)]
    return [Child(tokens, float(reward(tokens))) for tokens in drawn]


def best_so_far(children: Sequence[Child]) -> list[float]:
    """Return the largest reward up to each child."""
    return list(accumulate((child.reward for child in children), max))
