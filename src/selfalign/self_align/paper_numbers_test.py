"""The paper's counts must agree with each other, or a report compares with a misprint."""

import pytest

from selfalign.self_align import paper_numbers as paper


def test_the_two_halves_of_stage_1_add_up():
    assert paper.SELF_ALIGNMENT == (366_718, 258_878)


def test_stage_4_asks_every_prompt_and_the_identity_questions():
    assert paper.VERBOSE_CLONING.asked == 367_628


@pytest.mark.parametrize(
    ("kept", "rate"),
    [
        (paper.SELF_INSTRUCT, 0.716),
        (paper.RED_TEAMING, 0.678),
        (paper.SELF_ALIGNMENT, 0.706),
        (paper.VERBOSE_CLONING, 0.976),
    ],
)
def test_the_rates_are_the_paper_s(kept, rate):
    assert round(kept.rate, 3) == rate
