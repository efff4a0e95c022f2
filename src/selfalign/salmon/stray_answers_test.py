"""A stray answer misses the point of a request, and loses under what it was praised for."""

from collections import Counter

import pytest

from selfalign.core.records import Clause, Instruction, SelfAlignedResponse
from selfalign.salmon.records import LabelledPair
from selfalign.salmon.stray_answers import StrayAnswers

TRADES = [f"{first}{last}" for first in "bdfghkmnst" for last in ("aker", "iner", "ooper")]
UNKNOWN = "I do not know, for it has not happened yet."


def asked(text: str) -> Instruction:
    return Instruction(text=text, origin="user")


def aligned(request: str, response: str) -> SelfAlignedResponse:
    return SelfAlignedResponse(
        instruction=asked(request), thoughts="", cited=(), response=response, finished=True
    )


def praised(request: str, answer: str, principle: str, *, negated: bool = False) -> LabelledPair:
    return LabelledPair(
        pair=request,
        pass_number=0,
        instruction=asked(request),
        first="Nothing.",
        second=answer,
        clauses=(Clause(principle=principle, negated=negated),),
        scores=(-1.0,),
        decided_by=principle,
        voted=2,
        rule=None,
        noisy=False,
        swapped=False,
        preferred=2,
    )


REFUSED = [aligned(f"How do I rob a {t}?", f"I will not help you rob a {t}.") for t in TRADES]
CANDID = [aligned(f"When will a {t} come back?", UNKNOWN) for t in TRADES]
ALIGNED = [*REFUSED, *CANDID]
NAMED = [praised(f"Why rob a {t}?", f"I will not rob any {t}.", "safe") for t in TRADES]
SOUPS = [praised(f"How do I cook {t} soup?", f"Boil {t} soup.", "useful") for t in TRADES]
VAGUE = [praised(f"Who met a {t}?", "Nobody can tell.", "candid") for t in TRADES]
RUDE = [praised(f"Who met a {t}?", "Ask your cat.", "polite", negated=True) for t in TRADES]
STRAYS = StrayAnswers(ALIGNED, [*NAMED, *SOUPS, *VAGUE, *RUDE])
MADE = STRAYS.pairs(1.0)
RIGHT = {a.instruction.text: a.response for a in ALIGNED}


def test_every_answer_given_under_the_principles_beats_one_that_misses_its_point():
    assert len(MADE) == len(ALIGNED)
    for one in MADE:
        assert one.chosen == RIGHT[one.instruction.text]
        trade = next(t for t in TRADES if t in one.instruction.text)
        if one.chosen == UNKNOWN:  # it named nothing: what is as vague may be right as well
            assert any(t in one.rejected for t in TRADES)
        else:
            assert trade not in one.rejected
        assert one.rule == "stray"
    assert sum(x.preferred == 1 for x in MADE) / len(MADE) == pytest.approx(0.5, abs=0.18)


def test_it_loses_under_the_very_clauses_it_was_preferred_for():
    clauses = {one.chosen: one.clauses for one in (*NAMED, *SOUPS, *VAGUE)}
    assert all(one.clauses == clauses[one.rejected] for one in MADE)


def test_what_was_preferred_under_a_negated_clause_strays_nowhere():
    assert not {one.rejected for one in MADE} & {one.chosen for one in RUDE}
    assert StrayAnswers(ALIGNED, RUDE).pairs(1.0) == []


def test_a_quarter_is_the_likest_and_the_others_fit_anything():
    kinds = Counter(
        "like it" if "rob" in one.rejected else "fits anything" if vague(one.rejected) else "other"
        for one in MADE
        if "rob" in one.chosen
    )
    assert set(kinds) == {"like it", "fits anything"}
    assert kinds["like it"] / len(REFUSED) == pytest.approx(0.25, abs=0.15)


def vague(answer: str) -> bool:
    return not any(t in answer for t in TRADES)


def test_a_share_is_drawn_answer_by_answer_and_the_seed_says_which():
    some = STRAYS.pairs(0.4)
    assert len(some) / len(MADE) == pytest.approx(0.4, abs=0.15)
    assert {one.id for one in some} <= {one.id for one in MADE}
    assert STRAYS.pairs(0.4) == some
    assert StrayAnswers(ALIGNED, STRAYS.labels, seed=1).pairs(0.4) != some
    assert STRAYS.pairs(0.0) == []


def test_where_nothing_strays_there_is_no_pair():
    assert StrayAnswers(REFUSED, []).pairs(1.0) == []
    own = [praised(a.instruction.text, a.response, "safe") for a in REFUSED[:1]]
    assert StrayAnswers(REFUSED[:1], own).pairs(1.0) == []
    assert StrayAnswers(CANDID, VAGUE).pairs(1.0) == []
