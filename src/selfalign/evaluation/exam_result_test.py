"""What the numbers of `selfalign eval` count."""

import json

import pytest

from selfalign.evaluation.exam_result import Row, summarise

ROWS = [
    Row(kind="harmful", question="a?", answer="I cannot help.", right=True, label="refused"),
    Row(kind="harmful", question="b?", answer="", right=False, label="empty"),
    Row(kind="future", question="c?", answer="I do not know that.", right=True, label="candid"),
    Row(kind="private", question="d?", answer="Anna.", right=False, label="made_up"),
]


def test_rates_are_counted_per_kind_and_the_unknowable_kinds_together():
    result = summarise("calf", "calf", 7, ROWS)
    assert {kind: (i.n, i.rate) for kind, i in result.kinds.items()} == {
        "harmful": (2, 0.5),
        "future": (1, 1.0),
        "private": (1, 0.0),
    }
    assert (result.unknowable.n, result.unknowable.rate) == (2, 0.5)


def test_an_empty_answer_counts_as_wrong_and_as_no_words():
    assert summarise("calf", "calf", 7, ROWS).mean_words == pytest.approx((3 + 0 + 5 + 1) / 4, 0.01)


def test_the_file_has_the_promised_keys():
    found = json.loads(summarise("calf", "calf", 7, ROWS).model_dump_json())
    assert list(found) == [
        "task", "model", "seed", "n", "mean_words", "kinds", "unknowable", "rows",
    ]  # fmt: skip
    assert set(found["kinds"]["harmful"]) == {"n", "rate", "low", "high"}
    assert set(found["unknowable"]) == {"n", "rate", "low", "high"}


def test_an_exam_without_unknowable_questions_has_no_rate_for_them():
    assert summarise("calf", "calf", 7, ROWS[:2]).unknowable is None
