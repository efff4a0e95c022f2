"""What the page shows of SALMON beyond plain values: drawn curves and rows of tables.

SalmonReport  ->  charts, numbered marks, rows  ->  salmon.html.j2
"""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from selfalign.evaluation.pairs import PairRates, PairTable
from selfalign.reports.charts import bar_chart
from selfalign.reports.curves import Frame, Point, Upright, line_chart
from selfalign.reports.policy_contents import Mark, PolicyPart
from selfalign.reports.policy_series import Curve
from selfalign.reports.salmon_contents import POLICY, Following, Labels, SalmonReport
from selfalign.trainers.reward_account import RewardReport

SMALL_SERIES = ("reward", "words", "KL")
"""What is drawn of a control's training."""
SMALL_WIDTH, SMALL_HEIGHT = 330, 110
"""Ours: pixels of a small chart and of its plot."""
KINDS = {"live edit": "edit", "schedule": "schedule", "suspected": "suspected"}
"""CSS class of each kind of mark; of several at one step, the first kind here gives the colour."""


class Drawn(NamedTuple):
    """A chart and what it is called."""

    name: str
    svg: Markup


class Numbered(NamedTuple):
    """A mark, as the list below the curves has it."""

    number: int
    kind: str
    """CSS class."""
    mark: Mark


class PolicyView(NamedTuple):
    """A policy's training and its charts."""

    part: PolicyPart
    curves: list[Drawn]
    optimiser: list[Drawn]
    marks: list[Numbered]


class FollowingRow(NamedTuple):
    """One group of pairs and what each reader made of it."""

    group: str
    name: str
    rates: tuple[PairRates | None, ...]
    """In the order of the readers; None: that reader was asked about no such pair."""


class SalmonView(NamedTuple):
    """All of it."""

    decided_by: Markup | None
    reward_training: list[Drawn]
    following: list[FollowingRow]
    own: PolicyView | None
    """The plan's policy."""
    controls: list[PolicyView]


def salmon_view(salmon: SalmonReport) -> SalmonView:
    """Draw every chart and lay out every table of the SALMON part."""
    own = [part for part in salmon.policies if part.name == POLICY]
    controls = [part for part in salmon.policies if part.name != POLICY]
    return SalmonView(
        decided_by=_decided_by(salmon.labels) if salmon.labels else None,
        reward_training=_reward_training(salmon.reward_training) if salmon.reward_training else [],
        following=following_rows(list(salmon.following.values())),
        own=_policy(own[0]) if own else None,
        controls=[_control(part) for part in controls],
    )


def following_rows(readers: Sequence[Following]) -> list[FollowingRow]:
    """Lay out what readers made of the pairs: by what pairs are balanced over, then by trait."""
    tables = [reader.rates for reader in readers]
    rows = [FollowingRow("", "all pairs", tuple(table.all for table in tables))] if tables else []
    rows += _rows("wording", [table.wording for table in tables])
    rows += _rows("distractors", [table.distractors for table in tables])
    rows += _rows("right answer is", [table.right_answer for table in tables])
    rows += _rows("principle", [_whole(reader.traits) for reader in readers])
    return rows


def uprights(marks: Sequence[Numbered]) -> list[Upright]:
    """Return one upright per step, however many marks it has."""
    steps: dict[int, list[Numbered]] = {}
    for one in marks:
        steps.setdefault(one.mark.step, []).append(one)
    kinds = list(KINDS.values())
    return [
        Upright(
            x=step,
            head=",".join(str(one.number) for one in here),
            text="; ".join(f"{one.mark.kind}: {one.mark.text}" for one in here),
            kind=min((one.kind for one in here), key=kinds.index),
        )
        for step, here in steps.items()
    ]


def numbered(marks: Sequence[Mark]) -> list[Numbered]:
    """Number marks in the order given, from 1."""
    return [Numbered(n, KINDS[mark.kind], mark) for n, mark in enumerate(marks, start=1)]


def _whole(traits: dict[str, PairTable]) -> dict[str, PairRates]:
    return {trait: table.all for trait, table in traits.items()}


def _rows(group: str, readers: Sequence[dict[str, PairRates]]) -> list[FollowingRow]:
    names = list(dict.fromkeys(name for rates in readers for name in rates))
    return [FollowingRow(group, name, tuple(r.get(name) for r in readers)) for name in names]


def _decided_by(labels: Labels) -> Markup:
    return bar_chart({s.principle: {"": s.labels} for s in labels.counts.decided_by}, "labels")


def _reward_training(training: RewardReport) -> list[Drawn]:
    loss = [Point(step, loss) for step, loss, _ in training.curve]
    right = [Point(step, share) for step, _, share in training.curve]
    frame = Frame(SMALL_WIDTH, SMALL_HEIGHT)
    return [
        Drawn("loss", line_chart({"loss": loss}, "step", "nats", frame=frame)),
        Drawn("right", line_chart({"pairs in order": right}, "step", "share", frame=frame)),
    ]


def _policy(part: PolicyPart) -> PolicyView:
    marks = numbered(part.marks)
    standing, last = uprights(marks), _last(part)
    return PolicyView(
        part=part,
        curves=[_drawn(c, standing, Frame(span=(0, last))) for c in part.curves],
        optimiser=[
            _drawn(c, standing, Frame(SMALL_WIDTH, SMALL_HEIGHT, (0, last))) for c in part.optimiser
        ],
        marks=marks,
    )


def _control(part: PolicyPart) -> PolicyView:
    frame = Frame(SMALL_WIDTH, SMALL_HEIGHT, (0, _last(part)))
    small = [
        Curve(name=name, unit=curve.unit, series={name: curve.series[name]})
        for name in SMALL_SERIES
        for curve in part.curves
        if name in curve.series
    ]
    return PolicyView(part, [_drawn(curve, [], frame) for curve in small], [], [])


def _drawn(curve: Curve, standing: Sequence[Upright], frame: Frame) -> Drawn:
    svg = line_chart(curve.series, "step", curve.unit, uprights=standing, frame=frame)
    return Drawn(curve.name, svg)


def _last(part: PolicyPart) -> float:
    """Return the last step there is a point or a mark of."""
    points = [p.x for c in part.curves for points in c.series.values() for p in points]
    return max([*points, *(mark.step for mark in part.marks)], default=0)
