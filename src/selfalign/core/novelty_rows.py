"""Rows of a JSON lines, text or Parquet file, and the text in each that novelty is judged by.

    path -> format by its ending -> rows as they are in the file -> one text per row

A blank line is no row. A row is kept as the bytes it was, so that a filtered file differs from its
source only by missing rows.
"""

import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from selfalign.core.errors import InputError

Format = Literal["jsonl", "text", "parquet"]

FORMATS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "text",
    ".parquet": "parquet",
}
USUAL_COLUMNS = ("instruction", "prompt", "text", "question")
"""Ours: the first of these that a file has is read, unless a column is named."""
_BOM = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """One line that is not blank, without its end, and the text in it."""

    raw: bytes
    text: str


def format_of(path: Path) -> Format:
    """Return a file's format by its ending.

    Raises:
        InputError: the ending is none of the four known.
    """
    known = FORMATS.get(path.suffix.lower())
    if known is None:
        raise InputError(
            f"{path} ends in {path.suffix or 'nothing'!r}, and the ending says the format. "
            f"Use one of {', '.join(FORMATS)} (.txt has one text per line)."
        )
    return known


def read_texts(path: Path, column: str | None) -> Iterator[str]:
    """Yield the text of every row of a file of any format.

    Raises:
        InputError: the file or a row cannot be read; the message names the place.
    """
    if format_of(path) == "parquet":
        return cast("Iterator[str]", parquet().read_texts(path, column))
    return (row.text for row in read_rows(path, column))


def read_rows(path: Path, column: str | None) -> Iterator[Row]:
    """Yield the rows of a JSON lines or text file.

    Raises:
        InputError: the file or a row cannot be read; the message names file, line and field.
    """
    column = column_of(path, column)
    for number, line in _lines(path):
        text = line
        if column is not None:
            text = _field(path, number, _object(path, number, line), column)
        yield Row(line.encode(), text)


def column_of(path: Path, column: str | None) -> str | None:
    """Return the column that holds the texts: the one named, or the first usual one of row one.

    None for a text file, and for a file without rows when none is named.
    """
    kind = format_of(path)
    if kind == "parquet":
        return cast("str", parquet().column_of(path, column))
    if kind == "text" or column is not None:
        return None if kind == "text" else column
    first = next(_lines(path), None)
    return None if first is None else choose_column(path, None, list(_object(path, *first)))


def choose_column(path: Path, wanted: str | None, columns: Sequence[str]) -> str:
    """Return the column to read: the wanted one, or the first usual one the file has.

    Raises:
        InputError: the file has neither.
    """
    for column in (wanted,) if wanted is not None else USUAL_COLUMNS:
        if column in columns:
            return column
    missing = f"no column {wanted!r}" if wanted else f"none of {', '.join(USUAL_COLUMNS)}"
    raise InputError(
        f"{path} has {missing}; its columns are {', '.join(columns) or 'none'}. "
        f"Name the one to compare with --column."
    )


def unreadable(path: Path, error: OSError) -> InputError:
    """Say that a file cannot be read, why, and what to do."""
    return InputError(
        f"{path} cannot be read: {error.strerror or error}. Check the name, and that it is a file "
        f"you may read."
    )


def parquet() -> Any:
    """Import the Parquet functions; late, because few files need pyarrow and loading it is slow."""
    return import_module("selfalign.core.novelty_parquet")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, line without its end) for every line that is not blank."""
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                raw = (line.removeprefix(_BOM) if number == 1 else line).rstrip(b"\r\n")
                try:
                    text = raw.decode()
                except UnicodeDecodeError:
                    raise InputError(
                        f"{path}, line {number}: this is not UTF-8 text. Save the file as UTF-8."
                    ) from None
                if text.strip():
                    yield number, text
    except OSError as error:
        raise unreadable(path, error) from None


def _object(path: Path, number: int, line: str) -> dict[str, object]:
    try:
        value = cast("object", json.loads(line))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}, line {number}: this is not JSON ({error}). Write one object per line, or "
            f"remove the line."
        ) from None
    if not isinstance(value, dict):
        raise InputError(
            f"{path}, line {number}: this is not a JSON object. Write one object per line."
        )
    return cast("dict[str, object]", value)


def _field(path: Path, number: int, value: dict[str, object], column: str) -> str:
    text = value.get(column)
    if not isinstance(text, str):
        seen = "is missing" if column not in value else f"is {json.dumps(text)[:40]}, not a text"
        raise InputError(
            f"{path}, line {number}: the field {column!r} {seen}. Correct or remove the line, or "
            f"name another field with --column (this line has {', '.join(value) or 'none'})."
        )
    return text
