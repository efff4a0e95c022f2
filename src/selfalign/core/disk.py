"""Writing so that a crash leaves either the old file or the new one, never a half.

value  ->  FILE.partial, flushed to the disk  ->  renamed to FILE

A renamed file takes the place of whatever had its name, so what is no file (/dev/null, a pipe) is
refused, and a link is followed: what it points to is replaced, and the link stays.
"""

import errno
import os
from pathlib import Path

from pydantic import BaseModel

from selfalign.core.errors import InputError, UnwritableError


def write_whole(path: Path, value: BaseModel | str) -> None:
    """Replace a file by a text, or by a record as indented JSON.

    Raises:
        UnwritableError: the disk cannot be written, or the name is not that of a file; what was
            there is as it was.
    """
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_file():
        raise UnwritableError(f"{path} is no file but {_kind_of(path)}. Name a file.")
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


def check_place(path: Path, option: str) -> None:
    """Find out before hours of work whether a result can be written under a name.

    Args:
        path: Where it is to go.
        option: How the command line calls it, such as "--out".

    Raises:
        InputError: it is a folder, a device or a pipe, or nothing can be written there.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{option} {path} is no file but {_kind_of(path)}. Name a file.")
    if not path.parent.is_dir():
        raise InputError(
            f"{option} {path}: there is no folder {path.parent}. Create it, or correct it."
        )
    partial = path.with_name(path.name + ".partial")
    try:
        partial.touch()
        partial.unlink()
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(
            f"{option} {path} cannot be written: {error.strerror or error}. Make room or "
            f"permissions there, or name another file."
        ) from None


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names, so that a file just made or renamed survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(
    path: Path, error: OSError, other: str = "another folder with --out DIR"
) -> UnwritableError:
    """Say which path could not be written, why, and what to do; `other` could be chosen."""
    return UnwritableError(
        f"{path} cannot be written: {error.strerror or error}. What was finished is safe. Make "
        f"room or permissions there and run the same command again, or choose {other}."
    )


def _kind_of(path: Path) -> str:
    return "a folder" if path.is_dir() else "a device or a pipe"
