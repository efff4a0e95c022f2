"""The seeds: example tasks, adversarial question types, and who the assistant says it is.

arXiv:2305.03047v2, "Topic-Guided Red-Teaming Self-Instruct" (175 tasks, 20 types with a topic and
a question each) and the identity data of its appendix (910 pairs).

    tasks.jsonl            one {"instruction", "input", "is_classification"} per line
    question_types.yaml    a list of {type, topic, question}
    identity.yaml          families of questions x answers (x subjects), as templates

Difference from the authors: a seed task needs no output, since theirs is never shown to the model.
"""

import re
from pathlib import Path
from typing import NamedTuple, cast

from selfalign.core.errors import LibraryError
from selfalign.core.exemplars import fill_gaps
from selfalign.core.files import Written, checked, read_json_lines, read_yaml
from selfalign.core.records import Record

_SUBJECT = re.compile(r"\$\{subject\}")


class SeedTask(Record):
    """A task a person wrote, shown to a base model as an example of tasks."""

    instruction: str
    input: str = ""
    """What the instruction is about; empty: it stands alone."""
    is_classification: bool = False
    """Whether the answer is one of a few labels."""


class QuestionType(Record):
    """A kind of question a static language model tends to get wrong, with one example."""

    name: str
    """Reads on after "Questions that require …" or a like opening; the file says `type:`."""
    topic: str
    """The first topic of the type; brainstorming grows from it."""
    question: str
    """A question of this type about this topic."""


class IdentityPair(NamedTuple):
    """A question about the assistant itself, and its answer."""

    question: str
    answer: str


class _QuestionTypeLine(Written):
    type: str
    topic: str
    question: str


class _Family(Written):
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    subjects: tuple[str, ...] = ()


class _Identity(Written):
    families: tuple[_Family, ...]


def load_seed_tasks(path: Path) -> list[SeedTask]:
    """Read the seed tasks, in the order of the file.

    Raises:
        LibraryError: the file is missing, empty, or a line is not a task.
    """
    tasks = [
        checked(SeedTask, value, f"{path}, line {number}")
        for number, value in read_json_lines(path)
    ]
    if not tasks:
        raise LibraryError(
            f"{path} is empty; write at least one seed task per line, such as "
            f'{{"instruction": "Suggest three names for a cat.", "input": ""}}.'
        )
    return tasks


def load_question_types(path: Path) -> list[QuestionType]:
    """Read the question types, in the order of the file.

    Raises:
        LibraryError: the file is missing, empty, or an entry is not a type.
    """
    value = read_yaml(path)
    if not isinstance(value, list) or not value:
        raise LibraryError(
            f"{path} must be a list with `type:`, `topic:` and `question:` in each entry; add one."
        )
    rows = cast("list[object]", value)
    lines = [checked(_QuestionTypeLine, row, f"{path}, entry {n}") for n, row in enumerate(rows, 1)]
    return [QuestionType(name=x.type, topic=x.topic, question=x.question) for x in lines]


def load_identity(path: Path, *, assistant: str, maker: str) -> list[IdentityPair]:
    """Expand the identity templates for an assistant and its maker.

    Within a family every question meets every answer; when either speaks of `${subject}`, once per
    subject. The order is that of the file.

    Raises:
        LibraryError: the file is missing or malformed, a family is empty, speaks of a subject and
            lists none, or uses another gap than `${assistant}`, `${maker}` and `${subject}`.
    """
    identity = checked(_Identity, read_yaml(path), path)
    pairs: list[IdentityPair] = []
    for number, family in enumerate(identity.families, start=1):
        pairs += _expanded(
            family, {"assistant": assistant, "maker": maker}, f"{path}, family {number}"
        )
    if not pairs:
        raise LibraryError(f"{path} has no families; write one under `families:`.")
    return pairs


def _expanded(family: _Family, values: dict[str, str], where: str) -> list[IdentityPair]:
    if not family.questions or not family.answers:
        raise LibraryError(f"{where} needs at least one question and one answer; add them.")
    pairs: list[IdentityPair] = []
    for question in family.questions:
        for answer in family.answers:
            about_subject = _SUBJECT.search(question + answer)
            if about_subject and not family.subjects:
                raise LibraryError(
                    f"{where} speaks of ${{subject}} but lists no `subjects:`; add them.",
                    field="subjects",
                )
            for subject in family.subjects if about_subject else ("",):
                filled = {**values, "subject": subject} if about_subject else values
                pairs.append(
                    IdentityPair(
                        fill_gaps(question, filled, where).strip(),
                        fill_gaps(answer, filled, where).strip(),
                    )
                )
    return pairs
