"""Answers that are bad whatever is asked for: what the reward model must not have to guess.

Ours. No pair of a policy's own answers has an empty one, so a reward model is undefined there; and
since nothing is as brief as nothing, RL under "concise" ends in empty answers that end properly.
Nor does a pair have an answer to another request, so RL under "candid" may end in one sentence for
everybody, which was balanced and true of something else (docs/lab-log.md).

    LabelledPair  ->  the same clauses, its better answer against a stub   ->  LabelledPair
                  ->  ..., against an answer that another request was given

A stub says nothing and is right under no clause, negated or not. A stray answer would be *right*
under some negated clauses ("beside the point"), so it is used under clauses none of which is
negated. A repetition is not used at all: "long-winded" may be what a clause asks for.

Every other stray answer is as like the right one as can be found and lacks a word that the right
one took from its request ("I will not help you rob a baker" for "... a smith"). From answers that
differ in everything a reward model learns the manner; from these, that the subject counts.
"""

from collections.abc import Iterable, Sequence

from selfalign.core.records import rng_for
from selfalign.salmon.likeness import likeness, words_of
from selfalign.salmon.records import LabelledPair, Rule

_PURPOSE = "salmon.stage2/degenerate"
_STRAY = "salmon.stage2/stray"
_DRAWN = 100
_NEAR = 0.5


def degenerate_negatives(
    labels: Sequence[LabelledPair], *, stubs: float = 0.1, strays: float = 0.0, seed: int = 0
) -> list[LabelledPair]:
    """Return, for some labels, the chosen answer against a stub or a stray one, clauses as before.

    Args:
        labels: What the principles said.
        stubs: Share of all labels, 0 to 1.
        strays: Share, 0 to 1, of the labels none of whose clauses is negated. An answer strays if
            a label of another request has chosen it; without another request there is none.
        seed: Whether a label is used, and with which stub, depends on it and that label alone.
    """
    made = [
        _against(label, _stub(label, seed), "degenerate", seed)
        for label in labels
        if rng_for(seed, _PURPOSE, label.id).random() < stubs
    ]
    return made + [
        _against(label, answer, "stray", seed)
        for label in labels
        if not any(clause.negated for clause in label.clauses)
        and rng_for(seed, _STRAY, label.id).random() < strays
        and (answer := _stray(label, labels, seed)) is not None
    ]


def stubs_of(answer: str) -> tuple[str, ...]:
    """Return what an answer may shrink to: nothing, a full stop, its first word."""
    first_word = " ".join(answer.split()[:1]).rstrip(".,;:!?") + "."
    return tuple(stub for stub in dict.fromkeys(("", ".", first_word)) if stub != answer)


def _stub(label: LabelledPair, seed: int) -> str:
    return rng_for(seed, f"{_PURPOSE}/stub", label.id).choice(stubs_of(label.chosen))


def _stray(label: LabelledPair, labels: Sequence[LabelledPair], seed: int) -> str | None:
    """Draw what another request was given, every other time the likest of what is drawn.

    None: among a hundred drawn labels none has another answer.
    """
    rng = rng_for(seed, f"{_STRAY}/which", label.id)
    others = (rng.choice(labels) for _ in range(_DRAWN))
    answers = [
        other.chosen
        for other in others
        if other.instruction.id != label.instruction.id and other.chosen != label.chosen
    ]
    if not answers:
        return None
    near = likest(label.chosen, label.instruction.text, answers) if rng.random() < _NEAR else None
    return answers[0] if near is None else near


def likest(answer: str, request: str, others: Iterable[str]) -> str | None:
    """Return the other answer that shares most words with this one and yet cannot be meant for it.

    One that has every word which this answer took from its request may well answer it too, and is
    passed over; so is every other if this answer took none. The measure is shared words over all
    words (Jaccard); of equals the first. None: all were passed over.
    """
    taken = words_of(answer) & words_of(request)
    strange = [other for other in others if not taken <= words_of(other)]
    return max(strange, key=lambda other: likeness(answer, other), default=None)


def _against(label: LabelledPair, bad: str, rule: Rule, seed: int) -> LabelledPair:
    better_first = rng_for(seed, f"{_PURPOSE}/{rule}/order", label.id).random() < 0.5
    return LabelledPair(
        pair=label.pair,
        pass_number=label.pass_number,
        instruction=label.instruction,
        first=label.chosen if better_first else bad,
        second=bad if better_first else label.chosen,
        clauses=label.clauses,
        scores=(0.0,) * len(label.clauses),
        decided_by=label.decided_by,
        voted=1 if better_first else 2,
        rule=rule,
        noisy=False,
        swapped=label.swapped,
        preferred=1 if better_first else 2,
    )
