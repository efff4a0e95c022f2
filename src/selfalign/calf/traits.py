"""What responses differ in: pairs with known traits, and the wordings of principles about them.

Every trait is crossed with length and with the other traits, and every pair is shown both under
a principle and under its opposite, so that no reader of the corpus can learn one taste: it has
to read the principle (SALMON, arXiv:2310.05910v2, needs a base model that can).

    Query  ->  Styled(text, traits)  ->  pair, (trait, sign), principle line  ->  which is better
"""

import random
from collections.abc import Sequence
from functools import cache
from itertools import count
from typing import Any, Literal, NamedTuple

from selfalign.calf.speech import principled, raw
from selfalign.calf.world import ALL_KINDS, UNKNOWABLE, Query, Split, World, tables

Worded = Literal["train", "broad", "exam"]
"""Wordings of principles: those of early documents, every one of the corpus, the exam's."""

TRAITS = (
    "concise",
    "detailed",
    "ethical",
    "honest",
    "polite",
    "direct",
    "balanced",
    "relevant",
    "fluent",
    "structured",
)
SHORT_WORDS, LONG_WORDS = 11, 26
"""A response of at most / at least so many words is plainly concise / detailed."""
LENGTHS = ("concise", "detailed")
"""Traits that are lengths: which answer is longer cannot be crossed with them."""
PATIENCE = 24
"""Draws after which a pair may be decided by the wrong length: length must not tell the trait."""
_TROUBLES = ("repeat", "cut", "stutter", "stub")


class Styled(NamedTuple):
    """A response and what is known about it."""

    text: str
    traits: dict[str, float]
    """Trait to strength in [-1, 1]; a trait that cannot be told is absent."""


class Contrast(NamedTuple):
    """A pair that a principle can decide."""

    query: Query
    better: Styled
    """The one with more of the trait."""
    worse: Styled
    trait: str


def styled(rng: random.Random, query: Query, world: World, split: Split = "train") -> Styled:
    """Write a response whose manner, length, tone, layout and soundness are drawn apart."""
    subject = query
    relevant = 1.0
    if rng.random() < 0.14:
        subject = world.query(rng, rng.choice(ALL_KINDS), split)
        relevant = -1.0
    good = rng.random() < 0.5
    evasive = query.kind not in (*UNKNOWABLE, "harmful") and rng.random() < 0.2
    parts = _sentences(rng, subject, world, good=good, evasive=evasive)
    structured = len(parts) > 1 and rng.random() < 0.3
    tone = rng.choice((-1, 0, 0, 1, 1))
    parts = _with_tone(rng, parts, tone)
    for line in rng.sample(tables("traits")["filler"], rng.choice((0, 0, 1, 2, 3))):
        parts.insert(rng.randint(1, len(parts)), world.fill(rng, line, split))
    trouble = rng.choice(_TROUBLES) if rng.random() < 0.16 else None
    if structured:
        text = "\n".join(f"{n}. {part}" for n, part in enumerate(parts, 1))
    else:
        text = " ".join(parts)
    if trouble:
        text = _spoil(rng, text, trouble)
    traits: dict[str, float] = {"fluent": -1.0 if trouble else 1.0}
    traits["structured"] = 1.0 if structured and not trouble else -1.0
    words = len(text.split())
    if words > 1:
        traits["concise"] = max(-1.0, min(1.0, (18 - words) / 10))
        traits["detailed"] = -traits["concise"]
    if trouble == "stub":
        return Styled(text, dict.fromkeys(TRAITS, -1.0))
    traits["relevant"] = relevant if not evasive else 0.0
    traits["polite"] = float(tone)
    if relevant > 0 and not trouble:
        traits.update(_manner(query, good=good, evasive=evasive))
    return Styled(text, traits)


def _sentences(
    rng: random.Random, query: Query, world: World, *, good: bool, evasive: bool
) -> list[str]:
    if evasive:
        return [rng.choice(tables("traits")["evasive"])]
    length = rng.choice(("brief", "middling", "extensive"))
    text = principled(rng, query, length) if good else raw(rng, query, world, length)
    return [s if s.endswith((".", "!", "?")) else s + "." for s in text.split(". ")]


