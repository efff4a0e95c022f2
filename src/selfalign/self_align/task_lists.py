"""Tasks as a numbered list: the two layouts a base model is shown, and how they are read back.

    blocks   ###                              lines   1. List three uses of salt.
             1. Instruction: Sort the words.          2. Name a bird that cannot fly.
             1. Input:                                3.
             pear, fig, apple
             ###
             2. Instruction:

"blocks" is the paper's (arXiv:2305.03047v2, after Alpaca, without an output); "lines" is ours, for
small base models. Both end where the model is to go on.
"""

import re
from collections.abc import Sequence
from typing import Literal

from selfalign.core.prompts import quoted
from selfalign.core.records import Instruction, Record

Layout = Literal["blocks", "lines"]


class Task(Record):
    """An instruction and what it is to be applied to; a seed, or written by the model."""

    instruction: str
    input: str = ""

    @property
    def headline(self) -> str:
        """The instruction, shortened."""
        return self.instruction[:200]

    def as_instruction(self) -> Instruction:
        """Return the request a user would make: instruction, blank line, input."""
        text = f"{self.instruction}\n\n{self.input}" if self.input else self.instruction
        return Instruction(text=text, origin="self_instruct")


def render_examples(tasks: Sequence[Task], layout: Layout, no_input: str) -> str:
    """Write tasks as the beginning of a numbered list that ends where the next one begins."""
    shown = [_item(number, task, layout, no_input) for number, task in enumerate(tasks, start=1)]
    return "\n".join([*shown, _opening(len(tasks) + 1, layout)])


def split_items(completion: str, first: int, layout: Layout) -> list[str]:
    """Split a continued list where the model began new items; the first is item `first`."""
    text = _opening(first, layout) + completion
    return re.split(r"(?m)^[ \t]*###.*$", text)[1:] if layout == "blocks" else text.split("\n")


def parse_item(text: str, number: int, layout: Layout, no_input: str) -> Task | None:
    """Return the task an item states, or None if it is not item `number` of the layout.

    A model that skips or repeats a number has lost the thread, and each later item fails as well.
    """
    if layout == "lines":
        line = re.fullmatch(rf"{number}\.[ \t]+(\S.*)", text)
        return Task(instruction=line[1].strip()) if line else None
    pieces = re.split(rf"(?m)^{number}\.[ \t]*(Instruction|Input):", text)
    if len(pieces) != 5 or pieces[0].strip() or pieces[1::2] != ["Instruction", "Input"]:
        return None
    given = pieces[4].strip()
    return Task(
        instruction=pieces[2].strip(),
        input="" if given.casefold() == no_input.casefold() else given,
    )


def _opening(number: int, layout: Layout) -> str:
    return f"###\n{number}. Instruction:" if layout == "blocks" else f"{number}."


def _item(number: int, task: Task, layout: Layout, no_input: str) -> str:
    instruction = " ".join(task.instruction.split()).rstrip(":")
    if layout == "lines":
        return f"{number}. {instruction}"
    given = quoted(task.input.strip()) or no_input
    return f"{_opening(number, layout)} {instruction}\n{number}. Input:\n{given}"
