"""A file that one process at a time writes, and that a stopped command goes on with.

target, bytes that count  ->  locked, cut back to them, ready behind them
"""

import errno
import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from selfalign.core.disk import unwritable
from selfalign.core.errors import StoreError


@contextmanager
def continued(target: Path, size: int, *, notes: Path, option: str) -> Generator[BinaryIO]:
    """Open a file behind its first `size` bytes, as its only writer.

    Args:
        target: The file; it is made where there is none.
        size: Bytes an earlier call finished; what stands behind them is cut off.
        notes: The file that says so, named in the way out.
        option: How the command line calls the target, named in the way out.

    Raises:
        StoreError: another process writes it, or it is shorter than it was left.
        UnwritableError: it cannot be written.
    """
    try:
        out = target.open("r+b" if target.exists() else "w+b")
    except OSError as error:
        raise unwritable(target, error, f"another {option}") from error
    with out:
        try:
            fcntl.lockf(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):  # otherwise locks are unknown here
                raise StoreError(
                    f"{target} is being written by another process. Wait for it, or choose another "
                    f"{option}."
                ) from None
        if out.seek(0, os.SEEK_END) < size:
            raise StoreError(
                f"{target} is shorter than it was left ({size} bytes). Delete it and "
                f"{notes.name} to start over."
            )
        out.truncate(size)
        out.seek(size)
        yield out
