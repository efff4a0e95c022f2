"""One writer per run folder: a second process gets a sentence instead of a mixed-up file.

The lock is the operating system's (a POSIX record lock on `.lock`), so it goes when the process
goes, also after kill -9 or a power cut: a stale lock cannot exist and nothing needs cleaning up.
The file's text (process and machine) serves the sentence, and workers that look for their parent.
"""

import errno
import fcntl
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from selfalign.core.errors import StoreError

_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@dataclass(frozen=True)
class _Held:
    """An open, locked file; a forked child inherits the file but not the lock."""

    descriptor: int | None
    """None: the lock is the parent's."""
    process: int


_held: dict[Path, _Held] = {}


def hold(folder: Path) -> bool:
    """Make this process the one writer of a folder until it ends or lets go.

    Holding twice is holding once. Returns False where the file system knows no locks.

    Raises:
        StoreError: another process holds it; the message says which and what to do.
        OSError: the lock file cannot be written.
    """
    path = folder.resolve() / ".lock"
    held = _held.get(path)
    if held and held.process == os.getpid():
        return True
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
        os.close(descriptor)
        if error.errno in _UNSUPPORTED:
            return False
        raise StoreError(
            f"{folder} is being written by another process ({owner or 'unknown'}). Wait for it, "
            f"stop it, or choose another folder with --out DIR."
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, _named(os.getpid()).encode(), 0)
    _held[path] = _Held(descriptor, os.getpid())
    return True


def let_go(folder: Path) -> None:
    """Let other processes write to a folder again; nothing happens if it was not held."""
    held = _held.pop(folder.resolve() / ".lock", None)
    if held and held.descriptor is not None:
        os.close(held.descriptor)


def share_of_parent(folder: Path) -> None:
    """Let this process write under the lock that its parent holds.

    For a worker that ends when its parent does, and writes where its parent writes nothing.

    Raises:
        StoreError: the parent does not hold it.
    """
    path = folder.resolve() / ".lock"
    owner = path.read_text("utf-8", "replace") if path.is_file() else ""
    if owner != _named(os.getppid()):
        raise StoreError(
            f"{folder} is not held by the process that started this worker, but by "
            f"{owner.strip() or 'nobody'}. Run the command again that writes there."
        )
    _held[path] = _Held(None, os.getpid())


def _named(process: int) -> str:
    return f"process {process} on {socket.gethostname()}\n"
