"""Asking a model plainly: the way its user will, without principles or exemplars.

    Instruction  ->  system text + user turn  ->  answer, cut at the next turn

Nothing is dropped: an exam grades what came, also an empty answer. Decoding is greedy unless a
setting says otherwise, so the same weights give the same marks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from selfalign.core.chat import ChatPrompt, render_chat
from selfalign.core.protocols import Completion, LanguageModel, Sampling
from selfalign.core.ranges import AtLeastOne, Nucleus, ZeroOrMore
from selfalign.core.records import Dropped, Instruction, Kept, Record, Settings, rng_for
from selfalign.core.stage import Stage


class AnsweringConfig(Settings):
    """How answers are drawn for an exam; each default says whose it is."""

    temperature: ZeroOrMore = 0.0
    """Ours: greedy, so that a mark is a fact about the weights. The papers' evaluations use 0.7."""
    top_p: Nucleus = 1.0
    """Ours; without effect when greedy."""
    max_tokens: AtLeastOne = 256
    """Ours: room for the thoughts too, where a model is shown the principles."""
    seed: int = 0
    """Ours; without effect when greedy."""


class Answered(Record):
    """What a model said when it was asked."""

    instruction: Instruction
    answer: str
    """Empty if the model said nothing that reads as an answer."""
    finished: bool
    """Whether it ended its turn; False: the length limit cut it."""

    @property
    def headline(self) -> str:
        """The question and the answer, shortened."""
        return f"{self.instruction.text[:100]} | {self.answer[:100]}"


@dataclass(frozen=True)
class Answering(Stage[Instruction, Answered]):
    """Put questions to a model in the layout it was trained on."""

    name = "evaluation.answering"
    version = 1
    writes = Answered

    lm: LanguageModel
    chat: ChatPrompt
    names: tuple[tuple[str, str], ...] = ()
    """What fills the gaps of the system text, such as ("assistant", "Calf")."""
    config: AnsweringConfig = field(default_factory=AnsweringConfig)

    def __call__(self, batch: Sequence[Instruction]) -> list[Kept[Answered] | Dropped]:
        """Return one answer per question; the only lines of this file that call a model."""
        completions = self.lm.generate(
            [self.render(question) for question in batch],
            [sampling_for(self.config, self.chat.stop, question) for question in batch],
        )
        return [self.read(q, c) for q, c in zip(batch, completions, strict=True)]

    def render(self, question: Instruction) -> str:
        """Build the conversation so far: the system text and one user turn."""
        gaps = {name: value for name, value in self.names if name in self.chat.prompt.gaps}
        return render_chat(self.chat, [question.text], **gaps)

    def read(self, question: Instruction, completion: Completion) -> Kept[Answered]:
        """Take what was said before the next turn as the answer."""
        return answered(question, completion.text, finished=completion.finish == "stop")


def sampling_for(config: AnsweringConfig, stop: tuple[str, ...], question: Instruction) -> Sampling:
    """Draw with a seed of the question's own."""
    return Sampling(
        temperature=config.temperature,
        top_p=config.top_p,
        max_tokens=config.max_tokens,
        stop=stop,
        seed=rng_for(config.seed, "evaluation", question.id).getrandbits(31),
    )


def answered(question: Instruction, answer: str, *, finished: bool) -> Kept[Answered]:
    """Keep an answer, whatever it is."""
    record = Answered(instruction=question, answer=answer.strip(), finished=finished)
    return Kept(source=question.id, records=(record,))
