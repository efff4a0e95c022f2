"""`selfalign library check|count|diff`: the human's contribution, looked at before it is used.

folder  ->  findings            (exit 2 if any is an error)
folder  ->  supervision ledger, beside the systems the paper compares itself with
two     ->  what changed, and which stages of a run that renames
"""

from pathlib import Path
from typing import Annotated

import typer

from selfalign.cli.outcome import BAD_INPUT
from selfalign.cli.terminal import say, table
from selfalign.core.library import (
    PAPER_LIMIT,
    SYSTEMS,
    Library,
    check_library,
    count_library,
    count_salmon,
    diff_libraries,
    open_library,
)
from selfalign.recipes.machines import LazyModel
from selfalign.recipes.models import find_model

app = typer.Typer(
    help="Check, count and compare the texts humans wrote.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Directory = Annotated[
    Path | None, typer.Argument(metavar="DIR", help="Your folder; what it lacks is ours.")
]
LibraryOption = Annotated[
    Path | None, typer.Option("--library", metavar="DIR", help="The same as the argument.")
]
Overlay = Annotated[
    str | None, typer.Option(metavar="NAME", help='A shipped variant below it, such as "pocket".')
]
Name = Annotated[
    str, typer.Option(metavar="NAME", help="Which constitution, and the exemplars of that name.")
]


@app.command()
def check(
    directory: Directory = None,
    library: LibraryOption = None,
    overlay: Overlay = None,
    constitution: Name = "self_align",
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Also check that every prompt fits this model."),
    ] = None,
) -> None:
    """Look for whatever is wrong or odd in a library."""
    opened = open_library(overlay, directory or library)
    window = LazyModel(find_model(model).model) if model else None
    findings = check_library(opened, constitution=constitution, window=window)
    for finding in findings:
        place = f"{finding.file}, {finding.field}" if finding.field else finding.file
        message = (
            finding.message if finding.file in finding.message else f"{place}: {finding.message}"
        )
        say(f"{finding.level}: {message}")
    errors = sum(finding.level == "error" for finding in findings)
    say(
        f"{len(opened.files())} files looked at in {_folders(opened)}: {errors} errors, "
        f"{len(findings) - errors} warnings"
    )
    if errors:
        raise typer.Exit(BAD_INPUT)


@app.command()
def count(
    directory: Directory = None,
    library: LibraryOption = None,
    overlay: Overlay = None,
    constitution: Name = "self_align",
) -> None:
    """Count what humans wrote, the way the paper counts."""
    opened = open_library(overlay, directory or library)
    rows = count_library(opened, constitution)
    header = ("what humans wrote", "count", "lines of text", "file")
    counted = [(r.kind, f"{r.count:,}", f"{r.text_lines:,}", r.file) for r in rows if r.counted]
    beside = [(r.kind, f"{r.count:,}", f"{r.text_lines:,}", r.file) for r in rows if not r.counted]
    say(table(header, counted, right=(1, 2)))
    total = next(row.count for row in rows if row.kind == "total")
    say(f"\n{total} annotations; the paper's limit is {PAPER_LIMIT}.")
    say("\nNot counted by the paper:\n")
    say(table(header, beside, right=(1, 2)))
    say("\nThe systems the paper compares itself with (* from memory, not verified):\n")
    systems = [
        (s.name, s.annotations + ("" if s.verified else " *"), s.source, s.technique)
        for s in SYSTEMS
    ]
    ours = ("this library", f"{total}", "humans", "Self-Instruct + Self-Align")
    say(table(("system", "annotations", "source", "technique"), [*systems, ours]))
    say("\nSALMON counts 6 exemplars and 31 principles; below its total, what it does not count:\n")
    written = [(r.kind, f"{r.count:,}", f"{r.text_lines:,}", r.file) for r in count_salmon(opened)]
    say(table(header, written, right=(1, 2)))


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="A library folder.")],
    second: Annotated[
        Path | None, typer.Argument(metavar="B", help="Another one; without it, A against ours.")
    ] = None,
    overlay: Overlay = None,
) -> None:
    """Say what changes from one library to another, and which stages that renames."""
    before = open_library(overlay, first if second else None)
    changes = diff_libraries(before, open_library(overlay, second or first))
    for change in changes:
        say(f"{change.file}: {change.item} {change.how}")
    stages = list(dict.fromkeys(stage for change in changes for stage in change.stages))
    if not changes:
        say("the same in every file")
    elif stages:
        say(f"\nthese stages of a run get new folders and are done anew: {', '.join(stages)}")
    else:
        say("\nno stage reads what changed")


def _folders(opened: Library) -> str:
    return ", ".join(map(str, opened.folders))
