"""From preferred texts to tokens, with an account of what did not fit.

PreferredText --tokenise as whole texts, part where the prompt ends--> prompt, chosen, rejected ids
all --rng of the seed--> trained, held out
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from transformers import PreTrainedTokenizerBase

from selfalign.core.errors import TrainingError
from selfalign.core.protocols import DpoTraining, PreferredText
from selfalign.trainers.untyped import encode


@dataclass(frozen=True)
class PairTokens:
    """One pair as TRL's DPO collator wants it."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def longest(self) -> int:
        """Tokens of the prompt with the longer completion."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))

    def columns(self) -> dict[str, list[int]]:
        """Return it as a row of a data set."""
        return {
            "prompt_ids": self.prompt,
            "chosen_ids": self.chosen,
            "rejected_ids": self.rejected,
        }


@dataclass(frozen=True)
class PairSplit:
    """What is trained on, what is measured on, and how many pairs were lost on the way."""

    trained: list[PairTokens]
    held_out: list[PairTokens]
    dropped: int
    """Too long, or with nothing to tell the completions apart."""


def tokenise_pairs(
    pairs: Sequence[PreferredText], tokenizer: PreTrainedTokenizerBase
) -> list[PairTokens]:
    """Tokenise prompt and completion as one text, so that tokens are those seen in generation."""
    if not pairs:
        return []
    prompts = encode(tokenizer, [p.prompt for p in pairs])
    chosen = encode(tokenizer, [p.prompt + p.chosen for p in pairs])
    rejected = encode(tokenizer, [p.prompt + p.rejected for p in pairs])
    found: list[PairTokens] = []
    for whole in zip(prompts, chosen, rejected, strict=True):
        shared = sum(
            1 for _ in takewhile(lambda ids: len(set(ids)) == 1, zip(*whole, strict=False))
        )
        prompt, first, second = whole
        found.append(PairTokens(prompt[:shared], first[shared:], second[shared:]))
    return found


def split_pairs(
    pairs: Sequence[PreferredText], tokenizer: PreTrainedTokenizerBase, recipe: DpoTraining
) -> PairSplit:
    """Tokenise, and keep `recipe.held_out` pairs back, drawn by the recipe's seed.

    Raises:
        TrainingError: nothing is left to train on.
    """
    found = tokenise_pairs(pairs, tokenizer)
    fitting = [
        one
        for one in found
        if one.longest <= recipe.max_tokens and one.chosen and one.chosen != one.rejected
    ]
    if len(fitting) <= recipe.held_out:
        raise TrainingError(
            f"{len(pairs)} pairs, {len(found) - len(fitting)} of them longer than "
            f"{recipe.max_tokens} tokens or without a difference, leave {len(fitting)}, of which "
            f"{recipe.held_out} are to be held out: nothing is left to train on. Lower "
            "`held_out`, raise `max_tokens`, or make more pairs.",
            field="held_out",
        )
    order = list(range(len(fitting)))
    random.Random(f"{recipe.seed}/held_out").shuffle(order)
    back = set(order[: recipe.held_out])
    return PairSplit(
        trained=[one for number, one in enumerate(fitting) if number not in back],
        held_out=[fitting[number] for number in sorted(back)],
        dropped=len(found) - len(fitting),
    )
