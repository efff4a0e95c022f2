"""`selfalign eval`: an exam of fresh held-out material -> JSON with rates, intervals and every row.

calf         questions, put to a language model; its answers are checked by rules
calf-pairs   pairs of answers, put to a judge (a language model) or to a reward model
"""

import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from selfalign.cli.ask import LibraryOption, ModelName
from selfalign.cli.tables import pairs_table, result_table
from selfalign.cli.terminal import progress_for, say
from selfalign.core.disk import check_place, write_whole
from selfalign.core.errors import InputError, ModelError
from selfalign.core.store import Run
from selfalign.evaluation.exam_result import ExamResult
from selfalign.recipes.evaluate import Condition, sit
from selfalign.recipes.everything import reopen
from selfalign.recipes.exams import CalfExam
from selfalign.recipes.ingredients import Ingredients, open_ingredients
from selfalign.recipes.machines import LazyModel
from selfalign.recipes.models import Found, find_model
from selfalign.recipes.pairs import compare_pairs, is_reward_model
from selfalign.recipes.plan import load_plan


def evaluate(
    model: ModelName,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the result, as JSON.")],
    task: Annotated[
        Literal["calf", "calf-pairs"],
        typer.Option(help="Which exam: questions, or pairs for a judge or reward model."),
    ] = "calf",
    seed: Annotated[int, typer.Option(help="Draws the questions or pairs.")] = 1,
    n: Annotated[int, typer.Option("-n", min=1, help="How many of them.")] = 400,
    in_context: Annotated[
        bool, typer.Option("--in-context", help="Show the principles and exemplars.")
    ] = False,
    library: LibraryOption = None,
) -> None:
    """Put fresh held-out questions or pairs to a model and count what it gets right."""
    found = find_model(model)
    check_place(out, "--out")
    if in_context and task == "calf-pairs":
        raise InputError(
            "--in-context is for --task calf: calf-pairs shows the principle of each pair and no "
            "others. Leave --in-context out, or choose the other task."
        )
    if task == "calf" and is_reward_model(found.model):
        raise ModelError(
            f"{model} is a reward model: it gives scores and cannot answer questions. Use --task "
            f"calf-pairs, or name a language model."
        )
    kit = _texts_of_exam(found, library)
    with tempfile.TemporaryDirectory(prefix="selfalign-eval-") as scratch:
        run = Run(Path(scratch), progress=progress_for(Path(scratch)))
        if task == "calf-pairs":
            pairs = compare_pairs(kit, run, found, seed, n)
            write_whole(out, pairs)
            say(pairs_table(pairs))
            say(f"{n} pairs, each under a principle and its negation; written to {out}")
        else:
            result = _questions(kit, run, found, (seed, n), in_context=in_context)
            write_whole(out, result)
            say(result_table(result))
            say(f"{n} questions, {result.mean_words:.1f} words per answer; written to {out}")
        run.close()


def _questions(
    kit: Ingredients, run: Run, found: Found, draw: tuple[int, int], *, in_context: bool
) -> ExamResult:
    """Sit the exam of questions; `draw` is its seed and size."""
    seed, n = draw
    asked = kit.plan.evaluation.model_copy(update={"task": "calf", "n": n, "seed": seed})
    kit = Ingredients(kit.plan.model_copy(update={"evaluation": asked}), kit.library)
    condition = Condition(found.typed, found.typed, in_context=in_context)
    return sit(kit, run, LazyModel(found.model), CalfExam(), condition)


def _texts_of_exam(found: Found, library: Path | None) -> Ingredients:
    """Return the run's plan and texts; Calf's exam has Calf's vocabulary for every other model."""
    if found.run is not None:
        return reopen(found.run, library)
    return open_ingredients(load_plan("pocket"), library)
