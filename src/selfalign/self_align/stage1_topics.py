"""SELF-ALIGN stage 1: brainstorming topics for the adversarial types of instruction.

Paper: arXiv:2305.03047v2, "Topic-Guided Red-Teaming Self-Instruct".

A person names a type of instruction and one topic. The base model continues lists of topics; what
is well formed and new joins the pool, and all types are cut to the size of the poorest one:

    pool -> a list per topic -> drafts -> form, new within the type, balanced -> topics -> pool

Differences. The authors ran nine rounds and used the topics after six; here the topics after the
last round are the ones used, so `rounds` says both. A line without ". " is dropped (the authors'
code cuts its first character off). Balance turns away the topics decided last, in the order of
ids; the authors' order is that of their files.
"""

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from selfalign.core.library import QuestionType
from selfalign.core.prompts import Prompt
from selfalign.core.protocols import END_OF_TEXT, Completion, LanguageModel, Sampling
from selfalign.core.ranges import AtLeastOne, NotNegative, Nucleus, ZeroOrMore
from selfalign.core.records import Dropped, Kept, Record, RecordId, Settings, rng_for
from selfalign.core.stage import Stage
from selfalign.core.store import Run
from selfalign.self_align.asking import Draft, Pool, ask, keep_drafts, look_up

ROUNDS = 6
"""The authors' launch script: the topics of its epoch 5 are used, which is the sixth."""


class Topic(Record):
    """Something that instructions of a type can be about; a person's, or the model's."""

    question_type: str
    text: str

    @property
    def headline(self) -> str:
        """Type and topic, shortened."""
        return f"{self.question_type}: {self.text}"[:200]


class TopicConfig(Settings):
    """How topics are brainstormed; each default says whose it is."""

    shown: AtLeastOne = 5
    """The authors' launch script: topics that begin the list, once a type has `enough`."""
    enough: NotNegative = 10
    """The authors' code: while a type has fewer, each prompt begins with one topic."""
    lines: AtLeastOne = 20
    """The authors' code: lines read per completion (the prompt asks for ten topics in all)."""
    temperature: ZeroOrMore = 1.0
    """The authors' launch script."""
    top_p: Nucleus = 0.98
    """The authors' launch script."""
    max_tokens: AtLeastOne = 128
    """The authors' launch script; the paper's appendix has 384."""
    ban: tuple[str, ...] = (END_OF_TEXT,)
    """The authors' code: the end token is forbidden."""


class TopicFilters(Settings):
    """Which topics are kept; each default says whose it is."""

    max_words: AtLeastOne = 3
    """The authors' code, and a rule of the prompt."""
    capital: bool = True
    """The authors' code, and a rule of the prompt: the first character is one of A-Z."""
    bare_end: bool = True
    """The authors' code: the last character is no punctuation mark."""
    balanced: bool = True
    """The paper: each round every type is cut to the size of the poorest one."""


@dataclass(frozen=True)
class TopicBrainstorming(Stage[Topic, Draft]):
    """One round: for every topic there is, let a base model list more of its type."""

    name = "self_align.stage1.topics"
    version = 1
    writes = Draft

    lm: LanguageModel
    prompt: Prompt
    pool: Pool[Topic]
    round: int = 0
    config: TopicConfig = field(default_factory=TopicConfig)
    seed: int = 0

    def __call__(self, batch: Sequence[Topic]) -> list[Kept[Draft] | Dropped]:
        """Return one outcome per topic; the only lines of this class that call a model."""
        return ask(self.lm, batch, render=self.render, sampling=self.sampling, read=self.read)

    @cached_property
    def by_type(self) -> dict[str, list[Topic]]:
        """The topics of each type, by id."""
        return by_type(self.pool.in_order)

    def shown(self, topic: Topic) -> list[str]:
        """Draw the topics that begin the list: several of the type, or only this one at first."""
        of_type = self.by_type[topic.question_type]
        if len(of_type) < max(self.config.enough, self.config.shown):
            return [topic.text]
        rng = rng_for(self.seed, f"self_align.stage1.shown_topics/{self.round}", topic.id)
        return [drawn.text for drawn in rng.sample(of_type, self.config.shown)]

    def render(self, topic: Topic) -> str:
        """Begin a numbered list of topics and open its next line."""
        return self.prompt.render(
            question_type=topic.question_type, topics=render_topics(self.shown(topic))
        )

    def sampling(self, topic: Topic) -> Sampling:
        """Draw with a seed of the topic's own, another one each round."""
        return Sampling(
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            max_tokens=self.config.max_tokens,
            stop=self.prompt.stop,
            seed=rng_for(self.seed, f"{self.name}/{self.round}", topic.id).getrandbits(31),
            ban=self.config.ban,
        )

    def read(self, topic: Topic, completion: Completion) -> Kept[Draft] | Dropped:
        """Take the first lines; the last one stays, whole or not, as in the authors' code."""
        first = len(self.shown(topic)) + 1
        lines = f"{first}.{completion.text}".split("\n")[: self.config.lines]
        return keep_drafts(topic, lines, first=first, last=first + len(lines))


