"""What a policy's training has to show: its curves, what was changed on the way, what it cheated.

Paper: arXiv:2310.05910v2, "RL Training with the Instructable Reward Model" and "Preventing Reward
Hacking".

    summary.jsonl, steps.jsonl            ->  curves (policy_series.py)
    steered principles, the schedule      ->  marks on them
    suspicions.jsonl, rollouts.jsonl      ->  samples of what is suspected, samples before and after

Everything is read as the training wrote it; a line that a crash tore is left out by the reader.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from selfalign.core.protocols import PolicyTraining
from selfalign.core.records import RecordId
from selfalign.recipes.json_file import read_json
from selfalign.recipes.trainings import TRAINING_FILE
from selfalign.reports.part import Part
from selfalign.reports.policy_series import Curve, TrainerStep, curves, optimiser_curves
from selfalign.salmon.oversight import Suspected
from selfalign.salmon.records import PromptType, Rollout
from selfalign.salmon.rollout_rewards import STOPPED, rollout_log, summary_log, suspicion_log
from selfalign.salmon.schedule import Schedule, ScheduleEntry
from selfalign.salmon.step_log import read_lines
from selfalign.salmon.step_summary import StepSummary
from selfalign.trainers.policy_account import STEPS_FILE

EDGE_STEPS = 3
"""Ours: steps at either end of a training that samples before and after are taken from."""
SAMPLES_PER_TYPE = 2
"""Ours: queries shown before and after, per type of request."""
TYPED_IN = ("live ", "always ")
"""How the names of principles begin that stand in no file: their text is shown with the name."""


class Mark(Part):
    """Something that was changed or noticed at a step."""

    step: int
    kind: Literal["live edit", "schedule", "suspected"]
    text: str


class Moment(Part):
    """What the policy said at a step, and what it got for it."""

    step: int
    response: str
    reward: float
    clauses: tuple[str, ...]
    """What it was rewarded under; those typed in with their text."""


class BeforeAfter(Part):
    """A query early and late in the training."""

    instruction: str
    prompt_type: PromptType
    before: Moment
    after: Moment


class Gain(Part):
    """How far the reward has come."""

    first: float
    """Mean of the first step, whose responses are the start policy's own."""
    last: float
    sd: float
    """Standard deviation of the rewards of the first step."""

    @property
    def in_sds(self) -> float | None:
        """The rise in standard deviations of the first step; None: its rewards are all equal."""
        return (self.last - self.first) / self.sd if self.sd else None


class PolicyFacts(BaseModel):
    """What the accounts of all policy trainers say."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    recipe: PolicyTraining
    prompts: int
    """Trained on."""
    dropped: int
    """Left out because they are too long."""
    steps: int
    rollouts: int
    seconds: float


class PolicyPart(Part):
    """One policy's training."""

    name: str
    """In the run: "policy", or "policy-" and the name of a control."""
    folder: str
    steps: int
    """Batches of rollouts that were rewarded."""
    facts: PolicyFacts | None
    """None: the training is not finished."""
    stopped: str | None
    """Why it stopped by itself; None: it did not."""
    gain: Gain
    curves: tuple[Curve, ...]
    optimiser: tuple[Curve, ...]
    marks: tuple[Mark, ...]
    """By step."""
    suspicions: tuple[Suspected, ...]
    samples: tuple[BeforeAfter, ...]


def policy_part(name: str, folder: Path, schedule: Schedule) -> PolicyPart | None:
    """Collect what a training has left so far; None: it has not rewarded one step.

    Raises:
        StoreError, InputError: a file of the training was damaged.
    """
    log = summary_log(folder)
    summaries = log.of(log.steps)
    if not summaries:
        return None
    lines = {line.step: line for line in read_lines(folder / STEPS_FILE, TrainerStep)}
    trainer = [lines[step] for step in sorted(lines)]
    suspected = suspicion_log(folder)
    suspicions = suspected.of(suspected.steps)
    stopped, facts = folder / STOPPED, folder / TRAINING_FILE
    return PolicyPart(
        name=name,
        folder=folder.name,
        steps=len(summaries),
        facts=read_json(PolicyFacts, facts) if facts.is_file() else None,
        stopped=stopped.read_text("utf-8").strip() if stopped.is_file() else None,
        gain=gain(summaries),
        curves=tuple(curves(summaries, trainer)),
        optimiser=tuple(optimiser_curves(trainer)),
        marks=tuple(marks(summaries, suspicions, schedule)),
        suspicions=tuple(suspicions),
        samples=tuple(_samples(folder)),
    )


