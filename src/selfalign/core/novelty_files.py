"""Dropping near-duplicates from a file: `selfalign novelty IN OUT`.

    IN rows -> text of each -> novel against OUT so far and AGAINST -> the same row in OUT

OUT is written as IN goes, a batch at a time. OUT.novelty.json says how far: a run that was killed,
or an IN that has grown since, continues after the last finished batch, and what was kept is not
compared again. The result is that of one uninterrupted run. (A Parquet OUT cannot be appended to;
it is written whole, and replaced whole by the next run.)

Memory: the kept texts as `novelty_index` holds them and one batch of rows, whatever IN's size.
"""

import hashlib
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

from selfalign.core.continued_file import continued
from selfalign.core.disk import check_place, unwritable, write_whole
from selfalign.core.errors import InputError
from selfalign.core.files import checked
from selfalign.core.novelty import NoveltyFilter, NoveltySettings
from selfalign.core.novelty_rows import (
    Row,
    column_of,
    format_of,
    parquet,
    read_rows,
    read_texts,
    unreadable,
)

_BATCH = 8_192
"""Ours: rows judged between two savings, well under a second of work."""


class Made(BaseModel):
    """What a filtered file was made with; another answer to any of these is another file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    settings: NoveltySettings
    column: str | None
    """The column the texts are in; None for a text file."""
    against: tuple[str, ...]
    """SHA-256 of each file whose rows count as kept beforehand."""


class Filtered(BaseModel):
    """How far a file has been filtered."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    made: Made
    rows: int = 0
    """Rows of the source that were judged."""
    kept: int = 0
    """Rows written to the target."""
    size: int = 0
    """Bytes of the target that hold them (0 for Parquet)."""
    digest: str = ""
    """SHA-256 of the rows judged, to notice a source that was changed."""

    @property
    def dropped(self) -> int:
        """Rows that were too alike to one before them, or to one of `against`."""
        return self.rows - self.kept


@dataclass(frozen=True)
class FilterReport:
    """What one call did."""

    rows: int
    """Rows of the source."""
    kept: int
    """Rows in the target."""
    against: int
    """Rows of the `against` files."""
    resumed_at: int
    """Rows an earlier call had judged."""

    @property
    def dropped(self) -> int:
        """Rows that were too alike."""
        return self.rows - self.kept


def filter_file(
    source: Path,
    target: Path,
    *,
    settings: NoveltySettings | None = None,
    against: Sequence[Path] = (),
    column: str | None = None,
    accelerate: bool | None = None,
) -> FilterReport:
    """Write the rows of `source` that are new to `target`; both JSON lines, text or Parquet.

    Calling it again continues a call that was stopped, and takes in rows added to the source.

    Raises:
        InputError: a file or row cannot be read, or the target was made of something else.
        StoreError: the target cannot be written, was damaged, or is being written.
    """
    _check(source, target, against)
    settings = settings or NoveltySettings()
    column = column_of(source, column)
    novel = NoveltyFilter(
        settings.threshold, settings.drop_at, settings.tokenizer, accelerate=accelerate
    )
    hashes = tuple(_sha256(path) for path in against)
    earlier = _earlier(target, Made(settings=settings, column=column, against=hashes))
    for path in against:
        novel.add_all(read_texts(path, column if _has(path, column) else None))
    beforehand = len(novel)
    if format_of(source) == "parquet":
        rows = parquet().filter_rows(source, target, column, novel.admit_all)
        done = earlier.model_copy(update={"rows": rows, "kept": len(novel) - beforehand})
        write_whole(_notes(target), done)
        return FilterReport(done.rows, done.kept, beforehand, resumed_at=0)
    with _writing(target, earlier) as out:
        done = _Judging(source, target, novel, earlier, column).run(out)
    return FilterReport(done.rows, done.kept, beforehand, earlier.rows)


