"""Files are replaced whole or not at all, and nothing but a file is ever replaced."""

import os
import stat
from pathlib import Path

import pytest

from selfalign.core.disk import check_place, write_whole
from selfalign.core.errors import InputError, UnwritableError


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_what_is_no_file_is_never_replaced(pipe: Path) -> None:
    with pytest.raises(UnwritableError, match="is no file but a device or a pipe"):
        write_whole(pipe, "a text")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(pipe.parent.iterdir()) == [pipe]


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_place_that_cannot_hold_a_result_is_refused_before_the_work(pipe: Path) -> None:
    folder = pipe.parent
    for path, why in (
        (pipe, "a device or a pipe"),
        (folder, "a folder"),
        (Path(), "a folder"),
        (folder / "none" / "result.json", "there is no folder"),
        (Path("/proc/result.json"), "cannot be written"),
    ):
        with pytest.raises(InputError, match=f"^--out .*{why}"):
            check_place(path, "--out")


def test_a_place_that_can_hold_a_result_is_left_as_it_is(tmp_path: Path) -> None:
    check_place(tmp_path / "result.json", "--out")
    assert not list(tmp_path.iterdir())
    (tmp_path / "result.json").write_text("old")
    check_place(tmp_path / "result.json", "--out")
    assert (tmp_path / "result.json").read_text() == "old"