def gain(summaries: Sequence[StepSummary]) -> Gain:
    """Compare the last step with the first."""
    first, last = summaries[0].overall, summaries[-1].overall
    return Gain(first=first.reward, last=last.reward, sd=first.reward_sd)


def marks(
    summaries: Sequence[StepSummary], suspicions: Sequence[Suspected], schedule: Schedule
) -> list[Mark]:
    """Return what was edited live, what the schedule changed and what was suspected, by step."""
    last = summaries[-1].step
    found = [
        Mark(step=entry.from_step, kind="schedule", text=scheduled(entry))
        for entry in schedule.entries
        if entry.from_step <= last
    ]
    skipped: tuple[str, ...] = ()
    for summary in summaries:
        edits = [_steered(change, summary.skipped) for change in summary.steered]
        new = [line for line in summary.skipped if line not in skipped]
        edits += [_lapsed(line) for line in new if _skip(line) not in edits]
        found += [Mark(step=summary.step, kind="live edit", text=text) for text in edits]
        skipped = summary.skipped
    found += [
        Mark(step=one.step, kind="suspected", text=one.suspicion.sentence) for one in suspicions
    ]
    return sorted(found, key=lambda mark: mark.step)


def scheduled(entry: ScheduleEntry) -> str:
    """Say in one line what an entry of the schedule changes."""
    said = [f"pool {entry.pool}"] if entry.pool is not None else []
    if entry.interventions is not None:
        said.append(f"interventions {entry.interventions or 'none'}")
    if entry.always is not None:
        said += [f'always "{text}"' for text in entry.always] or ["no text always on"]
    said += [f"weight {name}={weight:g}" for name, weight in entry.weights.items()]
    return ", ".join(said) or "nothing"


def before_after(early: Iterable[Rollout], late: Iterable[Rollout]) -> list[BeforeAfter]:
    """Put the first and the last response to a query side by side, a few per type of request.

    Of the queries that come in both, those whose responses lie farthest apart are shown.
    """
    first: dict[RecordId, Rollout] = {}
    last: dict[RecordId, Rollout] = {}
    for rollout in sorted(early, key=_place):
        first.setdefault(rollout.query, rollout)
    for rollout in sorted(late, key=_place):
        last[rollout.query] = rollout
    both = sorted((q for q in first if q in last), key=lambda q: (first[q].step - last[q].step, q))
    types: dict[PromptType, list[RecordId]] = {}
    for query in both:
        types.setdefault(first[query].prompt_type, []).append(query)
    return [
        BeforeAfter(
            instruction=first[query].instruction,
            prompt_type=kind,
            before=_moment(first[query]),
            after=_moment(last[query]),
        )
        for kind, queries in sorted(types.items())
        for query in queries[:SAMPLES_PER_TYPE]
    ]


def _samples(folder: Path) -> list[BeforeAfter]:
    log = rollout_log(folder)
    edge = min(EDGE_STEPS, len(log.steps) // 2)
    return before_after(log.of(log.steps[:edge]), log.of(log.steps[-edge:])) if edge else []


def _place(rollout: Rollout) -> tuple[int, int]:
    return rollout.step, rollout.number


def _moment(rollout: Rollout) -> Moment:
    always = [*rollout.always, *[""] * (len(rollout.clauses) - len(rollout.always))]
    return Moment(
        step=rollout.step,
        response=rollout.response,
        reward=rollout.reward.total,
        clauses=tuple(
            ("not " if clause.negated else "")
            + (f'{clause.principle}: "{text}"' if _typed_in(clause.principle) else clause.principle)
            for clause, text in zip(rollout.clauses, always, strict=True)
        ),
    )


def _typed_in(principle: str) -> bool:
    return principle.startswith(TYPED_IN)


def _steered(change: str, skipped: Sequence[str]) -> str:
    """Say a live change, and why nothing came of it if it did not fit."""
    return next((_skip(line) for line in skipped if line.startswith(f"{change}: ")), change)


def _skip(line: str) -> str:
    return f"skipped, {line}"


def _lapsed(line: str) -> str:
    """Say that a change made before no longer fits what the plan has in force."""
    return f"no longer in force, {line}"
