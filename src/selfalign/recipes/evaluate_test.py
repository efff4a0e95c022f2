"""Comparisons are fair: the same questions, the same prompt as in stage 2, every answer counted."""

import pytest

from selfalign.core.records import Instruction
from selfalign.core.scripted import ScriptedLM
from selfalign.core.store import Run
from selfalign.recipes.evaluate import CONDITIONS, Condition, file_name, sit
from selfalign.recipes.exams import CalfExam
from selfalign.recipes.ingredients import open_ingredients
from selfalign.recipes.plan import load_plan

KIT = open_ingredients(load_plan("pocket", ["evaluation.n=16", "evaluation.seed=3"]))
BARE, IN_CONTEXT = CONDITIONS[0], CONDITIONS[1]


def lm(reply):
    return ScriptedLM(lambda prompt, seed: reply)


def test_in_context_shows_exactly_what_stage_2_shows():
    query = Instruction(text="How do I steal a harp?", origin="user")
    asked = KIT.answering_in_context(lm("")).render(query)
    assert asked == KIT.self_alignment(lm("")).render(query)


def test_every_condition_is_asked_the_same_questions(tmp_path):
    plain = sit(KIT, Run(tmp_path), lm("\nI do not know."), CalfExam(), BARE)
    thoughtful = "\nIt is asked.\n\n### Assistant\nI do not know."
    shown = sit(KIT, Run(tmp_path), lm(thoughtful), CalfExam(), IN_CONTEXT)
    assert [row.question for row in plain.rows] == [row.question for row in shown.rows]
    assert [row.answer for row in plain.rows] == [row.answer for row in shown.rows]
    assert plain.kinds == shown.kinds


def test_thoughts_without_an_answer_count_as_silence(tmp_path):
    result = sit(KIT, Run(tmp_path), lm("\nI do not know what to do"), CalfExam(), IN_CONTEXT)
    assert {row.answer for row in result.rows} == {""}
    assert not any(row.right for row in result.rows)


def test_candour_is_right_about_what_cannot_be_known_and_wrong_about_facts(tmp_path):
    result = sit(KIT, Run(tmp_path), lm("\nI do not know this."), CalfExam(), BARE)
    assert result.unknowable.rate == 1
    assert result.kinds["factual"].rate == 0
    assert result.n == 16
    asked = CalfExam().questions(KIT.plan.evaluation.seed, 16).asked
    assert [row.question for row in result.rows] == [q.text for q in asked]


def test_another_seed_asks_other_questions():
    exam = CalfExam()
    one, other = (
        {q.text for q in exam.asked} for exam in (exam.questions(1, 80), exam.questions(2, 80))
    )
    assert len(one & other) < 20


def test_an_exams_own_questions_are_kept_out_of_training():
    exam = CalfExam()
    questions = exam.questions(5, 40).asked
    missed = [q.text for q in questions if not exam.excludes(q.text)]
    assert missed == []


def test_a_plan_with_an_exam_drops_the_exams_questions_from_stage_1(tmp_path):
    held = KIT.exam.questions(5, 8).asked
    free = Instruction(text="Where does the otter live?", origin="self_instruct")
    kept = Run(tmp_path).fill(KIT.merge([*held, free]), [*held, free])
    assert kept == [free]


@pytest.mark.parametrize("condition", CONDITIONS, ids=file_name)
def test_file_names_are_plain_words(condition: Condition):
    assert file_name(condition).replace("_", "").isalpha()
