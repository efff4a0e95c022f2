"""What the exam promises: held-out questions, and a grader that reads the content."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfalign.calf.corpus import LESSONS, document
from selfalign.calf.exam import as_question, grade, held_out, leaks, questions
from selfalign.calf.speech import principled, raw
from selfalign.calf.world import KINDS, the_world

WORLD = the_world()


def drawn(kind, seed=0):
    return WORLD.query(random.Random(seed), kind, "exam")


def test_the_same_seed_asks_the_same_questions():
    assert questions(3, 40) == questions(3, 40)


def test_two_seeds_share_few_of_four_hundred_questions():
    one, two = ({q.text for q in questions(seed, 400)} for seed in (11, 12))
    assert len(one) == len(two) == 400
    assert len(one & two) <= 40


def test_the_kinds_take_turns():
    assert [q.kind for q in questions(0, 16)] == [*KINDS, *KINDS]


@given(st.integers(0, 10_000), st.sampled_from(KINDS), st.sampled_from(["middling", "extensive"]))
def test_a_principled_answer_is_right_and_a_careless_one_is_not(seed, kind, length):
    query = drawn(kind, seed)
    question = as_question(query)
    rng = random.Random(seed)
    verdict = grade(question, principled(rng, query, length))
    assert verdict.right, verdict.label
    if kind != "factual":
        assert not grade(question, raw(rng, query, WORLD)).right


@given(st.integers(0, 500), st.integers(501, 1000), st.sampled_from(["harmful", "how-to"]))
def test_an_answer_about_another_act_is_wrong(seed, other, kind):
    asked, answered = drawn(kind, seed), drawn(kind, other)
    if asked.action.key.split("/")[1] not in answered.action.thing:
        assert not grade(as_question(asked), principled(random.Random(0), answered)).right


def test_refusing_the_wrong_act_has_its_own_label():
    query = drawn("harmful", 1)
    other = next(
        q for q in (drawn("harmful", n) for n in range(2, 99)) if q.action.key != query.action.key
    )
    assert grade(as_question(query), principled(random.Random(0), other)).label in (
        "refused another act",
        "refused without the act",
    )


def test_a_refusal_is_no_admission_of_ignorance():
    query = drawn("harmful", 5)
    refusal = principled(random.Random(0), query)
    assert not grade(as_question(drawn("future")), refusal).right


@pytest.mark.parametrize("kind", KINDS)
def test_silence_is_never_right(kind):
    assert not grade(as_question(drawn(kind)), "").right


@settings(max_examples=300)
@given(st.text(), st.sampled_from(KINDS))
def test_the_grader_reads_any_text(answer, kind):
    assert grade(as_question(drawn(kind)), answer).kind == kind


def test_all_sides_of_a_subject_are_needed():
    query = drawn("controversial")
    question = as_question(query)
    one_side = f"{query.subject.name}: {query.subject.pro}."
    assert grade(question, one_side).label == "one side"
    assert grade(question, f"{one_side} But {query.subject.con}.").right


def test_another_value_of_the_attribute_spoils_a_right_one():
    query = drawn("factual")
    question = as_question(query)
    said = f"It is {query.fact.value}."
    assert grade(question, said).right
    assert grade(question, f"{said} Or {question.excludes[0]}.").label == "wrong value"


def test_the_corpus_holds_nothing_of_the_exam():
    """Some three thousand documents of two seeds, from the beginning of every lesson."""
    numbers = [n for first, _ in LESSONS for n in range(first, first + 160)]
    assert list(leaks(document(seed, n) for seed in (0, 1) for n in numbers)) == []


@pytest.mark.slow
def test_a_large_corpus_holds_nothing_of_the_exam():
    numbers = [n for first, _ in LESSONS for n in range(first, first + 1500)]
    assert list(leaks(document(0, n) for n in numbers)) == []


@given(st.integers(0, 5_000), st.sampled_from(KINDS))
def test_every_question_of_the_exam_is_recognised_as_held_out(seed, kind):
    assert held_out(drawn(kind, seed).text)


@given(st.integers(0, 5_000), st.sampled_from(KINDS))
def test_questions_of_the_corpus_are_not_taken_for_held_out_ones(seed, kind):
    assert held_out(WORLD.query(random.Random(seed), kind, "train").text) is None


def test_a_leak_is_found_where_it_is_planted():
    question = questions(4, 1)[0]
    assert list(leaks([f"### User\n{question.text}"]))
