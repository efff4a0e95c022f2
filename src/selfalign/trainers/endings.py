"""Where a response ends: at a stop text or an end token, whichever comes first.

    tokens drawn --cut at the end--> tokens to train on (stop included), response (without it)

The stop is a text, such as the next user header, and may begin or end inside a token; so ends are
found by decoding. The tokens of the stop are trained with the response: that is how a model
without an end token learns to stop.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria

from selfalign.trainers.untyped import ints

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Ended:
    """A drawn response, cut where it ends."""

    ids: list[int]
    """What is trained: up to and with the token that completes the stop, or the end token."""
    response: str
    """Without the stop."""
    tokens: int
    """Of the response; a token that reaches into the stop is not counted."""
    finished: bool


def decoder(tokenizer: PreTrainedTokenizerBase) -> Decode:
    """Return how tokens become text: special tokens left out, spaces left alone."""

    def decode(ids: Sequence[int]) -> str:
        return cast(Any, tokenizer).decode(  # Any: partly typed
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    return decode


def end_of(ids: Sequence[int], stop: Sequence[str], ends: Collection[int], decode: Decode) -> Ended:
    """Cut drawn tokens at the first stop text or end token."""
    closed = next((at for at, token in enumerate(ids) if token in ends), None)
    said = list(ids if closed is None else ids[:closed])
    text = decode(said)
    starts = [at for at in (text.find(one) for one in stop) if at >= 0]
    if not starts:
        kept = said if closed is None else [*said, ids[closed]]
        return Ended(kept, text, len(said), finished=closed is not None)
    counts = range(len(said) + 1)
    whole = bisect_left(counts, 1, key=lambda count: _holds(decode(said[:count]), stop))
    response = text[: min(starts)]
    within = bisect_right(counts, len(response), key=lambda count: len(decode(said[:count]))) - 1
    return Ended(said[:whole], response, max(0, within), finished=True)


def _holds(text: str, stop: Sequence[str]) -> bool:
    return any(one in text for one in stop)


@dataclass
class StopTexts(StoppingCriteria):
    """Ends each row of a batch in transformers' `generate` once a stop text is complete."""

    decode: Decode
    stop: tuple[str, ...]
    prompt_tokens: int
    """Width of the padded prompts: what was drawn begins behind it."""
    _ended: list[bool] = field(default_factory=list[bool])

    @property
    def window(self) -> int:
        """How many tokens a stop can at most span: a token is at least a byte."""
        return max((len(one.encode()) for one in self.stop), default=0) + 1

    def __call__(self, input_ids: Tensor, scores: object, **_: object) -> Tensor:  # type: ignore[override]  # noqa: ARG002  transformers' signature
        """Return (B,) which rows have ended."""
        self._ended = self._ended or [False] * len(input_ids)
        start = max(self.prompt_tokens, input_ids.shape[1] - self.window)
        for row, tail in enumerate(input_ids[:, start:]):
            self._ended[row] = self._ended[row] or _holds(self.decode(ints(tail)), self.stop)
        return torch.tensor(self._ended, device=input_ids.device)
