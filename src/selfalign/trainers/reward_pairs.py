"""From pairs of texts to tokens, batches and scores, with an account of what did not fit.

    RewardPair --tokens, whole or not at all--> TokenPair | too long
    all --rng of the seed, by request--> trained, held out
    TokenPair --right-padded, by length--> scores --> accuracy, loss

A text that is too long is never cut: a cut at either end would take away the principles or the
response. The pair is left out and counted.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from selfalign.core.errors import TrainingError
from selfalign.core.protocols import RewardPair, RewardTraining
from selfalign.trainers.reward_untyped import reward_tokens, scores_of
from selfalign.trainers.side_by_side import batched, each_alone, parts_for

WINDOW = 16
"""Batches among which pairs may change places, so that those of a batch are alike in length."""

TIE = 0.5
"""What an undecided pair counts for, as if it were decided by a coin."""


@dataclass(frozen=True)
class TokenPair:
    """One pair as the model sees it."""

    chosen: list[int]
    rejected: list[int]
    about: str | None = None
    """The request both answer, if it is known."""

    @property
    def longer(self) -> int:
        """Tokens of the longer text."""
        return max(len(self.chosen), len(self.rejected))

    def columns(self) -> dict[str, list[int]]:
        """Return it as TRL names its columns."""
        return {"chosen_ids": self.chosen, "rejected_ids": self.rejected}


@dataclass(frozen=True)
class PairSplit:
    """What is trained on, what the accuracy is measured on, and what was lost on the way."""

    trained: list[TokenPair]
    held_out: list[TokenPair]
    dropped: int
    """Pairs left out because a text of theirs is longer than `max_tokens`."""

    @property
    def tokens(self) -> int:
        """Of the trained pairs, once, padding not counted."""
        return sum(len(pair.chosen) + len(pair.rejected) for pair in self.trained)


@dataclass(frozen=True)
class Judged:
    """How a reward model does on pairs it was not trained on; None: there are none such."""

    accuracy: float | None
    """Share of pairs whose chosen text scores higher; a tie counts half."""
    loss: float | None
    """Mean of -log sigmoid(chosen - rejected), nats."""
    accuracy_chosen_longer: float | None
    """Where the chosen text has more tokens; far above the next one: a taste for length."""
    accuracy_chosen_shorter: float | None


def split_pairs(
    pairs: Sequence[RewardPair], tokenizer: PreTrainedTokenizerBase, recipe: RewardTraining
) -> PairSplit:
    """Tokenise, and keep at least `recipe.held_out` pairs back, drawn by the recipe's seed.

    With a pair, all others about its request are held out; the order is kept.

    Raises:
        TrainingError: nothing is left to train on.
    """
    chosen = reward_tokens(tokenizer, [pair.chosen for pair in pairs])
    rejected = reward_tokens(tokenizer, [pair.rejected for pair in pairs])
    found = [
        TokenPair(*both, about=pair.about)
        for *both, pair in zip(chosen, rejected, pairs, strict=True)
    ]
    fitting = [pair for pair in found if pair.longer <= recipe.max_tokens]
    dropped = len(found) - len(fitting)
    back = _held_out(fitting, recipe)
    if len(back) == len(fitting):
        raise TrainingError(
            f"{len(found)} pairs, {dropped} of them with a text of more than {recipe.max_tokens} "
            f"tokens, leave {len(fitting)}, of which {recipe.held_out} are to be held out, and "
            f"with a pair all others about the same request: nothing is left to train on. Lower "
            f"`held_out`, raise `max_tokens`, or make more pairs.",
            field="held_out",
        )
    return PairSplit(
        trained=[pair for number, pair in enumerate(fitting) if number not in back],
        held_out=[fitting[number] for number in sorted(back)],
        dropped=dropped,
    )


def alike_in_length(
    pairs: Sequence[TokenPair], batch_size: int, seed: int, window: int = WINDOW
) -> list[TokenPair]:
    """Keep an order by and large, and put pairs of similar length into the same batch.

    Padding to the longest text of a batch costs most of the time otherwise. Pairs move within
    windows of so many batches, and the batches of a window come in a drawn order, so that length
    does not rise from step to step. Seeded; the same pairs come back, each once.
    """
    rng = random.Random(f"{seed}/alike_in_length")
    ordered: list[TokenPair] = []
    for start in range(0, len(pairs), window * batch_size):
        near = sorted(pairs[start : start + window * batch_size], key=lambda pair: pair.longer)
        batches = [near[at : at + batch_size] for at in range(0, len(near), batch_size)]
        whole = [batch for batch in batches if len(batch) == batch_size]
        rng.shuffle(whole)
        part = [batch for batch in batches if len(batch) < batch_size]
        ordered += [pair for batch in (*whole, *part) for pair in batch]
    return ordered


def _held_out(pairs: Sequence[TokenPair], recipe: RewardTraining) -> set[int]:
    """Draw whole requests until there are enough pairs: no answer is both trained and measured."""
    groups: dict[str, list[int]] = {}
    for number, pair in enumerate(pairs):
        groups.setdefault(pair.about or f"pair {number}", []).append(number)
    order = list(groups)
    random.Random(f"{recipe.seed}/held_out").shuffle(order)
    back: set[int] = set()
    for name in order:
        if len(back) >= recipe.held_out:
            break
        back.update(groups[name])
    return back


def judge(
    model: torch.nn.Module, pairs: Sequence[TokenPair], *, pad: int, tokens_per_pass: int
) -> Judged:
    """Score both texts of every pair, in evaluation mode, and say how often the right one wins."""
    if not pairs:
        return Judged(None, None, None, None)
    texts = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    scores = score_texts(model, texts, pad=pad, tokens_per_pass=tokens_per_pass)
    margins = scores[: len(pairs)] - scores[len(pairs) :]
    wins = (margins > 0).float() + TIE * (margins == 0).float()
    more = torch.tensor([len(pair.chosen) - len(pair.rejected) for pair in pairs])
    return Judged(
        accuracy=float(wins.mean()),
        loss=float(-functional.logsigmoid(margins).mean()),
        accuracy_chosen_longer=_mean(wins[more > 0]),
        accuracy_chosen_shorter=_mean(wins[more < 0]),
    )


def score_texts(
    model: torch.nn.Module, texts: Sequence[list[int]], *, pad: int, tokens_per_pass: int
) -> Tensor:
    """Return the scores (N,) of N token sequences, on the CPU, whatever their lengths.

    Raises:
        TrainingError: a score is not a finite number.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    scores = torch.empty(len(texts))

    def scored(numbers: list[int]) -> Tensor:
        ids, mask = padded([texts[n] for n in numbers], pad)
        return scores_of(model, ids.to(device), mask.to(device)).float().cpu()

    groups, parts = (
        list(by_length([len(text) for text in texts], tokens_per_pass)),
        parts_for(model),
    )
    with torch.no_grad():
        for at_once in batched(groups, parts):
            for numbers, found in zip(at_once, each_alone(scored, at_once), strict=True):
                scores[numbers] = found
    model.train(training)
    if not bool(scores.isfinite().all()):
        raise TrainingError(
            f"{int((~scores.isfinite()).sum())} of {len(scores)} scores are not finite numbers: "
            f"the training has diverged. Lower `learning_rate` or `max_grad_norm`.",
            field="learning_rate",
        )
    return scores


def by_length(lengths: Sequence[int], tokens_per_pass: int) -> Iterator[list[int]]:
    """Yield numbers of texts in batches of similar length; padded, none exceeds the budget.

    A text that is longer than the budget is a batch of its own.
    """
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda n: (lengths[n], n)):
        if batch and (len(batch) + 1) * lengths[number] > tokens_per_pass:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Return right-padded tokens (B, T) and their mask (B, T), 1 on tokens and 0 on padding."""
    longest = max(map(len, rows))
    ids = [[*row, *[pad] * (longest - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
    return torch.tensor(ids), torch.tensor(mask)


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None