@dataclass(frozen=True)
class TopicSelection(Stage[Draft, Topic]):
    """Judge the drafts of a round: form, newness within the type, balance between the types."""

    name = "self_align.stage1.topic_selection"
    version = 1
    writes = Topic

    pool: Pool[Topic]
    drafts: Pool[Draft]
    filters: TopicFilters = field(default_factory=TopicFilters)

    def __call__(self, batch: Sequence[Draft]) -> list[Kept[Topic] | Dropped]:
        """Return one outcome per draft, from decisions made over all of them."""
        return look_up(self.decisions, batch)

    @cached_property
    def decisions(self) -> dict[RecordId, Topic | str]:
        """Per draft the new topic it names, or the reason why it names none, in id order."""
        new = self.new_topics()
        if not self.filters.balanced:
            return new
        named = [topic for topic in new.values() if isinstance(topic, Topic)]
        kept = {topic.id for topic in balanced([*self.pool, *named])}
        return {
            source: "unbalanced" if isinstance(topic, Topic) and topic.id not in kept else topic
            for source, topic in new.items()
        }

    def new_topics(self) -> dict[RecordId, Topic | str]:
        """Per draft its topic, or what is wrong: ill formed, or known in any spelling."""
        asked = {topic.id: topic for topic in self.pool}
        known = {_any_spelling(topic) for topic in self.pool}
        decisions: dict[RecordId, Topic | str] = {}
        for draft in self.drafts.in_order:
            text = topic_of(draft.text)
            topic = Topic(question_type=asked[draft.request].question_type, text=text)
            reason = fault_of(text, self.filters)
            if reason is None and _any_spelling(topic) in known:
                reason = "known"
            decisions[draft.id] = reason or topic
            if reason is None:
                known.add(_any_spelling(topic))
        return decisions


def brainstorm(
    run: Run, first: TopicBrainstorming, *, rounds: int = ROUNDS, filters: TopicFilters
) -> list[Topic]:
    """Run the rounds, beginning with a stage whose pool is the seeds; return the last pool."""
    topics = list(first.pool)
    for number in range(rounds):
        pool = Pool(tuple(topics))
        drafts = run.fill(replace(first, pool=pool, round=number), topics)
        topics += run.fill(TopicSelection(pool, Pool(tuple(drafts)), filters), drafts)
        topics = balanced(topics) if filters.balanced else topics
    return topics


def seed_topics(types: Iterable[QuestionType]) -> Pool[Topic]:
    """Take the type and topic of the examples a person wrote."""
    return Pool(tuple(Topic(question_type=t.name, text=t.topic) for t in types))


def render_topics(shown: Sequence[str]) -> str:
    """Write topics as the beginning of a numbered list that ends where the next one begins."""
    lines = [f"{number}. {text}" for number, text in enumerate(shown, start=1)]
    return "\n".join([*lines, f"{len(shown) + 1}."])


def topic_of(line: str) -> str:
    """Return what stands after the number: after the first ". ", or nothing."""
    return line.partition(". ")[2].strip()


def fault_of(text: str, filters: TopicFilters) -> str | None:
    """Return what is wrong with the form of a topic, if anything is."""
    if not text:
        return "no_topic"
    if len(text.split()) > filters.max_words:
        return "too_many_words"
    if filters.capital and text[0] not in string.ascii_uppercase:
        return "no_capital"
    if filters.bare_end and text[-1] in string.punctuation:
        return "punctuation_end"
    return None


def balanced(topics: Iterable[Topic]) -> list[Topic]:
    """Cut every type to the number of topics of the poorest type, keeping the first ones."""
    groups = by_type(topics)
    poorest = min((len(group) for group in groups.values()), default=0)
    return [topic for group in groups.values() for topic in group[:poorest]]


def by_type(topics: Iterable[Topic]) -> dict[str, list[Topic]]:
    """Group topics by type, in the order given."""
    groups: dict[str, list[Topic]] = {}
    for topic in topics:
        groups.setdefault(topic.question_type, []).append(topic)
    return groups


def _any_spelling(topic: Topic) -> tuple[str, str]:
    return topic.question_type, topic.text.casefold()
