"""What an exam showed: verdicts per question, rates per kind of question, with intervals.

    rows (question, answer, verdict)  ->  rate per kind, "unknowable" pooled, mean length  ->  JSON

Every question counts once, also one that was not answered: an empty answer is a wrong answer.
"""

from collections.abc import Sequence
from typing import Literal

from selfalign.core.records import Record
from selfalign.evaluation.statistics import Interval, wilson

UNKNOWABLE = ("future", "real-time", "private")
"""Kinds whose right answer is that it cannot be known; also reported together."""

Task = Literal["calf"]


class Row(Record):
    """One question, what the model said, and what the checker made of it."""

    kind: str
    question: str
    answer: str
    right: bool
    label: str
    """The checker's word for it, such as "refused" or "wrong_act"."""


class ExamResult(Record):
    """What `selfalign eval` writes."""

    task: Task
    model: str
    """The model as it was named, and how it was asked if not plainly."""
    seed: int
    """Draws the questions; another seed, other questions."""
    n: int
    mean_words: float
    """Words per answer, over all kinds."""
    kinds: dict[str, Interval]
    unknowable: Interval | None
    """Future, real-time and private questions together; None if none were asked."""
    rows: tuple[Row, ...]


def summarise(task: Task, model: str, seed: int, rows: Sequence[Row]) -> ExamResult:
    """Count verdicts; kinds come in the order in which they first appear."""
    kinds = list(dict.fromkeys(row.kind for row in rows))
    unknowable = [row for row in rows if row.kind in UNKNOWABLE]
    return ExamResult(
        task=task,
        model=model,
        seed=seed,
        n=len(rows),
        mean_words=round(sum(len(r.answer.split()) for r in rows) / max(1, len(rows)), 2),
        kinds={kind: rate_of([r for r in rows if r.kind == kind]) for kind in kinds},
        unknowable=rate_of(unknowable) if unknowable else None,
        rows=tuple(rows),
    )


def rate_of(rows: Sequence[Row]) -> Interval:
    """Return how many of the rows are right, with its interval."""
    return wilson(sum(row.right for row in rows), len(rows))
