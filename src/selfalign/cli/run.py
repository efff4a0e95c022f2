"""`selfalign run|show|report`: make a run, look at it, write its page.

PLAN key=value …  ->  one line per stage as it ends  ->  effect table, report, models
"""

from pathlib import Path
from typing import Annotated

import typer

from selfalign.cli.outcome import CrashLog
from selfalign.cli.tables import effect_table, funnel_table, models_table
from selfalign.cli.terminal import progress_for, say, seconds_in_words, tell
from selfalign.core.errors import PlanError
from selfalign.core.store import Run
from selfalign.recipes.chapters import read_chapters
from selfalign.recipes.evaluate import read_results
from selfalign.recipes.everything import Order, begin, claim, everything
from selfalign.recipes.ingredients import Ingredients, open_ingredients
from selfalign.recipes.machines import RealMachines
from selfalign.recipes.plan import Plan, StageName, load_plan, plan_path
from selfalign.recipes.preview import check_texts, preview
from selfalign.recipes.stages import all_funnels, changed_code
from selfalign.reports.page import write_report

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]
LibraryOption = Annotated[
    Path | None,
    typer.Option("--library", metavar="DIR", help="Your texts; what the folder lacks is ours."),
]


def run(
    plan: Annotated[
        str,
        typer.Argument(metavar="PLAN", help="A shipped plan (pocket, one_gpu, papers) or a file."),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings, such as stage3.fine_tuning.rank=8."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write; the default is runs/PLAN.")
    ] = None,
    library: LibraryOption = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Go on from stage 1 with at most so many instructions."),
    ] = None,
    until: Annotated[
        StageName, typer.Option(help="Stop after this stage; the same command without it goes on.")
    ] = "evaluation",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the first prompts and the counts; load nothing.")
    ] = False,
) -> None:
    """Align a base model by a plan. Run it again, and it continues where it stopped."""
    given = [*(overrides or []), *([f"limit={limit}"] if limit is not None else [])]
    order = Order(
        plan=plan, overrides=tuple(given), library=str(library.resolve()) if library else None
    )
    chosen = load_plan(plan, given)
    _check_until(until, chosen)
    kit = open_ingredients(chosen, library)
    folder = out or Path("runs") / plan_path(plan).stem
    check_texts(kit)
    if dry_run:
        _show_preview(kit, folder)
    else:
        _make(kit, folder, order, until)


def show(folder: RunFolder) -> None:
    """Say what a run holds: stages, models, effect."""
    chapters = read_chapters(folder)
    run = Run(folder)
    say(f"{folder}: reached {chapters.reached}\n")
    say(funnel_table(all_funnels(run)))
    say("\n" + models_table(folder))
    results = read_results(run)
    if results:
        say("\n" + effect_table(results))
    for sentence in changed_code(run):
        tell(f"note: {sentence}")


def report(folder: RunFolder, library: LibraryOption = None) -> None:
    """Write a run's report again and say where it is."""
    say(f"report: {write_report(folder, library)}")


def _check_until(until: StageName, plan: Plan) -> None:
    if until.startswith("salmon") and plan.salmon is None:
        raise PlanError(
            f"--until {until} can never be reached: this plan has no `salmon` section, so it ends "
            f"with SELF-ALIGN. Add one, or stop at an earlier stage.",
            field="salmon",
        )


def _make(kit: Ingredients, folder: Path, order: Order, until: StageName) -> None:
    progress = progress_for(folder)
    machines = RealMachines(progress, kit.plan.batch_size)
    claim(folder)
    machines.identify(kit.plan.base)  # before anything is written: is it a model?
    begin(folder, order, kit.plan)
    CrashLog.folder = folder / "logs"
    tell(f"writing to {folder}")
    run = Run(folder, progress=progress)
    before = None
    for chapters in everything(kit, run, machines):
        if chapters.reached == until:
            break
        measured = chapters.reached == before  # SELF-ALIGN has been; SALMON follows
        if measured and (so_far := read_results(run)):
            say("\n" + effect_table(so_far) + "\n")
        before = chapters.reached
    seconds = sum(funnel.seconds for funnel in all_funnels(run))
    say("\n" + models_table(folder))
    results = read_results(run)
    if results:
        say("\n" + effect_table(results))
    worked = seconds_in_words(seconds)
    say(f"\nstages and trainings: {worked} of work in all; of those side by side, each counts")
    say(f"report: {write_report(folder, Path(order.library) if order.library else None)}")


def _show_preview(kit: Ingredients, folder: Path) -> None:
    say(f"nothing is loaded or written; a run would write to {folder}\n")
    say(_as_yaml(kit.plan))
    for part in preview(kit):
        say(f"--- {part.stage}: {part.expected}")
        for prompt in part.prompts:
            say("\n".join(f"    {line}" for line in prompt.split("\n")))
            say()


def _as_yaml(plan: Plan) -> str:
    said = plan.model_dump(mode="json", exclude_defaults=True)
    return "the plan, but for defaults:\n" + "\n".join(
        f"    {line}" for line in _lines_of(said, "")
    )


def _lines_of(values: dict[str, object], prefix: str) -> list[str]:
    """Write settings the way the command line takes them."""
    lines: list[str] = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += _lines_of(value, f"{prefix}{key}.")  # pyright: ignore[reportUnknownArgumentType]
        else:
            lines.append(f"{prefix}{key}={value}")
    return lines
