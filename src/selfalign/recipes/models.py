"""Models by name: what a person types, and what a run made.

    "calf" | directory | Hub name | RUN:NAME   ->  a name or a Checkpoint, which an engine opens

A run keeps `models.json`: the names of what it made (`base`, `engraved`, `final`) and where, by
paths relative to the run, so that a run can be moved.
"""

from pathlib import Path
from typing import NamedTuple

from pydantic import RootModel

from selfalign.core.disk import write_whole
from selfalign.core.errors import ModelError
from selfalign.core.records import CONTENT_DIGEST, Checkpoint
from selfalign.core.store import load_checkpoint
from selfalign.recipes.json_file import read_json

MODELS_FILE = "models.json"

BASE = "base"
"""Name of the model a run begins with, which may be a name on the Hub; the others it made."""


class ModelPaths(RootModel[dict[str, str]]):
    """What `models.json` says: name, then a path relative to the run, or the name of a model."""


class Found(NamedTuple):
    """A model a person named."""

    typed: str
    """As it was typed, such as "runs/pocket:final"."""
    model: str | Checkpoint
    """What an engine opens."""
    run: Path | None
    """The run it belongs to; None: it belongs to none."""


def find_model(typed: str) -> Found:
    """Return the model a person named.

    Raises:
        ModelError: there is none of that name; for RUN:NAME the names the run has follow.
    """
    head, colon, name = typed.rpartition(":")
    folder = Path(head).expanduser()
    if not colon or not head or not (folder.is_dir() or (folder / MODELS_FILE).is_file()):
        return Found(typed, typed, None)
    models = read_models(folder)
    if name not in models:
        raise ModelError(
            f"the run {folder} has no model {name!r}; it has {', '.join(models) or 'none yet'}. "
            f"Correct the name, or run the command that makes it."
        )
    path = folder / models[name]
    if not path.is_dir():
        if name != BASE:
            raise ModelError(
                f"the weights of {typed} are gone: there is no folder {path}. Put it back; or "
                f"delete {path.parent / 'checkpoint.json'}, if it is there, and run the command "
                f"that trains it again."
            )
        return Found(typed, models[name], folder)
    training = next((p for p in (path, path.parent) if (p / "checkpoint.json").is_file()), None)
    return Found(typed, load_checkpoint(training) if training else str(path), folder)


def read_models(run: Path) -> dict[str, str]:
    """Return what a run's `models.json` says.

    Raises:
        ModelError: the folder is no run, or its file was damaged.
    """
    path = run / MODELS_FILE
    if not path.is_file():
        raise ModelError(
            f"{run} is not a run with models: it has no {MODELS_FILE}. Name the folder given as "
            f"--out to `selfalign run`."
        )
    return read_json(ModelPaths, path, ModelError).root


def record_model(run: Path, name: str, checkpoint: Checkpoint) -> None:
    """Add a model to `models.json`; an older one of that name is replaced."""
    models = read_models(run) if (run / MODELS_FILE).is_file() else {}
    models[name] = _place_of(checkpoint, run)
    write_whole(run / MODELS_FILE, ModelPaths(models))


def _place_of(checkpoint: Checkpoint, run: Path) -> str:
    if checkpoint.adapter is None:
        pinned = checkpoint.revision and not checkpoint.revision.startswith(CONTENT_DIGEST)
        return f"{checkpoint.base}@{checkpoint.revision}" if pinned else checkpoint.base
    path, inside = Path(checkpoint.adapter).resolve(), run.resolve()
    return str(path.relative_to(inside)) if path.is_relative_to(inside) else str(path)
