"""What machines do between two models."""

import ctypes
import threading
from pathlib import Path

import pytest

from selfalign.recipes import machines
from selfalign.recipes.machines import Slot, give_memory_back


def resident() -> float:
    """Return what this process holds, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read memory from")
def test_what_a_thread_has_freed_goes_back_to_the_system():
    """Blocks of 64 KiB come from the heap of a thread, which keeps all but its top."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        pytest.skip("not glibc")
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    size = 1 << 16

    def allocate_and_free() -> None:
        blocks = [libc.malloc(size) for _ in range(3200)]  # 200 MiB
        for block in blocks:
            ctypes.memset(block, 1, size)
        for block in blocks[:-1]:  # the last one stays: the heap cannot shrink from its end
            libc.free(block)

    thread = threading.Thread(target=allocate_and_free)
    before = resident()
    thread.start()
    thread.join()
    kept = resident() - before
    give_memory_back()
    assert kept > 50
    assert resident() - before < kept / 4


def test_a_system_without_glibc_is_left_alone(monkeypatch):
    def missing(_):
        raise OSError("no such library")

    monkeypatch.setattr(machines.ctypes, "CDLL", missing)
    Slot().empty()
