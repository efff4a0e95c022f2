"""Exemplars: the handful of conversations that show a base model how the rules are used.

arXiv:2305.03047v2, "Principle-Driven Self-Alignment": each exemplar is a question, the internal
thoughts that pick rules, and the answer. Here the thoughts name their rules through a gap,

    thoughts: "… so I should follow ${rules}."      rendered   "ethical (1), candor (7)"

so the numbers are always those of the constitution in use. Differences from the paper: the name
comes first and the number after it (a small model finds the number once it has written the name),
and there is no praise-and-thanks pair at the end: the next user header closes an exemplar.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

from selfalign.core.chat import ASSISTANT, THOUGHTS, USER
from selfalign.core.constitution import Constitution
from selfalign.core.errors import LibraryError
from selfalign.core.files import Written, checked, read_yaml

_GAP = re.compile(r"\$\{(\w*)\}")
_NUMBER_LAST = re.compile(r"\s*\((?:rule\s+)?(\d{1,3})\)")
_NUMBER_FIRST = re.compile(r"\b(\d{1,3})\s*\(([^\d()]{1,80})\)")
_NAME_CHARS = 80
"""Ours: how far before its number a rule's name is looked for."""


class Turn(Written):
    """One exchange of an exemplar."""

    user: str
    thoughts: str
    """Why which rules apply; `${rules}` becomes the cited rules, names first."""
    answer: str
    cites: tuple[str, ...] = ()
    """Rules of this turn; empty: those of the exemplar."""


class Exemplar(Written):
    """A conversation that demonstrates some principles."""

    subject: str
    """What it is about, for people."""
    cites: tuple[str, ...]
    """Names of the principles it demonstrates, in the order the thoughts name them."""
    turns: tuple[Turn, ...]

    def cites_in(self, turn: Turn) -> tuple[str, ...]:
        """Return the rules one turn cites."""
        return turn.cites or self.cites

    @property
    def demonstrates(self) -> tuple[str, ...]:
        """Every rule some turn cites, once, in order."""
        return tuple(dict.fromkeys(name for turn in self.turns for name in self.cites_in(turn)))


class Citations(NamedTuple):
    """The rules some thoughts name."""

    rules: tuple[int, ...]
    """Rule numbers, ascending, each cited with its right name."""
    wrong: tuple[str, ...]
    """Citations that name no rule, or a rule under another's number, as they were written."""


def load_exemplars(path: Path) -> tuple[Exemplar, ...]:
    """Read an exemplar file: a YAML list.

    Raises:
        LibraryError: the file is missing, empty, or not a list of exemplars.
    """
    value = read_yaml(path)
    if not isinstance(value, list) or not value:
        raise LibraryError(
            f"{path} must be a list of exemplars, each with `subject:`, `cites:` and `turns:`; "
            f"add at least one."
        )
    rows = cast("list[object]", value)
    exemplars = tuple(
        checked(Exemplar, row, f"{path}, exemplar {n}") for n, row in enumerate(rows, 1)
    )
    for number, exemplar in enumerate(exemplars, start=1):
        if not exemplar.turns:
            raise LibraryError(
                f"{path}, exemplar {number} ({exemplar.subject}) has no turns; add one with "
                f"`user:`, `thoughts:` and `answer:`.",
                field=f"{number}.turns",
            )
    return exemplars


def render_exemplars(
    exemplars: Sequence[Exemplar], constitution: Constitution, **values: str
) -> str:
    """Render the conversations, a blank line between blocks, in the layout of `core.chat`.

    Raises:
        LibraryError: a gap other than `${rules}` and `values` stands in a text.
        ConstitutionError: an exemplar cites a rule the constitution does not have.
    """
    blocks: list[str] = []
    for exemplar in exemplars:
        for turn in exemplar.turns:
            gaps = {**values, "rules": cite(exemplar.cites_in(turn), constitution)}
            for header, text in (
                (USER, turn.user),
                (THOUGHTS, turn.thoughts),
                (ASSISTANT, turn.answer),
            ):
                blocks.append(f"{header}\n{fill_gaps(text, gaps, exemplar.subject).strip()}")
    return "\n\n".join(blocks)


def cite(names: Sequence[str], constitution: Constitution) -> str:
    """Write rules the way thoughts cite them: "ethical (1), candor (7)".

    Raises:
        ConstitutionError: a name is no principle of the constitution.
    """
    return ", ".join(f"{name} ({constitution.number_of(name)})" for name in names)


def cited_rules(thoughts: str, constitution: Constitution) -> Citations:
    """Find the rules some thoughts cite, as "name (n)" or "n (name)", in any letter case.

    A citation counts when name and number belong together; the others are reported as wrong.
    Numbers in brackets that follow no word, such as "(2021)" on its own, are not citations.
    """
    numbers = {name.casefold(): n for n, name in enumerate(constitution.names, start=1)}
    by_length = sorted(numbers, key=len, reverse=True)
    rules: set[int] = set()
    wrong: list[str] = []
    for match in _NUMBER_LAST.finditer(thoughts):
        before = thoughts[max(0, match.start() - _NAME_CHARS) : match.start()]
        said = _ending(before, by_length)
        if said and numbers[said] == int(match[1]):
            rules.add(numbers[said])
        elif before[-1:].isalpha():
            wrong.append(f"{said or before.split()[-1]} ({match[1]})")
    for match in _NUMBER_FIRST.finditer(thoughts):
        said = " ".join(match[2].split()).casefold()
        if numbers.get(said) == int(match[1]):
            rules.add(int(match[1]))
        else:
            wrong.append(f"{match[1]} ({match[2]})")
    return Citations(tuple(sorted(rules)), tuple(wrong))


def fill_gaps(text: str, values: dict[str, str], where: str) -> str:
    """Replace `${name}` by its value, once; a bare dollar stays what it is.

    Raises:
        LibraryError: a name has no value; the names there are follow.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise LibraryError(
                f"{where}: the gap {match[0]} is not known here; use "
                f"{', '.join(f'${{{name}}}' for name in sorted(values))}, or write it out."
            )
        return values[match[1]]

    return _GAP.sub(value, text)


def _ending(words: str, names: Sequence[str]) -> str | None:
    """Return the longest name the words end with, at a word's beginning."""
    text = " ".join(words.split()).casefold()
    for name in names:
        before = text[: -len(name)]
        if text.endswith(name) and (not before or not before[-1].isalnum()):
            return name
    return None
