"""From training examples to tokens and labels, with an account of what did not fit.

    TrainingExample --tokenise, mask the prompt, cut at max_tokens--> ids, labels | too long
    all --rng of the seed--> trained, held out

Loss falls on the completion only. Nothing vanishes: a completion that is cut off is counted, and
an example whose prompt alone fills the limit is left out and counted.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from selfalign.core.errors import TrainingError
from selfalign.core.protocols import FineTuning
from selfalign.core.records import TrainingExample
from selfalign.trainers.packing import IGNORED
from selfalign.trainers.untyped import encode


@dataclass(frozen=True)
class Tokenised:
    """One example as the model sees it."""

    ids: list[int]
    labels: list[int]
    """The ids of the completion; IGNORED on the prompt."""
    prompt_tokens: int
    truncated: bool

    def columns(self) -> dict[str, list[int]]:
        """Return it as a row of a data set."""
        return {"input_ids": self.ids, "labels": self.labels}


@dataclass(frozen=True)
class Split:
    """What is trained on, what the loss is measured on, and what was lost on the way."""

    trained: list[Tokenised]
    held_out: list[Tokenised]
    truncated: int
    """Examples whose completion was cut off at the limit."""
    dropped: int
    """Examples left out because their prompt alone reaches the limit."""


def tokenise(
    examples: Sequence[TrainingExample], tokenizer: PreTrainedTokenizerBase, limit: int
) -> list[Tokenised | None]:
    """Return one entry per example; None if its prompt leaves no room for a completion token.

    Prompt and completion are tokenised as one text; what the prompt has in common with it is
    masked, so the tokens seen in generation are the tokens trained on.
    """
    prompts = encode(tokenizer, [e.prompt for e in examples])
    wholes = encode(tokenizer, [e.prompt + e.completion for e in examples])
    result: list[Tokenised | None] = []
    for prompt, whole in zip(prompts, wholes, strict=True):
        start = _common(prompt, whole)
        ids = whole[:limit]
        if start >= len(ids):
            result.append(None)
            continue
        labels = [IGNORED] * start + ids[start:]
        result.append(Tokenised(ids, labels, start, truncated=len(whole) > limit))
    return result


def split(
    examples: Sequence[TrainingExample], tokenizer: PreTrainedTokenizerBase, recipe: FineTuning
) -> Split:
    """Tokenise, and keep `recipe.held_out` examples back, drawn by the recipe's seed.

    Raises:
        TrainingError: nothing is left to train on.
    """
    found = tokenise(examples, tokenizer, recipe.max_tokens)
    fitting = [t for t in found if t is not None]
    if len(fitting) <= recipe.held_out:
        dropped = len(found) - len(fitting)
        raise TrainingError(
            f"{len(examples)} examples, {dropped} of them with prompts of {recipe.max_tokens} "
            f"tokens or more, leave {len(fitting)}, of which {recipe.held_out} are to be held out: "
            "nothing is left to train on. Lower `held_out`, raise `max_tokens`, or make more "
            "examples.",
            field="held_out",
        )
    order = list(range(len(fitting)))
    random.Random(f"{recipe.seed}/held_out").shuffle(order)
    back = set(order[: recipe.held_out])
    return Split(
        trained=[t for number, t in enumerate(fitting) if number not in back],
        held_out=[fitting[number] for number in sorted(back)],
        truncated=sum(t.truncated for t in fitting),
        dropped=len(found) - len(fitting),
    )


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    length = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        length += 1
    return length
