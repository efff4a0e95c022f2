"""Scoring a file of responses so that a stop costs nothing: `selfalign score`.

    rows.jsonl --checked, all of them, before any is scored--> {instruction, response, …}
        --a batch at a time--> the same row with `score` and `scores` --appended--> scores.jsonl

OUT.scoring.json says how far it is and what it was made with: a run that was killed, or an input
that has grown since, continues after the last finished batch. A row is never cut to fit: one that
is too long for the reward model is named.
"""

import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from selfalign.core.continued_file import continued
from selfalign.core.disk import check_place, unwritable, write_whole
from selfalign.core.errors import InputError
from selfalign.core.files import parse_json
from selfalign.core.protocols import RewardModel
from selfalign.salmon.scoring import PrincipleScoring, Scored

BATCH = 64
"""Ours: rows scored between two savings."""
READ = ("instruction", "response")
"""The fields a row must have; any others are kept as they are."""
WRITTEN = ("score", "scores")
_ENOUGH = 6
"""Digits after the point that float32 scores deserve."""


class ResponseRow(NamedTuple):
    """One line of the input."""

    line: int
    """Its number in the file, from 1."""
    fields: dict[str, object]

    @property
    def asked(self) -> tuple[str, str]:
        """Instruction and response."""
        return cast(str, self.fields["instruction"]), cast(str, self.fields["response"])


