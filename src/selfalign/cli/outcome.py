"""How a command ends: one exit code per kind of ending, and never a traceback for bad input.

0   done
2   what was typed or written cannot be used: a sentence says which file, field, value
3   interrupted (Ctrl-C or SIGTERM): finished work is kept, the same command continues
1   anything else: a sentence; an unexpected error's traceback goes to a file, which is named
"""

import errno
import os
import shlex
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType

from selfalign.cli.terminal import tell
from selfalign.core.errors import SelfAlignError

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 3
PATH_AT_FAULT = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
}


class Interrupted(BaseException):
    """The reader, or the machine, asked the command to stop.

    Not an `Exception`: nothing between the signal and the exit may take it for a failure.
    """


class CrashLog:
    """Where the traceback of an unexpected error goes; a run points it to its own folder."""

    folder: Path | None = None

    @classmethod
    def write(cls, text: str) -> Path | None:
        """Write a traceback and return where; None if no place can be written."""
        name = f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        for folder in (cls.folder, Path(tempfile.gettempdir())):
            if folder is None:
                continue
            try:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text, "utf-8", errors="backslashreplace")
            except OSError:
                continue
            return folder / name
        return None


def exit_code_of(command: Callable[[], object], arguments: Sequence[str]) -> int:
    """Run a command to its end, tell the reader how it ended if not well, return the exit code."""
    try:
        command()
    except SystemExit as ending:
        # 130 is how the command-line parser reports Ctrl-C that came before our handler was set.
        return _interrupted(arguments) if ending.code == 130 else _code(ending)
    except (Interrupted, KeyboardInterrupt):
        return _interrupted(arguments)
    except SelfAlignError as error:
        tell(f"error: {error}")
        return error.exit_code
    except OSError as error:
        return _system_error(error)
    return DONE


def catch_signals() -> None:
    """Turn Ctrl-C and SIGTERM into `Interrupted`; a second one ends the process at once."""

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Interrupted

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def log_crashes() -> None:
    """Send the traceback of an unexpected error to a file and name the file."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if _disk_is_full(error):
            tell(f"error: no space is left on the disk ({error}).")
            tell("Free some; what was finished is kept, and the same command continues from there.")
            return
        path = CrashLog.write("".join(traceback.format_exception(kind, error, trace)))
        tell(f"error: {kind.__name__}: {error}")
        tell(
            f"This was not expected. The details are in {path}; what was finished is kept, and "
            f"the same command continues from there."
        )

    sys.excepthook = hook


def _disk_is_full(error: BaseException) -> bool:
    """Say whether an error comes down to a full disk; libraries wrap the system's own in theirs."""
    cause: BaseException | None = error
    while cause is not None:
        if os.strerror(errno.ENOSPC) in str(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _system_error(error: OSError) -> int:
    place = error.filename or "a file"
    if error.errno == errno.EPIPE:
        return FAILED  # the reader of our output went away; there is nobody to tell
    if error.errno in PATH_AT_FAULT:
        tell(f"error: {place}: {error.strerror}. Correct the path, or choose another one.")
        return BAD_INPUT
    if error.errno == errno.ENOSPC:
        tell(f"error: no space is left to write {place}. Free some; the same command continues.")
        return FAILED
    raise error


def _interrupted(arguments: Sequence[str]) -> int:
    tell(
        f"\ninterrupted; everything finished is kept. To continue:\n  "
        f"{shlex.join(['selfalign', *arguments])}"
    )
    return INTERRUPTED


def _code(ending: SystemExit) -> int:
    return ending.code if isinstance(ending.code, int) else DONE if ending.code is None else FAILED
