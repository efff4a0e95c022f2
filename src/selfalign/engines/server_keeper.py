"""Keeps a server exactly as long as the process that wants it: run as a script, never imported.

    python server_keeper.py GRACE COMMAND...      standard input is a pipe from the owner

When the pipe closes (the owner is done, or dead, even by SIGKILL) or SIGTERM comes, the command's
whole process group is asked to end and, GRACE seconds later, made to. Standard library only: it
has to start at once and outlive nothing.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType


def keep(grace_s: float, command: list[str]) -> int:
    """Run the command until it ends or is not wanted any more; return its exit status."""
    unwanted = threading.Event()

    def on_term(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        unwanted.set()

    signal.signal(signal.SIGTERM, on_term)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    for work in (lambda: _watch(unwanted), lambda: _end(child.pid, unwanted, grace_s)):
        threading.Thread(target=work, daemon=True).start()
    status = child.wait()
    _tell(child.pid, signal.SIGKILL)  # workers it left behind
    return status if status >= 0 else 128 - status


def _watch(unwanted: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    unwanted.set()


def _end(group: int, unwanted: threading.Event, grace_s: float) -> None:
    unwanted.wait()
    _tell(group, signal.SIGTERM)
    time.sleep(grace_s)
    _tell(group, signal.SIGKILL)


def _tell(group: int, what: signal.Signals) -> None:
    try:
        os.killpg(group, what)
    except (ProcessLookupError, PermissionError):
        return  # nobody is left


if __name__ == "__main__":
    sys.exit(keep(float(sys.argv[1]), sys.argv[2:]))
