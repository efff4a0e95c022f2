"""`selfalign score REWARD_MODEL`: what responses are worth under any principles.

rows.jsonl + principles  ->  the same rows with a joint score and one per principle
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from selfalign.cli.ask import LibraryOption
from selfalign.cli.terminal import progress_for, tell
from selfalign.core.funnel import Funnel
from selfalign.core.library import Library, open_library
from selfalign.core.progress import Progress
from selfalign.engines.reward import open_reward_model
from selfalign.recipes.everything import reopen
from selfalign.recipes.models import Found, find_model
from selfalign.salmon.reward_prompt import RewardPrompt
from selfalign.salmon.score_file import FileScoring, check_files
from selfalign.salmon.scoring import PrincipleScoring, gather_principles


def score(
    model: Annotated[
        str, typer.Argument(metavar="REWARD_MODEL", help="A folder, a Hub name, or RUN:reward.")
    ],
    source: Annotated[
        Path,
        typer.Option("--input", metavar="FILE", help='JSON lines: "instruction" and "response".'),
    ],
    target: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Where the rows go, with scores.")
    ],
    principle: Annotated[
        list[str] | None,
        typer.Option("--principle", metavar="TEXT", help="Judge by this; may be given again."),
    ] = None,
    principles: Annotated[
        Path | None,
        typer.Option(
            "--principles", metavar="FILE", help="A constitution (.yaml), or one per line."
        ),
    ] = None,
    always: Annotated[
        list[str] | None,
        typer.Option("--always", metavar="TEXT", help="Shown with every principle; may repeat."),
    ] = None,
    library: LibraryOption = None,
) -> None:
    """Score responses under all principles at once, and under each; stopped, it continues."""
    named = gather_principles(principle or [], principles)
    rows = check_files(source, target)
    found = find_model(model)
    shelf = _library_of(found, library)
    prompt = RewardPrompt(
        shelf.prompt("salmon/reward_model"), shelf.prompt("salmon/reward_model_rl")
    )
    scoring = PrincipleScoring(prompt, named, tuple(always or ()))
    scoring.render("", "")  # a blank --always is told before the weights are loaded
    progress, began = progress_for(target.parent), time.perf_counter()
    done = FileScoring(open_reward_model(found.model), scoring)(source, target, _shown(progress))
    progress.finish(
        Funnel(
            stage="score",
            key=target.name,
            inputs=rows,
            kept=done.rows,
            records=done.rows,
            dropped=(),
            seconds=round(time.perf_counter() - began, 3),
        )
    )
    if done.resumed_at:
        tell(f"{done.resumed_at:,} rows were scored earlier")


def _library_of(found: Found, directory: Path | None) -> Library:
    """Return the texts a run's reward model was trained with; for others, ours or the reader's."""
    if found.run is not None:
        return reopen(found.run, directory).library
    return open_library(directory=directory)


def _shown(progress: Progress) -> Callable[[int, int], None]:
    at: list[int] = []

    def reached(done: int, rows: int) -> None:
        if at:
            progress.advance(done - at[-1])
        else:
            progress.start("score", rows, done)
        at.append(done)

    return reached
