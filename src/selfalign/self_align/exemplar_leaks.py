"""Exemplar leaks: answers that talk about the prompt's exemplars instead of the user's question.

Paper: arXiv:2305.03047v2, "Principle-Driven Self-Alignment" (filters of the appendix).

A base model that has just read five conversations sometimes goes on with one of them. The authors
drop every answer with one of a few hand-picked words of their exemplars, such as "weather" or
"president", and with it every honest answer that mentions the weather. Here the signs are derived
from the exemplars themselves, so that a library with other exemplars needs no new list:

    exemplars, common texts  ->  subject words  ->  marks: copies and names
    query, answer  ->  a mark in the answer whose subject the query does not name  ->  leak

1. The *subject words* of an exemplar's turn are the words its user has said so far and its
   assistant says too, that no other exemplar says without a capital, and that at most `FEW` of the
   common texts (rules, seed tasks) use: what the conversation is about, not the manner of speaking
   it teaches. If there are none, the words of its user alone that pass the same tests.
2. A *copy* is a run of `words` words of a turn that holds two subject words (one, if the turn has
   no more), or of twice as many words that holds one, and occurs in no common text. A list of so
   many numbers is a copy too, and its numbers are its subject. One word is never a copy, so an
   answer that mentions the weather stays.
3. A *name* is a run of at least two subject words that stand side by side with capitals.
4. A copy or name in an answer is a leak unless the query says all of its subject words: who asks
   about the Rosetta Stone may be told what the exemplar tells.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from selfalign.core.exemplars import Exemplar
from selfalign.core.novelty_tokens import unicode_words
from selfalign.core.records import digest

FEW = 3
"""Ours: a word that more of the common texts use is everybody's word."""

COPY_WORDS = 6
"""Ours: so many words in a row, two of them subject words, are no coincidence."""

_CAPITALISED_RUN = re.compile(r"[^\W\d_][\w'’]*(?:[ \-][^\W\d_][\w'’]*)+")
_NUMBER_LIST = re.compile(r"\d+(?:(?:,\s*|\s+)\d+)+(?![\d.])")

Words = tuple[str, ...]


@dataclass(frozen=True)
class ExemplarLeaks:
    """The signs by which an answer betrays that it is about an exemplar."""

    marks: dict[Words, frozenset[str]]
    """Copies and names, each with the subject words that a query must say to excuse it."""
    names: frozenset[Words]
    """Which of the marks are names."""

    @cached_property
    def fingerprint(self) -> str:
        """Digest of all signs."""
        return digest([sorted(self.marks), sorted(self.names)])

    @cached_property
    def sizes(self) -> list[int]:
        """The lengths of the marks, in words."""
        return sorted({len(mark) for mark in self.marks})

    def find(self, query: str, answer: str) -> str | None:
        """Return the first leaked words of an answer, or None."""
        asked, said = set(unicode_words(query)), unicode_words(answer)
        found = (run for size in self.sizes for run in runs(said, size) if run in self.marks)
        return next((" ".join(mark) for mark in found if not self.marks[mark] <= asked), None)

    def named_in(self, text: str) -> Words | None:
        """Return the first exemplar name that stands in a text, or None."""
        words = unicode_words(text)
        sizes = sorted({len(name) for name in self.names})
        found = (run for size in sizes for run in runs(words, size) if run in self.names)
        return next(found, None)


def derive_leaks(
    exemplars: Sequence[Exemplar], common: Iterable[str], words: int = COPY_WORDS
) -> ExemplarLeaks:
    """Derive the signs; `common` are the texts whose words and phrases belong to everybody."""
    everyday = [unicode_words(text) for text in common]
    use = Counter(word for text in everyday for word in set(text))
    phrases = {run for text in everyday for size in (words, 2 * words) for run in runs(text, size)}
    marks: dict[Words, frozenset[str]] = {}
    names: set[Words] = set()
    for number, exemplar in enumerate(exemplars):
        others = {w for n, other in enumerate(exemplars) if n != number for w in _spoken(other)}
        anybodys = others | {word for word, texts in use.items() if texts > FEW}
        for turn, subject in zip(exemplar.turns, subjects(exemplar, anybodys), strict=True):
            for text in (turn.user, turn.answer):
                named = set(_names(text, subject))
                copies = set(_copies(unicode_words(text), subject, words)) - phrases
                listed = set(_number_lists(text, words)) - phrases
                marks |= {mark: frozenset(subject & set(mark)) for mark in copies | named}
                marks |= {mark: frozenset(mark) for mark in listed}
                names |= named
    return ExemplarLeaks(marks, frozenset(names))


def subjects(exemplar: Exemplar, anybodys: Collection[str] = ()) -> Iterator[set[str]]:
    """Yield per turn what it is about: words that are not anybody's; a number is no subject."""
    answered = {word for turn in exemplar.turns for word in unicode_words(turn.answer)}
    asked: set[str] = set()
    for turn in exemplar.turns:
        asked |= {w for w in unicode_words(turn.user) if w not in anybodys and not w.isdecimal()}
        yield (asked & answered) or set(asked)


def runs(words: Sequence[str], size: int) -> Iterator[Words]:
    """Yield every run of so many words, in order."""
    return (tuple(words[n : n + size]) for n in range(len(words) - size + 1))


def _copies(words: Sequence[str], subject: set[str], size: int) -> Iterator[Words]:
    enough = min(2, len(subject)) or 1
    yield from (run for run in runs(words, size) if len(subject & set(run)) >= enough)
    yield from (run for run in runs(words, 2 * size) if subject & set(run))


def _number_lists(text: str, size: int) -> Iterator[Words]:
    for match in _NUMBER_LIST.finditer(text):
        yield from runs(unicode_words(match[0]), size)


def _names(text: str, subject: set[str]) -> Iterator[Words]:
    for match in _CAPITALISED_RUN.finditer(text):
        name: list[str] = []
        for part in [*re.split(r"[ \-]", match[0]), ""]:
            words = unicode_words(part)
            if part[:1].isupper() and words and set(words) <= subject:
                name += words
                continue
            if len(name) > 1:
                yield tuple(name)
            name = []


def _spoken(exemplar: Exemplar) -> set[str]:
    """Return the words that are not capitalised: a place two exemplars name stays a place."""
    said = " ".join(f"{turn.user} {turn.answer}" for turn in exemplar.turns)
    return {
        w for part in re.findall(r"\w+", said) if not part[0].isupper() for w in unicode_words(part)
    }
