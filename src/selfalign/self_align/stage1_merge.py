"""SELF-ALIGN stage 1, the end: both halves become one set of instructions.

Paper: arXiv:2305.03047v2, "Topic-Guided Red-Teaming Self-Instruct".

    both halves -> held-out requests out -> repetitions out -> instructions, read by stages 2 and 4

Differences. The authors concatenate and shuffle (267,597 + 99,121 = 366,718). Here repetitions,
case and punctuation aside, count once; near-repetitions are dropped if `novelty` is set; requests
an evaluation holds back are dropped; and there is no shuffle, since nothing depends on the order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

from selfalign.core.novelty import NoveltySettings, select_novel
from selfalign.core.records import Dropped, Instruction, Kept, RecordId
from selfalign.core.stage import Stage
from selfalign.core.text import exact_key
from selfalign.self_align.asking import Pool, look_up


@runtime_checkable
class Exclusion(Protocol):
    """Requests that must never be trained on, such as those of an evaluation."""

    @property
    def fingerprint(self) -> str:
        """Equal for exclusions that decide alike."""
        ...

    def excludes(self, text: str) -> bool:
        """Say whether a request is one of them."""
        ...


@dataclass(frozen=True)
class InstructionSelection(Stage[Instruction, Instruction]):
    """Join both halves of stage 1: repetitions and requests of an evaluation are dropped."""

    name = "self_align.stage1.merge"
    version = 1
    writes = Instruction

    instructions: Pool[Instruction]
    novelty: NoveltySettings | None = None
    """The authors: None. Otherwise near-repetitions within and across the halves are dropped."""
    held_out: Exclusion | None = None

    def __call__(self, batch: Sequence[Instruction]) -> list[Kept[Instruction] | Dropped]:
        """Return one outcome per instruction, from decisions made over all of them."""
        return look_up(self.decisions, batch)

    @cached_property
    def decisions(self) -> dict[RecordId, Instruction | str]:
        """Per instruction itself, or the reason why it is dropped, in id order."""
        decisions: dict[RecordId, Instruction | str] = {}
        seen: set[str] = set()
        for instruction in self.instructions.in_order:
            key = exact_key(instruction.text) or instruction.text
            if self.held_out is not None and self.held_out.excludes(instruction.text):
                decisions[instruction.id] = "held_out"
            elif key in seen:
                decisions[instruction.id] = "duplicate"
            else:
                decisions[instruction.id] = instruction
            seen.add(key)
        return decisions if self.novelty is None else self._novel(decisions, self.novelty)

    def _novel(
        self, decisions: dict[RecordId, Instruction | str], novelty: NoveltySettings
    ) -> dict[RecordId, Instruction | str]:
        left = [i for i in decisions.values() if isinstance(i, Instruction)]
        new = {left[n].id for n in select_novel([i.text for i in left], settings=novelty)}
        return {
            source: "near_duplicate" if isinstance(i, Instruction) and i.id not in new else i
            for source, i in decisions.items()
        }
