"""Lines by step: files a training appends to, and may write again after a crash.

    rows of a step    ->  one JSON line each, on disk when `write` returns
    a step once more  ->  the same rows are not written again; of others the last one counts

Nothing is ever rewritten but a line that a crash left unfinished: readers ignore it, and the next
writer cuts it off. In memory there is only where each row lies.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from selfalign.core.disk import unwritable
from selfalign.core.errors import StoreError

M = TypeVar("M", bound=BaseModel)
Place = tuple[int, int | str]
"""The step a row belongs to, and what tells it apart from the step's other rows."""


class StepLog(Generic[M]):
    """The rows of a training, by step."""

    def __init__(self, path: Path, kind: type[M], place: Callable[[M], Place]) -> None:
        """Find the rows that are there; nothing is written, and the file need not exist.

        Raises:
            StoreError: a line cannot be read.
        """
        self.path, self._kind, self._place = path, kind, place
        self._rows: dict[Place, _Written] = {}
        at = 0
        for number, line in enumerate(_whole_lines(path), start=1):
            row = _read(line, number, path, kind)
            self._rows[place(row)] = _Written(at, len(line), _digest(line))
            at += len(line)

    @property
    def steps(self) -> list[int]:
        """The steps there are rows of, ascending."""
        return sorted({step for step, _ in self._rows})

    def write(self, rows: Sequence[M]) -> None:
        """Append rows, but for those that already stand there word for word.

        Raises:
            UnwritableError: the disk is full or may not be written.
        """
        lines = [(self._place(row), _line(row)) for row in rows]
        new = [(p, x) for p, x in lines if p not in self._rows or self._rows[p][2] != _digest(x)]
        at = _append(self.path, [line for _, line in new])
        for place, line in new:
            self._rows[place] = _Written(at, len(line), _digest(line))
            at += len(line)

    def of(self, steps: Iterable[int]) -> list[M]:
        """Return the rows of some steps that count, by step and then in the order first written.

        Raises:
            StoreError: a line cannot be read.
        """
        wanted = set(steps)
        places = sorted((p for p in self._rows if p[0] in wanted), key=lambda p: p[0])
        if not places:
            return []
        rows: list[M] = []
        with self.path.open("rb") as file:
            for place in places:
                file.seek(self._rows[place].at)
                rows.append(_read(file.read(self._rows[place].size), 0, self.path, self._kind))
        return rows


def read_lines(path: Path, kind: type[M]) -> list[M]:
    """Return every whole line of a file as a record, in order; no file: none.

    Raises:
        StoreError: a line cannot be read.
    """
    lines = enumerate(_whole_lines(path), start=1)
    return [_read(line, number, path, kind) for number, line in lines]


def append_lines(path: Path, rows: Iterable[BaseModel]) -> None:
    """Write records behind the last whole line; they are on disk when this returns.

    Raises:
        UnwritableError: the disk is full or may not be written.
    """
    _append(path, [_line(row) for row in rows])


class _Written(NamedTuple):
    at: int
    size: int
    digest: bytes


def _append(path: Path, lines: Sequence[bytes]) -> int:
    """Return where the first of the lines begins."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            end = _end_of_last_line(file)
            if lines:
                file.truncate(end)
                file.write(b"".join(lines))
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(path, error) from error
    return end


def _end_of_last_line(file: BinaryIO) -> int:
    end, block = file.seek(0, os.SEEK_END), 1 << 16
    while end > 0:
        begin = max(0, end - block)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _whole_lines(path: Path) -> Iterable[bytes]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def _line(row: BaseModel) -> bytes:
    return row.model_dump_json().encode() + b"\n"


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=8).digest()


def _read(line: bytes, number: int, path: Path, kind: type[M]) -> M:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        raise StoreError(
            f"{path}, line {number or '?'}: this is no {kind.__name__} "
            f"({error.error_count()} fields are wrong); the file was changed or damaged. Delete "
            f"that line and run the same command again."
        ) from None
