"""What a rollout is worth, worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.errors import TrainingError
from selfalign.salmon.rewards import (
    AUTHORS_REWARDS,
    Answer,
    Reward,
    RewardConfig,
    length_bonus,
    reward,
    score_scale,
    too_short,
)
from selfalign.salmon.stage2_aggregation_test import Spoken

PAPER = RewardConfig()


def answer(response="Boil the water first.", tokens=0, finished=True, kind="general"):
    return Answer("[en] How?", kind, response, tokens, finished)


@pytest.mark.parametrize(
    ("tokens", "kind", "bonus"),
    [
        (0, "general", 0.0),
        (512, "general", 2.5),
        (819, "general", 3.9990),
        (820, "general", 4.0),
        (900, "general", 4.0),
        (1024, "general", 4.0),
        (512, "reasoning", -1.0),
        (1024, "reasoning", -2.0),
        (1024, "red_teaming", 0.0),
    ],
)
def test_the_length_bonus_is_the_papers(tokens, kind, bonus):
    assert length_bonus(tokens, kind, PAPER) == pytest.approx(bonus, abs=1e-4)


def test_the_cap_is_on_top_only():
    assert length_bonus(4096, "general", PAPER) == 4.0
    assert length_bonus(4096, "reasoning", PAPER) == pytest.approx(-8.0)


def test_a_full_answer_that_does_not_end_loses_two():
    """4.0 for length, -6.0 for not ending, plus the reward model's 1.5."""
    items = reward(answer(tokens=1024, finished=False), 1.5, AUTHORS_REWARDS)
    assert (items.length, items.unfinished, items.too_short) == (4.0, -6.0, 0.0)
    assert items.total == pytest.approx(1.5 - 2.0)


@given(st.floats(-9, 9), st.integers(0, 1024), st.booleans(), st.text())
def test_the_items_add_up_to_the_total(score, tokens, finished, response):
    items = reward(answer(response, tokens, finished), score, PAPER, Spoken())
    assert items.score == score
    assert items.total == pytest.approx(sum(items.model_dump().values()))
    assert set(items.model_dump()) == set(Reward.model_fields)


@pytest.mark.parametrize("response", ["", " \n", ".", "…", "honey.", "Honey honey, honey!", "蜜"])
def test_an_answer_that_says_nothing_is_penalised_though_it_ends(response):
    items = reward(answer(response, tokens=1), 3.0, PAPER)
    assert (items.unfinished, items.too_short) == (0.0, -6.0)


@pytest.mark.parametrize("response", ["Boil it.", "I cannot know that.", "蜂蜜", "42 km"])
def test_a_brief_answer_is_an_answer(response):
    assert reward(answer(response), 3.0, PAPER).too_short == 0


@given(st.text(), st.integers(0, 5))
def test_saying_more_never_makes_an_answer_too_short(response, least):
    assert too_short(response, least) >= too_short(f"{response} and more", least)
    assert not too_short(response, 0)


def test_the_language_bonus_is_for_answering_in_the_users_language():
    english, german = answer("[en] Boil it."), answer("[de] Koch es.")
    assert reward(english, 0, PAPER, Spoken()).language == 1.0
    assert reward(german, 0, PAPER, Spoken()).language == 0.0
    assert reward(english, 0, PAPER).language == 0.0
    assert reward(answer("..."), 0, PAPER, lambda text: "en").language == 0.0


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_no_number_is_one_sentence_with_the_way_out(score):
    with pytest.raises(
        TrainingError, match=r"scored (nan|inf|-inf) for 'Boil.*run so far is intact"
    ):
        reward(answer(), score, PAPER)


def test_scores_are_standardised_by_their_spread_within_requests_where_there_is_one():
    scores, groups = [10.0, 12.0, -5.0, -3.0], ["a", "a", "b", "b"]
    config = RewardConfig(standardise=True)
    within = score_scale(scores, config, groups)
    assert within.mean == 3.5
    assert within.sd == pytest.approx(2**0.5)  # (1 + 1 + 1 + 1) / (4 - 2)
    assert score_scale(scores, config, [1, 2, 3, 4]) == score_scale(scores, config)
    assert score_scale([1.0, 1.0], config, ["a", "a"]).sd == 1.0
