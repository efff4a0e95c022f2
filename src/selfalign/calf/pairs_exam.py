"""Calf's pairs: two answers, one principle that tells them apart; fresh for every seed.

    seed, n  ->  trait in turn  ->  contrast of the exam's half of the world  ->  Pair
                 cell of the design: wording x distractors x which answer is longer x which is first

A pair is shown under a principle and under its opposite, so whoever ignores the principle is right
on exactly one of the two. Length and place are crossed with everything else, so whoever looks only
at them is right half of the time. What a principle is worded in:

    constitution   the sentences a library judges by: those a reward model was trained under
    seen           wordings of Calf's corpus
    unseen         wordings that are nowhere in the corpus (`wording_leaks` searches for them)

Distractors are principles that both answers keep equally well; they decide nothing. Not used are
answers that say nothing (they are bad under a principle and under its opposite) and, where fluency
is not the question, broken ones: a cut may have taken a tone or a list away with it.
"""

import random
import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import count, product
from typing import Literal, NamedTuple

from selfalign.calf.traits import LENGTHS, TRAITS, Contrast, Styled, contrast
from selfalign.calf.world import KINDS, tables, the_world
from selfalign.core.constitution import Constitution
from selfalign.core.records import Record

Wording = Literal["constitution", "seen", "unseen"]
Place = Literal["first", "second"]


class Pair(Record):
    """Two answers to a held-out question, and a principle that decides between them."""

    trait: str
    kind: str
    """Kind of the question, such as "harmful"."""
    wording: Wording
    question: str
    first: str
    second: str
    better: Place
    """Which answer has more of the trait: right under the principle, wrong under its negation."""
    principle: str
    negation: str
    distractors: tuple[str, ...] = ()
    at: int = 0
    """How many distractors stand above the principle."""

    @property
    def longer(self) -> Place:
        """Which answer has more words; they are never equally many."""
        return "first" if _words(self.first) > _words(self.second) else "second"

    def shown(self, *, negated: bool) -> list[str]:
        """Return the principles as they are listed, the deciding one as written or negated."""
        decides = self.negation if negated else self.principle
        return [*self.distractors[: self.at], decides, *self.distractors[self.at :]]


class _Cell(NamedTuple):
    """One combination of what pairs are balanced over."""

    wording: Wording
    distracted: bool
    better_longer: bool
    better_first: bool


def pairs(seed: int, n: int, constitution: Constitution | None = None) -> list[Pair]:
    """Return n pairs, the traits in turn; the same seed gives the same pairs.

    A constitution that has every trait, each with a negation, is a third wording.
    """
    known = constitution if constitution and covers_traits(constitution) else None
    drawn = _Drawn(seed, known)
    return [drawn.next(index) for index in range(n)]


def covers_traits(constitution: Constitution) -> bool:
    """Say whether a constitution has a principle with a negation for every trait."""
    negated = {p.name for p in constitution.principles if p.negation is not None}
    return negated >= set(TRAITS)


def lines(
    rng: random.Random, trait: str, wording: Wording, constitution: Constitution | None = None
) -> tuple[str, str]:
    """Word a principle about a trait, and the same with a "not" in it or as its library has it."""
    if wording == "constitution" and constitution:
        at = constitution.number_of(trait) - 1
        return constitution.principles[at].text, constitution.negated(trait)
    split = "train" if wording == "seen" else "exam"
    words = tables("traits")
    frames = zip(words["frames"][split], words["negated_frames"][split], strict=True)
    plain, negated = rng.choice(list(frames))
    predicate = rng.choice(words[trait][split])
    return plain.format(p=predicate), negated.format(p=predicate)