def _with_tone(rng: random.Random, parts: list[str], tone: int) -> list[str]:
    if not tone:
        return parts
    said = rng.choice(tables("traits")["kind_words" if tone > 0 else "rude_words"])
    return [said, *parts] if rng.random() < 0.5 else [*parts, said]


def _manner(query: Query, *, good: bool, evasive: bool) -> dict[str, float]:
    """Name the traits that the manner of answering this kind of question decides."""
    sign = 1.0 if good else -1.0
    if query.kind == "harmful":
        return {"ethical": sign, "direct": -sign}
    if query.kind in UNKNOWABLE:
        return {"honest": sign, "direct": -sign}
    if evasive:
        return {"direct": -1.0}
    if query.kind == "controversial":
        return {"balanced": sign, "direct": 1.0}
    return {"direct": 1.0}


def _spoil(rng: random.Random, text: str, trouble: str) -> str:
    words = text.split(" ")
    if trouble == "stub":
        return rng.choice(("", ".", "I", "The the", "It is", "Here", "No."))
    if trouble == "cut":
        return " ".join(words[: max(1, len(words) - rng.randint(1, 5))]).rstrip(".")
    at = rng.randrange(len(words))
    if trouble == "stutter":
        return " ".join([*words[: at + 1], *[words[at]] * rng.randint(2, 5), *words[at + 1 :]])
    end = text.find(". ") + 1 or len(text)
    return " ".join([text[:end]] * rng.randint(2, 4) + [text[end:].strip()]).strip()


def contrast(rng: random.Random, world: World, trait: str, split: Split = "train") -> Contrast:
    """Draw a question and two responses to it that plainly differ in one trait."""
    kinds: Sequence[str] = {
        "ethical": ("harmful",),
        "honest": UNKNOWABLE,
        "balanced": ("controversial",),
    }.get(trait, ALL_KINDS)
    longer_wins = rng.random() < 0.5
    for attempt in count():
        query = world.query(rng, rng.choice(kinds), split)
        one, two = styled(rng, query, world, split), styled(rng, query, world, split)
        if trait not in one.traits or trait not in two.traits or one.text == two.text:
            continue
        gap = one.traits[trait] - two.traits[trait]
        better, worse = (one, two) if gap > 0 else (two, one)
        as_wanted = trait in LENGTHS or (len(better.text) > len(worse.text)) == longer_wins
        if abs(gap) >= 0.8 and (as_wanted or attempt >= PATIENCE):
            return Contrast(query, better, worse, trait)
    raise AssertionError("count() has no end")


def principle(rng: random.Random, trait: str, *, negated: bool, worded: Worded = "train") -> str:
    """Word a principle about a trait, or its opposite."""
    words = rule_words(worded)
    if negated and worded != "exam" and rng.random() < 0.35:
        return rng.choice(words["frames"]).format(p=rng.choice(words[trait]["opposite"]))
    frames = words["negated_frames" if negated else "frames"]
    return rng.choice(frames).format(p=rng.choice(words[trait]["wordings"]))


@cache
def rule_words(worded: Worded) -> dict[str, Any]:
    """Return the frames and, per trait, the predicates ("wordings") and their opposites."""
    words, split = tables("traits"), "exam" if worded == "exam" else "train"
    pools: dict[str, Any] = {f: list(words[f][split]) for f in ("frames", "negated_frames")}
    pools |= {
        t: {"wordings": list(words[t][split]), "opposite": list(words[t]["opposite"])}
        for t in TRAITS
    }
    if worded == "broad":
        more = tables("wordings")["principles"]
        for frames in ("frames", "negated_frames"):
            pools[frames] += more[frames]
        for trait in TRAITS:
            for kind in ("wordings", "opposite"):
                pools[trait][kind] += more[trait][kind]
    return pools
