"""How the command line speaks: lines for people on stdout, progress on stderr, data in files.

    start(stage) -> a bar (terminal) or a plain line every ten seconds (pipe, log)
    finish(funnel) -> one line: name, kept / inputs, dropped by reason, seconds, folder

Everything printed goes through `printable`: what a model or a file says is shown, never obeyed,
neither as terminal control sequences nor as markup.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from selfalign.core.funnel import Funnel
from selfalign.reports.printable import one_line, printable

PLAIN_EVERY_S = 10.0
"""Ours: seconds between lines of progress where there is no terminal to draw on."""


def say(text: str = "") -> None:
    """Print one line, or several, for the reader on stdout."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    """Print a remark that is not the command's result, on stderr."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def funnel_line(funnel: Funnel, folder: Path | None = None) -> str:
    """Say in one line what became of a stage's inputs."""
    drops = ", ".join(f"{d.reason} {d.count:,}" for d in funnel.dropped)
    line = f"{funnel.stage}  kept {funnel.kept:,} / {funnel.inputs:,}"
    if funnel.records != funnel.kept:
        line += f" ({funnel.records:,} records)"
    line += f"  dropped: {drops}" if drops else "  dropped none"
    line += f"  {seconds_in_words(funnel.seconds)}"
    return f"{line}  {folder / funnel.key}" if folder else line


def seconds_in_words(seconds: float) -> str:
    """Return "0.4 s", "12 s", "3 min 05 s" or "2 h 10 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class PlainProgress:
    """Progress as lines that a log can keep."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Show folders relative to `folder`, the run; `clock` counts seconds."""
        self._folder, self._clock = folder, clock
        self._stage, self._total, self._done, self._new = "", 0, 0, 0
        self._began = self._told = clock()

    def start(self, stage: str, total: int, done: int) -> None:
        """Say that a stage begins, unless nothing of it is left to do."""
        self._stage, self._total, self._done, self._new = stage, total, done, 0
        self._began = self._told = self._clock()
        if done < total:
            tell(f"{stage}  {total - done:,} of {total:,} to do")

    def advance(self, n: int) -> None:
        """Say every ten seconds how far the stage is, how fast, and how long it may take."""
        self._new += n
        now = self._clock()
        if now - self._told < PLAIN_EVERY_S:
            return
        self._told = now
        rate = self._new / max(now - self._began, 1e-9)
        done = self._done + self._new
        left = seconds_in_words((self._total - done) / rate)
        tell(f"{self._stage}  {done:,} / {self._total:,}  {rate:.1f} per s  about {left} left")

    def note(self, text: str) -> None:
        """Say one sentence."""
        tell(text)

    def finish(self, funnel: Funnel) -> None:
        """Say what became of the stage's inputs."""
        say(funnel_line(funnel, self._folder))


class BarProgress:
    """Progress as a bar on a terminal."""

    def __init__(self, folder: Path, console: Console | None = None) -> None:
        """Show folders relative to `folder`, the run."""
        self._folder = folder
        self._console = console or Console(stderr=True, markup=False, highlight=False)
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def start(self, stage: str, total: int, done: int) -> None:
        """Draw a bar, unless nothing of the stage is left to do."""
        self._stop()
        if done >= total:
            return
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left", markup=False),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task(printable(stage), total=total, completed=done, rate="")
        self._done_before = done
        self._bar.start()

    def advance(self, n: int) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        task = self._bar.tasks[self._task]
        new = task.completed + n - self._done_before
        rate = f"{new / task.elapsed:.1f}/s" if task.elapsed else ""
        self._bar.update(self._task, advance=n, rate=rate)

    def note(self, text: str) -> None:
        """Print a sentence above the bar."""
        self._console.print(printable(text), markup=False, highlight=False)

    def finish(self, funnel: Funnel) -> None:
        """Replace the bar by one line that says what became of the inputs."""
        self._stop()
        say(funnel_line(funnel, self._folder))

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def progress_for(folder: Path) -> PlainProgress | BarProgress:
    """Draw bars on a terminal; write lines to anything else."""
    return BarProgress(folder) if sys.stderr.isatty() else PlainProgress(folder)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Lay rows out in columns; `right` names the columns of numbers."""
    cells = [[one_line(cell, 60) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[c]) for row in cells) for c in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if c in right else cell.ljust(width)
            for c, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
