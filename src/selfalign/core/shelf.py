"""The outcomes of one stage on disk: one JSON line per input, appended, never rewritten.

    outcomes.jsonl   {"source": "<id of the input>", "records": […]}            kept
                     {"source": "<id of the input>", "reason": "…", "detail"}   dropped

In memory there is only an index, input id -> place in the file, so a stage of a million outcomes
fits. A line a crash left unfinished is ignored by readers and cut off by the next writer.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, cast

from pydantic import ValidationError

from selfalign.core.disk import unwritable
from selfalign.core.errors import StoreError
from selfalign.core.records import Dropped, Kept, RecordId
from selfalign.core.stage import Out

_SOURCE = re.compile(rb'\{"source":"([0-9a-f]{16})",')


class Shelf(Generic[Out]):
    """Reads and appends the outcomes of one folder."""

    def __init__(self, folder: Path, record: type[Out]) -> None:
        """Index what is there; nothing is written, and the folder need not exist."""
        self._path, self._record = folder / "outcomes.jsonl", record
        self._places: dict[RecordId, int] = {}
        self._end = 0
        """Where the last whole line ends."""
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
        """Write outcomes after the last whole line; they are on disk when this returns.

        Raises:
            UnwritableError: the disk is full or may not be written.
        """
        lines = [(o.source, o.model_dump_json().encode() + b"\n") for o in outcomes]
        try:
            with self._path.open("ab") as out:
                os.ftruncate(out.fileno(), self._end)  # whatever a crash left of a line
                out.write(b"".join(line for _, line in lines))
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:
            raise unwritable(self._path, error) from error
        for source, line in lines:
            self._places.setdefault(source, self._end)
            self._end += len(line)

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
        with self._path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._places.setdefault(self._source(line), self._end)
                self._end += len(line)

    def _source(self, line: bytes) -> RecordId:
        found = _SOURCE.match(line)
        if found and line.endswith(b"}\n"):
            return found[1].decode()
        try:
            return cast("dict[str, str]", json.loads(line))["source"]
        except (ValueError, KeyError, TypeError):
            raise self._damaged(self._end) from None

    def _read(self, line: bytes, at: int) -> Kept[Out] | Dropped:
        try:
            data = cast("dict[str, object]", json.loads(line))
            if "reason" in data:
                return Dropped.model_validate(data)
            rows = cast("list[object]", data["records"])
            records = tuple(self._record.model_validate(row) for row in rows)
            return Kept(source=str(data["source"]), records=records)
        except (ValueError, KeyError, TypeError, ValidationError):
            raise self._damaged(at) from None

    def _damaged(self, at: int) -> StoreError:
        with self._path.open("rb") as file:
            number = file.read(at).count(b"\n") + 1
        return StoreError(
            f"{self._path}, line {number}: this line is not an outcome; the file was changed or "
            f"damaged. Delete that line and run again: only its input is asked once more."
        )
