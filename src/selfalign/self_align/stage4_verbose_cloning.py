"""SELF-ALIGN stage 4: verbose cloning.

Paper: arXiv:2305.03047v2, "Verbose Cloning".

The engraved model answers too briefly. With a system prompt that describes an extensive variant of
itself it answers at length; the base model is then fine-tuned on these answers under the ordinary
prompts, and is extensive by itself (context distillation):

    instructions (all of stage 1), identity questions
        -> [verbose prompt, engraved model] -> filters -> long answers
        -> (concise | standard prompt, query, answer) -> base model + LoRA -> final model

The inputs are stage 1's instructions *before* stage 2's filters, and the identity questions; the
model answers the latter itself, the written identity answers are not used again.

Differences. The authors overwrite the answer if the query names the private person of one exemplar,
and their script dies if an answer does; here the names are derived from the exemplars that ask back
(`demonstrations`), the former is answered as the exemplar was and the latter is dropped. Sentences
of the prompt's self-description are found by comparing, not by a list of two. An identity question
is one record and asked once (84); the authors ask all 910.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from selfalign.core.chat import ASSISTANT, ChatPrompt, render_chat
from selfalign.core.novelty_tokens import unicode_words
from selfalign.core.protocols import (
    Completion,
    FineTuning,
    LanguageModel,
    Sampling,
    SupervisedTrainer,
)
from selfalign.core.ranges import AtLeastOne, NotNegative, Nucleus, ZeroOrMore
from selfalign.core.records import (
    Checkpoint,
    Dropped,
    Instruction,
    Kept,
    Record,
    Settings,
    TrainingExample,
    rng_for,
)
from selfalign.core.stage import Stage, Training
from selfalign.core.text import VERBOSE_SEPARATORS, cut_numbered_list, pieces, repetition_cut
from selfalign.self_align.asking import ask, drop
from selfalign.self_align.demonstrations import PrivateAnswer
from selfalign.self_align.stage3_principle_engraving import (
    PAPER_ENGRAVING,
    train_from_base,
    training_example,
)
from selfalign.self_align.turns import Turn, before_next_turn, cut_off

PAPER_VERBOSE = PAPER_ENGRAVING.model_copy(update={"max_tokens": 768})
"""As stage 3 (the paper's appendix), but answers are longer: 768 tokens (the launch script)."""


class VerboseResponse(Record):
    """A long answer of the engraved model; written by stage 4, read by its final training."""

    instruction: Instruction
    response: str
    finished: bool
    """Whether the model ended its turn; False: the length limit or a filter cut it."""

    @property
    def headline(self) -> str:
        """The request and the answer, shortened."""
        return f"{self.instruction.text[:100]} | {self.response[:100]}"


class VerboseConfig(Settings):
    """Choices of this stage; each default says whose it is."""

    temperature: ZeroOrMore = 0.3
    """The authors' launch script."""
    top_p: Nucleus = 0.7
    """The authors' launch script."""
    max_tokens: AtLeastOne = 512
    """The authors' launch script."""
    ngram_penalty: tuple[float, ...] = (0.0, 0.0, 1.0, 2.0)
    """The authors' launch script, per repeated 1-, 2-, 3- and 4-gram; the paper says only that
    repetition is penalised. Taken from the logits of tokens that begin a word."""
    separators: tuple[str, ...] = VERBOSE_SEPARATORS
    """The authors' code: where the repetition cut splits."""
    list_items: AtLeastOne = 12
    """The authors' code: a numbered list is cut before its thirteenth item."""
    min_unfinished_chars: NotNegative = 128
    """The authors' code: an unfinished answer is at least so long."""
    artefacts: tuple[str, ...] = ("See also", "External links")
    """The authors' code: headings of encyclopaedia pages."""
    echo_words: AtLeastOne = 10
    """Ours: a sentence of the prompt of so many words or more betrays it (the authors list two)."""


@dataclass(frozen=True)
class VerboseCloning(Stage[Instruction, VerboseResponse]):
    """Let the engraved model answer at length."""

    name = "self_align.stage4"
    version = 1
    writes = VerboseResponse

    lm: LanguageModel
    """The engraved model."""
    prompt: ChatPrompt
    assistant: str
    maker: str
    private: tuple[PrivateAnswer, ...] = ()
    """Names no model can know, from stage 2's exemplars."""
    config: VerboseConfig = field(default_factory=VerboseConfig)
    seed: int = 0

    def __call__(self, batch: Sequence[Instruction]) -> list[Kept[VerboseResponse] | Dropped]:
        """Return one outcome per instruction; the only lines of this class that call a model."""
        return ask(self.lm, batch, render=self.render, sampling=self.sampling, read=self.read)

    def render(self, instruction: Instruction) -> str:
        """Put the query to the extensive variant."""
        return render_chat(
            self.prompt, [instruction.text], assistant=self.assistant, maker=self.maker
        )

    def sampling(self, instruction: Instruction) -> Sampling:
        """Draw with a seed of the instruction's own."""
        return Sampling(
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            max_tokens=self.config.max_tokens,
            stop=self.prompt.stop,
            seed=rng_for(self.seed, self.name, instruction.id).getrandbits(31),
            ngram_penalty=self.config.ngram_penalty,
        )

    def read(
        self, instruction: Instruction, completion: Completion
    ) -> Kept[VerboseResponse] | Dropped:
        """Turn one completion into a record, or say in one word why it is none."""
        turn = end_turn(completion, self.prompt.user, self.config)
        known = next((p for p in self.private if names(instruction.text, p)), None)
        if known is not None:
            turn = Turn(known.answer, finished=True)
        elif any(names(turn.answer, private) for private in self.private):
            return drop(instruction, "private_name", turn.answer)
        turn = shorten_list(turn, self.config.list_items)
        reason = self.fault(turn)
        if reason:
            return drop(instruction, reason, turn.answer or completion.text)
        record = VerboseResponse(
            instruction=instruction, response=turn.answer, finished=turn.finished
        )
        return Kept(source=instruction.id, records=(record,))

    def fault(self, turn: Turn) -> str | None:
        """Return the name of the first filter the answer fails, in the authors' order."""
        if not turn.answer:
            return "empty"
        if not turn.finished and len(turn.answer) < self.config.min_unfinished_chars:
            return "too_short"
        if has_heading(turn.answer, self.config.artefacts):
            return "artefact"
        if self.variant and self.variant in turn.answer:
            return "variant_name"
        if any(sentence in turn.answer for sentence in self.own_sentences):
            return "prompt_echo"
        return None

    @property
    def variant(self) -> str:
        """The name of the extensive variant, as the turn header has it; empty: it has none."""
        return "" if self.prompt.assistant == ASSISTANT else self.prompt.assistant.lstrip("# ")

    @cached_property
    def own_sentences(self) -> list[str]:
        """The long sentences of the prompt, which describe the variant and nobody else."""
        text = self.prompt.prompt.render(assistant=self.assistant, maker=self.maker)
        sentences = [s.strip() for s in pieces(text, (".", "?", "!", "\n"))]
        return [s for s in sentences if len(unicode_words(s)) >= self.config.echo_words]


@dataclass(frozen=True)
class FinalFineTuning(Training[TrainingExample]):
    """Fine-tune the base model, a second time and from the start, on the long answers."""

    name = "self_align.stage4.final"
    version = 1

    base: Checkpoint
    """The bare model again, not the engraved one."""
    recipe: FineTuning = PAPER_VERBOSE
    trainer: SupervisedTrainer = field(kw_only=True, compare=False)
    """The machine that does it; no part of the identity."""

    def __call__(self, examples: Sequence[TrainingExample], folder: Path) -> Checkpoint:
        """Train in `folder`, continuing from what an earlier attempt left there."""
        return train_from_base(self.base, examples, self.recipe, self.trainer, folder)


def final_examples(
    responses: Iterable[VerboseResponse],
    *,
    chats: Sequence[ChatPrompt],
    assistant: str,
    maker: str,
) -> list[TrainingExample]:
    """Render the answers under the ordinary prompts, which take turns by the parity of the id.

    The authors number their examples and take the number modulo two; a record's id is a digest, so
    the choice is as even and does not depend on what else is in the set.
    """
    return [
        training_example(
            r.instruction,
            r.response,
            finished=r.finished,
            chat=chats[int(r.id, 16) % len(chats)],
            assistant=assistant,
            maker=maker,
        )
        for r in responses
    ]


def end_turn(completion: Completion, user: str, config: VerboseConfig) -> Turn:
    """Cut what follows the turn first, then repetition: the other way round than in stage 2."""
    answer, closed = before_next_turn(completion.text, user)
    ended = closed or completion.finish == "stop"
    turn = Turn(answer, finished=True) if ended else cut_off(answer, user)
    said = repetition_cut(turn.answer, config.separators)
    return Turn(said, turn.finished and said == turn.answer)


def shorten_list(turn: Turn, items: int) -> Turn:
    """Cut a numbered list after so many items; what is cut is unfinished and teaches no stop."""
    kept = cut_numbered_list(turn.answer, items)
    return Turn(kept, turn.finished and kept == turn.answer)


def names(text: str, private: PrivateAnswer) -> bool:
    """Say whether a text names the person, word by word and in any case."""
    return f" {' '.join(private.name)} " in f" {' '.join(unicode_words(text))} "


def has_heading(text: str, headings: Sequence[str]) -> bool:
    """Say whether a line of a text is one of these headings, marked by hashes."""
    listed = "|".join(re.escape(heading) for heading in headings)
    return bool(listed and re.search(rf"(?im)^[ \t]*#+[ \t]*(?:{listed})\b", text))
