"""When outcomes are on the disk, and what a line may look like."""

import json
import os
from pathlib import Path

import pytest

from selfalign.core import shelf as room
from selfalign.core.records import Dropped, Instruction, Kept
from selfalign.core.shelf import Shelf


def kept(number: int) -> Kept[Instruction]:
    made = Instruction(text=f'say "reason" {number}', origin="user")
    return Kept[Instruction](source=f"{number:016x}", records=(made,))


@pytest.fixture
def synced(monkeypatch) -> list[int]:
    """How long the file was each time the disk was waited for."""
    sizes: list[int] = []
    wait = os.fsync

    def counting(file: int) -> None:
        wait(file)
        sizes.append(os.fstat(file).st_size)

    monkeypatch.setattr(room.os, "fsync", counting)
    return sizes


def test_the_disk_is_waited_for_now_and_then_and_at_the_end(
    tmp_path: Path, synced: list[int]
) -> None:
    shelf = Shelf(tmp_path, Instruction)
    for number in range(20):
        shelf.append([kept(number)])
    assert len(synced) == 1
    shelf.sync()
    assert synced[-1] == (tmp_path / "outcomes.jsonl").stat().st_size
    assert list(Shelf(tmp_path, Instruction)) == [kept(number) for number in range(20)]


def test_what_is_not_synced_yet_is_there_for_other_readers(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, Instruction)
    shelf.append([kept(1)])
    shelf.append([kept(2)])
    assert len(Shelf(tmp_path, Instruction)) == 2


def test_lines_written_by_hand_are_read_too(tmp_path: Path) -> None:
    dropped = Dropped(source="short", reason="too_short")
    lines = [kept(1).model_dump(mode="json"), dropped.model_dump(mode="json")]
    file = tmp_path / "outcomes.jsonl"
    file.write_text("".join(json.dumps(dict(reversed(line.items()))) + "\n" for line in lines))
    assert list(Shelf(tmp_path, Instruction)) == [kept(1), dropped]
