"""What kind of request an instruction is: general, reasoning or red-teaming. Pure.

Paper: arXiv:2310.05910v2, "RL Training with the Instructable Reward Model": principles are boosted
and length is rewarded by type of request.

    Instruction (origin, question type)  ->  settings, then words of the question type  ->  type

Difference: the authors know the type from the data set a request comes from (mathematics is
reasoning). Here instructions are the run's own, so the question type they were written for tells.
SELF-ALIGN's red-teaming asks for what a static model gets wrong, which is seldom harmful; SALMON's
asks for harm. Origin alone therefore decides nothing unless the settings say so.
"""

from collections.abc import Mapping

from pydantic import Field

from selfalign.core.records import Instruction, Origin, Settings
from selfalign.core.text import collapse_spaces
from selfalign.salmon.records import PromptType


class PromptTypes(Settings):
    """How requests are sorted; the first that says something decides, and else it is general."""

    question_types: Mapping[str, PromptType] = Field(default_factory=dict[str, PromptType])
    """Ours: by question type in full, in any capitals."""
    origins: Mapping[Origin, PromptType] = Field(default_factory=dict[Origin, PromptType])
    """Ours: by who wrote it."""
    reasoning_words: tuple[str, ...] = ("math", "reasoning", "arithmetic", "calculat", "logic")
    """Ours: parts of a question type."""
    red_teaming_words: tuple[str, ...] = ("harm", "break the law", "illegal", "crim", "dangerous")
    """Ours: parts of a question type."""


def prompt_type(instruction: Instruction, types: PromptTypes) -> PromptType:
    """Return what kind of request it is."""
    asked = collapse_spaces(instruction.question_type or "").casefold()
    by_name: dict[str, PromptType] = {
        name.casefold(): kind for name, kind in types.question_types.items()
    }
    if asked in by_name:
        return by_name[asked]
    if instruction.origin in types.origins:
        return types.origins[instruction.origin]
    if any(word in asked for word in types.red_teaming_words):
        return "red_teaming"
    if any(word in asked for word in types.reasoning_words):
        return "reasoning"
    return "general"
