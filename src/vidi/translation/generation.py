"""Autoregressive generation: one token after the other, each from those before it (notes 3.1).

    source   B S -> encode -> memory -> begin -> state
    newest   B        <begin>, then the token chosen last
    step     (newest, state) -> logits B V of the token after it, and the state with it
    choice   greedy: the likeliest; sampled: a draw; beam search: the K likeliest sentences so far
    result   B T      the tokens after <begin>, up to and with <end>, then padding

Vaswani et al. 2017, 1706.03762, section 6.1 (beam search). Every network with `encode`, `begin` and `step` generates:
`vidi.nn.transformer`, `vidi.translation.recurrent`. A row that is finished gets padding while others go on; all
stop when all are finished, or at `longest` tokens. No gradient is kept. Networks run in the mode they are in, so that
`eval()` comes first.

Differs from the notes: a step sees one token and what the state keeps of the earlier ones, and does not run again on
all of them; `WithoutCache` does, with equal results.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidi.data.translation import BEGIN, END, PAD


class SpecialTokens(NamedTuple):
    """The tokens that are no words. An `end` that is not in the vocabulary never comes."""

    begin: int = BEGIN
    end: int = END
    pad: int = PAD


SPECIAL_TOKENS = SpecialTokens()

# ----------------------------------------------------------------------------------------------------------------------
# What can generate


class Rows(Protocol):
    """What is kept of each row of a batch."""

    def of_rows(self, rows: Tensor) -> Any:
        """Return the same of the named rows: some of them several times, some not at all."""
        ...


class StepwiseNetwork(Protocol):
    """A network that decodes one token at a time."""

    def encode(self, source: Tensor) -> Any:
        """Encode padded sources, B S."""
        ...

    def begin(self, memory: Any) -> Any:
        """Return the state before the first token, `Rows`."""
        ...

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the logits of what follows the newest tokens, B -> B V, and the state with them."""
        ...


class ParallelNetwork(Protocol):
    """A network that decodes whole targets at once."""

    def encode(self, source: Tensor) -> Any:
        """Encode padded sources, B S, as `Rows`."""
        ...

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        """Return the logits of what follows each token of the targets, B T -> B T V."""
        ...


class Prefix(NamedTuple):
    """All tokens so far, and what they are decoded from."""

    tokens: Int[Tensor, "B T"] | None  # None before the first
    memory: Rows

    def of_rows(self, rows: Tensor) -> "Prefix":
        """Return the prefixes of the named rows."""
        return Prefix(None if self.tokens is None else self.tokens[rows], self.memory.of_rows(rows))


class WithoutCache:
    """A network whose steps keep nothing but the tokens, and decode all of them for every new one."""

    def __init__(self, network: ParallelNetwork):
        self.network = network

    def encode(self, source: Int[Tensor, "B S"]) -> Rows:
        """Encode padded sources."""
        return self.network.encode(source)

    def begin(self, memory: Rows) -> Prefix:
        """Return the state before the first token."""
        return Prefix(None, memory)

    def step(self, tokens: Int[Tensor, " B"], state: Prefix) -> tuple[Float[Tensor, "B V"], Prefix]:
        """Return the logits of what follows the newest tokens, and the state with them."""
        newest = tokens[:, None]  # B 1
        prefix = newest if state.tokens is None else torch.cat((state.tokens, newest), dim=1)
        return self.network.decode(prefix, state.memory)[:, -1], Prefix(prefix, state.memory)


# ----------------------------------------------------------------------------------------------------------------------
# One sentence for each source


class Generated(NamedTuple):
    """One sentence for each source; after its length follow padding and zeros."""

    tokens: Int[Tensor, "B T"]  # without <begin>, with <end> where it was reached
    log_probabilities: Float[Tensor, "B T"]  # of each token, given those before it
    lengths: Int[Tensor, " B"]  # <end> included


def greedy(
    network: StepwiseNetwork,
    source: Int[Tensor, "B S"],
    *,
    longest: int,
    special: SpecialTokens = SPECIAL_TOKENS,
) -> Generated:
    """Generate with the likeliest token at each step.

    Args:
        network: what decodes.
        source: padded sentences.
        longest: most tokens to generate.
        special: the tokens that begin, end and fill up sentences.

    Raises:
        ValueError: if `longest` is not positive.
    """
    return _generated(network, source, lambda logits: logits.argmax(-1), longest, special)


