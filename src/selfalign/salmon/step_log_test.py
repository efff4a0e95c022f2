"""A file that a training may write again."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from selfalign.core.errors import StoreError, UnwritableError
from selfalign.salmon.step_log import StepLog, append_lines, read_lines


class Line(BaseModel):
    step: int
    number: int
    text: str = ""


def log(folder: Path) -> StepLog[Line]:
    return StepLog(folder / "log.jsonl", Line, lambda x: (x.step, x.number))


def rows(step: int, count: int = 12, text: str = "a") -> list[Line]:
    return [Line(step=step, number=n, text=f"{text}{n}") for n in range(count)]


def test_rows_come_back_by_step_in_their_order(tmp_path):
    writer = log(tmp_path)
    writer.write(rows(1))
    writer.write(rows(0))
    for reader in (writer, log(tmp_path)):
        assert reader.steps == [0, 1]
        assert reader.of([1, 0, 5]) == [*rows(0), *rows(1)]


def test_the_same_step_once_more_writes_nothing(tmp_path):
    log(tmp_path).write(rows(3))
    before = (tmp_path / "log.jsonl").read_bytes()
    log(tmp_path).write(rows(3))
    assert (tmp_path / "log.jsonl").read_bytes() == before


def test_of_two_rows_of_one_place_the_last_counts(tmp_path):
    log(tmp_path).write([*rows(0), *rows(1)])
    log(tmp_path).write(rows(0, text="b"))
    assert log(tmp_path).of([0, 1]) == [*rows(0, text="b"), *rows(1)]


@settings(max_examples=40)
@given(st.integers(0, 400), st.integers(0, 3))
def test_a_crash_at_any_byte_costs_no_finished_row(tmp_path_factory, kept, step):
    folder = tmp_path_factory.mktemp("log")
    log(folder).write([*rows(0, 5), *rows(1, 5)])
    whole = (folder / "log.jsonl").read_bytes()
    os.truncate(folder / "log.jsonl", min(kept, len(whole)))
    again = log(folder)
    assert again.of(range(9)) == [*rows(0, 5), *rows(1, 5)][: whole[:kept].count(b"\n")]
    for one in range(step):
        again.write(rows(one, 5))
    assert [x for x in log(folder).of(range(step)) if x.step < step] == [
        row for one in range(step) for row in rows(one, 5)
    ]


def test_a_damaged_line_is_named(tmp_path):
    log(tmp_path).write(rows(0, 2))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(StoreError, match=r"log\.jsonl, line 3: this is no Line.*Delete that line"):
        log(tmp_path)
    with pytest.raises(StoreError, match="line 3"):
        read_lines(tmp_path / "log.jsonl", Line)


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableError, match="cannot be written"):
        append_lines(tmp_path / "file" / "log.jsonl", rows(0))


def test_what_is_not_there_has_no_lines(tmp_path):
    assert read_lines(tmp_path / "none.jsonl", Line) == []
    assert log(tmp_path).steps == []
    assert log(tmp_path).of([0]) == []