class _Drawn:
    """Draws pairs one by one, none of them twice."""

    def __init__(self, seed: int, constitution: Constitution | None) -> None:
        self._seed, self._constitution = seed, constitution
        self._before: set[tuple[str, str, str]] = set()

    def next(self, index: int) -> Pair:
        """Draw a pair that fits its cell; the draw belongs to the seed and the index."""
        trait = TRAITS[index % len(TRAITS)]
        cell = self._cell(trait, index // len(TRAITS))
        for attempt in count():
            rng = random.Random(f"pairs/{self._seed}/{index}/{attempt}")
            made = self._draw(rng, trait, cell)
            if made and (key := (made.question, made.first, made.second)) not in self._before:
                self._before |= {key, (made.question, made.second, made.first)}
                return made
        raise AssertionError("an endless count has ended")

    def _cell(self, trait: str, turn: int) -> _Cell:
        """Take the cells in an order of the trait's own; all of them before one comes again."""
        wordings: tuple[Wording, ...] = ("seen", "unseen")
        if self._constitution:
            wordings = ("constitution", *wordings)
        sides = (True, False)
        cells = [_Cell(*values) for values in product(wordings, sides, sides, sides)]
        random.Random(f"cells/{self._seed}/{trait}/{turn // len(cells)}").shuffle(cells)
        return cells[turn % len(cells)]

    def _draw(self, rng: random.Random, trait: str, cell: _Cell) -> Pair | None:
        """Draw a pair; None: it does not fit the cell."""
        drawn = contrast(rng, the_world(), trait, "exam")
        if not _fits(drawn, cell):
            return None
        alike = _alike(drawn)
        wanted = rng.choice((1, 2)) if cell.distracted else 0
        if len(alike) < wanted:
            return None
        principle, negation = lines(rng, trait, cell.wording, self._constitution)
        distractors: list[str] = []
        for one in rng.sample(alike, wanted):
            kept, broken = lines(rng, one, cell.wording, self._constitution)
            distractors.append(kept if drawn.better.traits[one] > 0 else broken)
        ordered = (drawn.better, drawn.worse) if cell.better_first else (drawn.worse, drawn.better)
        return Pair(
            trait=trait,
            kind=drawn.query.kind,
            wording=cell.wording,
            question=drawn.query.text,
            first=ordered[0].text,
            second=ordered[1].text,
            better="first" if cell.better_first else "second",
            principle=principle,
            negation=negation,
            distractors=tuple(distractors),
            at=rng.randint(0, wanted),
        )


def _fits(drawn: Contrast, cell: _Cell) -> bool:
    """Whether a contrast can be used at all, and its lengths are those of the cell."""
    if drawn.query.kind not in KINDS or _is_stub(drawn.better) or _is_stub(drawn.worse):
        return False
    if drawn.trait != "fluent" and not _whole(drawn):
        return False
    better, worse = _words(drawn.better.text), _words(drawn.worse.text)
    if drawn.trait in LENGTHS:
        return better != worse
    return better > worse if cell.better_longer else better < worse


def _whole(drawn: Contrast) -> bool:
    return min(drawn.better.traits["fluent"], drawn.worse.traits["fluent"]) > 0


def _is_stub(answer: Styled) -> bool:
    """Whether it says nothing: only then it is neither concise nor detailed."""
    return answer.traits.get("concise") == answer.traits.get("detailed") == -1.0


def _alike(drawn: Contrast) -> list[str]:
    """Name the traits that both answers plainly have, or plainly lack, to the same degree."""
    one, other = drawn.better.traits, drawn.worse.traits
    # Fluency is decided by a broken answer: what broke it may have taken a tone or a list away.
    entangled = {drawn.trait, *(("polite", "structured") if drawn.trait == "fluent" else ())}
    there = [t for t in TRAITS if t in one and t in other and t not in entangled]
    return [t for t in there if one[t] == other[t] and abs(one[t]) == 1]


def _words(text: str) -> int:
    return len(text.split())


# --- what must not leak --------------------------------------------------------------------


def wording_leaks(
    texts: Iterable[str], constitution: Constitution | None = None
) -> Iterator[tuple[str, str]]:
    """Yield (what leaked, where) for every text that words a principle as the exam alone may.

    An exam's predicate leaks as a phrase and its frame by its fixed words; their single words may
    occur, for no model can read a word it has never met. Sentences of a constitution leak whole.
    """
    patterns = [_unseen_pattern()]
    if constitution:
        told = [s for p in constitution.principles for s in (p.text, p.negation) if s]
        patterns.append(_any_of(sentence.rstrip(".") for sentence in told))
    for text in texts:
        for pattern in patterns:
            if found := pattern.search(text):
                yield found[0], text[max(0, found.start() - 60) : found.end() + 20]


@cache
def _unseen_pattern() -> re.Pattern[str]:
    words = tables("traits")
    frames = [*words["frames"]["exam"], *words["negated_frames"]["exam"]]
    fixed = [part.strip(" .") for frame in frames for part in frame.split("{p}")]
    return _any_of([*(p for t in TRAITS for p in words[t]["exam"]), *filter(None, fixed)])


def _any_of(phrases: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, phrases))})(?!\w)", re.IGNORECASE)
