"""The verbs: what a person can ask for, by name."""

import io
import os
import sys
import warnings
from collections.abc import Sequence

import typer
from typer.main import get_command

from selfalign.cli import ask, calf, doctor, evaluate, library, novelty, run, score, steer
from selfalign.cli.outcome import catch_signals, exit_code_of, log_crashes
from selfalign.core.errors import InputError

QUIET_MACHINES = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    # Spinning threads starve each other when a machine is shared.
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    # Texts differ in length, and oneDNN would keep a compiled product for each of a thousand
    # shapes: gigabytes, within minutes of training (lab log).
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
}
"""Set unless the reader has set them."""

app = typer.Typer(
    name="selfalign",
    help="A base language model in, an aligned model out, from a page of principles.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("show")(run.show)
app.command("report")(run.report)
app.command("steer")(steer.steer)
app.command("score")(score.score)
app.command("eval")(evaluate.evaluate)
app.command("ask")(ask.ask)
app.command("chat")(ask.chat)
app.add_typer(library.app, name="library")
app.command("novelty")(novelty.novelty)
app.add_typer(calf.app, name="calf")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Be the `selfalign` command."""
    for name, value in QUIET_MACHINES.items():
        os.environ.setdefault(name, value)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # deprecations of libraries; `python -W default` shows them
    log_crashes()
    catch_signals()
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    command = get_command(app)

    def do() -> None:
        _refuse_undecodable(arguments)
        command(args=list(arguments), prog_name="selfalign")

    return exit_code_of(do, arguments)


def _refuse_undecodable(arguments: Sequence[str]) -> None:
    """Refuse what cannot be written down again, as records, logs and models would have to."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise InputError(
                f"the argument {argument!r} is not UTF-8 text. Type it in a terminal that speaks "
                f"UTF-8 (`locale` says so), and rename a file whose name is written otherwise."
            ) from None
