"""Between tokens and text: stop strings seen early, texts cut cleanly.

new token --may it end a stop string?--> decode the row --found--> the row is finished
finished row --decode--> cut before the first stop string --> trim a dangling piece of one
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from selfalign.engines.untyped import decode

CONTEXT_TOKENS = 6
"""Prompt tokens decoded with a response, so that its first token keeps its leading space."""

WORD_MARKERS = ("\u0120", "\u2581", " ")
"""How the vocabularies of byte-level and SentencePiece models spell "begins a word"."""


class TextReader:
    """Reads generated tokens as text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._may_end = lru_cache(maxsize=32)(self._find_may_end)
        self._pieces: list[str] | None = None
        self._word_starts: Tensor | None = None

    def text(self, prompt: Sequence[int], tokens: Sequence[int]) -> str:
        """Return the text the tokens add to the prompt."""
        before = list(prompt[-CONTEXT_TOKENS:])
        start = self._decode(before)
        whole = self._decode([*before, *tokens])
        return whole[len(start) :] if whole.startswith(start) else self._decode(tokens)

    def may_end_stop(self, token: int, stop: tuple[str, ...]) -> bool:
        """Tell whether a stop string can become complete with this token."""
        return bool(stop) and token in self._may_end(stop)

    def word_starts(self) -> Tensor:
        """(V,) bool: tokens that begin a word."""
        if self._word_starts is None:
            names = cast(
                list[str | None],
                self._tokenizer.convert_ids_to_tokens(list(range(self._vocabulary))),
            )
            self._word_starts = torch.tensor([(n or "").startswith(WORD_MARKERS) for n in names])
        return self._word_starts

    def _find_may_end(self, stop: tuple[str, ...]) -> frozenset[int]:
        if self._pieces is None:
            self._pieces = [self._decode([token]) for token in range(self._vocabulary)]
        tails = tuple(s[k:] for s in stop for k in range(1, len(s)))
        return frozenset(
            token for token, piece in enumerate(self._pieces) if _may_end(piece, stop, tails)
        )

    def _decode(self, tokens: Sequence[int]) -> str:
        return decode(self._tokenizer, list(tokens))


def _may_end(piece: str, stop: tuple[str, ...], tails: tuple[str, ...]) -> bool:
    # A lone token may decode to nothing, to half a character, or without its leading space.
    if not piece or "\ufffd" in piece:
        return True
    return any(
        spelled.startswith(tails) or any(s in spelled for s in stop)
        for spelled in (piece, " " + piece)
    )


def first_stop(text: str, stop: tuple[str, ...]) -> int | None:
    """Return where the first stop string begins; None if there is none."""
    found = [at for at in (text.find(s) for s in stop) if at >= 0]
    return min(found) if found else None


def trim_dangling_stop(text: str, stop: tuple[str, ...]) -> str:
    r"""Cut an unfinished stop string off the end of a text that ended without one.

    Only a piece that shows a mark (such as the "\\n\\n##" of "\\n\\n### User") at the beginning of
    a line is taken for one; a text that merely ends in a letter of a stop string is left alone.
    """
    cut = len(text)
    for string in stop:
        for length in range(min(len(string) - 1, len(text)), 0, -1):
            piece = string[:length]
            if text.endswith(piece) and _shows_mark(piece, text[: len(text) - length]):
                cut = min(cut, len(text) - length)
                break
    return text[:cut]


def _shows_mark(piece: str, before: str) -> bool:
    at_line_start = piece.startswith("\n") or not before or before.endswith("\n")
    return at_line_start and any(not c.isalnum() and not c.isspace() for c in piece)
