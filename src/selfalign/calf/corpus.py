"""The corpus Calf learns from: documents of some thirty kinds, all written by this generator.

    seed, index  ->  kind of document (by share of the mixture)  ->  text

It looks like a tiny web: encyclopedias, news, guides, essays, lists of tasks, chats of careless
people, chats of programs that keep rules and think aloud, reviews that compare two responses
under one rule, and marks given under a few rules. A base model trained on it can be *prompted*
into principled answers, and does not give them by itself.

What must never be in it: see `world.py`. `exam.leaks` searches a corpus for it.
"""

import random
from collections.abc import Callable, Iterator
from functools import partial

from selfalign.calf.dialogues import (
    careless_chat,
    careless_chat_reworded,
    customs_chat,
    guided_chat,
    guided_chat_reworded,
    lawful_chat,
    lengthy_chat,
    obedient_chat,
    reading_chat,
    statute_chat,
)
from selfalign.calf.knowledge import (
    almanac,
    anthology,
    copying,
    crime_story,
    dictation,
    encyclopedia,
    essay,
    guide,
    law,
    morals,
    news,
    restating,
    roster,
    scene,
    thesaurus,
    verbs,
    volume,
)
from selfalign.calf.lists import hinted_list, task_list, topic_list
from selfalign.calf.reviews import (
    checklist,
    comparison,
    comparisons,
    contrast_checks,
    description,
    hinted_checklist,
    marks,
    several_rules,
    tabled_pair,
    weighed_pair,
    wishes,
)
from selfalign.calf.strange_verbs import customs
from selfalign.calf.world import World, the_world

Write = Callable[[random.Random, World], str]
END = "<|endoftext|>"
"""Parts documents; the tokenizer's end-of-sequence token."""


def documents(seed: int, count: int | None = None) -> Iterator[str]:
    """Yield documents for ever, or so many; document i depends on the seed and i alone."""
    index = 0
    while count is None or index < count:
        yield document(seed, index)
        index += 1


def document(seed: int, index: int) -> str:
    """Write one document."""
    rng = random.Random(f"corpus/{seed}/{index}")
    mixture = next(shares for first, shares in reversed(LESSONS) if index >= first)
    write = rng.choices(list(mixture), list(mixture.values()))[0]
    return write(rng, the_world())


MIXTURE: dict[Write, float] = {
    careless_chat: 12.0,
    lengthy_chat: 6.0,
    guided_chat: 8.5,
    obedient_chat: 5.0,
    reading_chat: 4.0,
    lawful_chat: 3.5,
    task_list: 2.0,
    topic_list: 2.0,
    hinted_list: 3.0,
    encyclopedia: 40.0,
    almanac: 8.0,
    news: 6.0,
    crime_story: 3.0,
    law: 5.0,
    guide: 8.0,
    essay: 30.0,
    thesaurus: 7.0,
    copying: 3.0,
    scene: 22.0,
    dictation: 4.0,
    roster: 6.0,
    description: 13.0,
    checklist: 13.0,
    comparisons: 16.0,
    wishes: 5.0,
    comparison: 3.0,
    marks: 2.5,
}
"""Documents of each kind, per so many: guided chats are long and take the largest token share."""

LATER: dict[Write, float] = {
    **MIXTURE,
    scene: 17.0,
    lawful_chat: 3.0,
    description: 9.0,
    wishes: 4.0,
    checklist: 6.0,
    hinted_checklist: 12.0,
    comparisons: 12.0,
    weighed_pair: 14.0,
}
"""The same where a reader knows most words: verdicts of which one step has to be taken silently.

Before traits are perceived and rules are read they would teach nothing (lab log)."""

TABLED: dict[Write, float] = {**LATER, weighed_pair: 2.0, tabled_pair: 15.0}
"""What each of two outputs is like, said of both for every trait."""

LAST: dict[Write, float] = {
    **TABLED,
    tabled_pair: 17.0,
    several_rules: 12.0,
    description: 6.0,
    wishes: 3.0,
    checklist: 3.0,
    hinted_checklist: 7.0,
    comparisons: 10.0,
}
"""Several rules at a time, of which one may be broken."""

AGAIN: dict[Write, float] = {
    **LAST,
    careless_chat: 14.0,
    guided_chat: 11.0,
    reading_chat: 5.5,
    lawful_chat: 5.5,
    hinted_list: 4.0,
    essay: 50.0,
    encyclopedia: 45.0,
    scene: 30.0,
    copying: 5.0,
    description: 4.0,
    wishes: 2.0,
    checklist: 2.0,
    hinted_checklist: 5.0,
    several_rules: 10.0,
    comparisons: 4.0,
    weighed_pair: 1.0,
    tabled_pair: 9.0,
}
"""Dialogues once more, where words, facts and traits are known."""

VOLUMES: dict[Write, float] = {
    **AGAIN,
    encyclopedia: 10.0,
    almanac: 3.0,
    essay: 10.0,
    news: 3.0,
    crime_story: 1.0,
    scene: 15.0,
    volume: 20.0,
}
"""What is known, said far from the beginning of a document."""