@dataclass
class _Judging:
    """One pass over a file of lines."""

    source: Path
    target: Path
    novel: NoveltyFilter
    done: Filtered
    column: str | None

    def run(self, out: BinaryIO) -> Filtered:
        """Judge what has not been judged, saving after each batch."""
        self.novel.add_all(row.text for row in read_rows(self.target, self.column))
        rows = read_rows(self.source, self.column)
        judged = hashlib.sha256()
        for row in islice(rows, self.done.rows):
            judged.update(row.raw + b"\n")
        if self.done.rows and judged.hexdigest() != self.done.digest:
            raise InputError(
                f"{self.source} is not what {self.target} was made of: one of its first "
                f"{self.done.rows} rows has changed. Delete {self.target} and "
                f"{_notes(self.target).name} to start over, or choose another OUT."
            )
        while batch := list(islice(rows, _BATCH)):
            kept = self._keep(batch, out)
            for row in batch:
                judged.update(row.raw + b"\n")
            self.done = self.done.model_copy(
                update={
                    "rows": self.done.rows + len(batch),
                    "kept": self.done.kept + kept,
                    "size": out.tell(),
                    "digest": judged.hexdigest(),
                }
            )
            write_whole(_notes(self.target), self.done)
        return self.done

    def _keep(self, batch: list[Row], out: BinaryIO) -> int:
        admitted = self.novel.admit_all([row.text for row in batch])
        try:
            out.writelines(row.raw + b"\n" for row, new in zip(batch, admitted, strict=True) if new)
            out.flush()
            os.fsync(out.fileno())
        except OSError as error:
            raise unwritable(self.target, error, "another OUT") from error
        return sum(admitted)


def novelty_settings(threshold: float, drop_at: str, tokenizer: str) -> NoveltySettings:
    """Return the settings a person typed.

    Raises:
        InputError: one of them is out of range; the message says which and what is allowed.
    """
    typed = {"threshold": threshold, "drop_at": drop_at, "tokenizer": tokenizer}
    return checked(NoveltySettings, typed, "the novelty filter asked for", InputError)


def _check(source: Path, target: Path, against: Sequence[Path]) -> None:
    if format_of(source) != format_of(target):
        raise InputError(
            f"{source.name} and {target.name} are of two formats. Give OUT the ending "
            f"{source.suffix}, since its rows are copied as they are."
        )
    for path in (source, *against):
        format_of(path)
        if path.resolve() == target.resolve():
            raise InputError(f"{path} is read and cannot be OUT as well. Choose another OUT.")
        if not path.is_file():
            raise InputError(f"no file at {path}. Correct the name.")
    check_place(target, "OUT")


def _notes(target: Path) -> Path:
    """Return the path of the file that says how far a target is."""
    return target.with_name(target.name + ".novelty.json")


def _earlier(target: Path, made: Made) -> Filtered:
    """Return how far an earlier call came, or nothing done.

    Raises:
        InputError: the target exists and was made otherwise.
    """
    notes = _notes(target)
    if not notes.exists():
        if target.exists() and target.stat().st_size:
            raise InputError(
                f"{target} exists and was not written by this command. Choose another OUT, or "
                f"move it away."
            )
        return Filtered(made=made)
    try:
        earlier = Filtered.model_validate_json(notes.read_text("utf-8"))
    except (ValidationError, UnicodeDecodeError):
        raise InputError(
            f"{notes} cannot be read. Delete it and {target.name} to start over."
        ) from None
    if not earlier.rows:
        return Filtered(made=made)
    for field, was in earlier.made.settings.model_dump().items():
        now = getattr(made.settings, field)
        if was != now:
            raise _made_otherwise(target, f"{field} {was!r}", f"{now!r}")
    if earlier.made.column != made.column:
        raise _made_otherwise(target, f"column {earlier.made.column!r}", f"{made.column!r}")
    if earlier.made.against != made.against:
        raise _made_otherwise(target, "other --against files", "the ones named")
    return earlier


def _made_otherwise(target: Path, was: str, now: str) -> InputError:
    return InputError(
        f"{target} was filtered with {was}, and now it is {now}. Choose another OUT, or delete "
        f"{target.name} and {_notes(target).name} to start over."
    )


@contextmanager
def _writing(target: Path, earlier: Filtered) -> Generator[BinaryIO]:
    """Open the target behind what an earlier call finished, as its only writer."""
    with continued(target, earlier.size, notes=_notes(target), option="OUT") as out:
        if not earlier.rows:
            write_whole(_notes(target), earlier)
        yield out


def _has(path: Path, column: str | None) -> bool:
    """Say whether the first row of a file offers this column."""
    try:
        return column is not None and next(read_texts(path, column), None) is not None
    except InputError:
        return False


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from None
