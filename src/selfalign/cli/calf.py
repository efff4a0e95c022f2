"""`selfalign calf pretrain`: rebuild the embedded base model from a seed.

seed  ->  corpus, tokenizer, weights in DIR        (hours on a laptop; the shipped ones suffice)
"""

from pathlib import Path
from typing import Annotated

import typer

from selfalign.cli.outcome import CrashLog
from selfalign.cli.terminal import say, tell
from selfalign.core.disk import unwritable

app = typer.Typer(help="The embedded base model.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def calf() -> None:
    """The embedded base model."""


@app.command()
def pretrain(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write the model.")],
    seed: Annotated[int, typer.Option(help="Draws corpus, initial weights and batches.")] = 0,
) -> None:
    """Rebuild corpus, tokenizer and weights; a stopped pretraining continues."""
    from selfalign.calf.pretrain import pretrain as rebuild  # torch takes seconds

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(out, error) from error
    CrashLog.folder = out / "logs"
    tell(f"writing to {out}")
    say(f"model: {rebuild(seed, out, report=tell)}")
