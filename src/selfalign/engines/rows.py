"""One request on its way from prompt to text, and how a drawn token changes it.

logits of several rows --penalties, bans, draw--> one token each --> finished or not yet
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from selfalign.core.protocols import Completion, Sampling
from selfalign.engines.attention import PrefixNode
from selfalign.engines.prefix import Stretch
from selfalign.engines.sampling import Draw, NgramPenalty
from selfalign.engines.texts import TextReader, first_stop, trim_dangling_stop


@dataclass(eq=False)
class Row:
    """One request on its way from prompt to text."""

    prompt: list[int]
    stretch: Stretch | None
    """What it shares with others; None: nothing."""
    sampling: Sampling
    budget: int
    """Tokens it may generate at most."""
    banned: Sequence[int]
    penalty: NgramPenalty | None
    node: PrefixNode | None = None
    tokens: list[int] = field(default_factory=list[int])
    text: str | None = None
    """The finished text; None while it is being generated."""
    stopped: bool = False
    """It ended by a stop string or the end token, not by its budget."""

    @property
    def shared(self) -> int:
        """Prompt tokens whose keys and values lie in shared nodes."""
        return self.stretch.end if self.stretch else 0

    @property
    def cached(self) -> int:
        """Own tokens in the row cache: all but the last generated one, which is fed next."""
        return len(self.prompt) - self.shared + len(self.tokens) - 1

    def restart(self) -> None:
        """Forget what was generated, unless the text is finished."""
        if self.text is None:
            self.node, self.tokens = None, []
            self.penalty = NgramPenalty(self.sampling.ngram_penalty) if self.penalty else None

    def completion(self) -> Completion:
        """Return the finished text as the protocol's record."""
        return Completion(text=self.text or "", finish="stop" if self.stopped else "length")


class Writer:
    """Gives rows their next tokens and notices when a text is finished."""

    def __init__(self, reader: TextReader, ends: frozenset[int]) -> None:
        self._reader = reader
        self._ends = ends

    def advance(self, rows: Sequence[Row], draw: Draw, logits: Tensor) -> None:
        """Draw one token per row from logits (rows, V), which are changed."""
        deductions: list[tuple[int, int, float]] = []
        for number, row in enumerate(rows):
            if row.penalty is not None:
                starts = self._reader.word_starts()
                deductions += [
                    (number, token, amount)
                    for token, amount in row.penalty.deductions(row.tokens).items()
                    if starts[token]
                ]
        tokens = draw.tokens(logits, [len(row.tokens) for row in rows], deductions)
        for row, token in zip(rows, tokens, strict=True):
            if row.text is None:
                self._take(row, token)

    def _take(self, row: Row, token: int) -> None:
        """Give a row its next token and notice whether that finishes it."""
        stop = row.sampling.stop
        if token in self._ends:
            row.stopped = True
            row.text = trim_dangling_stop(self._reader.text(row.prompt, row.tokens), stop)
            return
        row.tokens.append(token)
        if row.penalty is not None:
            row.penalty.add(row.tokens)
        last = len(row.tokens) >= row.budget
        if not last and not self._reader.may_end_stop(token, stop):
            return
        text = self._reader.text(row.prompt, row.tokens)
        at = first_stop(text, stop)
        if at is not None:
            row.stopped, row.text = True, text[:at]
        elif last:
            row.text = trim_dangling_stop(text, stop)


def draw_for(rows: Sequence[Row], device: torch.device) -> Draw:
    """Return the choices of these rows as arrays."""
    return Draw([row.sampling for row in rows], [row.banned for row in rows], device)
