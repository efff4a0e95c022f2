"""SELF-ALIGN stage 1, second half: topic-guided red-teaming.

Paper: arXiv:2305.03047v2, "Topic-Guided Red-Teaming Self-Instruct".

Self-Instruct alone seldom asks what a model cannot know. So a person names twenty types of
instruction that a static language model gets wrong. The base model brainstorms topics for each
(`stage1_topics`) and then writes one instruction for every pair of type and topic:

    topics -> 5 solved + 5 unsolved hints -> [instruction list] -> drafts -> one per pair

Differences. Only lines of unsolved hints are read (the authors' code also reads solved ones back),
and the list opens with the whole hint of the first unsolved pair (theirs ends after the last solved
line). Topic and type stay with the instruction; the authors' merge throws them away, although their
figure on rule usage needs them.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from string import Template
from typing import Literal

from pydantic import field_validator

from selfalign.core.errors import InputError
from selfalign.core.library import QuestionType
from selfalign.core.prompts import Prompt
from selfalign.core.protocols import END_OF_TEXT, Completion, LanguageModel, Sampling
from selfalign.core.ranges import AtLeastOne, Nucleus, ZeroOrMore
from selfalign.core.records import (
    Dropped,
    Instruction,
    Kept,
    Record,
    RecordId,
    Settings,
    digest,
    rng_for,
)
from selfalign.core.stage import Stage
from selfalign.self_align.asking import Draft, Pool, ask, keep_drafts, look_up
from selfalign.self_align.stage1_topics import Topic

HINT_GAPS = {"number", "question_type", "topic"}
"""What a hint may say."""


class RedTeamingConfig(Settings):
    """How instructions are written from hints; each default says whose it is."""

    solved: AtLeastOne = 5
    """The authors' launch script: solved hints per prompt, drawn from the seeds."""
    asked: AtLeastOne = 5
    """The authors' launch script: unsolved hints per prompt (their code's default is 15)."""
    hint: str = "${number}. ${question_type}. Topic: ${topic}"
    """Ours: how a hint is written."""
    line: str = "${number}. ${question_type}. Topic: ${topic}. Instruction: ${instruction}"
    """Ours: how an instruction is written; what precedes it must come back unchanged."""
    drop_last: Literal["always", "cut"] = "always"
    """The authors: the last line always. "cut": only if the length limit cut it."""
    temperature: ZeroOrMore = 1.0
    """The authors' launch script."""
    top_p: Nucleus = 0.95
    """The authors' launch script; the paper's appendix has 0.98."""
    max_tokens: AtLeastOne = 384
    """The paper's appendix and the authors' launch script."""
    ban: tuple[str, ...] = (END_OF_TEXT,)
    """The authors' code: the end token is forbidden."""

    @field_validator("hint")
    @classmethod
    def _hint_has_known_gaps(cls, hint: str) -> str:
        _check_gaps(hint, HINT_GAPS)
        return hint

    @field_validator("line")
    @classmethod
    def _line_ends_in_its_instruction(cls, line: str) -> str:
        _check_gaps(line, HINT_GAPS | {"instruction"})
        if not line.endswith("${instruction}") or line.count("${instruction}") > 1:
            raise ValueError(f"{line!r} must end in ${{instruction}} and name it once")
        return line


class HintRequest(Record):
    """One prompt: hints that a person solved, and topics still to be solved."""

    solved: tuple[Instruction, ...]
    topics: tuple[Topic, ...]

    @property
    def headline(self) -> str:
        """The topics to be solved."""
        return "; ".join(topic.text for topic in self.topics)[:200]


@dataclass(frozen=True)
class RedTeaming(Stage[HintRequest, Draft]):
    """Let a base model write instructions to hints, after some that a person solved."""

    name = "self_align.stage1.red_teaming"
    version = 1
    writes = Draft

    lm: LanguageModel
    prompt: Prompt
    config: RedTeamingConfig = field(default_factory=RedTeamingConfig)
    seed: int = 0

    def __call__(self, batch: Sequence[HintRequest]) -> list[Kept[Draft] | Dropped]:
        """Return one outcome per prompt; the only lines of this class that call a model."""
        return ask(self.lm, batch, render=self.render, sampling=self.sampling, read=self.read)

    def render(self, request: HintRequest) -> str:
        """List all hints, then the solved instructions, and open the first unsolved one."""
        hints = [*map(topic_of, request.solved), *request.topics]
        solved = enumerate(request.solved, start=1)
        lines = [render_line(self.config.line, n, topic_of(s), s.text) for n, s in solved]
        return self.prompt.render(
            hints="\n".join(render_hint(self.config.hint, n, t) for n, t in enumerate(hints, 1)),
            examples="\n".join([*lines, next(iter(self.prefixes(request)), "")]),
        )

    def sampling(self, request: HintRequest) -> Sampling:
        """Draw with a seed of the request's own."""
        return Sampling(
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            max_tokens=self.config.max_tokens,
            stop=self.prompt.stop,
            seed=rng_for(self.seed, self.name, request.id).getrandbits(31),
            ban=self.config.ban,
        )

    def read(self, request: HintRequest, completion: Completion) -> Kept[Draft] | Dropped:
        """Split the list into lines; the last one is not trusted to be whole."""
        lines = (next(iter(self.prefixes(request)), "") + completion.text).split("\n")
        if self.config.drop_last == "always" or completion.finish == "length":
            lines = lines[:-1]
        first = len(request.solved) + 1
        return keep_drafts(request, lines, first=first, last=first + len(lines))

    def prefixes(self, request: HintRequest) -> dict[str, Topic]:
        """Return how the line of each unsolved topic must begin, in order."""
        return expected_prefixes(self.config.line, request)


