"""How a model reads, without its weights: tokens counted from its tokenizer's file alone.

Checkpoint  --tokenizer.json, config.json-->  TokenReading (counts, context), in milliseconds
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer

from selfalign.core.errors import ModelError
from selfalign.core.records import Checkpoint
from selfalign.core.weights import Located, locate

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class TokenReading:
    """A model's tokenizer and context."""

    tokenizer: str
    """The file."""
    context: int
    """Tokens it can attend to."""

    @cached_property
    def _opened(self) -> Any:  # Any: tokenizers ships no types
        return cast(Any, Tokenizer).from_file(self.tokenizer)

    def count(self, text: str) -> int:
        """Return a whole text's tokens, with those that the tokenizer adds around it."""
        return len(self._opened.encode(text).ids)


def reading_of(model: Checkpoint) -> TokenReading | None:
    """Return how a model reads; None: its files do not say, or are not on this machine."""
    try:
        located = locate(model)
        file, context = _tokenizer_file(located), _context(located)
    except (ModelError, OSError, ValueError):
        return None
    return None if file is None or context is None else TokenReading(str(file), context)


def counter_of(tokenizer: str) -> Callable[[str], int] | None:
    """Return what counts a text's tokens, none added; None: the file cannot be read here."""
    try:
        opened = cast(Any, Tokenizer).from_file(tokenizer)
    except Exception:  # noqa: BLE001  the library raises nothing narrower
        return None
    return lambda text: len(opened.encode(text, add_special_tokens=False).ids)


def _tokenizer_file(located: Located) -> Path | None:
    """Prefer the adapter's own tokenizer, as whoever loads the model does."""
    folders = (located.adapter, located.directory)
    return next((f / TOKENIZER for f in folders if f and (f / TOKENIZER).is_file()), None)


def _context(located: Located) -> int | None:
    if located.directory is None:
        return None
    stated = json.loads((located.directory / "config.json").read_text("utf-8"))
    found = stated.get("text_config", stated).get("max_position_embeddings")
    return found if isinstance(found, int) else None
