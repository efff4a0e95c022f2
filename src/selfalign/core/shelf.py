"""The outcomes of one stage on disk: one JSON line per input, appended, never rewritten.

    outcomes.jsonl   {"source": "<id of the input>", "records": […]}            kept
                     {"source": "<id of the input>", "reason": "…", "detail"}   dropped

In memory there is only an index, input id -> place in the file, so a stage of a million outcomes
fits. A line a crash left unfinished is ignored by readers and cut off by the next writer.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, cast

from pydantic import ValidationError

from selfalign.core.disk import unwritable
from selfalign.core.errors import StoreError
from selfalign.core.records import Dropped, Kept, RecordId
from selfalign.core.stage import Out

_HEAD = b'{"source":"'
_ID = slice(len(_HEAD), len(_HEAD) + 16)
_RECORDS = slice(_ID.stop, _ID.stop + 11)
"""Where every line that this house writes has its input's id, and `","records` if it was kept."""

SYNC_SECONDS = 1.0
"""Ours: waiting for the disk after every chunk took longer than all else where chunks are fast."""


class Shelf(Generic[Out]):
    """Reads and appends the outcomes of one folder."""

    def __init__(self, folder: Path, record: type[Out]) -> None:
        """Index what is there; nothing is written, and the folder need not exist."""
        self._path = folder / "outcomes.jsonl"
        self._kept = Kept[record]
        self._places: dict[RecordId, int] = {}
        self._end = 0
        """Where the last whole line ends."""
        self._synced = 0.0
        """When the disk was last waited for, on the monotonic clock."""
        if self._path.exists():
            self._index()

    def __len__(self) -> int:
        """Return how many inputs have an outcome."""
        return len(self._places)

    def __contains__(self, source: RecordId) -> bool:
        """Return whether an input has an outcome."""
        return source in self._places

    def __iter__(self) -> Iterator[Kept[Out] | Dropped]:
        """Yield every outcome, in the order written."""
        return self.outcomes(list(self._places))

    def append(self, outcomes: Iterable[Kept[Out] | Dropped]) -> None:
        """Write outcomes after the last whole line.

        When this returns the system has them, so that no kill of this process loses one. The
        disk has them when `SYNC_SECONDS` have passed since it was last waited for: a power cut
        costs what came after. Call `sync` at the end.

        Raises:
            UnwritableError: the disk is full or may not be written.
        """
        lines = [(o.source, o.model_dump_json().encode() + b"\n") for o in outcomes]
        try:
            with self._path.open("ab") as out:
                os.ftruncate(out.fileno(), self._end)  # whatever a crash left of a line
                out.write(b"".join(line for _, line in lines))
                out.flush()
                if time.monotonic() - self._synced >= SYNC_SECONDS:
                    self._sync(out.fileno())
        except OSError as error:
            raise unwritable(self._path, error) from error
        for source, line in lines:
            self._places.setdefault(source, self._end)
            self._end += len(line)

    def sync(self) -> None:
        """Wait until the disk has every outcome.

        Raises:
            UnwritableError: the disk is full or may not be written.
        """
        if not self._path.exists():
            return
        try:
            with self._path.open("ab") as out:
                self._sync(out.fileno())
        except OSError as error:
            raise unwritable(self._path, error) from error

    def _sync(self, file: int) -> None:
        os.fsync(file)
        self._synced = time.monotonic()

    def outcomes(self, sources: Sequence[RecordId]) -> Iterator[Kept[Out] | Dropped]:
        """Yield the outcome of each input, in the order asked, reading one line at a time.

        Raises:
            StoreError: an input has no outcome, or a line cannot be read.
        """
        lost = [source for source in sources if source not in self._places]
        if lost:
            raise StoreError(
                f"{self._path} has no outcome for {len(lost)} inputs, first {lost[0]}. A stage "
                f"must return one Kept or Dropped per input; look at the stage, not at the data."
            )
        if not sources:
            return
        with self._path.open("rb") as lines:
            at = 0
            for source in sources:
                if at != self._places[source]:
                    at = lines.seek(self._places[source])
                line = lines.readline()
                yield self._read(line, at)
                at += len(line)

    def _index(self) -> None:
        places, end = self._places, 0
        with self._path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                found = line[_ID]
                ours = line.startswith(_HEAD) and line.startswith(b'",', _ID.stop)
                if not (ours and found.isalnum() and line.endswith(b"}\n")):
                    found = self._source(line, end)
                places.setdefault(found.decode(), end)
                end += len(line)
        self._end = end

    def _source(self, line: bytes, at: int) -> bytes:
        try:
            return cast("dict[str, str]", json.loads(line))["source"].encode()
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._damaged(at) from None

    def _read(self, line: bytes, at: int) -> Kept[Out] | Dropped:
        try:
            if line[_RECORDS] == b'","records"' or b'"reason"' not in line:
                return self._kept.model_validate_json(line)
            return Dropped.model_validate_json(line)
        except ValidationError:
            raise self._damaged(at) from None

    def _damaged(self, at: int) -> StoreError:
        with self._path.open("rb") as file:
            number = file.read(at).count(b"\n") + 1
        return StoreError(
            f"{self._path}, line {number}: this line is not an outcome; the file was changed or "
            f"damaged. Delete that line and run again: only its input is asked once more."
        )
