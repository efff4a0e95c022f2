"""What a run holds so far, by the names of its folders: written after every stage, read by reports.

recipe  ->  chapters.json, models.json  ->  show, report, eval, chat
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from pydantic import Field

from selfalign.core.disk import write_whole
from selfalign.core.errors import InputError
from selfalign.core.records import Checkpoint, Kept, R, Settings
from selfalign.core.shelf import Shelf
from selfalign.core.store import load_checkpoint
from selfalign.recipes.json_file import read_json
from selfalign.recipes.models import record_model
from selfalign.recipes.plan import StageName

CHAPTERS_FILE = "chapters.json"
PLAN_FILE = "plan.yaml"
EVALUATION_FOLDER = "evaluation"


class Chapters(Settings):
    """How far a run of the recipe is, and where each stage's work lies."""

    reached: StageName
    """The last stage that is finished."""
    base: Checkpoint
    rules: tuple[str, ...]
    """Names of the principles, in the order of the constitution."""
    instructions: str | None = None
    """Folder of stage 1's instructions."""
    aligned: str | None = None
    """Folder of stage 2's answers."""
    engraved: str | None = None
    """Folder of stage 3's training."""
    verbose: str | None = None
    """Folder of stage 4's answers."""
    final: str | None = None
    """Folder of stage 4's training."""
    pairs: str | None = None
    """Folder of SALMON 1's pairs."""
    judged: str | None = None
    """Folder of SALMON 1's judgements."""
    labels: str | None = None
    """Folder of SALMON 2's labels."""
    reward: str | None = None
    """Folder of SALMON 2's training."""
    varied: str | None = None
    """Folder of the training of SALMON 3's start, if it has one of its own."""
    policies: Mapping[str, str] = Field(default_factory=dict)
    """Folders of SALMON 3's trainings: "policy", and one per control."""

    def then(self, reached: StageName, **folders: str | Mapping[str, str] | None) -> Self:
        """Return the state after one more stage."""
        return self.model_copy(update={"reached": reached, **folders})

    def models(self, run: Path) -> dict[str, Checkpoint]:
        """Return the models the run has, in the order of the paper."""
        trained = {
            "engraved": self.engraved,
            "final": self.final,
            "reward": self.reward,
            "varied": self.varied,
        }
        trained |= self.policies
        made = {name: load_checkpoint(run / f) for name, f in trained.items() if f is not None}
        return {"base": self.base, **made}


def record_chapters(run: Path, chapters: Chapters) -> None:
    """Write down how far a run is, and the models it has."""
    write_whole(run / CHAPTERS_FILE, chapters)
    for name, checkpoint in chapters.models(run).items():
        record_model(run, name, checkpoint)


def read_chapters(run: Path) -> Chapters:
    """Return how far a run is.

    Raises:
        InputError: the folder is no run, or nothing of it is finished yet.
    """
    path = run / CHAPTERS_FILE
    if not path.is_file():
        raise InputError(
            f"{run} is no run of a recipe, or its first stage is not finished: there is no "
            f"{CHAPTERS_FILE}. Name the folder given as --out to `selfalign run`."
        )
    return read_json(Chapters, path)


def kept(run: Path, folder: str | None, kind: type[R]) -> Iterator[R]:
    """Yield the records a stage of a run kept; None: the run has no such stage."""
    if folder is None:
        return
    for outcome in Shelf(run / folder, kind):
        if isinstance(outcome, Kept):
            yield from outcome.records
