"""A reward model's first lesson: which of two answers people liked better, principles aside.

Paper: arXiv:2310.05910v2, "Training the Instructable Reward Model" (preference model pre-training).

    {"prompt", "chosen", "rejected"}, one per line  ->  Preference | dropped, by reason
    Preference  ->  three fixed questions in place of principles  ->  RewardPair

The file may be any of the usual shapes: texts with a prompt, lists of messages with or without
one, or two whole dialogues whose common beginning is the prompt (what precedes the last turn of
the assistant that both share). Afterwards the same adapter and head are trained on with principles.

Differences: any file instead of the authors' 320,000 pairs of two public sets, and none is shipped:
this lesson is optional, since it is what "no human preferences" leaves out. Nothing is cut; a pair
that is too long is left out by the trainer, and counted. All wording.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from selfalign.core.errors import InputError, TrainingError
from selfalign.core.files import read_json_lines
from selfalign.core.prompts import Prompt
from selfalign.core.protocols import RewardPair, RewardTrainer, RewardTraining
from selfalign.core.records import Checkpoint, Record
from selfalign.core.stage import Training

PRETRAINING = RewardTraining(learning_rate=5e-5, warmup_share=0.01, max_tokens=1024)
"""The authors' launch script for this lesson; what is not named is as in the one that follows."""

TURN = "\n\nAssistant:"
"""Begins the assistant's turns in dialogues that are one text (the form of HH-RLHF)."""

_ASKER = "Human:"
Loss = Literal["no_prompt", "equal", "blank"]
"""Why a row is no preference: nothing shared precedes the answers, they are the same, or the
preferred one says nothing."""


class Preference(Record):
    """Two answers to one request, and which one somebody preferred."""

    instruction: str
    """The request; of a longer conversation, the whole of it as text."""
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Preferences:
    """What a file of preferences held."""

    kept: list[Preference]
    dropped: dict[Loss, int]
    """Rows that are none, by reason."""


@dataclass(frozen=True)
class PreferencePretraining(Training[Preference]):
    """Train a reward model on preferences; its checkpoint is the base of the training to follow."""

    name = "salmon.stage2.pretraining"
    version = 1

    base: Checkpoint
    """The base model, not the policy (the paper)."""
    recipe: RewardTraining
    """`PRETRAINING`, with the rank, alpha and targets of the training to follow."""
    prompt: Prompt
    """Shows the fixed questions."""
    trainer: RewardTrainer = field(compare=False)

    def __call__(self, examples: Sequence[Preference], folder: Path) -> Checkpoint:
        """Train and name the weights left in `folder / "weights"`.

        Raises:
            TrainingError: there is no preference to learn from.
        """
        if not examples:
            raise TrainingError(
                "there is no preference to train a reward model on: every row was dropped. Give a "
                "file whose rows have two different answers to one prompt, or leave it out."
            )
        pairs = pretraining_pairs(examples, self.prompt)
        self.trainer(pairs, base=self.base, recipe=self.recipe, folder=folder)
        return Checkpoint(base=self.base.base, revision=self.base.revision, adapter="weights")


def read_preferences(path: Path) -> Preferences:
    """Read a JSON lines file of preferences in any of the usual shapes.

    Raises:
        InputError: the file or a row cannot be read; the message names line and field.
    """
    kept: list[Preference] = []
    dropped: Counter[Loss] = Counter()
    for number, row in read_json_lines(path, InputError):
        found = preference_of(row, f"{path}, line {number}")
        if isinstance(found, Preference):
            kept.append(found)
        else:
            dropped[found] += 1
    return Preferences(kept, dict(dropped))


def preference_of(row: object, where: str) -> Preference | Loss:
    """Turn a row into a preference, or say why it is none.

    Raises:
        InputError: a field is missing or of another type.
    """
    if not isinstance(row, dict):
        raise InputError(f"{where}: this is not an object. Write one preference per line.")
    fields = cast(dict[str, object], row)
    chosen, rejected = (_side(fields, name, where) for name in ("chosen", "rejected"))
    if isinstance(chosen, str) and isinstance(rejected, str):
        split = _of_texts(fields, chosen, rejected, where)
    elif isinstance(chosen, list) and isinstance(rejected, list):
        split = _of_messages(fields, chosen, rejected, where)
    else:
        raise _wrong(where, "rejected", "of another shape than `chosen`")
    if split is None:
        return "no_prompt"
    found = Preference(instruction=split[0], chosen=split[1].strip(), rejected=split[2].strip())
    if found.chosen == found.rejected:
        return "equal"
    return found if found.chosen else "blank"


def pretraining_pairs(preferences: Iterable[Preference], prompt: Prompt) -> list[RewardPair]:
    """Render both answers of each preference under the fixed questions of the prompt."""
    return [
        RewardPair(
            chosen=prompt.render(instruction=one.instruction, response=one.chosen),
            rejected=prompt.render(instruction=one.instruction, response=one.rejected),
        )
        for one in preferences
    ]


Message = tuple[str, str]
"""Role and content."""
Split = tuple[str, str, str]
"""Instruction, chosen answer, rejected answer."""


def _of_texts(fields: Mapping[str, object], chosen: str, rejected: str, where: str) -> Split | None:
    prompt = fields.get("prompt")
    if isinstance(prompt, str):
        return prompt, chosen, rejected
    if prompt is not None:
        raise _wrong(where, "prompt", "no text, though both answers are texts")
    end = _shared(chosen, rejected).rfind(TURN)
    if end < 0:
        return None
    dialogue = chosen[:end].strip()
    if dialogue.count(_ASKER) == 1:
        dialogue = dialogue.removeprefix(_ASKER).strip()
    answers = end + len(TURN)
    return dialogue, chosen[answers:], rejected[answers:]


def _of_messages(
    fields: Mapping[str, object], chosen: list[Message], rejected: list[Message], where: str
) -> Split | None:
    before: list[Message] = []
    if fields.get("prompt") is not None:
        given = _side(fields, "prompt", where)
        before = [("user", given)] if isinstance(given, str) else given
    if not chosen or not rejected or chosen[:-1] != rejected[:-1]:
        return None
    before = [*before, *chosen[:-1]]
    return (_as_text(before), chosen[-1][1], rejected[-1][1]) if before else None


def _shared(first: str, second: str) -> str:
    """Return what two texts begin with, character by character."""
    pairs = enumerate(zip(first, second, strict=False))
    return first[: next((n for n, (a, b) in pairs if a != b), min(len(first), len(second)))]


def _as_text(messages: Sequence[Message]) -> str:
    if len(messages) == 1:
        return messages[0][1]
    return "\n\n".join(f"{role.capitalize()}: {content}" for role, content in messages)


def _side(fields: Mapping[str, object], name: str, where: str) -> str | list[Message]:
    """Return a field that is a text or a list of messages."""
    if name not in fields:
        raise _wrong(where, name, "missing")
    value = fields[name]
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise _wrong(where, name, "neither a text nor a list of messages")
    return [_message(one, name, where) for one in cast(list[object], value)]


def _message(value: object, name: str, where: str) -> Message:
    if isinstance(value, dict):
        fields = cast(dict[str, object], value)
        role, content = fields.get("role"), fields.get("content")
        if isinstance(role, str) and isinstance(content, str):
            return role, content
    raise _wrong(where, name, 'no list of {"role": …, "content": …}')


def _wrong(where: str, name: str, what: str) -> InputError:
    return InputError(
        f"{where}: the field `{name}` is {what}. A preference has `prompt`, `chosen` and "
        f"`rejected`, each a text or each a list of messages; correct or remove the line.",
        field=name,
    )
