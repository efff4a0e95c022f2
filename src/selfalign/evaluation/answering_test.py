"""An exam asks every question once, in the layout of training, and keeps whatever comes."""

from selfalign.core.chat import as_chat
from selfalign.core.prompts import Prompt
from selfalign.core.records import Instruction
from selfalign.core.scripted import ScriptedLM
from selfalign.core.store import Run
from selfalign.evaluation.answering import Answering

CHAT = as_chat(
    Prompt(
        name="chat/test",
        paper="none",
        gaps=("assistant",),
        user="### User",
        assistant="### Assistant",
        text="You are ${assistant}.",
    )
)
QUESTIONS = [Instruction(text=f"question {n}?", origin="user") for n in range(5)]


def stage(reply):
    return Answering(ScriptedLM(reply), CHAT, names=(("assistant", "Calf"), ("maker", "us")))


def test_the_model_reads_the_system_text_and_one_user_turn():
    prompt = stage(None).render(QUESTIONS[0])
    assert prompt == "You are Calf.\n\n### User\nquestion 0?\n\n### Assistant"


def test_an_answer_ends_where_the_model_opens_the_next_user_turn(tmp_path):
    said = "\nI do not know.\n\n### User\nAnd now?"
    (answer,) = Run(tmp_path).fill(stage(lambda p, s: said), QUESTIONS[:1])
    assert answer.answer == "I do not know."


def test_silence_is_an_answer_and_not_a_gap(tmp_path):
    answers = Run(tmp_path).fill(stage(lambda p, s: ""), QUESTIONS)
    assert [a.answer for a in answers] == [""] * 5


def test_a_question_is_asked_the_same_way_in_any_company():
    reply = stage(lambda p, s: f"{p[-30:]} {s}")
    together = reply(QUESTIONS)
    alone = [reply([q])[0] for q in reversed(QUESTIONS)]
    assert together == alone[::-1]


def test_decoding_is_greedy_unless_told_otherwise():
    seen = []
    lm = ScriptedLM(lambda p, s: "x")
    generate = lm.generate
    lm.generate = lambda prompts, sampling: seen.extend(sampling) or generate(prompts, sampling)
    Answering(lm, CHAT, names=(("assistant", "Calf"),))(QUESTIONS)
    assert {s.temperature for s in seen} == {0.0}
