"""What a change makes of the principles, and what it is refused for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.constitution import Constitution, Principle
from selfalign.core.errors import InputError
from selfalign.core.library import open_library
from selfalign.salmon.principle_state import (
    AlwaysOn,
    NumberedChange,
    PrincipleState,
    Removed,
    Reweighed,
    changed,
    fold,
)

POOL = open_library().constitution("salmon_rl")
START = PrincipleState(
    pool=POOL, always=open_library().constitution("salmon_interventions").principles
)
names = st.sampled_from([*POOL.names, "humble", "live 1", "live 2", "nobody"])
changes = st.one_of(
    st.builds(AlwaysOn, text=st.sampled_from(["Be brief.", "Be kind.", " ", "Be  brief."])),
    st.builds(Reweighed, principle=names, weight=st.floats(-1, 9)),
    st.builds(Removed, principle=names),
)
numbered = st.lists(changes, max_size=40).map(
    lambda some: [NumberedChange(n, one) for n, one in enumerate(some, start=1)]
)


def after(*some, k=3, state=START):
    for number, one in enumerate(some, start=1):
        state = changed(state, NumberedChange(number, one), k)
    return state


def test_a_text_is_always_on_behind_the_others_and_named_by_its_edit():
    state = after(AlwaysOn(text="  Be\nbrief. "))
    assert [p.name for p in state.always] == ["task first", "humble", "to the point", "live 1"]
    assert state.always[-1].text == "Be brief."
    assert state.drawable == POOL


def test_a_weight_replaces_the_written_one_and_no_other():
    state = after(Reweighed(principle="Candor", weight=8))
    weights = {p.name: p.weight for p in state.drawable.principles}
    assert weights == {p.name: p.weight for p in POOL.principles} | {"candor": 8}


def test_what_is_removed_is_drawn_no_more_and_a_weight_brings_it_back():
    gone = after(Removed(principle="vivid"))
    assert "vivid" not in gone.drawable.names
    assert gone == after(Reweighed(principle="vivid", weight=0))
    back = after(Reweighed(principle="vivid", weight=1), state=gone)
    assert back == START


def test_what_is_always_on_can_be_switched_off_by_its_name():
    state = after(AlwaysOn(text="Be brief."), Removed(principle="humble"))
    assert [p.name for p in state.always] == ["task first", "to the point", "live 1"]
    assert after(Removed(principle="LIVE 1"), state=state).always == state.always[:2]
    assert after(AlwaysOn(text="x y")).interventions is not None
    alone = PrincipleState(pool=POOL)
    assert alone.interventions is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Reweighed(principle="cander", weight=2), r"no principle 'cander': did you mean 'candor'"),
        (Removed(principle="humbel"), r"did you mean 'humble'.*Correct the name"),
        (Removed(principle="zzz"), r"no principle 'zzz': the pool has candor,"),
        (Reweighed(principle="candor", weight=-1), r"candor=-1: a weight.*at least 0"),
        (Reweighed(principle="candor", weight=float("nan")), r"candor=nan: a weight"),
        (Reweighed(principle="candor", weight=float("inf")), r"candor=inf: a weight"),
        (AlwaysOn(text=" \n"), r"says nothing; write it"),
    ],
)
def test_a_change_that_does_not_fit_is_one_sentence_with_the_way_out(change, words):
    with pytest.raises(InputError, match=words):
        after(change)


def test_the_same_text_is_not_switched_on_twice():
    with pytest.raises(InputError, match=r"'Be brief\.' is always on already, as 'live 1'"):
        after(AlwaysOn(text="Be brief."), AlwaysOn(text="Be   brief."))


def test_as_many_as_are_drawn_must_be_left():
    few = PrincipleState(
        pool=Constitution(name="mine", principles=POOL.principles[:4]), always=START.always
    )
    three = after(Removed(principle="candor"), state=few)
    with pytest.raises(InputError, match=r"without 'comprehensive' there would be 2.*and 3 are"):
        after(Removed(principle="comprehensive"), state=three)
    with pytest.raises(InputError, match="there would be 2"):
        after(Reweighed(principle="comprehensive", weight=0), state=three)
    assert after(Removed(principle="candor"), state=three) == three


def test_where_none_is_drawn_something_stays_always_on():
    one = PrincipleState(pool=POOL, always=(Principle(name="brief", text="Be brief."),))
    with pytest.raises(InputError, match="nothing would be left to reward by"):
        after(Removed(principle="brief"), k=0, state=one)
    both = after(AlwaysOn(text="Be kind."), k=0, state=one)
    assert len(after(Removed(principle="brief"), k=0, state=both).always) == 1


@given(numbered, st.integers(0, 14))
def test_no_changes_whatever_leave_too_few_principles_or_stop_anything(some, k):
    state, unfit = fold(START, some, k)
    assert len(state.drawable.names) >= k
    assert state.drawable.names or state.always
    assert all(p.weight > 0 for p in state.drawable.principles)
    assert state.pool.names == POOL.names
    taken = [p.name for p in (*state.pool.principles, *state.always)]
    assert len(set(taken)) == len(taken)
    assert len(unfit) <= len(some)
    assert all(one.reason for one in unfit)


@given(numbered, numbered)
def test_changes_may_be_made_at_once_or_one_after_the_other(first, second):
    halfway, _ = fold(START, first, 3)
    assert fold(halfway, second, 3)[0] == fold(START, [*first, *second], 3)[0]


@given(numbered)
def test_what_does_not_fit_changes_nothing(some):
    state, unfit = fold(START, some, 3)
    fitting = [one for one in some if not any(one.change is u.change for u in unfit)]
    assert fold(START, fitting, 3)[0] == state
