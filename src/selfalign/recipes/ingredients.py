"""From names in a plan to the values stages are made of.

    plan + library folder  ->  Ingredients  ->  one method per stage of the paper

Reading a file or a wrong name fails here, before any model is opened. Nothing here asks a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from selfalign.core.chat import ChatPrompt
from selfalign.core.constitution import Constitution
from selfalign.core.library import IdentityPair, Library, open_library
from selfalign.core.protocols import LanguageModel, SupervisedTrainer
from selfalign.core.records import Checkpoint, Instruction, SelfAlignedResponse, TrainingExample
from selfalign.evaluation.answering import Answering
from selfalign.recipes.exams import CalfExam
from selfalign.recipes.in_context import AnsweringInContext
from selfalign.recipes.plan import Plan
from selfalign.self_align.asking import Pool
from selfalign.self_align.demonstrations import Demonstration, demonstrate
from selfalign.self_align.stage1_merge import InstructionSelection
from selfalign.self_align.stage1_self_instruct import SelfInstruct, seed_pool
from selfalign.self_align.stage1_topic_guided_red_teaming import RedTeaming
from selfalign.self_align.stage1_topics import TopicBrainstorming, seed_topics
from selfalign.self_align.stage2_self_alignment import SelfAlignment
from selfalign.self_align.stage3_principle_engraving import (
    PrincipleEngraving,
    engraving_examples,
    identity_question,
)
from selfalign.self_align.stage4_verbose_cloning import (
    FinalFineTuning,
    VerboseCloning,
    VerboseResponse,
    final_examples,
)


@dataclass(frozen=True)
class Ingredients:
    """A plan and the texts it names."""

    plan: Plan
    library: Library

    @cached_property
    def constitution(self) -> Constitution:
        """The principles."""
        return self.library.constitution(self.plan.constitution)

    @cached_property
    def demonstration(self) -> Demonstration:
        """The exemplars, citing the rules of the constitution."""
        plan = self.plan
        return demonstrate(
            self.library.exemplars(plan.exemplars),
            self.constitution,
            common=[f"{task.instruction} {task.input}" for task in self.library.seed_tasks()],
            assistant=plan.assistant,
            maker=plan.maker,
        )

    @cached_property
    def exam(self) -> CalfExam | None:
        """What the models of the run are compared on; None: nothing."""
        return CalfExam() if self.plan.evaluation.task == "calf" else None

    @cached_property
    def identity(self) -> list[IdentityPair]:
        """Questions about the assistant itself, with answers."""
        return self.library.identity(self.plan.assistant, self.plan.maker)

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """What fills the gaps about the assistant itself."""
        return (("assistant", self.plan.assistant), ("maker", self.plan.maker))

    def chat(self, name: str) -> ChatPrompt:
        """A conversation opening, such as "chat/standard"."""
        return self.library.chat_prompt(name)

    def self_instruct(self, lm: LanguageModel) -> SelfInstruct:
        """Stage 1, first half."""
        return SelfInstruct(
            lm,
            self.library.prompt("self_align/self_instruct"),
            seed_pool(self.library.seed_tasks()),
            config=self.plan.stage1.self_instruct,
            seed=self.plan.seed,
        )

    def topics(self, lm: LanguageModel) -> TopicBrainstorming:
        """Stage 1, topics of the adversarial types."""
        return TopicBrainstorming(
            lm,
            self.library.prompt("self_align/topics"),
            seed_topics(self.library.question_types()),
            config=self.plan.stage1.topics,
            seed=self.plan.seed,
        )

    def red_teaming(self, lm: LanguageModel) -> RedTeaming:
        """Stage 1, second half."""
        return RedTeaming(
            lm,
            self.library.prompt("self_align/red_teaming"),
            config=self.plan.stage1.red_teaming,
            seed=self.plan.seed,
        )

    def merge(self, instructions: list[Instruction]) -> InstructionSelection:
        """Stage 1, the end: both halves, without what the exam holds back."""
        return InstructionSelection(
            Pool(tuple(instructions)), self.plan.stage1.merge_novelty, self.exam
        )

    def self_alignment(self, lm: LanguageModel) -> SelfAlignment:
        """Stage 2."""
        return SelfAlignment(
            lm,
            self.chat("self_align/self_alignment"),
            self.constitution,
            self.demonstration,
            self.plan.assistant,
            config=self.plan.stage2,
            seed=self.plan.seed,
        )

    def engraving_examples(self, aligned: Sequence[SelfAlignedResponse]) -> list[TrainingExample]:
        """Stage 3, what is learnt: answers and identity, rules and thoughts pruned."""
        plan = self.plan
        return engraving_examples(
            aligned,
            self.identity if plan.stage3.identity else [],
            chat=self.chat(plan.stage3.chat),
            assistant=plan.assistant,
            maker=plan.maker,
        )

    def engraving(self, base: Checkpoint, trainer: SupervisedTrainer) -> PrincipleEngraving:
        """Stage 3, the training."""
        return PrincipleEngraving(base, self.plan.stage3.fine_tuning, trainer=trainer)

    def asked_at_length(self, instructions: Sequence[Instruction]) -> list[Instruction]:
        """Stage 4, what is asked: all of stage 1, unfiltered, and the identity questions."""
        pairs = self.identity if self.plan.stage4.identity else []
        questions = {q.id: q for q in map(identity_question, pairs)}
        return [*instructions, *questions.values()]

    def verbose_cloning(self, lm: LanguageModel) -> VerboseCloning:
        """Stage 4, the answers."""
        return VerboseCloning(
            lm,
            self.chat("self_align/verbose"),
            self.plan.assistant,
            self.plan.maker,
            self.demonstration.private,
            config=self.plan.stage4.verbose,
            seed=self.plan.seed,
        )

    def final_examples(self, verbose: Sequence[VerboseResponse]) -> list[TrainingExample]:
        """Stage 4, what is learnt: long answers under the ordinary prompts."""
        plan = self.plan
        return final_examples(
            verbose,
            chats=[self.chat(name) for name in plan.stage4.chats],
            assistant=plan.assistant,
            maker=plan.maker,
        )

    def final_training(self, base: Checkpoint, trainer: SupervisedTrainer) -> FinalFineTuning:
        """Stage 4, the training."""
        return FinalFineTuning(base, self.plan.stage4.fine_tuning, trainer=trainer)

    def answering(self, lm: LanguageModel) -> Answering:
        """An exam, asked plainly."""
        evaluation = self.plan.evaluation
        return Answering(lm, self.chat(evaluation.chat), self.names, evaluation.answering)

    def answering_in_context(self, lm: LanguageModel) -> AnsweringInContext:
        """An exam, asked under the principles and exemplars."""
        return AnsweringInContext(
            lm,
            self.chat("self_align/self_alignment"),
            self.constitution,
            self.demonstration,
            self.plan.assistant,
            self.plan.evaluation.answering,
        )


def open_ingredients(plan: Plan, directory: Path | None = None) -> Ingredients:
    """Open the library a plan names, the user's folder first."""
    return Ingredients(plan, open_library(plan.library, directory))
