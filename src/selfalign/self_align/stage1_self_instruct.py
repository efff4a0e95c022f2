"""SELF-ALIGN stage 1, first half: vanilla Self-Instruct.

Paper: arXiv:2305.03047v2, "Topic-Guided Red-Teaming Self-Instruct", which builds on Self-Instruct
(arXiv:2212.10560v2).

A base model continues lists. Shown a few tasks of a numbered list it writes the next ones; what is
well formed and new joins the pool from which the examples of the next round are drawn:

    pool -> k random tasks -> [numbered list] -> drafts -> filters, novelty -> tasks -> pool

Generation and selection are separate stages. Selection is pure and judges the drafts of a round in
the order of their ids, so resuming or sharding a round changes nothing.

Differences. The paper's text describes this growing pool, and it is the default; the authors' run
showed seeds only (`Growth.seeds_only`). Novelty is judged against everything kept so far by one
filter; the authors' 32 replicas did not see each other's tasks. A number must begin a line (theirs
may stand anywhere). The layout "lines" is ours, for small base models (see `task_lists`).
"""

import re
import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Literal

from selfalign.core.errors import InputError
from selfalign.core.library import SeedTask
from selfalign.core.novelty import NoveltySettings, select_novel
from selfalign.core.prompts import Prompt
from selfalign.core.protocols import END_OF_TEXT, Completion, LanguageModel, Sampling
from selfalign.core.ranges import AtLeastOne, NotNegative, Nucleus, ZeroOrMore
from selfalign.core.records import Dropped, Kept, Record, RecordId, Settings, rng_for
from selfalign.core.stage import Stage
from selfalign.core.store import Run
from selfalign.self_align.asking import Draft, Pool, ask, keep_drafts, look_up
from selfalign.self_align.task_lists import (
    Layout,
    Task,
    parse_item,
    render_examples,
    split_items,
)

BLACKLIST = (
    *("image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps"),
    *("draw", "plot", "go to", "video", "audio", "music", "flowchart", "diagram"),
)
"""The authors' eighteen: words of tasks that a model of text alone cannot do."""


class PromptRequest(Record):
    """One prompt of one round: what has an outcome, and can be resumed."""

    round: int
    index: int


class SelfInstructConfig(Settings):
    """How the list is shown and continued; each default says whose it is."""

    layout: Layout = "blocks"
    """The authors: a block per task, with instruction and input. "lines" is ours."""
    examples: AtLeastOne = 5
    """The authors' launch script: tasks shown per prompt (their code's default is 3)."""
    asked: AtLeastOne = 20
    """The paper's prompt asks for twenty tasks in all; items numbered higher are not read."""
    drop_last: Literal["always", "cut"] = "always"
    """The authors: the last item always. "cut": only if the length limit cut it, as in Alpaca."""
    no_input: str = "<noinput>"
    """The marker our prompt names for a task without an input."""
    temperature: ZeroOrMore = 1.0
    """The authors' launch script."""
    top_p: Nucleus = 0.98
    """The authors' launch script."""
    max_tokens: AtLeastOne = 384
    """The paper's appendix; the authors' launch script has 1,024."""
    ban: tuple[str, ...] = (END_OF_TEXT,)
    """The authors' code: the end token is forbidden, so that the list goes on to the limit."""


class TaskFilters(Settings):
    """Which items are kept; each default says whose it is."""

    min_words: NotNegative = 4
    """The authors' code, from Alpaca: three words are too few."""
    max_words: AtLeastOne = 150
    """The authors' code, from Alpaca."""
    blacklist: tuple[str, ...] = BLACKLIST
    """The authors' code: whole words, in any case, in the instruction or its input."""
    ascii_start: bool = True
    """The authors' code: the first character is ASCII, a rough test for English."""
    novelty: NoveltySettings = NoveltySettings()
    """The paper's threshold; `NoveltySettings` says where the authors' code differs."""


