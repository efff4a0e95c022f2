"""What a step of reinforcement learning came to, in numbers: one line per step. Pure.

Paper: arXiv:2310.05910v2, "RL Training with the Instructable Reward Model" and "Preventing Reward
Hacking": curves of the reward alone cannot tell a better policy from a cheating one.

    rollouts of a step  ->  a Slice over all, one per type of request  ->  StepSummary

Difference: the authors log reward, KL and losses. Signs, probes and principles in force are ours.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, pstdev
from typing import get_args

from pydantic import BaseModel, ConfigDict

from selfalign.salmon.probes import ProbeScores
from selfalign.salmon.records import PromptType, Reward, Rollout
from selfalign.salmon.signs import Signs, signs


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Slice(_Frozen):
    """Some rollouts in numbers; every rate is a share of them, 0 to 1."""

    rollouts: int
    reward: float
    """Mean of the totals."""
    reward_sd: float
    """Standard deviation of the totals."""
    items: Mapping[str, float]
    """Mean of every item of the reward."""
    raw_score: float
    """Mean of what the reward model itself said."""
    kl: float | None
    """Mean over responses, in nats; None: the trainer has no estimate."""
    tokens: float
    """Mean length of a response."""
    words: float
    """Mean length of a response."""
    stop_rate: float
    """Responses that end their turn."""
    refusal_rate: float
    repetition: float
    """Mean share of word triples said before in the same response."""
    self_praise_rate: float
    general_advice_rate: float
    over_teaching_rate: float
    stub_rate: float
    wrong_language_rate: float | None
    """Of the responses whose language can be told; None: of none."""


class StepSummary(_Frozen):
    """A step in numbers, and the principles it was rewarded under."""

    step: int
    overall: Slice
    by_type: Mapping[PromptType, Slice]
    """Types of which the step has no rollout are left out."""
    probes: ProbeScores | None
    """Scores under single principles; None: not asked at this step."""
    weights: Mapping[str, float]
    """Of the principles that could be drawn."""
    always: Mapping[str, str]
    """Name and text of the principles that were always on."""
    steered: tuple[str, ...] = ()
    """Live changes that took effect at this step."""
    skipped: tuple[str, ...] = ()
    """Live changes heard by now that do not fit what the plan has in force, and why."""
    suspected: tuple[str, ...] = ()
    """Hacks suspected at this step."""


def slice_of(rollouts: Sequence[Rollout], seen: Sequence[Signs]) -> Slice:
    """Sum up rollouts and what was seen of them, given in the same order; at least one."""
    totals = [rollout.reward.total for rollout in rollouts]
    kls = [rollout.kl for rollout in rollouts if rollout.kl is not None]
    told = [one.foreign for one in seen if one.foreign is not None]
    return Slice(
        rollouts=len(rollouts),
        reward=fmean(totals),
        reward_sd=pstdev(totals),
        items={
            item: fmean(float(getattr(r.reward, item)) for r in rollouts)
            for item in Reward.model_fields
        },
        raw_score=fmean(r.raw_score for r in rollouts),
        kl=fmean(kls) if kls else None,
        tokens=fmean(r.tokens for r in rollouts),
        words=fmean(one.words for one in seen),
        stop_rate=fmean(r.finished for r in rollouts),
        refusal_rate=fmean(one.refuses for one in seen),
        repetition=fmean(one.repetition for one in seen),
        self_praise_rate=fmean(one.praises_itself for one in seen),
        general_advice_rate=fmean(one.advises for one in seen),
        over_teaching_rate=fmean(one.over_teaches for one in seen),
        stub_rate=fmean(one.stub for one in seen),
        wrong_language_rate=fmean(told) if told else None,
    )


def by_type(rollouts: Sequence[Rollout], seen: Sequence[Signs]) -> dict[PromptType, Slice]:
    """Sum up per type of request, in the order of the types."""
    found: dict[PromptType, Slice] = {}
    for kind in get_args(PromptType):
        here = [n for n, rollout in enumerate(rollouts) if rollout.prompt_type == kind]
        if here:
            found[kind] = slice_of([rollouts[n] for n in here], [seen[n] for n in here])
    return found


def seen_of(
    rollouts: Sequence[Rollout], language_of: Callable[[str], str] | None = None
) -> list[Signs]:
    """Look at every rollout."""
    return [signs(r.instruction, r.response, language_of) for r in rollouts]
