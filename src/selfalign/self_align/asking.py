"""What the stages of this room have in common: a model is asked once per record.

    record -> render -> prompt -> [model] -> completion -> read -> kept | dropped

Stage 1 asks for numbered lists, so one completion holds many items. Each item is kept unjudged as
a `Draft`, and a selection judges all drafts of a round afterwards: it is a stage that asks no
model, so each item has its reason in the funnel, and a changed filter generates nothing anew.

Difference from the authors: a prompt that leaves no room for its completion is dropped as
"too_long" and counted; their code removed trailing lines of the user's text until it fitted.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from selfalign.core.protocols import Completion, LanguageModel, Sampling
from selfalign.core.records import Dropped, Kept, R, Record, RecordId, digest

In = TypeVar("In", bound=Record)
Out = TypeVar("Out", bound=Record)

SHOWN_CHARS = 300
"""Ours: how much of a dropped text a reader of the report sees."""


class Draft(Record):
    """One item of a list a base model wrote, not yet judged; read by the selections of stage 1."""

    request: RecordId
    """The request in whose completion it stood."""
    number: int
    """The number the item ought to carry, counted on from the last one shown in the prompt."""
    text: str
    """The item as it was written, its number included."""

    @property
    def headline(self) -> str:
        """The item itself, shortened."""
        return self.text[:200]


@dataclass(frozen=True)
class Pool(Generic[R]):
    """A set of records as an ingredient of a stage: named by its members, in any order."""

    records: tuple[R, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the members' ids."""
        return digest(sorted(record.id for record in self.records))

    @cached_property
    def in_order(self) -> list[R]:
        """The members by id: the order of every decision that depends on order."""
        return sorted(self.records, key=lambda record: record.id)

    def __iter__(self) -> Iterator[R]:
        """Yield the members as they were given."""
        return iter(self.records)

    def __len__(self) -> int:
        """How many members were given."""
        return len(self.records)


def ask(
    lm: LanguageModel,
    batch: Sequence[In],
    *,
    render: Callable[[In], str],
    sampling: Callable[[In], Sampling],
    read: Callable[[In, Completion], Kept[Out] | Dropped],
) -> list[Kept[Out] | Dropped]:
    """Put every record's prompt to the model and read the answers, in the order of the batch."""
    prompts = [render(record) for record in batch]
    draws = [sampling(record) for record in batch]
    sizes = lm.count_tokens(prompts)
    fits = [s + d.max_tokens <= lm.context_length for s, d in zip(sizes, draws, strict=True)]
    completions = iter(
        lm.generate(
            [prompt for prompt, fit in zip(prompts, fits, strict=True) if fit],
            [draw for draw, fit in zip(draws, fits, strict=True) if fit],
        )
    )
    return [
        read(record, next(completions)) if fit else drop(record, "too_long", _sizes(size, draw, lm))
        for record, fit, size, draw in zip(batch, fits, sizes, draws, strict=True)
    ]


def keep_drafts(
    request: Record, items: Iterable[str], *, first: int, last: int
) -> Kept[Draft] | Dropped:
    """Number the items of one completion from `first` to `last`; blank ones do not count."""
    texts = [item.strip() for item in items if item.strip()]
    drafts = tuple(
        Draft(request=request.id, number=number, text=text)
        for number, text in zip(range(first, last + 1), texts, strict=False)
    )
    return Kept(source=request.id, records=drafts) if drafts else drop(request, "no_items")


def drop(source: Record, reason: str, seen: str = "") -> Dropped:
    """Say in one word why a record is dropped, and show the beginning of what was seen."""
    return Dropped(source=source.id, reason=reason, detail=seen[:SHOWN_CHARS])


def look_up(
    decisions: Mapping[RecordId, Out | str], batch: Sequence[Record]
) -> list[Kept[Out] | Dropped]:
    """Return the outcomes of a batch from decisions (a record or a reason) over the whole set."""
    outcomes: list[Kept[Out] | Dropped] = []
    for record in batch:
        decision = decisions[record.id]
        if isinstance(decision, str):
            outcomes.append(drop(record, decision, record.headline))
        else:
            outcomes.append(Kept(source=record.id, records=(decision,)))
    return outcomes


def _sizes(prompt_tokens: int, draw: Sampling, lm: LanguageModel) -> str:
    return (
        f"the prompt has {prompt_tokens} tokens and its completion may have {draw.max_tokens}, "
        f"but the model attends to {lm.context_length}"
    )