class Growth(Settings):
    """How long the pool grows; each default says whose it is."""

    seeds_only: bool = False
    """The paper's text: False, examples come from seeds and kept tasks. The authors' run: True."""
    target: NotNegative = 262_144
    """The authors' launch script: 32 replicas of 8,192; the round that reaches it is completed."""
    requests_per_round: AtLeastOne = 2048
    """The authors' launch script: 32 replicas ask 64 prompts at a time."""
    rounds: NotNegative = 1000
    """Ours: gives up after so many rounds, for a model that writes nothing new."""


@dataclass(frozen=True)
class SelfInstruct(Stage[PromptRequest, Draft]):
    """One round: let a base model continue lists that begin with tasks of the pool."""

    name = "self_align.stage1.self_instruct"
    version = 1
    writes = Draft

    lm: LanguageModel
    prompt: Prompt
    pool: Pool[Task]
    round: int = 0
    config: SelfInstructConfig = field(default_factory=SelfInstructConfig)
    seed: int = 0

    def __call__(self, batch: Sequence[PromptRequest]) -> list[Kept[Draft] | Dropped]:
        """Return one outcome per prompt; the only lines of this class that call a model."""
        return ask(self.lm, batch, render=self.render, sampling=self.sampling, read=self.read)

    def requests(self, count: int) -> list[PromptRequest]:
        """Return so many prompts of this round, all different."""
        return [PromptRequest(round=self.round, index=index) for index in range(count)]

    @cached_property
    def showable(self) -> list[Task]:
        """The tasks that can stand in an example list; "lines" shows none that has an input.

        Raises:
            InputError: there are fewer than a prompt shows.
        """
        tasks = [t for t in self.pool.in_order if self.config.layout == "blocks" or not t.input]
        if len(tasks) < self.config.examples:
            raise InputError(
                f"Self-Instruct shows {self.config.examples} tasks per prompt, but in layout "
                f"{self.config.layout!r} only {len(tasks)} can be shown. Add seed tasks without an "
                f"input, or lower `examples`."
            )
        return tasks

    def examples(self, request: PromptRequest) -> list[Task]:
        """Draw the tasks a prompt shows, without replacement, from the request's own stream."""
        rng = rng_for(self.seed, "self_align.stage1.examples", request.id)
        return rng.sample(self.showable, self.config.examples)

    def render(self, request: PromptRequest) -> str:
        """Show the examples and open the next item."""
        config = self.config
        shown = render_examples(self.examples(request), config.layout, config.no_input)
        return self.prompt.render(examples=shown)

    def sampling(self, request: PromptRequest) -> Sampling:
        """Draw with a seed of the request's own."""
        return Sampling(
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            max_tokens=self.config.max_tokens,
            stop=self.prompt.stop,
            seed=rng_for(self.seed, self.name, request.id).getrandbits(31),
            ban=self.config.ban,
        )

    def read(self, request: PromptRequest, completion: Completion) -> Kept[Draft] | Dropped:
        """Split the list into items; the last one is not trusted to be whole."""
        first = self.config.examples + 1
        items = split_items(completion.text, first, self.config.layout)
        if self.config.drop_last == "always" or completion.finish == "length":
            items = items[:-1]
        return keep_drafts(request, items, first=first, last=self.config.asked)


