"""What the policy answers while it is trained: sampled, batched, every row by its own seed.

    distinct prompts (left-padded) --policy--> keys and values, one copy for each row
    --policy--> one token per live row and step
    a row ends at a stop text, at the end token, or at its limit; then it costs nothing any more

A row's random numbers are a function of (seed, step, query, turn): no generator has a state, so
there is none to save, and a step that is run again draws the same responses. The tokens that spell
the stop text belong to the response for training, since the policy has to learn to end; the text
that is judged does without them. Shapes: B live rows, L columns, V vocabulary.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from selfalign.core.records import rng_for
from selfalign.trainers.endings import decoder, end_of
from selfalign.trainers.no_number import NoNumber
from selfalign.trainers.rl_rows import lay_out, places
from selfalign.trainers.roomy_cache import roomy_cache
from selfalign.trainers.untyped import ints

_PURPOSE = "trainers.rollouts"
_COMPACT_AT = 0.75
"""Finished rows leave the cache when fewer than this share of its rows are live."""


class Policy(Protocol):
    """What generation needs of a model."""

    @property
    def causal(self) -> Any: ...  # noqa: D102  Any: a transformers model
    @property
    def ends(self) -> frozenset[int]: ...  # noqa: D102
    @property
    def padding(self) -> int: ...  # noqa: D102
    @property
    def device(self) -> torch.device: ...  # noqa: D102


@dataclass(frozen=True)
class Draws:
    """How tokens are drawn."""

    temperature: float
    top_p: float
    max_tokens: int
    end_finishes: bool = True
    """Whether the end token ends a turn as a stop text does; the authors: only the stop text."""


@dataclass
class Row:
    """One response in the making."""

    prompt: list[int]
    stop: tuple[str, ...]
    randoms: random.Random
    tokens: list[int] = field(default_factory=list[int])
    """All of them, those that spell the stop text included."""
    text: str = ""
    """Without the stop text and white space around it; known when the row is done."""
    finished: bool = False
    """It came to a stop text (or the end token)."""
    answer_tokens: int = 0
    """Tokens before the stop text."""


def row_for(
    prompt: list[int], stop: tuple[str, ...], key: tuple[int, int, str, int], copy: int = 0
) -> Row:
    """Make an empty row; its draws belong to (seed, step, query, turn) and its place in a group."""
    seed, step, query, turn = key
    place = f"{turn}/{copy}" if copy else str(turn)
    return Row(prompt, stop, rng_for(seed, f"{_PURPOSE}/{step}/{place}", query))


class Texts:
    """Finds where rows end, decoding only where a stop text can have come to its end."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
        self._decode = decoder(tokenizer)
        self._vocabulary = vocabulary
        self._endings: dict[tuple[str, ...], frozenset[int]] = {}

    def stops(self, row: Row) -> bool:
        """Say whether the row's last token completes one of its stop texts."""
        if row.tokens[-1] not in self._may_end(row.stop):
            return False
        text = self._decode(row.tokens)
        return any(stop in text for stop in row.stop)

    def finish(self, row: Row, ends: frozenset[int]) -> None:
        """Fill in what is known of a row once no token follows."""
        ended = end_of(row.tokens, row.stop, ends, self._decode)
        row.text, row.answer_tokens = ended.response.strip(), ended.tokens
        row.finished = ended.finished

    def _may_end(self, stop: tuple[str, ...]) -> frozenset[int]:
        """Return the tokens that can complete a stop text; decoding is spared after all others."""
        if stop not in self._endings:
            tails = tuple({s[k:] for s in stop for k in range(len(s))})
            pieces = (self._decode([token]) for token in range(self._vocabulary))
            self._endings[stop] = frozenset(
                token
                for token, piece in enumerate(pieces)
                if "\ufffd" in piece  # a part of a character, which the stop text may end with
                or any(s in piece for s in stop)
                or piece.startswith(tails)
            )
        return self._endings[stop]


def generate(policy: Policy, rows: Sequence[Row], texts: Texts, draws: Draws, at_once: int) -> None:
    """Fill in every row, `at_once` rows at a time; rows of like length run together.

    Raises:
        NoNumber: a token's logits are NaN; there is nothing to draw from.
    """
    order = sorted(rows, key=lambda row: len(row.prompt))
    with torch.no_grad():
        for start in range(0, len(order), at_once):
            broken = _Batch(policy, order[start : start + at_once], texts, draws).run()
            if broken is not None:
                raise NoNumber("a token's probability", rows.index(broken))


