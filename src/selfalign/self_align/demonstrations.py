"""What the exemplars are to stage 2: a text to show, an opening to expect, and leaks to look for.

    exemplars, constitution, common texts  ->  Demonstration  ->  stage 2: render, read, filter

The authors wrote the same sentence at the head of all thoughts and demand it back word for word;
here the sentence is whatever the exemplars of the library share, and none is demanded if they
share none.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from selfalign.core.constitution import Constitution
from selfalign.core.exemplars import Exemplar, fill_gaps, render_exemplars
from selfalign.core.records import digest
from selfalign.self_align.exemplar_leaks import COPY_WORDS, ExemplarLeaks, derive_leaks

ASKS_BACK = "clarification"
"""The paper's rule under which an assistant asks who is meant instead of inventing somebody."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s|(?<=[。！？])")


class PrivateAnswer(NamedTuple):
    """Somebody nobody knows, as an exemplar asked about them, and how it asked back."""

    name: tuple[str, ...]
    """The words of the name, in lower case."""
    answer: str


@dataclass(frozen=True)
class Demonstration:
    """A set of exemplars, ready to be shown and recognised."""

    text: str
    """The conversations as they stand in the prompt."""
    opening: str
    """The sentence all thoughts begin with; empty: they share none."""
    leaks: ExemplarLeaks
    private: tuple[PrivateAnswer, ...]
    """Names that only an exemplar knows, with what the exemplar answered; read by stage 4."""

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything."""
        return digest([self.text, self.opening, self.leaks.fingerprint, self.private])


def demonstrate(
    exemplars: Sequence[Exemplar],
    constitution: Constitution,
    *,
    common: Iterable[str] = (),
    copy_words: int = COPY_WORDS,
    **values: str,
) -> Demonstration:
    """Prepare exemplars for stage 2.

    Args:
        exemplars: Shown in this order, before every query.
        constitution: Whose rules the thoughts cite.
        common: Texts whose words are everybody's, such as the seed tasks; rules are added.
        copy_words: How many words in a row make a copy.
        values: What fills the exemplars' own gaps, such as the assistant's name.

    Raises:
        LibraryError: a text of the exemplars has a gap that no value fills.
        ConstitutionError: an exemplar cites a rule the constitution does not have.
    """
    rules = [principle.text for principle in constitution.principles]
    leaks = derive_leaks(exemplars, [*rules, *common], copy_words)
    return Demonstration(
        text=render_exemplars(exemplars, constitution, **values),
        opening=common_opening([turn.thoughts for e in exemplars for turn in e.turns]),
        leaks=leaks,
        private=tuple(private_answers(exemplars, leaks, values)),
    )


def private_answers(
    exemplars: Sequence[Exemplar], leaks: ExemplarLeaks, values: dict[str, str]
) -> Iterator[PrivateAnswer]:
    """Yield the names that an exemplar's user asks about and its assistant asks back about."""
    for exemplar in exemplars:
        for turn in exemplar.turns:
            name = leaks.named_in(turn.user)
            if name and ASKS_BACK in exemplar.cites_in(turn):
                yield PrivateAnswer(name, fill_gaps(turn.answer, values, exemplar.subject).strip())


def common_opening(thoughts: Sequence[str]) -> str:
    """Return the first sentence of the thoughts if all share it word for word, else nothing."""
    first = {_SENTENCE_END.split(text.strip(), maxsplit=1)[0].strip() for text in thoughts}
    only = first.pop() if len(first) == 1 else ""
    return only if "${" not in only else ""