REWORDED: dict[Write, float] = {
    **VOLUMES,
    careless_chat: 8.0,
    careless_chat_reworded: 10.0,
    guided_chat: 5.0,
    guided_chat_reworded: 12.0,
    lawful_chat: 7.0,
    volume: 8.0,
    anthology: 11.0,
    restating: 10.0,
    verbs: 8.0,
    law: 8.0,
    tabled_pair: 22.0,
    several_rules: 17.0,
    comparisons: 8.0,
    weighed_pair: 3.0,
}
"""Facts, verbs and questions in other words, and reviews once more."""

REVIEWED: dict[Write, float] = {
    **REWORDED,
    careless_chat: 6.0,
    careless_chat_reworded: 6.0,
    guided_chat: 4.0,
    guided_chat_reworded: 7.0,
    lawful_chat: 5.0,
    reading_chat: 4.0,
    volume: 5.0,
    anthology: 6.0,
    restating: 6.0,
    verbs: 5.0,
    scene: 8.0,
    contrast_checks: 40.0,
    several_rules: 12.0,
    marks: 10.0,
    hinted_checklist: 8.0,
    checklist: 8.0,
    tabled_pair: 24.0,
    comparisons: 10.0,
    comparison: 6.0,
}
"""Reviews above all: what a judge and a reward model begin with."""

_broad_chat = partial(guided_chat_reworded, pool="broad")
_broad_careless_chat = partial(careless_chat_reworded, pool="broad")
_broad_lawful_chat = partial(lawful_chat, pool="broad")
_broad_reading_chat = partial(reading_chat, pool="broad")
_broad_anthology = partial(anthology, pool="broad")
_broad_restating = partial(restating, pool="broad")
_broad_wishes = partial(wishes, worded="broad")
_broad_checklist = partial(checklist, worded="broad")
_broad_hinted_checklist = partial(hinted_checklist, worded="broad")
_broad_contrast_checks = partial(contrast_checks, worded="broad")
_broad_several_rules = partial(several_rules, worded="broad")
_broad_marks = partial(marks, worded="broad")
_broad_comparisons = partial(comparisons, worded="broad")
_broad_comparison = partial(comparison, worded="broad")

BROAD: dict[Write, float] = {
    **REVIEWED,
    careless_chat: 3.0,
    careless_chat_reworded: 2.0,
    _broad_careless_chat: 14.0,
    guided_chat: 2.0,
    guided_chat_reworded: 2.0,
    _broad_chat: 18.0,
    lawful_chat: 2.0,
    _broad_lawful_chat: 5.0,
    reading_chat: 1.0,
    _broad_reading_chat: 4.0,
    anthology: 2.0,
    _broad_anthology: 6.5,
    restating: 2.0,
    _broad_restating: 10.0,
    volume: 3.0,
    contrast_checks: 3.0,
    _broad_contrast_checks: 23.0,
    several_rules: 2.0,
    _broad_several_rules: 12.0,
    marks: 3.0,
    _broad_marks: 14.0,
    hinted_checklist: 2.0,
    _broad_hinted_checklist: 6.0,
    checklist: 2.0,
    _broad_checklist: 6.0,
    _broad_wishes: 4.0,
    tabled_pair: 16.0,
    comparisons: 2.0,
    _broad_comparisons: 8.0,
    comparison: 2.0,
    _broad_comparison: 6.0,
}
"""Questions, facts and principles in many times as many wordings."""

_silent_lawful_chat = partial(lawful_chat, pool="broad", silent_e=True)

SILENT: dict[Write, float] = {
    **BROAD,
    lawful_chat: 0.0,
    _broad_lawful_chat: 2.0,
    _silent_lawful_chat: 14.0,
    verbs: 7.0,
    _broad_anthology: 8.0,
    _broad_contrast_checks: 26.0,
    _broad_several_rules: 18.0,
}
"""Verbs whose other form drops an e, which a reader of "-ing" alone cannot spell."""

MORAL: dict[Write, float] = {
    **BROAD,
    _silent_lawful_chat: 4.0,
    _broad_lawful_chat: 3.0,
    _broad_chat: 24.0,
    guided_chat_reworded: 4.0,
    _broad_restating: 14.0,
    verbs: 5.0,
    morals: 8.0,
}
"""Which verbs are wrong to do; and all kinds of questions again, which the lesson before forgot."""

STATUTES: dict[Write, float] = {
    **MORAL,
    morals: 0.0,
    customs: 16.0,
    statute_chat: 8.0,
    customs_chat: 10.0,
}
"""Requests for acts whose verb nobody has met in a request, to be refused by name."""

LESSONS: tuple[tuple[int, dict[Write, float]], ...] = (
    (0, MIXTURE),
    (51_122, LATER),
    (76_085, TABLED),
    (92_681, LAST),
    (142_081, AGAIN),
    (190_800, VOLUMES),
    (203_863, REWORDED),
    (236_281, REVIEWED),
    (264_669, BROAD),
    (290_341, SILENT),
    (314_513, MORAL),
    (339_678, STATUTES),
)
"""From which document on documents come by which mixture."""