@dataclass(frozen=True)
class RedTeamingSelection(Stage[Draft, Instruction]):
    """Judge the drafts: the line of an unsolved hint, and the first for its type and topic."""

    name = "self_align.stage1.red_teaming_selection"
    version = 1
    writes = Instruction

    requests: Pool[HintRequest]
    drafts: Pool[Draft]
    line: str

    def __call__(self, batch: Sequence[Draft]) -> list[Kept[Instruction] | Dropped]:
        """Return one outcome per draft, from decisions made over all of them."""
        return look_up(self.decisions, batch)

    @cached_property
    def decisions(self) -> dict[RecordId, Instruction | str]:
        """Per draft its instruction, or the reason why it gives none, in id order."""
        prefixes = {r.id: expected_prefixes(self.line, r) for r in self.requests}
        done: set[RecordId] = set()
        decisions: dict[RecordId, Instruction | str] = {}
        for draft in self.drafts.in_order:
            instruction = parse_line(draft.text, prefixes[draft.request], self.line)
            if isinstance(instruction, Instruction):
                pair = topic_of(instruction).id
                if pair in done:
                    instruction = "pair_done"
                done.add(pair)
            decisions[draft.id] = instruction
        return decisions


def solved_hints(types: Iterable[QuestionType]) -> list[Instruction]:
    """Take the questions a person wrote, each with its type and topic."""
    return [
        Instruction(text=t.question, origin="red_teaming", topic=t.topic, question_type=t.name)
        for t in types
    ]


def draw_hints(
    topics: Iterable[Topic], solved: Sequence[Instruction], config: RedTeamingConfig, seed: int
) -> list[HintRequest]:
    """Deal all topics, shuffled, to prompts, and draw the solved hints that each begins with.

    Raises:
        InputError: there are fewer solved hints than a prompt shows.
    """
    if len(solved) < config.solved:
        raise InputError(
            f"red-teaming shows {config.solved} solved hints per prompt, but the library has "
            f"{len(solved)} question types. Add some to seeds/question_types.yaml, or lower "
            f"`solved`."
        )
    dealt = sorted(
        topics,
        key=lambda topic: rng_for(seed, "self_align.stage1.deal", topic.id).random(),
    )
    requests: list[HintRequest] = []
    for start in range(0, len(dealt), config.asked):
        asked = tuple(dealt[start : start + config.asked])
        rng = rng_for(seed, "self_align.stage1.solved", digest([topic.id for topic in asked]))
        shown = tuple(rng.sample(list(solved), config.solved))
        requests.append(HintRequest(solved=shown, topics=asked))
    return requests


def expected_prefixes(line: str, request: HintRequest) -> dict[str, Topic]:
    """Return how the line of each unsolved topic must begin, in order."""
    numbered = enumerate(request.topics, start=len(request.solved) + 1)
    return {render_line(line, number, topic, "").rstrip(): topic for number, topic in numbered}


def parse_line(text: str, prefixes: dict[str, Topic], line: str) -> Instruction | str:
    """Return the instruction of a line that begins as expected, or what is wrong with it.

    If the model wrote the word that announces the instruction twice, what follows the last counts.
    """
    prefix = next((p for p in prefixes if text.startswith(p)), None)
    if prefix is None:
        return "unexpected_prefix"
    rest = text[len(prefix) :]
    marker = re.search(r"\w[\w ]*:\s*$", line.removesuffix("${instruction}"))
    instruction = (rest.rpartition(marker[0].strip())[2] if marker else rest).strip()
    if not instruction:
        return "empty"
    topic = prefixes[prefix]
    return Instruction(
        text=instruction,
        origin="red_teaming",
        topic=topic.text,
        question_type=topic.question_type,
    )


def topic_of(instruction: Instruction) -> Topic:
    """Return the pair of type and topic an instruction of this half was written for."""
    return Topic(question_type=instruction.question_type or "", text=instruction.topic or "")


def render_hint(hint: str, number: int, topic: Topic) -> str:
    """Write a hint: the number, the type (of instructions, not questions) and the topic."""
    return Template(hint).substitute(
        number=number, question_type=as_instructions(topic.question_type), topic=topic.text
    )


def render_line(line: str, number: int, topic: Topic, instruction: str) -> str:
    """Write an instruction with its hint, or, with none, how its line begins."""
    return Template(line).substitute(
        number=number,
        question_type=as_instructions(topic.question_type),
        topic=topic.text,
        instruction=" ".join(instruction.split()),
    )


def as_instructions(question_type: str) -> str:
    """Speak of instructions where a type speaks of questions: not all of them are to be asked."""
    said = question_type.replace("Questions", "Instructions")
    return said.replace("questions", "instructions")


def _check_gaps(text: str, known: set[str]) -> None:
    template = Template(text)
    unknown = set(template.get_identifiers()) - known if template.is_valid() else {"$"}
    if unknown:
        raise ValueError(
            f"{text!r} has {sorted(unknown)}; it may have {sorted(known)} as ${{gaps}}"
        )
