"""Scores of responses by any principles, by a reward model that was taught to read them.

Paper: arXiv:2310.05910v2, "Training the Instructable Reward Model": the principles are an input,
so they can be ones that the reward model never saw.

    instruction, response --under all principles at once--> score
                          --under each of them alone-->     scores

Principles that are always on stand beside the others every time. Differences: none known; asking
for each principle alone is ours, and shows which of them a joint score comes from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfalign.core.constitution import load_constitution
from selfalign.core.errors import InputError
from selfalign.core.files import read_text
from selfalign.core.protocols import Scorer
from selfalign.core.records import digest
from selfalign.core.text import collapse_spaces
from selfalign.salmon.reward_prompt import RewardPrompt

CONSTITUTION_ENDINGS = (".yaml", ".yml")
"""A principles file that ends so is a constitution; any other has one principle per line."""


@dataclass(frozen=True)
class Scored:
    """What a response is worth."""

    joint: float
    """Under all principles at once."""
    each: dict[str, float]
    """By principle, under that one alone."""


@dataclass(frozen=True)
class PrincipleScoring:
    """Principles to score by, and the prompt that shows them."""

    prompt: RewardPrompt
    principles: Mapping[str, str]
    """What a score is called, then the text the reward model is shown."""
    always: tuple[str, ...] = ()
    """Texts that are shown with every one of them."""

    @property
    def fingerprint(self) -> str:
        """Digest of everything a score depends on besides the model and the response."""
        return digest([self.prompt.fingerprint, list(self.principles.items()), list(self.always)])

    def render(self, instruction: str, response: str) -> list[str]:
        """Return what is scored: the response under all principles, then under each alone."""
        shown = [list(self.principles.values()), *([text] for text in self.principles.values())]
        return [self.prompt.render(instruction, response, some, self.always) for some in shown]

    def score(self, rows: Sequence[tuple[str, str]], score: Scorer) -> list[Scored]:
        """Score (instruction, response) rows; equal texts are scored once."""
        rendered = [self.render(*row) for row in rows]
        unique = list(dict.fromkeys(text for texts in rendered for text in texts))
        known = dict(zip(unique, score(unique), strict=True))
        return [
            Scored(
                joint=known[joint],
                each={name: known[t] for name, t in zip(self.principles, alone, strict=True)},
            )
            for joint, *alone in rendered
        ]


def gather_principles(texts: Sequence[str], file: Path | None) -> dict[str, str]:
    """Return principles by what their score is called: a text by itself, a named one by its name.

    Raises:
        InputError: there is none, one is blank, or two are called the same.
        ConstitutionError: the file is no constitution.
    """
    found = [(text, text) for text in texts] + (_of_file(file) if file else [])
    if not found:
        raise InputError(
            "a response is scored by principles, and none is given. Write one as "
            '--principle "Be brief.", or name a file with --principles FILE.'
        )
    named: dict[str, str] = {}
    for name, text in found:
        name = collapse_spaces(name)
        if not name or not collapse_spaces(text):
            raise InputError("a principle is blank; write it, or leave it out.")
        if name in named:
            raise InputError(
                f"the principle {name!r} is given twice; leave one of them out.", field=name
            )
        named[name] = text
    return named


def _of_file(file: Path) -> list[tuple[str, str]]:
    if file.suffix.lower() in CONSTITUTION_ENDINGS:
        return [(p.name, p.text) for p in load_constitution(file).principles]
    lines = [line for line in read_text(file, InputError).splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{file} has no principle; write one per line.")
    return [(line, line) for line in lines]
