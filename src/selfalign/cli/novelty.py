"""`selfalign novelty IN OUT`: drop near-duplicates from a file of instructions, exactly.

IN (JSON lines, Parquet, text)  ->  every row that is new to the rows before it  ->  OUT
"""

import time
from pathlib import Path
from typing import Annotated

import typer

from selfalign.cli.terminal import say, seconds_in_words, tell
from selfalign.core.errors import InputError
from selfalign.core.novelty import DropAt, NoveltySettings, TokenizerName
from selfalign.core.novelty_files import filter_file


def novelty(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A .jsonl, .parquet or .txt file.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Where kept rows go, unchanged.")],
    threshold: Annotated[
        float, typer.Option(help="ROUGE-L F1 at which two texts are too alike; above 0, at most 1.")
    ] = 0.7,
    drop_at: Annotated[
        DropAt, typer.Option(help='"ge": at the threshold too (the paper); "gt": only above it.')
    ] = "ge",
    tokenizer: Annotated[
        TokenizerName, typer.Option(help='"unicode" reads every script; "rouge" is the authors\'.')
    ] = "unicode",
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Rows of this file count as kept; may be given again."),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which field to compare; the default is the usual ones."),
    ] = None,
) -> None:
    """Drop near-duplicates; stopped or given more rows, the same command continues."""
    if not 0 < threshold <= 1:
        raise InputError(f"--threshold {threshold}: give a number above 0 and at most 1, as 0.7.")
    settings = NoveltySettings(threshold=threshold, drop_at=drop_at, tokenizer=tokenizer)
    tell(f"writing to {target}")
    began = time.perf_counter()
    report = filter_file(source, target, settings=settings, against=against or (), column=column)
    seconds = seconds_in_words(time.perf_counter() - began)
    beside = f", {report.against:,} counted as kept beforehand" if report.against else ""
    resumed = f", {report.resumed_at:,} judged earlier" if report.resumed_at else ""
    say(
        f"novelty  kept {report.kept:,} / {report.rows:,}  dropped: near_duplicate "
        f"{report.dropped:,}  {seconds}  {target}{beside}{resumed}"
    )
