"""Files people write are read strictly, and whatever is wrong with one is a sentence."""

from pathlib import Path

import pytest

from selfalign.core.errors import PlanError
from selfalign.core.files import parse_yaml, read_json_lines

HERE = Path("plan.yaml")


def _read(text: str) -> object:
    return parse_yaml(text, HERE, PlanError)


def test_a_key_written_twice_is_refused_with_its_line() -> None:
    with pytest.raises(PlanError, match=r"line 3: .*`seed` stands here a second time.*Keep one"):
        _read("seed: 1\nbase: calf\nseed: 2\n")


def test_a_key_written_twice_in_a_section_is_refused() -> None:
    with pytest.raises(PlanError, match=r"line 3: .*`rank`"):
        _read("stage3:\n  rank: 1\n  rank: 2\n")


def test_a_merged_key_may_be_set_again() -> None:
    text = "a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, x: 3}\n"
    assert _read(text) == {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 3}}


@pytest.mark.parametrize(
    "value", ["2023-13-45", "9" * 5000, "!!bool perhaps", "!!timestamp now", "!!int abc"]
)
def test_a_value_that_cannot_be_read_is_named_with_its_line(value: str) -> None:
    with pytest.raises(PlanError, match=r"line 2: .*is no value that can be read"):
        _read(f"base: calf\nseed: {value}\n")


def test_yaml_nested_without_end_is_refused() -> None:
    with pytest.raises(PlanError, match="nested too deeply"):
        _read("base: " + "[" * 5000)


def test_a_json_object_with_one_key_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"b": {"a": 1, "a": 2}}\n', "utf-8")
    with pytest.raises(PlanError, match=r"line 2: .*the key 'a' stands there twice"):
        list(read_json_lines(path, PlanError))


def test_json_nested_without_end_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n" + "[" * 100_000 + "\n", "utf-8")
    with pytest.raises(PlanError, match="line 2: this is not JSON"):
        list(read_json_lines(path, PlanError))
