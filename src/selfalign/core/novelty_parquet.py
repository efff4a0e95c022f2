"""Novelty of Parquet files: texts out of a column, and kept rows into a new file.

source  ->  batches of rows  ->  kept rows, same columns  ->  target.partial  ->  target

Parquet is sealed when it is closed and cannot be appended to: a target is always written whole.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pyarrow  # pyright: ignore[reportMissingTypeStubs]
from pyarrow import parquet  # pyright: ignore[reportMissingTypeStubs]

from selfalign.core.disk import sync_folder, unwritable
from selfalign.core.errors import InputError
from selfalign.core.novelty_rows import choose_column, unreadable

_arrow: Any = cast(Any, pyarrow)
_parquet: Any = cast(Any, parquet)
_BATCH = 8_192
"""Ours: rows held at a time."""


def read_texts(path: Path, column: str | None) -> Iterator[str]:
    """Yield the texts of a column.

    Raises:
        InputError: the file is no Parquet file, or the column is missing or holds no texts.
    """
    with closing(_open(path)) as file:
        name = _text_column(path, file, column)
        done = 0
        for batch in file.iter_batches(_BATCH, columns=[name]):
            yield from _texts(path, batch, name, done)
            done += batch.num_rows


def filter_rows(
    source: Path, target: Path, column: str | None, admit: Callable[[list[str]], list[bool]]
) -> int:
    """Write the rows that `admit` keeps to the target and return how many rows there were.

    Raises:
        InputError: as in `read_texts`.
        UnwritableError: the target cannot be written; it is as it was.
    """
    partial = target.with_name(target.name + ".partial")
    rows = 0
    with closing(_open(source)) as file:
        name = _text_column(source, file, column)
        try:
            with _parquet.ParquetWriter(str(partial), file.schema_arrow) as writer:
                for batch in file.iter_batches(_BATCH):
                    kept = admit(list(_texts(source, batch, name, rows)))
                    writer.write_batch(batch.filter(_arrow.array(kept, _arrow.bool_())))
                    rows += batch.num_rows
            partial.replace(target)
            sync_folder(target.parent)
        except OSError as error:
            raise unwritable(target, error, "another OUT") from error
        finally:
            partial.unlink(missing_ok=True)
    return rows


def _open(path: Path) -> Any:
    try:
        return _parquet.ParquetFile(str(path))
    except _arrow.ArrowInvalid as error:
        raise InputError(
            f"{path} is not a Parquet file ({str(error).splitlines()[0]}). Give it the ending of "
            f"what it is."
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None


def column_of(path: Path, column: str | None) -> str:
    """Return the column `read_texts` reads."""
    with closing(_open(path)) as file:
        return _text_column(path, file, column)


def _text_column(path: Path, file: Any, column: str | None) -> str:
    schema = file.schema_arrow
    name = choose_column(path, column, list(schema.names))
    kind = schema.field(name).type
    if not (_arrow.types.is_string(kind) or _arrow.types.is_large_string(kind)):
        raise InputError(
            f"{path}: the column {name!r} holds {kind}, not text. Name another with --column."
        )
    return name


def _texts(path: Path, batch: Any, column: str, done: int) -> Iterator[str]:
    for row, text in enumerate(batch.column(column).to_pylist(), start=done):
        if text is None:
            raise InputError(
                f"{path}, row {row}: the column {column!r} is empty (null). Remove the row, or "
                f"name another column with --column."
            )
        yield text