class _Batch:
    """Rows in one cache."""

    def __init__(self, policy: Policy, rows: list[Row], texts: Texts, draws: Draws) -> None:
        self._policy, self._texts, self._draws = policy, texts, draws
        self._rows: list[Row | None] = list(rows)
        """None: the row is done and still has a place in the cache."""
        self._distinct = {tuple(row.prompt): None for row in rows}
        laid = lay_out(
            list(self._distinct),
            [()] * len(self._distinct),
            padding=policy.padding,
            device=policy.device,
        )
        self._next, self._attended = laid.ids, laid.attended
        self._cache = roomy_cache(policy.causal.config)

    def run(self) -> Row | None:
        """Draw until every row is done; return a row there is nothing to draw from, if any."""
        logits = self._prefilled()
        while True:
            if (broken := self._broken(logits)) is not None:
                return broken
            self._take(draw(logits, self._uniforms(), self._draws))
            live = [place for place, row in enumerate(self._rows) if row is not None]
            if not live:
                return None
            if len(live) < _COMPACT_AT * len(self._rows):
                self._keep(live)
            logits = self._forward()

    def _prefilled(self) -> Tensor:
        """Run each distinct prompt once, then give every row its own; return logits (B, V).

        A group of answers to one request has one prompt.
        """
        logits = self._forward()
        number = {prompt: at for at, prompt in enumerate(self._distinct)}
        of_row = [number[tuple(row.prompt)] for row in self._rows if row is not None]
        places = torch.tensor(of_row, device=self._policy.device)
        self._cache.batch_select_indices(places)
        self._attended = self._attended[places]
        return logits[places]

    def _forward(self) -> Tensor:
        """Run the newest tokens of every place; return logits (B, V)."""
        positions = places(self._attended)[:, -self._next.shape[1] :]
        output = self._policy.causal(
            input_ids=self._next,
            attention_mask=self._attended,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()

    def _broken(self, logits: Tensor) -> Row | None:
        sums = logits.sum(-1)  # NaN, if one is; infinite, if its softmax would be NaN
        if bool(torch.isfinite(sums).all()):
            return None
        whole = ints(torch.softmax(logits, -1).isfinite().all(-1).long())
        places = [place for place, one in enumerate(whole) if not one]
        return next((row for p in places if (row := self._rows[p]) is not None), None)

    def _uniforms(self) -> Tensor:
        drawn = [0.0 if row is None else row.randoms.random() for row in self._rows]
        return torch.tensor(drawn, dtype=torch.float64, device=self._policy.device)

    def _take(self, tokens: Tensor) -> None:
        for place, token in enumerate(ints(tokens)):
            row = self._rows[place]
            if row is None:
                continue
            row.tokens.append(token)
            at_end = token in self._policy.ends
            stopped = at_end or self._texts.stops(row)
            if stopped or len(row.tokens) == self._draws.max_tokens:
                self._texts.finish(row, self._policy.ends)
                row.finished &= self._draws.end_finishes or not at_end
                self._rows[place] = None
        self._next = tokens[:, None]
        one = torch.ones_like(self._next)
        self._attended = torch.cat([self._attended, one], dim=1)

    def _keep(self, live: list[int]) -> None:
        kept = torch.tensor(live, device=self._policy.device)
        self._cache.batch_select_indices(kept)
        self._rows = [self._rows[place] for place in live]
        self._next, self._attended = self._next[kept], self._attended[kept]


def draw(logits: Tensor, uniforms: Tensor, draws: Draws) -> Tensor:
    """Pick the token at which the cumulative probability passes each row's uniform number.

    Shapes: (B, V) float32, (B,) in [0, 1) -> (B,). Below top_p 1, only the smallest set of the
    most probable tokens whose total reaches top_p is drawn from. Temperature 0 is greedy.
    """
    if draws.temperature == 0:
        return logits.argmax(-1)
    probabilities = torch.softmax(logits / draws.temperature, dim=-1).double()
    if draws.top_p < 1:
        values, ids = probabilities.sort(dim=-1, descending=True)
        above = values.cumsum(-1) - values
        values = values.masked_fill(above >= draws.top_p, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(-1, ids, values)
    passed = probabilities.cumsum(-1)
    found = torch.searchsorted(passed, (uniforms * passed[:, -1])[:, None], right=True)
    last = (probabilities > 0).long().cumsum(-1).argmax(-1, keepdim=True)
    return torch.minimum(found, last)[:, 0]
