"""Writing so that a crash leaves either the old file or the new one, never a half.

value  ->  FILE.partial, flushed to the disk  ->  renamed to FILE
"""

import os
from pathlib import Path

from pydantic import BaseModel

from selfalign.core.errors import UnwritableError


def write_whole(path: Path, value: BaseModel | str) -> None:
    """Replace a file by a text, or by a record as indented JSON.

    Raises:
        UnwritableError: the disk cannot be written; the old file is as it was.
    """
    text = value if isinstance(value, str) else value.model_dump_json(indent=2) + "\n"
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names, so that a file just made or renamed survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(path: Path, error: OSError) -> UnwritableError:
    """Say which path could not be written, why, and what to do."""
    return UnwritableError(
        f"{path} cannot be written: {error.strerror or error}. What was finished is safe. Make "
        f"room or permissions there and run the same command again, or choose another folder "
        f"with --out DIR."
    )
