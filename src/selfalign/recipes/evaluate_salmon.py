"""Measuring what SALMON made: judge and reward model on held-out pairs, policies on the exam.

Paper: arXiv:2310.05910v2, controllability experiments; pairs and checkers are ours.

    judge, reward model             ->  the same held-out pairs  ->  PairsResult each
    the start, every policy         ->  the plan's exam, asked plainly  ->  ExamResult each
                                    ->  ControlRow each  ->  the control matrix
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import RootModel

from selfalign.calf.exam import refuses
from selfalign.core.disk import write_whole
from selfalign.core.store import Run
from selfalign.evaluation.control_matrix import ControlRow, control_row
from selfalign.evaluation.pairs import PairsResult
from selfalign.recipes.chapters import EVALUATION_FOLDER, Chapters
from selfalign.recipes.evaluate import Condition, sit
from selfalign.recipes.ingredients import Ingredients
from selfalign.recipes.json_file import read_json
from selfalign.recipes.machines import Machines
from selfalign.recipes.models import Found
from selfalign.recipes.pairs import compare_pairs

MATRIX_FILE = "control_matrix.json"
PAIRS_FILE = "pairs_{reader}.json"
READERS = ("judge", "reward")


class ControlMatrix(RootModel[tuple[ControlRow, ...]]):
    """The model the policies started from, then every policy."""


def evaluate_salmon(kit: Ingredients, run: Run, machines: Machines, chapters: Chapters) -> None:
    """Measure what a run has of SALMON; nothing if it has none, or no exam fits."""
    if kit.exam is None or kit.plan.salmon is None or chapters.reward is None:
        return
    for _ in evaluate_pairs(kit, run, chapters):
        pass
    evaluate_controls(kit, run, machines, chapters)


def evaluate_pairs(kit: Ingredients, run: Run, chapters: Chapters) -> Iterator[PairsResult]:
    """Put the held-out pairs to the run's judge and to its reward model, unless that was done."""
    assert kit.plan.salmon is not None
    models = {**chapters.models(run.path), "base": kit.plan.base}
    evaluation = kit.plan.evaluation
    for reader, name in zip(READERS, (kit.plan.salmon.preferences.judge, "reward"), strict=True):
        model = models[name]
        told = model if isinstance(model, str) else f"{name} ({model.made_of or model.base})"
        path = run.path / EVALUATION_FOLDER / PAIRS_FILE.format(reader=reader)
        asked = (told, evaluation.seed, evaluation.n)
        if path.is_file():
            result = read_json(PairsResult, path)
            if (result.model, result.seed, result.n) == asked:
                yield result
                continue
        result = compare_pairs(kit, run, Found(told, model, run.path), *asked[1:])
        write_whole(path, result)
        yield result


def evaluate_controls(
    kit: Ingredients, run: Run, machines: Machines, chapters: Chapters
) -> ControlMatrix:
    """Measure the start and every policy of a run on the plan's exam."""
    assert kit.exam is not None
    assert kit.plan.salmon is not None
    models = chapters.models(run.path)
    rows: list[ControlRow] = []
    for name in (kit.plan.salmon.policy.start, *chapters.policies):
        result = sit(kit, run, machines.open(models[name]), kit.exam, Condition(name, name))
        rows.append(control_row(name, result, refuses))
    matrix = ControlMatrix(tuple(rows))
    write_whole(run.path / EVALUATION_FOLDER / MATRIX_FILE, matrix)
    return matrix


def read_controls(run: Path) -> ControlMatrix | None:
    """Return the control matrix of a run; None: it has none."""
    path = run / EVALUATION_FOLDER / MATRIX_FILE
    return read_json(ControlMatrix, path) if path.is_file() else None


def read_pairs(run: Path) -> dict[str, PairsResult]:
    """Return what the run's judge and reward model made of the held-out pairs, by reader."""
    paths = {r: run / EVALUATION_FOLDER / PAIRS_FILE.format(reader=r) for r in READERS}
    return {reader: read_json(PairsResult, p) for reader, p in paths.items() if p.is_file()}
