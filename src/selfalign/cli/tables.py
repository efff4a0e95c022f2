"""Tables of the command line: numbers of a run as text.

funnels, models, results  ->  lines in columns
"""

from collections.abc import Sequence
from pathlib import Path

from selfalign.cli.terminal import seconds_in_words, table
from selfalign.core.funnel import Funnel
from selfalign.evaluation.exam_result import ExamResult, rate_of
from selfalign.evaluation.pairs import PairsResult
from selfalign.evaluation.statistics import Interval
from selfalign.recipes.evaluate import Condition
from selfalign.recipes.models import read_models


def effect_table(results: Sequence[tuple[Condition, ExamResult]]) -> str:
    """Lay out the rates of right answers, conditions as columns, with 95% intervals."""
    kinds = list(results[0][1].kinds)
    rows = [(kind, *(_rate(result.kinds.get(kind)) for _, result in results)) for kind in kinds]
    rows.append(("unknowable together", *(_rate(result.unknowable) for _, result in results)))
    rows.append(("all", *(_rate(rate_of(result.rows)) for _, result in results)))
    rows.append(("mean words", *(f"{result.mean_words:.1f}" for _, result in results)))
    header = ("right answers, %", *(condition.name for condition, _ in results))
    n = results[0][1].n
    return f"{table(header, rows, right=range(1, len(header)))}\n{n} held-out questions each"


def funnel_table(funnels: Sequence[Funnel]) -> str:
    """Lay out what became of the inputs of every stage."""
    rows = [
        (
            funnel.stage,
            f"{funnel.inputs:,}",
            f"{funnel.kept:,}",
            ", ".join(f"{d.reason} {d.count:,}" for d in funnel.dropped) or "none",
            seconds_in_words(funnel.seconds),
        )
        for funnel in funnels
    ]
    return table(("stage", "in", "kept", "dropped", "time"), rows, right=(1, 2))


def models_table(run: Path) -> str:
    """List the models of a run by the names other commands take."""
    models = read_models(run)
    return "\n".join(f"model {run}:{name}  {place}" for name, place in models.items())


def result_table(result: ExamResult) -> str:
    """Lay out one exam's rates."""
    rows = [(kind, str(i.n), _rate(i)) for kind, i in result.kinds.items()]
    if result.unknowable is not None:
        rows.append(("unknowable together", str(result.unknowable.n), _rate(result.unknowable)))
    return table((result.model, "n", "right, %"), rows, right=(1, 2))


def pairs_table(result: PairsResult) -> str:
    """Lay out how well principles are followed, over all pairs, by group and by trait."""
    groups = [("all", result.rates.all)]
    groups += [(f"wording {name}", rates) for name, rates in result.rates.wording.items()]
    groups += [(f"{name} distractors", r) for name, r in result.rates.distractors.items()]
    groups += [(f"right answer {name}", r) for name, r in result.rates.right_answer.items()]
    groups += [(trait, table.all) for trait, table in result.traits.items()]
    rows = [
        (name, str(r.accuracy.n), *map(_rate, (r.accuracy, r.negated, r.flips, r.agree)))
        for name, r in groups
    ]
    header = (result.model, "n", "right, %", "negated, %", "flips, %", "orders agree, %")
    return table(header, rows, right=range(1, len(header)))


def _rate(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    rate, low, high = (100 * v for v in (interval.rate, interval.low, interval.high))
    return f"{rate:.0f} ({low:.0f}–{high:.0f})"