def sampled(
    network: StepwiseNetwork,
    source: Int[Tensor, "B S"],
    *,
    longest: int,
    generator: torch.Generator,
    temperature: float | int = 1.0,
    top_k: int | None = None,
    special: SpecialTokens = SPECIAL_TOKENS,
) -> Generated:
    """Generate with a token drawn at each step.

    Log-probabilities are the network's, whatever the temperature and `top_k`.

    Args:
        network, source, longest, special: as `greedy`.
        generator: of the draws.
        temperature: what the logits are divided by: near 0 the likeliest token wins, far above 1 all are alike.
        top_k: how many tokens, the likeliest, a draw is from; None: all.

    Raises:
        ValueError: if `longest`, `temperature` or `top_k` is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"received temperature={temperature}, expected a positive number; `greedy` is its limit at 0")
    if top_k is not None and top_k < 1:
        raise ValueError(f"received top_k={top_k}, expected a positive number, or None for all tokens")

    def drawn(logits: Tensor) -> Tensor:
        logits = logits / temperature
        if top_k is not None:
            least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]  # B 1
            logits = logits.masked_fill(logits < least, -math.inf)
        return torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]  # B V -> B

    return _generated(network, source, drawn, longest, special)


@torch.no_grad()
def _generated(
    network: StepwiseNetwork,
    source: Tensor,
    choose: Callable[[Tensor], Tensor],  # logits B V -> tokens B
    longest: int,
    special: SpecialTokens,
) -> Generated:
    _check_positive("longest", longest)
    state = network.begin(network.encode(source))
    newest = source.new_full((len(source),), special.begin)
    finished = torch.zeros_like(newest, dtype=torch.bool)
    tokens, log_probabilities, lengths = [], [], torch.zeros_like(newest)
    for _ in range(longest):
        logits, state = network.step(newest, state)
        newest = choose(logits).masked_fill(finished, special.pad)
        chosen = _log_probabilities(logits).gather(1, newest[:, None])[:, 0]  # B V -> B
        tokens.append(newest)
        log_probabilities.append(chosen.masked_fill(finished, 0))
        lengths = lengths + ~finished
        finished = finished | (newest == special.end)
        if finished.all():
            break
    return Generated(torch.stack(tokens, dim=1), torch.stack(log_probabilities, dim=1), lengths)


def _log_probabilities(logits: Tensor) -> Tensor:
    return logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))


def _check_positive(name: str, number: int) -> None:
    if number < 1:
        raise ValueError(f"received {name}={number}, expected a positive number")


# ----------------------------------------------------------------------------------------------------------------------
# Several sentences for each source


class Hypotheses(NamedTuple):
    """K sentences for each source, the best first; a score of minus infinity marks an empty place."""

    tokens: Int[Tensor, "B K T"]  # these three as in `Generated`
    log_probabilities: Float[Tensor, "B K T"]
    lengths: Int[Tensor, "B K"]
    scores: Float[Tensor, "B K"]  # of finished sentences: summed log-probabilities / length ^ length_penalty

    def at(self, places: Int[Tensor, "B J"]) -> "Hypotheses":
        """Return the sentences at the named places of every row."""
        rows = torch.arange(len(places), device=places.device)[:, None]
        return Hypotheses(*(part[rows, places] for part in self))

    def longer(self, tokens: Int[Tensor, "B K"], log_probabilities: Float[Tensor, "B K"]) -> "Hypotheses":
        """Append a token to every sentence; lengths and scores stay."""
        return self._replace(
            tokens=torch.cat((self.tokens, tokens[..., None]), dim=-1),
            log_probabilities=torch.cat((self.log_probabilities, log_probabilities[..., None]), dim=-1),
        )

    def best(self) -> Generated:
        """Return the best sentence for each source."""
        lengths = self.lengths[:, 0]
        longest = int(lengths.max())
        return Generated(self.tokens[:, 0, :longest], self.log_probabilities[:, 0, :longest], lengths)


@torch.no_grad()
def beam_search(
    network: StepwiseNetwork,
    source: Int[Tensor, "B S"],
    *,
    longest: int,
    beams: int = 4,
    length_penalty: float | int = 1.0,
    early_stopping: bool | Literal["never"] = False,
    special: SpecialTokens = SPECIAL_TOKENS,
) -> Hypotheses:
    """Return the best finished sentences, found by following the likeliest unfinished ones; `.best()` takes the first.

    Each step keeps the K likeliest continuations that do not end. One that ends, and is among the K likeliest of all,
    is finished; the K finished sentences of the highest scores are kept. All of it as in transformers' `generate`.

    Args:
        network, source, longest, special: as `greedy`; a sentence that reaches `longest` is finished without <end>.
        beams: K.
        length_penalty: scores are divided by length to this power: 0 favours short sentences, above 1 long ones.
        early_stopping: a source is done once K sentences are finished and: at once (True); the likeliest unfinished
            sentence, were it to end now, would not beat the worst of them (False); it would not even if it got to
            `longest` tokens for nothing ("never"), which only differs for a positive `length_penalty`.

    Raises:
        ValueError: if `longest` or `beams` is not positive.
    """
    _check_positive("longest", longest)
    _check_positive("beams", beams)
    state = network.begin(network.encode(source))
    rows = torch.arange(len(source), device=source.device)[:, None]  # B 1
    state = state.of_rows(rows.expand(-1, beams).flatten())
    newest = source.new_full((len(source), beams), special.begin)
    finished = _no_hypotheses(newest)
    running = finished._replace(scores=finished.scores.index_fill(1, rows.new_zeros(1), 0))  # one, as all K are equal
    done = torch.zeros_like(rows, dtype=torch.bool)  # B 1
    for length in range(1, longest + 1):
        logits, state = network.step(newest.flatten(), state)
        candidates, origins = _continued(running, _log_probabilities(logits).unflatten(0, (-1, beams)))  # B 2K
        ends = (candidates.tokens[..., -1] == special.end) | (length == longest)

        may_finish = ends & (torch.arange(2 * beams, device=ends.device) < beams) & ~done
        ended = candidates._replace(
            lengths=torch.full_like(candidates.lengths, length),
            scores=(candidates.scores / length**length_penalty).masked_fill(~may_finish, -math.inf),
        )
        finished = finished.longer(torch.full_like(newest, special.pad), torch.zeros_like(finished.scores))
        both = Hypotheses(*(torch.cat(parts, dim=1) for parts in zip(finished, ended, strict=True)))  # B 3K
        finished = both.at(both.scores.topk(beams).indices)

        unfinished = candidates.scores.masked_fill(ends, -math.inf)
        places = unfinished.topk(beams).indices  # B K
        running = candidates._replace(scores=unfinished).at(places)
        newest = running.tokens[..., -1]
        state = state.of_rows((rows * beams + origins.gather(1, places)).flatten())

        full = finished.scores[:, -1:] > -math.inf  # B 1
        if early_stopping is not True:
            reached = longest if early_stopping == "never" and length_penalty > 0 else length
            full &= running.scores[:, :1] / reached**length_penalty <= finished.scores[:, -1:]
        done |= full
        if done.all():
            break
    return finished


def _no_hypotheses(newest: Int[Tensor, "B K"]) -> Hypotheses:
    """Return K empty places for each source."""
    nothing = torch.zeros((*newest.shape, 0), device=newest.device)
    scores = torch.full(newest.shape, -math.inf, device=newest.device)
    return Hypotheses(nothing.to(newest.dtype), nothing, torch.zeros_like(newest), scores)


def _continued(running: Hypotheses, following: Float[Tensor, "B K V"]) -> tuple[Hypotheses, Int[Tensor, "B 2*K"]]:
    """Return the 2K likeliest continuations by one token, scored by summed log-probabilities, and what they continue.

    Each sentence ends in one way only: at least K of them do not end.
    """
    vocabulary = following.shape[-1]
    sums = (running.scores[..., None] + following).flatten(1)  # B (K V)
    best = sums.topk(2 * following.shape[1])
    origins, tokens = best.indices // vocabulary, best.indices % vocabulary
    chosen = following.flatten(1).gather(1, best.indices)
    return running.at(origins).longer(tokens, chosen)._replace(scores=best.values), origins


# ----------------------------------------------------------------------------------------------------------------------
# The choice among the three


@dataclass(frozen=True)
class WordChoice:
    """How words are chosen: the likeliest at each step, by beam search, or drawn.

    Raises:
        ValueError: for numbers that are not positive, and for beams together with draws.
    """

    beams: int = 1  # of a beam search; 1 follows the likeliest token only
    length_penalty: float = 1.0  # of a beam search: 0 favours short sentences, above 1 long ones
    temperature: float | None = None  # of draws; None: nothing is drawn
    top_k: int | None = None  # how many tokens, the likeliest, a draw is from; None: all
    seed: int = 0  # of the draws

    def __post_init__(self) -> None:
        _check_positive("beams", self.beams)
        if self.temperature is not None and self.beams > 1:
            raise ValueError(f"received beams={self.beams} and temperature={self.temperature}, expected one of them")
        if self.temperature is None and self.top_k is not None:
            raise ValueError(f"received top_k={self.top_k} without a temperature: nothing is drawn")

    def __call__(self, network: StepwiseNetwork, source: Int[Tensor, "B S"], *, longest: int) -> Generated:
        """Generate a sentence for each source; see `greedy`, `beam_search` and `sampled`."""
        if self.temperature is not None:
            draws = torch.Generator(source.device).manual_seed(self.seed)
            return sampled(
                network, source, longest=longest, generator=draws, temperature=self.temperature, top_k=self.top_k
            )
        if self.beams > 1:
            penalty = self.length_penalty
            return beam_search(network, source, longest=longest, beams=self.beams, length_penalty=penalty).best()
        return greedy(network, source, longest=longest)


GREEDY = WordChoice()
