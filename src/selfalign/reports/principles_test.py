"""What the report says about rules is what the thoughts said."""

from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.records import Instruction, SelfAlignedResponse
from selfalign.reports.principles import rule_usage

NAMES = ("ethical", "candor", "static")


def response(text, cited, question_type=None):
    origin = "red_teaming" if question_type else "self_instruct"
    instruction = Instruction(text=text, origin=origin, question_type=question_type)
    return SelfAlignedResponse(
        instruction=instruction, thoughts="t", cited=cited, response="r", finished=True
    )


def test_citations_are_counted_by_origin_and_by_type():
    usage = rule_usage(
        NAMES, [response("a", (1, 2)), response("b", (2,), "time"), response("c", (2, 3), "time")]
    )
    assert usage.by_origin == {
        "1 ethical": {"self_instruct": 1},
        "2 candor": {"red_teaming": 2, "self_instruct": 1},
        "3 static": {"red_teaming": 1},
    }
    assert usage.by_type == {"time": {"2 candor": 2, "3 static": 1}}


def test_a_rule_nobody_cited_is_shown_with_nothing():
    assert rule_usage(NAMES, []).by_origin == {"1 ethical": {}, "2 candor": {}, "3 static": {}}


@given(
    st.lists(
        st.builds(
            response,
            st.text(max_size=3),
            st.sets(st.integers(1, 3)).map(lambda s: tuple(sorted(s))),
            st.none() | st.sampled_from(["time", "people"]),
        )
    )
)
def test_every_citation_is_counted_once_in_any_order(responses):
    usage = rule_usage(NAMES, responses)
    total = sum(count for counts in usage.by_origin.values() for count in counts.values())
    assert total == sum(len(r.cited) for r in responses)
    assert usage == rule_usage(NAMES, responses[::-1])
