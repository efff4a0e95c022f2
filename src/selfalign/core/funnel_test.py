"""Every input is counted once, whatever became of it."""

from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.funnel import EXAMPLES, Funnel, Tally, merged
from selfalign.core.records import Dropped, Instruction, Kept

fates = st.lists(st.sampled_from(["kept", "twice", "short", "long", "odd"]), max_size=30)


def funnel_of(names: list[str], key: str = "k") -> Funnel:
    tally = Tally()
    for number, name in enumerate(names):
        one = Instruction(text=f"{name} {number}", origin="user")
        if name in {"kept", "twice"}:
            tally.add(one, Kept(source=one.id, records=(one,) * (1 + (name == "twice"))))
        else:
            tally.add(one, Dropped(source=one.id, reason=name, detail=f"saw {number}"))
    return tally.funnel("s", key, 1.0)


@given(fates)
def test_inputs_are_kept_plus_dropped(names):
    funnel = funnel_of(names)
    assert funnel.inputs == len(names) == funnel.kept + sum(d.count for d in funnel.dropped)
    assert funnel.records == names.count("kept") + 2 * names.count("twice")
    for drops in funnel.dropped:
        assert drops.count == names.count(drops.reason)
        assert len(drops.examples) == min(drops.count, EXAMPLES)


@given(fates, fates)
def test_merging_adds_up(first, second):
    both = merged([funnel_of(first, "a"), funnel_of(second, "b")], "s")
    whole = funnel_of(first + second)
    assert (both.inputs, both.kept, both.records, both.seconds) == (
        whole.inputs,
        whole.kept,
        whole.records,
        2.0,
    )
    assert [(d.reason, d.count) for d in both.dropped] == [
        (d.reason, d.count) for d in whole.dropped
    ]
    assert both.key == "a, b"


def test_the_most_frequent_reason_comes_first_and_ties_by_name():
    funnel = funnel_of(["odd", "short", "long", "short"])
    assert [d.reason for d in funnel.dropped] == ["short", "long", "odd"]
