"""Answers that are bad under every principle: what the reward model must not have to guess.

Ours. No pair of a policy's own answers has an empty one, so a reward model is undefined there; and
since nothing is as brief as nothing, RL under "concise" ends in empty answers that end properly.

    LabelledPair  ->  the same clauses, its better answer against a stub  ->  LabelledPair

Only stubs are used. A repetition or a stray answer would be *right* under some negated principles
("long-winded", "beside the point"); an answer that says nothing is right under none.
"""

from collections.abc import Iterable

from selfalign.core.records import rng_for
from selfalign.salmon.records import LabelledPair

_PURPOSE = "salmon.stage2/degenerate"


def degenerate_negatives(
    labels: Iterable[LabelledPair], *, share: float = 0.1, seed: int = 0
) -> list[LabelledPair]:
    """Return, for a share of the labels, the chosen answer against a stub under the same clauses.

    Whether a label is used, and with which stub, depends on that label alone.
    """
    return [
        _against_a_stub(label, seed)
        for label in labels
        if rng_for(seed, _PURPOSE, label.id).random() < share
    ]


def stubs(answer: str) -> tuple[str, ...]:
    """Return what an answer may shrink to: nothing, a full stop, its first word."""
    first_word = " ".join(answer.split()[:1]).rstrip(".,;:!?") + "."
    return tuple(stub for stub in dict.fromkeys(("", ".", first_word)) if stub != answer)


def _against_a_stub(label: LabelledPair, seed: int) -> LabelledPair:
    rng = rng_for(seed, f"{_PURPOSE}/stub", label.id)
    stub, better_first = rng.choice(stubs(label.chosen)), rng.random() < 0.5
    return LabelledPair(
        pair=label.pair,
        pass_number=label.pass_number,
        instruction=label.instruction,
        first=label.chosen if better_first else stub,
        second=stub if better_first else label.chosen,
        clauses=label.clauses,
        scores=(0.0,) * len(label.clauses),
        decided_by=label.decided_by,
        voted=1 if better_first else 2,
        rule="degenerate",
        noisy=False,
        swapped=label.swapped,
        preferred=1 if better_first else 2,
    )
