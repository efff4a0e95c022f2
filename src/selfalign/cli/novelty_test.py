"""`selfalign novelty` on a small file."""

import json

import pytest

from selfalign.cli.app import run_command

ROWS = ["Write a poem about the sea.", "Write a poem about the sea!", "Name three birds."]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"instruction": row}) + "\n" for row in ROWS), "utf-8")
    return path


def test_near_duplicates_are_dropped_and_counted(source, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    assert run_command(["novelty", str(source), str(out)]) == 0
    kept = [json.loads(line)["instruction"] for line in out.read_text().splitlines()]
    assert kept == [ROWS[0], ROWS[2]]
    assert "kept 2 / 3" in capsys.readouterr().out


def test_rows_of_another_file_count_as_kept(source, tmp_path, capsys):
    known = tmp_path / "known.txt"
    known.write_text("Name three birds.\n")
    out = tmp_path / "out.jsonl"
    assert run_command(["novelty", str(source), str(out), "--against", str(known)]) == 0
    assert "kept 1 / 3" in capsys.readouterr().out


@pytest.mark.parametrize("threshold", ["0", "1.5", "nan"])
def test_a_threshold_that_means_nothing_is_exit_code_2(source, tmp_path, threshold, capsys):
    command = ["novelty", str(source), str(tmp_path / "out.jsonl"), "--threshold", threshold]
    assert run_command(command) == 2
    assert "--threshold" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_a_sentence(tmp_path, capsys):
    assert run_command(["novelty", str(tmp_path / "no.txt"), str(tmp_path / "out.txt")]) == 2
    assert "no.txt" in capsys.readouterr().err
