"""The curves of a policy's training, taken from what its reward function and trainer wrote.

Paper: arXiv:2310.05910v2, "RL Training with the Instructable Reward Model" and "Preventing Reward
Hacking": a curve of the reward alone cannot tell a better policy from a cheating one.

    StepSummary per step (rewards, signs, probes)   ->  Curve: named lines over one axis
    TrainerStep per step (KL, entropy, clipping)    ->  Curve
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from selfalign.reports.curves import Point
from selfalign.reports.part import Part
from selfalign.salmon.probes import ProbeScores, fall
from selfalign.salmon.records import PromptType
from selfalign.salmon.step_summary import Slice, StepSummary

Series = dict[str, tuple[Point, ...]]


class Curve(Part):
    """Lines over the steps of a training that share an axis."""

    name: str
    unit: str
    series: Series


class TrainerStep(BaseModel):
    """What a trainer's `steps.jsonl` says beside the summary; trainers say different things."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: int
    kl: float | None = None
    entropy: float | None = None
    clip_fraction: float | None = None
    explained_variance: float | None = None


def curves(summaries: Sequence[StepSummary], trainer: Sequence[TrainerStep]) -> list[Curve]:
    """Return every curve there is something to draw of; series that are 0 throughout are left out.

    The first three are reward, KL and length.
    """
    found = [
        Curve(name="reward and its items", unit="reward", series=_rewards(summaries)),
        Curve(
            name="distance from the reference",
            unit="nats per response",
            series=_kl(summaries, trainer),
        ),
        Curve(
            name="length",
            unit="per response",
            series=_series(summaries, {"words": lambda s: s.words, "tokens": lambda s: s.tokens}),
        ),
        Curve(name="how responses end and repeat", unit="share", series=_habits(summaries)),
        Curve(name="refusals by type of request", unit="share", series=_refusals(summaries)),
        Curve(name="signs of cheating", unit="share", series=_signs(summaries)),
        Curve(
            name="probes: the score under one principle at a time",
            unit="standard deviations above the first probe",
            series=probe_series([(s.step, s.probes) for s in summaries if s.probes is not None]),
        ),
    ]
    return [curve for curve in found if curve.series]


def optimiser_curves(trainer: Sequence[TrainerStep]) -> list[Curve]:
    """Return what the trainer measured of its own updates; what it does not measure is left out."""
    return [
        Curve(name=name, unit=unit, series={name: points})
        for name, unit, values in (
            ("entropy", "nats per token", [s.entropy for s in trainer]),
            ("clip fraction", "share", [s.clip_fraction for s in trainer]),
            ("explained variance", "share", [s.explained_variance for s in trainer]),
        )
        if (points := _points(zip((s.step for s in trainer), values, strict=True)))
    ]


def probe_series(probed: Sequence[tuple[int, ProbeScores]]) -> Series:
    """Return the rise of every probe since the first one of the same responses' source."""
    if not probed:
        return {}
    first = probed[0][1]
    risen = [(step, fall(first, now)) for step, now in probed if now.source == first.source]
    return {
        name: tuple(Point(step, -down.by_principle[name]) for step, down in risen)
        for name in first.means
    }


def _series(
    summaries: Sequence[StepSummary], values: Mapping[str, Callable[[Slice], float | None]]
) -> Series:
    """Return the named values of all responses of each step."""
    return {
        name: points
        for name, value in values.items()
        if (points := _points((s.step, value(s.overall)) for s in summaries))
    }


def _points(values: Iterable[tuple[int, float | None]]) -> tuple[Point, ...]:
    return tuple(Point(step, value) for step, value in values if value is not None)


def _rewards(summaries: Sequence[StepSummary]) -> Series:
    items = {
        item.replace("_", " "): _points((s.step, s.overall.items[item]) for s in summaries)
        for item in summaries[0].overall.items
    }
    total = _series(summaries, {"reward": lambda s: s.reward})
    return {**total, **_moving(items)}


def _kl(summaries: Sequence[StepSummary], trainer: Sequence[TrainerStep]) -> Series:
    own = _points((s.step, s.overall.kl) for s in summaries)
    points = own or _points((s.step, s.kl) for s in trainer)
    return {"KL": points} if points else {}


def _habits(summaries: Sequence[StepSummary]) -> Series:
    return _series(
        summaries,
        {
            "stop rate": lambda s: s.stop_rate,
            "refusal rate": lambda s: s.refusal_rate,
            "repetition": lambda s: s.repetition,
        },
    )


def _refusals(summaries: Sequence[StepSummary]) -> Series:
    types: list[PromptType] = list(dict.fromkeys(k for s in summaries for k in s.by_type))
    return {
        kind.replace("_", " "): _points(
            (s.step, s.by_type[kind].refusal_rate) for s in summaries if kind in s.by_type
        )
        for kind in types
    }


def _signs(summaries: Sequence[StepSummary]) -> Series:
    return _moving(
        _series(
            summaries,
            {
                "self-praise": lambda s: s.self_praise_rate,
                "general advice": lambda s: s.general_advice_rate,
                "over-teaching": lambda s: s.over_teaching_rate,
                "stubs": lambda s: s.stub_rate,
                "wrong language": lambda s: s.wrong_language_rate,
            },
        )
    )


def _moving(series: Series) -> Series:
    """Return the series that are not 0 throughout."""
    return {name: points for name, points in series.items() if any(p.y for p in points)}
