"""Which principles hold at which step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.errors import LibraryError, PlanError
from selfalign.core.library import open_library
from selfalign.salmon.principle_state import AlwaysOn, NumberedChange, Removed, Reweighed
from selfalign.salmon.schedule import Schedule, ScheduleEntry, principle_plan

LIBRARY = open_library()
POOL = LIBRARY.constitution("salmon_rl")
INTERVENTIONS = LIBRARY.constitution("salmon_interventions")


def plan(*entries: dict, k=3, always=(), interventions=INTERVENTIONS):
    schedule = Schedule(entries=tuple(ScheduleEntry.model_validate(e) for e in entries))
    return principle_plan(
        schedule, pool=POOL, interventions=interventions, always=always, k=k, library=LIBRARY
    )


def test_without_a_schedule_the_papers_principles_hold_at_every_step():
    for step in (0, 7, 10_000):
        state = plan().at(step)
        assert state.pool == state.drawable == POOL
        assert state.always == INTERVENTIONS.principles


def test_an_entry_holds_from_its_step_on_and_changes_what_it_names():
    made = plan(
        {"from_step": 10, "weights": {"candor": 8, "vivid": 0}},
        {"from_step": 20, "always": ["Be brief."]},
        {"from_step": 30, "always": [], "interventions": ""},
        {"from_step": 40, "pool": "salmon_honest", "interventions": "salmon_interventions"},
    )
    assert made.at(9) == plan().at(0)
    assert made.at(10).drawable.principles[0].weight == made.at(39).drawable.principles[0].weight
    assert made.at(10).drawable.principles[0].weight == 8
    assert "vivid" not in made.at(19).drawable.names
    assert [p.text for p in made.at(20).always][3:] == ["Be brief."]
    assert made.at(30).always == ()
    assert made.at(40).pool == LIBRARY.constitution("salmon_honest")
    assert made.at(10**6).always == INTERVENTIONS.principles


def test_texts_may_be_always_on_from_the_beginning():
    made = plan({"from_step": 5, "interventions": ""}, always=["Be brief.", "Be kind."])
    assert [p.name for p in made.at(0).always][3:] == ["always 1", "always 2"]
    assert [p.text for p in made.at(5).always] == ["Be brief.", "Be kind."]


def test_live_edits_lie_on_top_of_the_schedule_in_the_order_they_came():
    made = plan({"from_step": 10, "weights": {"candor": 5}})
    edits = [
        NumberedChange(1, Reweighed(principle="candor", weight=9)),
        NumberedChange(2, AlwaysOn(text="Be brief.")),
        NumberedChange(2, Removed(principle="vivid")),
    ]
    assert made.steered(12, []) == made.at(12)
    state = made.steered(12, edits)
    assert state.drawable.principles[0].weight == 9
    assert state.always[-1].name == "live 2"
    assert "vivid" not in state.drawable.names


def test_a_live_edit_that_a_later_pool_does_not_know_is_skipped_there():
    made = plan({"from_step": 10, "pool": "salmon_honest"})
    edits = [
        NumberedChange(1, Removed(principle="vivid")),
        NumberedChange(2, AlwaysOn(text="Be brief.")),
    ]
    assert "vivid" not in made.steered(9, edits).drawable.names
    later = made.steered(10, edits)
    assert later.drawable == LIBRARY.constitution("salmon_honest")
    assert later.always[-1].text == "Be brief."


@given(
    st.lists(st.integers(0, 50), max_size=6, unique=True).map(sorted),
    st.integers(0, 60),
)
def test_the_state_of_a_step_is_that_of_the_last_entry_before_it(steps, step):
    made = plan(*({"from_step": s, "always": [f"Entry {s}."]} for s in steps))
    last = max((s for s in steps if s <= step), default=None)
    texts = [p.text for p in made.at(step).always][3:]
    assert texts == ([] if last is None else [f"Entry {last}."])


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([{"from_step": 5}, {"from_step": 5}], r"step 5 behind one from step 5.*in the order"),
        ([{"from_step": 5}, {"from_step": 2}], r"from step 2 behind one from step 5"),
        (
            [{"from_step": 5, "weights": {"cander": 1}}],
            r"`schedule.entries.0`.*no principle 'cander': did you mean 'candor'",
        ),
        ([{"from_step": 5, "weights": {"candor": -1}}], r"candor=-1: a weight"),
        ([{"from_step": 5, "always": [""]}], r"`schedule.entries.0`.*says nothing"),
        ([{"from_step": 0}, {"from_step": 1, "pool": "salmon_interventions"}], r"entries.1"),
    ],
)
def test_a_schedule_that_cannot_be_is_one_sentence_with_the_way_out(entries, words):
    with pytest.raises(PlanError, match=words):
        plan(*entries)


def test_too_few_principles_and_no_principles_at_all_are_refused():
    with pytest.raises(PlanError, match=r"15 principles.*'salmon_rl' has 14.*Set `k`"):
        plan(k=15)
    with pytest.raises(PlanError, match=r"nothing to reward by"):
        plan(k=0, interventions=None)
    with pytest.raises(LibraryError, match=r"no constitutions/atlantis\.yaml"):
        plan({"from_step": 1, "pool": "atlantis"})


def test_any_edit_of_the_schedule_is_another_plan():
    plans = [
        plan(),
        plan(always=["Be brief."]),
        plan({"from_step": 5, "always": ["Be brief."]}),
        plan({"from_step": 6, "always": ["Be brief."]}),
        plan({"from_step": 5, "weights": {"candor": 1}}),
        plan(interventions=None),
    ]
    assert len({p.fingerprint for p in plans}) == len(plans)
    assert plan().fingerprint == plan().fingerprint
