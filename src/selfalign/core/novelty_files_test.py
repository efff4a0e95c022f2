"""Filtering files: formats, resuming, and what is refused."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from selfalign.core import novelty_files
from selfalign.core.errors import InputError, SelfAlignError, StoreError
from selfalign.core.novelty import NoveltySettings, select_novel
from selfalign.core.novelty_files import filter_file, novelty_settings


def texts(seed: int, count: int) -> list[str]:
    """Make texts of a few words, many of them near-duplicates."""
    rng = random.Random(seed)
    return [" ".join(rng.choices("abcdefgh", k=rng.randint(1, 6))) for _ in range(count)]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def numbered(some: list[str]) -> list[dict[str, Any]]:
    return [{"id": n, "instruction": text} for n, text in enumerate(some)]


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty_files, "_BATCH", 10)


def test_rows_that_are_kept_are_copied_as_they_are(tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [
        b'\xef\xbb\xbf{"instruction":  "write a poem about spring", "x": 1e3}\r\n',
        b"\n",
        '{"instruction": "写一首诗", "x": "é"}\n'.encode(),
        b'{"instruction": "Write a poem about Spring!"}\n',
        b'{"instruction": "name three rivers"}',
    ]
    source.write_bytes(b"".join(lines))
    report = filter_file(source, target)
    kept = [lines[0][3:].rstrip(), lines[2].rstrip(), lines[4]]
    assert target.read_bytes() == b"".join(line + b"\n" for line in kept)
    assert (report.rows, report.kept, report.dropped, report.resumed_at) == (4, 3, 1, 0)


@pytest.mark.parametrize("ending", ["jsonl", "txt", "parquet"])
def test_every_format_keeps_what_the_filter_keeps(tmp_path: Path, ending: str) -> None:
    some = texts(1, 80)
    source, target = tmp_path / f"in.{ending}", tmp_path / f"out.{ending}"
    if ending == "jsonl":
        write_jsonl(source, numbered(some))
    elif ending == "txt":
        source.write_text("\n".join(some), "utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(numbered(some)), source)
    report = filter_file(source, target)
    expected = [some[n] for n in select_novel(some)]
    assert (report.rows, report.kept) == (80, len(expected))
    if ending == "jsonl":
        assert [row["instruction"] for row in rows_of(target)] == expected
    elif ending == "txt":
        assert target.read_text("utf-8").splitlines() == expected
    else:
        table = pq.read_table(target)
        assert table.schema == pq.read_table(source).schema
        assert table.column("instruction").to_pylist() == expected
        assert filter_file(source, target).kept == len(expected)
    assert 0 < len(expected) < 80


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate])
@example(0, 0, True)
@given(st.integers(0, 45), st.integers(0, 60), st.booleans())
def test_a_run_killed_anywhere_or_given_more_rows_ends_as_one_run(
    tmp_path_factory: pytest.TempPathFactory, first: int, torn: int, saved: bool
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    some = numbered(texts(first, 45))
    whole, target = folder / "whole.jsonl", folder / "out.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(novelty_files, "_BATCH", 10)
        filter_file(write_jsonl(folder / "in.jsonl", some), whole)
        part = write_jsonl(folder / "in.jsonl", some[:first])
        filter_file(part, target)
        with target.open("ab") as out:  # a batch that was being written when the run was killed
            out.write(b'{"id": 999, "instruction": "written but not saved"}\n{"id'[:torn])
        if not saved:
            target.with_name("out.jsonl.novelty.json.partial").write_text("{")
        report = filter_file(write_jsonl(folder / "in.jsonl", some), target)
    assert target.read_bytes() == whole.read_bytes()
    assert (report.rows, report.resumed_at) == (45, first)


@pytest.mark.usefixtures("small_batches")
def test_a_bad_row_stops_with_its_line_and_the_finished_batches_stay(tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    some = numbered(texts(2, 40))
    lines = [json.dumps(row) for row in some]
    source.write_text("\n".join([*lines[:25], "{broken", *lines[25:]]), "utf-8")
    with pytest.raises(InputError, match=r"in\.jsonl, line 26: this is not JSON"):
        filter_file(source, target)
    write_jsonl(source, some)
    assert filter_file(source, target).resumed_at == 20
    assert [row["id"] for row in rows_of(target)] == select_novel([r["instruction"] for r in some])


def test_against_files_of_any_format_are_kept_beforehand(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": t} for t in ("a b c", "d e f", "g h i")])
    plain = tmp_path / "old.txt"
    plain.write_text("A, b, c\nx y z\n")
    table = tmp_path / "old.parquet"
    pq.write_table(pa.table({"prompt": ["g h i"]}), table)
    report = filter_file(source, tmp_path / "out.jsonl", against=[plain, table])
    assert rows_of(tmp_path / "out.jsonl") == [{"text": "d e f"}]
    assert (report.against, report.kept) == (3, 1)


def test_the_column_is_chosen_from_the_source_and_may_be_named(tmp_path: Path) -> None:
    rows = [{"a": "1 2 3", "prompt": "x y"}, {"a": "4 5 6", "prompt": "x y"}]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    assert filter_file(source, tmp_path / "usual.jsonl").kept == 1
    assert filter_file(source, tmp_path / "named.jsonl", column="a").kept == 2
    write_jsonl(source, [*rows, {"a": "7 8 9", "prompt": "z"}])
    assert filter_file(source, tmp_path / "usual.jsonl").kept == 2


def test_the_settings_decide(tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text("a b c d e f g h i j\na b c d e f g x y z\n")
    assert filter_file(source, tmp_path / "ge.txt").kept == 1
    gt = NoveltySettings(drop_at="gt")
    assert filter_file(source, tmp_path / "gt.txt", settings=gt).kept == 2


def test_an_empty_source_gives_an_empty_target(tmp_path: Path) -> None:
    for ending in ("jsonl", "txt"):
        source = tmp_path / f"in.{ending}"
        source.write_text("\n \n")
        assert filter_file(source, tmp_path / f"out.{ending}").rows == 0
        assert (tmp_path / f"out.{ending}").read_bytes() == b""


def refused(failure: type[SelfAlignError], sentence: str, *call: Any, **options: Any) -> None:
    with pytest.raises(failure, match=sentence):
        filter_file(*call, **options)


def test_what_cannot_be_filtered_is_refused_with_a_sentence(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "a b"}, {"text": None}, {"txt": "c"}])
    out = tmp_path / "out.jsonl"
    refused(InputError, r"no file at .*none\.jsonl", tmp_path / "none.jsonl", out)
    refused(InputError, r"ends in '\.csv'", tmp_path / "in.csv", out)
    refused(InputError, "two formats", source, tmp_path / "out.txt")
    refused(InputError, "cannot be OUT as well", source, source)
    refused(InputError, "cannot be OUT as well", source, out, against=[out])
    refused(InputError, "there is no folder", source, tmp_path / "no" / "out.jsonl")
    refused(InputError, r"line 2: the field 'text' is null, not a text", source, out)
    refused(InputError, r"line 1: the field 'q' is missing.*has text", source, out, column="q")
    write_jsonl(source, [{"body": "a"}])
    refused(InputError, r"none of instruction.*its columns are body", source, tmp_path / "o.jsonl")
    source.write_bytes(b"[1]\n")
    refused(InputError, "line 1: this is not a JSON object", source, tmp_path / "o.jsonl")
    source.write_bytes(b'{"text": "\xff"}\n')
    refused(InputError, "line 1: this is not UTF-8", source, tmp_path / "o.jsonl")


def test_parquet_that_cannot_be_filtered_is_refused_with_a_sentence(tmp_path: Path) -> None:
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    source.write_bytes(b"PAR1 no")
    refused(InputError, "not a Parquet file", source, out)
    pq.write_table(pa.table({"text": [1, 2]}), source)
    refused(InputError, "holds int64, not text", source, out)
    pq.write_table(pa.table({"text": ["a", None]}), source)
    refused(InputError, r"row 1: the column 'text' is empty", source, out)
    refused(InputError, r"no column 'q'; its columns are text", source, out, column="q")
    assert not out.exists()
    assert not list(tmp_path.glob("*.partial"))


def test_a_target_made_of_something_else_is_left_alone(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", numbered(texts(3, 30)))
    other, out = tmp_path / "other.jsonl", tmp_path / "out.jsonl"
    other.write_text('{"mine": 1}\n')
    refused(InputError, "was not written by this command", source, other)
    assert other.read_text() == '{"mine": 1}\n'
    filter_file(source, out)
    before = out.read_bytes()
    low = NoveltySettings(threshold=0.5)
    refused(
        InputError, r"filtered with threshold 0\.7, and now it is 0\.5", source, out, settings=low
    )
    refused(InputError, "column 'instruction', and now it is 'id'", source, out, column="id")
    refused(InputError, "other --against files", source, out, against=[other])
    write_jsonl(source, numbered(texts(4, 30)))
    refused(InputError, "is not what .* was made of", source, out)
    write_jsonl(source, numbered(texts(3, 29)))
    refused(InputError, "is not what .* was made of", source, out)
    assert out.read_bytes() == before
    out.write_bytes(before[:-5])
    refused(StoreError, "shorter than it was left", source, out)
    (tmp_path / "out.jsonl.novelty.json").write_text("{}")
    refused(InputError, "cannot be read. Delete it", source, out)


def test_a_target_that_another_process_writes_is_refused(tmp_path: Path) -> None:
    source, out = write_jsonl(tmp_path / "in.jsonl", numbered(texts(3, 9))), tmp_path / "out.jsonl"
    hold = "import fcntl, sys; f = open(sys.argv[1], 'wb'); fcntl.lockf(f, fcntl.LOCK_EX)\n"
    wait = "print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold + wait, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        refused(StoreError, "is being written by another process", source, out)
        other.communicate()
    assert filter_file(source, out).rows == 9


def test_settings_typed_wrong_are_refused_with_a_sentence() -> None:
    assert novelty_settings(0.7, "ge", "rouge") == NoveltySettings(tokenizer="rouge")
    for typed in ((1.5, "ge", "rouge"), (0.7, "le", "rouge"), (0.7, "ge", "words")):
        with pytest.raises(InputError, match="novelty filter asked for"):
            novelty_settings(*typed)
