"""A wrong plan is refused at the door, with the way out in the same sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.errors import PlanError
from selfalign.core.records import Settings
from selfalign.recipes.plan_file import merge, parse_override, read_settings


class Tuning(Settings):
    """A section."""

    rank: int = 16
    learning_rate: float = 4e-4


class Small(Settings):
    """A plan with one section."""

    base: str = "calf"
    seed: int = 0
    tuning: Tuning = Tuning()


def written(tmp_path, text):
    path = tmp_path / "plan.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_number_like_4e_4_is_a_number(tmp_path):
    """YAML 1.1 reads it as text; people write it all the same."""
    plan = read_settings(Small, written(tmp_path, "tuning: {learning_rate: 2e-3}"))
    assert plan.tuning.learning_rate == 0.002


def test_an_override_wins_over_the_file_and_leaves_its_neighbours(tmp_path):
    path = written(tmp_path, "seed: 3\ntuning: {rank: 4, learning_rate: 0.1}")
    plan = read_settings(Small, path, ["tuning.rank=8"])
    assert plan == Small(seed=3, tuning=Tuning(rank=8, learning_rate=0.1))


def test_an_empty_file_is_all_defaults(tmp_path):
    assert read_settings(Small, written(tmp_path, "")) == Small()


@pytest.mark.parametrize(
    ("text", "overrides", "named"),
    [
        ("sed: 1", [], ["plan.yaml", "`sed`", "did you mean `seed`?"]),
        ("tuning: {rnak: 1}", [], ["plan.yaml", "`tuning.rnak`", "`tuning.rank`"]),
        ("seed: soon", [], ["plan.yaml", "`seed`", "integer"]),
        ("tuning: 3", [], ["plan.yaml", "`tuning`"]),
        ("- a\n- list", [], ["plan.yaml", "setting: value"]),
        ("seed: [1", [], ["plan.yaml", "line 1", "not YAML"]),
        ("", ["tuning.rnak=1"], ["tuning.rnak=1", "`tuning.rank`"]),
        ("", ["seed"], ["'seed'", "key=value"]),
        ("", ["=1"], ["'=1'", "key=value"]),
        ("", ["seed=soon"], ["seed=soon", "`seed`"]),
        ("", ["zzzzz=1"], ["`zzzzz`", "base, seed, tuning"]),
    ],
)
def test_a_wrong_plan_names_file_field_and_way_out(tmp_path, text, overrides, named):
    with pytest.raises(PlanError) as caught:
        read_settings(Small, written(tmp_path, text), overrides)
    assert all(part in str(caught.value) for part in named), str(caught.value)


def test_a_plan_that_is_a_folder_or_missing_is_a_sentence(tmp_path):
    for path in (tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(PlanError, match=path.name):
            read_settings(Small, path)


NESTED = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.text(max_size=2), inner, max_size=3)
)
MAPPINGS = st.dictionaries(st.text(max_size=2), NESTED, max_size=3)


@given(MAPPINGS, MAPPINGS)
def test_laying_a_plan_over_another_keeps_all_of_the_upper_one(below, above):
    merged = merge(below, above)
    assert merge(merged, above) == merged
    assert set(merged) == set(below) | set(above)
    assert merge(below, {}) == below


@given(st.text())
def test_any_override_is_a_setting_or_a_sentence(text):
    try:
        assert isinstance(parse_override(text), dict)
    except PlanError as error:
        assert str(error)
