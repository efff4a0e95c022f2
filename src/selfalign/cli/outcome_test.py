"""Each way a command can end has its own exit code and its own sentence."""

import errno
import sys

import pytest

from selfalign.cli.outcome import Interrupted, exit_code_of, log_crashes
from selfalign.core.errors import EngineError, PlanError, UnwritableError


def ending(error: BaseException | None) -> int:
    def command():
        if error is not None:
            raise error

    return exit_code_of(command, ["run", "my plan"])


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (None, 0, ""),
        (PlanError("plan.yaml: `sed` is no setting"), 2, "error: plan.yaml: `sed` is no setting"),
        (UnwritableError("/x cannot be written"), 2, "error: /x cannot be written"),
        (EngineError("the server went away"), 1, "error: the server went away"),
        (OSError(errno.EACCES, "Permission denied", "/x"), 2, "/x: Permission denied"),
        (OSError(errno.ENOSPC, "No space left", "/x"), 1, "no space is left to write /x"),
        (OSError(errno.EPIPE, "Broken pipe"), 1, ""),
        (Interrupted(), 3, "selfalign run 'my plan'"),
        (KeyboardInterrupt(), 3, "To continue"),
        (SystemExit(130), 3, "To continue"),
        (SystemExit(2), 2, ""),
        (SystemExit(None), 0, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_ending_has_its_code_and_its_sentence(error, code, said, capsys):
    assert ending(error) == code
    heard = capsys.readouterr().err
    assert said in heard if said else heard == ""


def test_a_slip_of_ours_is_not_taken_for_the_readers():
    with pytest.raises(ZeroDivisionError):
        ending(ZeroDivisionError())
    with pytest.raises(OSError):
        ending(OSError(errno.EIO, "Input/output error", "/x"))


def test_an_interrupt_is_no_failure_that_somebody_could_catch():
    assert not issubclass(Interrupted, Exception)


def test_a_full_disk_that_a_library_ran_into_is_told_as_one(monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    log_crashes()
    error = RuntimeError("Error while serializing: I/O error: No space left on device")
    sys.excepthook(RuntimeError, error, None)
    told = capsys.readouterr().err
    assert "no space is left on the disk" in told
    assert "the same command continues" in told
    assert "not expected" not in told