class ScoringNotes(BaseModel):
    """How far a file has been scored, and with what."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: str
    """Fingerprint of the reward model."""
    principles: str
    """Fingerprint of the principles and the prompt."""
    rows: int = 0
    """Rows of the input that were scored."""
    size: int = 0
    """Bytes of the output that hold them."""
    digest: str = ""
    """Of the rows scored, one after the other, to notice an input that was changed."""


class ScoredFile(NamedTuple):
    """What one call did."""

    rows: int
    """Rows of the output."""
    resumed_at: int
    """Rows an earlier call had scored."""


@dataclass(frozen=True)
class FileScoring:
    """A reward model and principles, put to a file."""

    model: RewardModel
    scoring: PrincipleScoring

    def __call__(
        self, source: Path, target: Path, tell: Callable[[int, int], None] = lambda done, rows: None
    ) -> ScoredFile:
        """Write every row of `source` with its scores to `target`, continuing an earlier call.

        `tell` hears how many rows are done, of how many, at the start and after each batch.

        Raises:
            InputError: a row cannot be scored, or `target` was made of something else.
            StoreError: `target` cannot be written, or was damaged.
        """
        rows = check_files(source, target)
        notes = self._earlier(target)
        if _digest_of("", islice(read_rows(source), notes.rows)) != notes.digest:
            raise InputError(
                f"{source} is not what {target} was made of: one of its first {notes.rows} rows "
                f"has changed or is gone. Delete {target} and {_notes_of(target).name} to start "
                f"over, or choose another --output."
            )
        begun = notes.rows
        tell(begun, rows)
        left = islice(read_rows(source), begun, None)
        with _writing(target, notes) as out:
            while batch := list(islice(left, BATCH)):
                _append(out, batch, self._scored(source, batch), target)
                notes = notes.model_copy(
                    update={
                        "rows": notes.rows + len(batch),
                        "size": out.tell(),
                        "digest": _digest_of(notes.digest, batch),
                    }
                )
                write_whole(_notes_of(target), notes)
                tell(notes.rows, rows)
        return ScoredFile(notes.rows, begun)

    def _scored(self, source: Path, batch: Sequence[ResponseRow]) -> list[Scored]:
        limit = self.model.context_length
        rendered = [self.scoring.render(*row.asked) for row in batch]
        counts = iter(self.model.count_tokens([text for texts in rendered for text in texts]))
        for row, texts in zip(batch, rendered, strict=True):
            longest = max(next(counts) for _ in texts)
            if longest > limit:
                raise InputError(
                    f"{source}, line {row.line}: the field `response` is too long: with its "
                    f"instruction and the principles it has {longest} tokens, and the reward model "
                    f"reads {limit}. Shorten or remove the line, or give fewer principles; the "
                    f"rows before it are kept.",
                    field="response",
                )
        return self.scoring.score([row.asked for row in batch], self.model.score)

    def _earlier(self, target: Path) -> ScoringNotes:
        """Return how far an earlier call came, or nothing done.

        Raises:
            InputError: the target exists and was made otherwise.
        """
        now = ScoringNotes(model=self.model.fingerprint, principles=self.scoring.fingerprint)
        path = _notes_of(target)
        if not path.exists():
            if target.exists() and target.stat().st_size:
                raise InputError(
                    f"{target} exists and was not written by this command. Choose another "
                    f"--output, or move it away."
                )
            return now
        try:
            before = ScoringNotes.model_validate_json(path.read_bytes())
        except ValidationError:
            raise InputError(
                f"{path} cannot be read. Delete it and {target.name} to start over."
            ) from None
        if not before.rows:
            return now
        if (before.model, before.principles) != (now.model, now.principles):
            what = "reward model" if before.model != now.model else "set of principles or prompt"
            raise InputError(
                f"{target} was scored by another {what}. Choose another --output, or delete "
                f"{target.name} and {path.name} to start over."
            )
        return before


def check_files(source: Path, target: Path) -> int:
    """Return how many rows there are to score, after a look at every one of them.

    Raises:
        InputError: a row cannot be used, or there is no place for the output.
    """
    if source.resolve() == target.resolve():
        raise InputError(f"{source} is read and cannot be --output as well. Choose another one.")
    check_place(target, "--output")
    return sum(1 for _ in read_rows(source))


def read_rows(source: Path) -> Iterator[ResponseRow]:
    """Yield the rows of a JSON lines file; a blank line is none.

    Raises:
        InputError: the file or a row cannot be used; the message names line and field.
    """
    try:
        with source.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield ResponseRow(number, _fields(source, number, line))
    except OSError as error:
        raise InputError(
            f"{source} cannot be read: {error.strerror or error}. Check the name, and that it is "
            f"a file you may read."
        ) from None


def _fields(source: Path, number: int, line: bytes) -> dict[str, object]:
    where = f"{source}, line {number}"
    try:
        value = parse_json(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except ValueError as error:
        raise InputError(
            f"{where}: this is not JSON ({error}). Write one object per line, in UTF-8.",
            field=f"line {number}",
        ) from None
    if not isinstance(value, dict):
        raise InputError(
            f'{where}: this is not an object. Write {{"instruction": "…", "response": "…"}}.',
            field=f"line {number}",
        )
    fields = cast(dict[str, object], value)
    for name in READ:
        if not isinstance(fields.get(name), str):
            seen = json.dumps(fields[name])[:40] if name in fields else "missing"
            raise InputError(
                f"{where}: the field `{name}` is {seen}; it has to be a text. Correct or remove "
                f"the line (it has {', '.join(fields) or 'no fields'}).",
                field=name,
            )
    for name in WRITTEN:
        if name in fields:
            raise InputError(
                f"{where}: the field `{name}` is there already and would be overwritten. Rename "
                f"it, or remove it.",
                field=name,
            )
    _check_encodable(fields, where)
    return fields


def _check_encodable(fields: dict[str, object], where: str) -> None:
    for name, value in fields.items():
        try:
            _line({name: value})
        except UnicodeEncodeError:
            raise InputError(
                f"{where}: the field `{name}` holds half a character (a lone surrogate such as "
                f"\\ud83d), which is no text. Correct or remove the line.",
                field=name,
            ) from None


def _append(
    out: BinaryIO, batch: Sequence[ResponseRow], scored: Sequence[Scored], target: Path
) -> None:
    try:
        for row, found in zip(batch, scored, strict=True):
            each = {name: round(score, _ENOUGH) for name, score in found.each.items()}
            out.write(_line({**row.fields, "score": round(found.joint, _ENOUGH), "scores": each}))
        out.flush()
        os.fsync(out.fileno())
    except OSError as error:
        raise unwritable(target, error, "another --output") from error


@contextmanager
def _writing(target: Path, notes: ScoringNotes) -> Generator[BinaryIO]:
    """Open the target behind what an earlier call finished, as its only writer.

    Raises:
        StoreError: another process writes it, it is shorter than it was left, or unwritable.
    """
    with continued(target, notes.size, notes=_notes_of(target), option="--output") as out:
        write_whole(_notes_of(target), notes)
        yield out


def _notes_of(target: Path) -> Path:
    return target.with_name(target.name + ".scoring.json")


def _digest_of(before: str, rows: Iterable[ResponseRow]) -> str:
    """Extend the digest of earlier rows by some more; "" stands for no rows."""
    for row in rows:
        before = hashlib.sha256(before.encode() + _line(row.fields)).hexdigest()
    return before


def _line(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"
