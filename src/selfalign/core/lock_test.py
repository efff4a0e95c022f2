"""One writer per folder, however processes come and go."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfalign.core.errors import StoreError
from selfalign.core.lock import hold, let_go, share_of_parent

TRY = """
import sys
from pathlib import Path
from selfalign.core.lock import hold
hold(Path(sys.argv[1]))
"""

SHARE = """
import sys
from pathlib import Path
from selfalign.core.lock import hold, let_go, share_of_parent
folder = Path(sys.argv[1])
share_of_parent(folder)
assert hold(folder)
let_go(folder)
"""


def another_process_may_write(folder: Path) -> bool:
    tried = subprocess.run([sys.executable, "-c", TRY, str(folder)], capture_output=True, text=True)
    assert tried.returncode == 0 or "is being written by another process" in tried.stderr
    return tried.returncode == 0


def test_holding_twice_is_holding_once_and_letting_go_is_letting_go(tmp_path):
    assert another_process_may_write(tmp_path)
    assert hold(tmp_path)
    assert hold(tmp_path)
    assert not another_process_may_write(tmp_path)
    let_go(tmp_path)
    let_go(tmp_path)
    assert another_process_may_write(tmp_path)


def test_a_folder_is_one_folder_by_whatever_path(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    assert hold(tmp_path / "run")
    assert not another_process_may_write(tmp_path / "link")
    let_go(tmp_path / "link")
    assert another_process_may_write(tmp_path / "run")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux")
def test_holding_again_opens_nothing(tmp_path):
    hold(tmp_path)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    hold(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    let_go(tmp_path)


def test_a_forked_child_does_not_take_its_parents_lock_for_its_own(tmp_path):
    hold(tmp_path)
    child = os.fork()
    if child == 0:
        try:
            hold(tmp_path)
        except StoreError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    let_go(tmp_path)


def test_the_leftover_file_of_a_dead_process_is_no_lock(tmp_path):
    (tmp_path / ".lock").write_text("process 1 on elsewhere\n")
    assert hold(tmp_path)
    assert f"process {os.getpid()} on " in (tmp_path / ".lock").read_text()
    let_go(tmp_path)


def test_a_worker_writes_under_the_lock_of_its_parent_and_leaves_it_there(tmp_path):
    hold(tmp_path)
    subprocess.run([sys.executable, "-c", SHARE, str(tmp_path)], check=True)
    assert not another_process_may_write(tmp_path)
    let_go(tmp_path)


@pytest.mark.parametrize("owner", ["process 1 on elsewhere\n", None])
def test_nobody_shares_a_lock_that_the_parent_does_not_hold(tmp_path, owner):
    if owner:
        (tmp_path / ".lock").write_text(owner)
    with pytest.raises(StoreError, match="not held by the process that started this worker"):
        share_of_parent(tmp_path)
