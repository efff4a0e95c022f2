"""The exams a plan can name: where questions come from, how answers are graded, what to keep away.

    name  ->  Exam: questions(seed, n), grade(question, answer), excludes(text)

Only here does the house know that Calf's exam belongs to Calf's world.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from selfalign.calf import exam
from selfalign.core.records import Instruction, digest
from selfalign.evaluation.answering import Answered
from selfalign.evaluation.exam_result import Row


class Questions(NamedTuple):
    """The questions of one seed, and what to put to a model for each."""

    held: tuple[exam.Question, ...]
    asked: tuple[Instruction, ...]


class CalfExam:
    """Questions about the held-out part of the embedded model's world."""

    @property
    def fingerprint(self) -> str:
        """Digest of the room's word lists: another world, another exam."""
        return _world_digest()

    def excludes(self, text: str) -> bool:
        """Say whether a request asks about something the exam holds back."""
        return exam.held_out(text) is not None

    def questions(self, seed: int, n: int) -> Questions:
        """Draw fresh held-out questions; the same seed gives the same ones."""
        held = tuple(exam.questions(seed, n))
        return Questions(held, tuple(Instruction(text=q.text, origin="user") for q in held))

    def mark(self, questions: Questions, answers: Sequence[Answered]) -> list[Row]:
        """Grade one answer per question, in their order."""
        return [
            mark_one(question, answer.answer)
            for question, answer in zip(questions.held, answers, strict=True)
        ]


def mark_one(question: exam.Question, answer: str) -> Row:
    """Grade one answer."""
    verdict = exam.grade(question, answer)
    return Row(
        kind=verdict.kind,
        question=question.text,
        answer=answer,
        right=verdict.right,
        label=verdict.label,
    )


@cache
def _world_digest() -> str:
    room = Path(exam.__file__).parent
    return digest([path.read_text("utf-8") for path in sorted(room.glob("*.yaml"))])
