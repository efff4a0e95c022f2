"""Comparing the models of a run on held-out questions, and any model on the same.

Paper: arXiv:2305.03047v2, evaluation: the base model bare and prompted, the engraved model, the
final one. Difference: questions are fresh for every seed and checked by rules, with intervals.

    model, seed, n  ->  questions  ->  answers (plainly | principles in context)  ->  ExamResult
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from selfalign.core.disk import write_whole
from selfalign.core.protocols import LanguageModel
from selfalign.core.records import Checkpoint
from selfalign.core.store import Run
from selfalign.evaluation.exam_result import ExamResult, summarise
from selfalign.recipes.chapters import EVALUATION_FOLDER, Chapters
from selfalign.recipes.exams import CalfExam
from selfalign.recipes.ingredients import Ingredients
from selfalign.recipes.json_file import read_json
from selfalign.recipes.machines import Machines


class Condition(NamedTuple):
    """A model, and how it is asked."""

    name: str
    """As the effect table has it."""
    model: str
    """Name of the model in the run."""
    in_context: bool = False
    """Whether the principles and exemplars are shown."""


CONDITIONS = (
    Condition("bare base", "base"),
    Condition("principles in context", "base", in_context=True),
    Condition("engraved", "engraved"),
    Condition("final (verbose)", "final"),
    Condition("policy (SALMON)", "policy"),
)
"""The papers' comparison, in its order; the last one where the plan goes on to SALMON."""


def evaluate_run(
    kit: Ingredients,
    run: Run,
    machines: Machines,
    chapters: Chapters,
    sat: Collection[Condition] = (),
) -> Iterator[tuple[Condition, ExamResult]]:
    """Sit the plan's exam under every condition the run has a model for, but those sat before."""
    exam = kit.exam
    if exam is None:
        return
    models: dict[str, str | Checkpoint] = {**chapters.models(run.path), "base": kit.plan.base}
    folder = run.path / EVALUATION_FOLDER
    folder.mkdir(exist_ok=True)
    for condition in CONDITIONS:
        if condition.model not in models or condition in sat:
            continue
        lm = machines.open(models[condition.model])
        result = sit(kit, run, lm, exam, condition)
        write_whole(folder / f"{file_name(condition)}.json", result)
        yield condition, result


def sit(
    kit: Ingredients, run: Run, lm: LanguageModel, exam: CalfExam, condition: Condition
) -> ExamResult:
    """Ask the plan's questions of one model and grade the answers."""
    evaluation = kit.plan.evaluation
    questions = exam.questions(evaluation.seed, evaluation.n)
    asking = kit.answering_in_context(lm) if condition.in_context else kit.answering(lm)
    answers = run.fill(asking, questions.asked)
    name = f"{condition.model} (principles in context)" if condition.in_context else condition.model
    return summarise("calf", name, evaluation.seed, exam.mark(questions, answers))


def read_results(run: Run) -> list[tuple[Condition, ExamResult]]:
    """Return the results a run has, in the order of the conditions.

    Raises:
        InputError: a result was damaged.
    """
    folder = run.path / EVALUATION_FOLDER
    found: list[tuple[Condition, ExamResult]] = []
    for condition in CONDITIONS:
        path = folder / f"{file_name(condition)}.json"
        if path.is_file():
            found.append((condition, read_json(ExamResult, path)))
    return found


def file_name(condition: Condition) -> str:
    """Return "bare_base" for "bare base", "final" for "final (verbose)"."""
    return condition.name.partition(" (")[0].replace(" ", "_")