@dataclass(frozen=True)
class TaskSelection(Stage[Draft, Task]):
    """Judge the drafts of a round: form first, then every filter, novelty last."""

    name = "self_align.stage1.task_selection"
    version = 1
    writes = Task

    known: Pool[Task]
    """Seeds and tasks kept in earlier rounds: what a new task must differ from."""
    drafts: Pool[Draft]
    layout: Layout = "blocks"
    no_input: str = "<noinput>"
    filters: TaskFilters = field(default_factory=TaskFilters)

    def __call__(self, batch: Sequence[Draft]) -> list[Kept[Task] | Dropped]:
        """Return one outcome per draft, from decisions made over all of them."""
        return look_up(self.decisions, batch)

    @cached_property
    def decisions(self) -> dict[RecordId, Task | str]:
        """Per draft the task it states, or the reason why it is none, decided in id order."""
        judged = {draft.id: self.judge(draft) for draft in self.drafts.in_order}
        tasks = [(source, task) for source, task in judged.items() if isinstance(task, Task)]
        novel = select_novel(
            [task.instruction for _, task in tasks],
            settings=self.filters.novelty,
            against=(task.instruction for task in self.known),
        )
        new = {tasks[position][0] for position in novel}
        alike: dict[RecordId, Task | str] = {
            source: "near_duplicate" for source, _ in tasks if source not in new
        }
        return judged | alike

    def judge(self, draft: Draft) -> Task | str:
        """Return the task a draft states, or the first thing that is wrong with it alone."""
        task = parse_item(draft.text, draft.number, self.layout, self.no_input)
        return "wrong_number" if task is None else fault_of(task, self.filters) or task


def grow_pool(
    run: Run,
    first: SelfInstruct,
    *,
    filters: TaskFilters,
    growth: Growth,
) -> list[Task]:
    """Run rounds until enough tasks are kept, beginning with a stage whose pool is the seeds.

    Raises:
        InputError: there are fewer seeds than a prompt shows.
    """
    seeds, config = first.pool.records, first.config
    tasks: list[Task] = []
    for number in range(growth.rounds):
        if len(tasks) >= growth.target:
            break
        known = Pool((*seeds, *tasks))
        stage = replace(first, pool=first.pool if growth.seeds_only else known, round=number)
        drafts = run.fill(stage, stage.requests(growth.requests_per_round))
        selection = TaskSelection(
            known, Pool(tuple(drafts)), config.layout, config.no_input, filters
        )
        tasks += run.fill(selection, drafts)
    return tasks


def seed_pool(seeds: Iterable[SeedTask]) -> Pool[Task]:
    """Take instruction and input of the seeds a person wrote."""
    return Pool(tuple(Task(instruction=s.instruction, input=s.input) for s in seeds))


def fault_of(task: Task, filters: TaskFilters) -> str | None:
    """Return the name of the first filter a task fails, in the authors' order."""
    return next((reason for reason, fails in FILTERS if fails(task, filters)), None)


def has_too_few_words(task: Task, filters: TaskFilters) -> bool:
    """Count the words of the instruction alone."""
    return len(task.instruction.split()) < filters.min_words


def has_too_many_words(task: Task, filters: TaskFilters) -> bool:
    """Count the words of the instruction alone."""
    return len(task.instruction.split()) > filters.max_words


def needs_more_than_text(task: Task, filters: TaskFilters) -> bool:
    """Find a blacklisted word in the instruction or the input."""
    words = _whole_words(filters.blacklist)
    return bool(words and (words.search(task.instruction) or words.search(task.input)))


def starts_with_punctuation(task: Task, _: TaskFilters) -> bool:
    """Look at the first character: a list mark or a quotation begins no request."""
    return task.instruction[:1] in set(string.punctuation)


def starts_outside_ascii(task: Task, filters: TaskFilters) -> bool:
    """Look at the first character: probably not English."""
    return filters.ascii_start and not task.instruction[:1].isascii()


FILTERS: tuple[tuple[str, Callable[[Task, TaskFilters], bool]], ...] = (
    ("too_few_words", has_too_few_words),
    ("too_many_words", has_too_many_words),
    ("blacklisted", needs_more_than_text),
    ("punctuation_start", starts_with_punctuation),
    ("non_ascii_start", starts_outside_ascii),
)
"""Reason and filter, in the authors' order; numbering comes before, novelty after."""


@lru_cache
def _whole_words(words: tuple[str, ...]) -> re.Pattern[str] | None:
    listed = "|".join(re.escape(word) for word in words)
    return re.compile(rf"\b(?:{listed})\b", re.IGNORECASE) if words else None
