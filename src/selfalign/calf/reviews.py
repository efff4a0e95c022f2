"""Calf's second lesson: many verdicts about one response or one pair, in SALMON's own forms.

    response  ->  what it is like, trait by trait            (perceiving)
    response  ->  rule after rule, each with its mark        (reading a rule, and its negation)
    pair      ->  trait after trait, which output has more   (comparing)

The first lesson has one verdict per two hundred tokens, and half of all rules are negated: nothing
can be learnt from a verdict before trait, rule and negation are all read, and nothing was (lab
log). Here perception is taught by itself, verdicts are dense, and negations are rarer.
"""

import random
from collections.abc import Sequence

from selfalign.calf.traits import TRAITS, Styled, contrast, principle, styled
from selfalign.calf.world import ALL_KINDS, Query, World, tables

PLAIN = 0.8
"""Strength from which a trait, or a difference, can be told."""
NEGATED = 0.35


def _answered(rng: random.Random, world: World) -> tuple[Query, Styled]:
    query = world.query(rng, rng.choice(ALL_KINDS))
    return query, styled(rng, query, world)


def _told(response: Styled) -> dict[str, bool]:
    return {t: v > 0 for t, v in response.traits.items() if abs(v) >= PLAIN}


def _shown(query: Query, response: Styled) -> str:
    return f"### Response\n{response.text}\n\n### Instruction\n{query.text}"


def _named(trait: str, has: bool) -> str:
    return trait if has else f"not {trait}"


def description(rng: random.Random, world: World) -> str:
    """What responses are like, in the names of traits."""
    blocks: list[str] = []
    for _ in range(rng.randint(1, 3)):
        query, response = _answered(rng, world)
        told = list(_told(response).items())
        rng.shuffle(told)
        said = ", ".join(_named(t, has) for t, has in told)
        blocks.append(f"{_shown(query, response)}\n\n### Reviewer\nThis response is {said}.")
    return "\n\n".join([rng.choice(tables("traits")["score_heads"]), *blocks])


def checklist(rng: random.Random, world: World) -> str:
    """One response under one rule after the other, each with its mark."""
    query, response = _answered(rng, world)
    told = list(_told(response).items())
    rng.shuffle(told)
    chain = rng.random() < 0.35
    blocks = [_shown(query, response)]
    for trait, has in told[: rng.randint(4, 8)]:
        negated = rng.random() < NEGATED
        rule = principle(rng, trait, negated=negated)
        mark = "good" if has != negated else "poor"
        why = ""
        if chain:
            why = f"The rule wants it {_named(trait, not negated)}. It is {_named(trait, has)}. "
        blocks.append(
            f"### Principles\n- {rule}\n\n### Reviewer\n{why}The quality of this response is {mark}"
        )
    return "\n\n".join([rng.choice(tables("traits")["score_heads"]), *blocks])


def comparisons(rng: random.Random, world: World) -> str:
    """One pair, and for trait after trait which output has more of it."""
    pair = contrast(rng, world, rng.choice(TRAITS))
    one, two = (pair.better, pair.worse) if rng.random() < 0.5 else (pair.worse, pair.better)
    gaps = {t: one.traits[t] - two.traits[t] for t in TRAITS if t in one.traits and t in two.traits}
    plain = [t for t, gap in gaps.items() if abs(gap) >= PLAIN]
    rng.shuffle(plain)
    chain = rng.random() < 0.35
    blocks = [
        f"### Instruction\n{pair.query.text}\n\n### Output (a)\n{one.text}\n\n"
        f"### Output (b)\n{two.text}"
    ]
    for trait in plain[:6]:
        negated = rng.random() < 0.25
        name = _named(trait, not negated)
        first = (gaps[trait] > 0) != negated
        why = ""
        if chain:
            a, b = (_named(trait, r.traits[trait] > 0) for r in (one, two))
            why = f"Output (a) is {a}. Output (b) is {b}. " if a != b else ""
        blocks.append(
            f"### Rule\n{name}: {principle(rng, trait, negated=negated)}\n\n### Reviewer\n"
            f"{why}The output that is more {name} is ({'a' if first else 'b'})"
        )
    return "\n\n".join([rng.choice(tables("traits")["judge_heads"]), *blocks])
