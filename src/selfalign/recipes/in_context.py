"""Asking a model under the principles: stage 2's prompt, put to questions of an exam.

Paper: arXiv:2305.03047v2, the comparison of the prompted base model with the engraved one.

    Instruction  ->  rules + exemplars + query  ->  thoughts, answer  ->  the answer

Difference from stage 2: no filter. A self-aligned response that stage 2 would drop is still the
answer the model gave, and counts; one without an answer counts as silence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from selfalign.core.chat import ChatPrompt
from selfalign.core.constitution import Constitution
from selfalign.core.protocols import Completion, LanguageModel
from selfalign.core.records import Dropped, Instruction, Kept
from selfalign.core.stage import Stage
from selfalign.evaluation.answering import Answered, AnsweringConfig, answered, sampling_for
from selfalign.self_align.demonstrations import Demonstration
from selfalign.self_align.stage2_self_alignment import SelfAlignment, split_thoughts


@dataclass(frozen=True)
class AnsweringInContext(Stage[Instruction, Answered]):
    """Put questions to a model behind the constitution and its exemplars."""

    name = "evaluation.in_context"
    version = 1
    writes = Answered

    lm: LanguageModel
    prompt: ChatPrompt
    constitution: Constitution
    demonstration: Demonstration
    assistant: str
    config: AnsweringConfig = field(default_factory=AnsweringConfig)

    def __call__(self, batch: Sequence[Instruction]) -> list[Kept[Answered] | Dropped]:
        """Return one answer per question; the only lines of this file that call a model."""
        completions = self.lm.generate(
            [self.render(question) for question in batch],
            [sampling_for(self.config, self.prompt.stop, question) for question in batch],
        )
        return [self.read(q, c) for q, c in zip(batch, completions, strict=True)]

    def render(self, question: Instruction) -> str:
        """Build exactly the text stage 2 builds for an instruction."""
        return self._stage2.render(question)

    def read(self, question: Instruction, completion: Completion) -> Kept[Answered]:
        """Take what follows the thoughts as the answer; without it, silence."""
        _, _, answer = split_thoughts(completion.text, self.prompt.assistant)
        return answered(question, answer, finished=completion.finish == "stop")

    @cached_property
    def _stage2(self) -> SelfAlignment:
        return SelfAlignment(
            self.lm, self.prompt, self.constitution, self.demonstration, self.assistant
        )
