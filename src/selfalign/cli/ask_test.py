"""`selfalign ask|chat`: what cannot be read is a sentence, and what was answered is kept."""

import io
import json

import pytest

from selfalign.cli.app import run_command


@pytest.fixture
def latin_stdin(monkeypatch):
    """65 questions, the last of which is not UTF-8: the first 64 are answered together."""
    written = b"".join(b"Question %d?\n" % n for n in range(64)) + b" " * 9000 + b"caf\xe9?\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(written), encoding="utf-8"))


def test_questions_that_are_no_text_are_refused_behind_the_answers(latin_stdin, capsys):
    assert run_command(["ask", "calf", "--max-tokens", "1"]) == 2
    told = capsys.readouterr()
    assert [json.loads(line)["instruction"] for line in told.out.splitlines()] == [
        f"Question {n}?" for n in range(64)
    ]
    assert "stdin is not UTF-8 text (there is a byte 0xe9)" in told.err


def test_a_conversation_that_is_no_text_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9\n"), encoding="utf-8"))
    assert run_command(["chat", "calf"]) == 2
    assert "stdin is not UTF-8 text" in capsys.readouterr().err


def test_a_question_that_is_no_text_is_refused(capsys):
    assert run_command(["ask", "calf", "caf\udce9"]) == 2
    assert "the argument 'caf\\udce9' is not UTF-8 text" in capsys.readouterr().err


def test_an_endless_temperature_is_refused(capsys):
    assert run_command(["ask", "calf", "hi", "--temperature", "inf"]) == 2
    assert "--temperature" in capsys.readouterr().err
