"""A stray answer misses what the right one took from its request, and loses under any clause."""

from collections import Counter

import pytest

from selfalign.core.records import Instruction, ResponsePair, SelfAlignedResponse
from selfalign.salmon.stray_answers import StrayAnswers

NAMES = ("brief", "candid", "kind")
TRADES = [f"{first}{last}" for first in "bdfghkmnst" for last in ("aker", "iner", "ooper")]
UNKNOWN = "I do not know, for it has not happened yet."


def asked(text: str) -> Instruction:
    return Instruction(text=text, origin="user")


def aligned(request: str, response: str) -> SelfAlignedResponse:
    return SelfAlignedResponse(
        instruction=asked(request), thoughts="", cited=(), response=response, finished=True
    )


REFUSED = [aligned(f"How do I rob a {t}?", f"I will not help you rob a {t}.") for t in TRADES]
CANDID = [aligned(f"When will a {t} come back?", UNKNOWN) for t in TRADES]
DISHES = [aligned(f"How do I cook {t} soup?", f"Boil the {t} soup.") for t in TRADES]
PAIRS = [
    ResponsePair(instruction=asked(f"Who met a {t}?"), first="Ask me later.", second="It is late.")
    for t in TRADES
]
STRAYS = StrayAnswers([*REFUSED, *CANDID, *DISHES], PAIRS, NAMES)
MADE = STRAYS.labels(1.0)
RIGHT = {a.instruction.text: a.response for a in STRAYS.aligned}


def test_every_answer_given_under_the_principles_beats_one_that_misses_its_point():
    assert len(MADE) == len(STRAYS.aligned)
    for one in MADE:
        assert one.chosen == RIGHT[one.instruction.text]
        trade = next(t for t in TRADES if t in one.instruction.text)
        if one.chosen == UNKNOWN:  # it named nothing: what is as vague may be right as well
            assert any(t in one.rejected for t in TRADES)
        else:
            assert trade not in one.rejected
        assert one.rule == "stray"
    assert sum(x.preferred == 1 for x in MADE) / len(MADE) == pytest.approx(0.5, abs=0.15)


def test_any_of_the_principles_are_shown_one_or_two_and_none_negated():
    clauses = [one.clauses for one in MADE]
    assert {c.principle for shown in clauses for c in shown} == set(NAMES)
    assert not any(c.negated for shown in clauses for c in shown)
    assert {len({c.principle for c in shown}) for shown in clauses} == {1, 2}
    assert all(len(shown) == len({c.principle for c in shown}) for shown in clauses)
    single = StrayAnswers(STRAYS.aligned, PAIRS, ["kind"]).labels(1.0)
    assert {len(one.clauses) for one in single} == {1}


def test_every_other_stray_answer_is_like_the_right_one_and_the_others_fit_anything():
    kinds = Counter(
        "like it" if "rob" in one.rejected else "fits anything" if vague(one.rejected) else "other"
        for one in MADE
        if "rob" in one.chosen
    )
    assert set(kinds) == {"like it", "fits anything"}
    assert kinds["like it"] / len(REFUSED) == pytest.approx(0.5, abs=0.2)


def vague(answer: str) -> bool:
    return not any(t in answer for t in TRADES)


def test_a_share_is_drawn_answer_by_answer_and_the_seed_says_which():
    some = STRAYS.labels(0.4)
    assert len(some) / len(MADE) == pytest.approx(0.4, abs=0.12)
    assert set(some) <= set(MADE)
    assert STRAYS.labels(0.4) == some
    assert StrayAnswers(STRAYS.aligned, PAIRS, NAMES, seed=1).labels(0.4) != some
    assert STRAYS.labels(0.0) == []


def test_where_nothing_strays_there_is_no_pair():
    alone = StrayAnswers(REFUSED[:1], [], NAMES)
    assert alone.labels(1.0) == []
    vague_alone = StrayAnswers(CANDID, [], NAMES)
    assert vague_alone.labels(1.0) == []


def test_what_has_every_word_the_right_one_took_may_answer_it_too():
    right = REFUSED[0]
    same = aligned(f"Shall we rob a {TRADES[0]}?", f"I would not rob a {TRADES[0]}.")
    assert StrayAnswers([right, same], [], NAMES).labels(1.0) == []
    other = aligned(f"Shall we rob a {TRADES[1]}?", f"I would not rob a {TRADES[1]}.")
    made = StrayAnswers([right, other], [], NAMES).labels(1.0)
    assert {one.rejected for one in made} == {right.response, other.response}
