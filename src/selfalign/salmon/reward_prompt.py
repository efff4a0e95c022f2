"""What the reward model reads: a response, its instruction, and the principles to judge it by.

Paper: arXiv:2310.05910v2, "Training the Instructable Reward Model" (bullets only) and "Preventing
Reward Hacking" (always-on principles above them).

    response, instruction  ->  quoted      principles  ->  one line each, a bullet before it

The response comes first and the verdict last, so a score is read where everything has been read.
Neither a response nor a principle can forge a section or a bullet: headers inside them are quoted,
and a principle is always one line. Names are not shown, only texts; a negated clause shows its
opposite.

Differences: all wording. What is too long is not cut here; the reader of tokens decides.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selfalign.core.constitution import Constitution
from selfalign.core.errors import InputError
from selfalign.core.prompts import Prompt
from selfalign.core.records import Clause, digest
from selfalign.core.text import collapse_spaces


@dataclass(frozen=True)
class RewardPrompt:
    """The reward model's two templates: without and with principles that are always on."""

    plain: Prompt
    steered: Prompt

    @property
    def fingerprint(self) -> str:
        """Digest of both prompt files."""
        return digest([self.plain.fingerprint, self.steered.fingerprint])

    def render(
        self, instruction: str, response: str, principles: Sequence[str], always: Sequence[str] = ()
    ) -> str:
        """Render texts into what is scored.

        Raises:
            InputError: there is no principle at all, or one of them is blank.
        """
        if not principles and not always:
            raise InputError("a response is judged by principles; give at least one.")
        if not always or not principles:
            shown = bullets(principles or always)
            return self.plain.render(response=response, instruction=instruction, principles=shown)
        return self.steered.render(
            response=response,
            instruction=instruction,
            interventions=bullets(always),
            principles=bullets(principles),
        )


def bullets(principles: Iterable[str]) -> str:
    """Render each principle as one line behind "- ".

    Raises:
        InputError: a principle is blank.
    """
    lines = [collapse_spaces(text) for text in principles]
    if not all(lines):
        raise InputError(
            f"principle {lines.index('') + 1} of {len(lines)} is blank; write it, or leave it out."
        )
    return "\n".join(f"- {line}" for line in lines)


def clause_texts(
    clauses: Iterable[Clause], constitution: Constitution, rng: random.Random | None = None
) -> list[str]:
    """Return what each clause says: the principle's text, or its negation.

    Args:
        clauses: Names, each negated or not.
        constitution: What the names stand for.
        rng: Draws one of a clause's wordings; None: the first, which is the text itself.

    Raises:
        ConstitutionError: there is no such principle, or it has no negation.
    """
    if rng is None:
        return [constitution.sentences(c.principle, negated=c.negated)[0] for c in clauses]
    return [constitution.drawn_sentence(c.principle, rng, negated=c.negated) for c in clauses]
