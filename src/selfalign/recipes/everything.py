"""A whole run: every stage, then the comparison of what came of it.

plan + library + folder  ->  self_align  ->  evaluate  ->  chapters, models, results
"""

from collections.abc import Iterator
from pathlib import Path

import yaml

from selfalign.core.disk import unwritable, write_whole
from selfalign.core.lock import hold
from selfalign.core.records import Settings
from selfalign.core.store import Run
from selfalign.recipes.chapters import PLAN_FILE, Chapters, record_chapters
from selfalign.recipes.evaluate import Condition, evaluate_run
from selfalign.recipes.evaluate_salmon import evaluate_salmon
from selfalign.recipes.ingredients import Ingredients, open_ingredients
from selfalign.recipes.json_file import read_json
from selfalign.recipes.machines import Machines
from selfalign.recipes.plan import Plan
from selfalign.recipes.plan_file import read_settings
from selfalign.recipes.salmon import salmon
from selfalign.recipes.self_align import self_align

ORDER_FILE = "order.json"


class Order(Settings):
    """What a person ordered: enough to repeat a run, beside its effective plan."""

    plan: str
    """Name of a shipped plan, or a path."""
    overrides: tuple[str, ...] = ()
    library: str | None = None
    """The person's own library folder, absolute; None: what ships."""


def claim(path: Path) -> None:
    """Make a run's folder, and this process its only writer.

    Raises:
        UnwritableError: nothing can be written there.
        StoreError: another process writes there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        hold(path)
    except OSError as error:
        raise unwritable(path, error) from error


def begin(path: Path, order: Order, plan: Plan) -> None:
    """Write into a run's folder what was ordered."""
    claim(path)
    text = yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_whole(path / PLAN_FILE, text)
    write_whole(path / ORDER_FILE, order)


def everything(kit: Ingredients, run: Run, machines: Machines) -> Iterator[Chapters]:
    """Run the recipe and the evaluation; yield after each part, with everything written down.

    Where SALMON follows, what SELF-ALIGN has brought is measured before, and `stage4` comes twice:
    nobody should wait for the second paper to see what came of the first.
    """
    chapters: Chapters | None = None
    sat: list[Condition] = []
    for chapters in _recipes(kit, run, machines):
        record_chapters(run.path, chapters)
        yield chapters
        if chapters.reached == "stage4" and kit.plan.salmon is not None:
            sat = [condition for condition, _ in evaluate_run(kit, run, machines, chapters)]
            yield chapters
    if chapters is not None:
        list(evaluate_run(kit, run, machines, chapters, sat))
        evaluate_salmon(kit, run, machines, chapters)
        chapters = chapters.then("evaluation")
        record_chapters(run.path, chapters)
        yield chapters


def _recipes(kit: Ingredients, run: Run, machines: Machines) -> Iterator[Chapters]:
    aligned: Chapters | None = None
    for aligned in self_align(kit, run, machines):
        yield aligned
    if aligned is not None:
        yield from salmon(kit, run, machines, aligned)


def reopen(path: Path, library: Path | None = None) -> Ingredients:
    """Return the plan and library a run was made with; `library` replaces the person's folder."""
    plan = read_settings(Plan, path / PLAN_FILE)
    order = read_json(Order, path / ORDER_FILE)
    folder = library or (Path(order.library) if order.library else None)
    return open_ingredients(plan, folder)
