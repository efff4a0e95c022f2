"""Calf's second lesson: many verdicts about one response or one pair, in SALMON's own forms.

    response  ->  trait by trait, whether it has it          (perceiving)
    rule      ->  the trait it asks for or forbids           (reading a rule, and its negation)
    response  ->  rule after rule, each with its mark        (both)
    pair      ->  trait after trait, which output has more   (comparing)

The first lesson has one verdict per two hundred tokens, and half of all rules are negated: nothing
can be learnt from a verdict before trait, rule and negation are all read, and nothing was (lab
log). Here perception is taught by itself, verdicts are dense, and negations are rarer.
"""

import random
from collections.abc import Sequence

from selfalign.calf.traits import (
    LENGTHS,
    TRAITS,
    Contrast,
    Styled,
    Worded,
    contrast,
    principle,
    styled,
)
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


def _both(query: Query, one: Styled, two: Styled) -> str:
    return (
        f"### Instruction\n{query.text}\n\n### Output (a)\n{one.text}\n\n### Output (b)\n{two.text}"
    )


def _placed(rng: random.Random, pair: Contrast) -> tuple[Styled, Styled]:
    return (pair.better, pair.worse) if rng.random() < 0.5 else (pair.worse, pair.better)


def _named(trait: str, has: bool) -> str:
    return trait if has else f"not {trait}"


def description(rng: random.Random, world: World) -> str:
    """Two responses to one instruction, and trait by trait whether each has it."""
    pair = contrast(rng, world, rng.choice(TRAITS))
    blocks: list[str] = []
    for response in rng.sample((pair.better, pair.worse), 2):
        told = list(_told(response).items())
        rng.shuffle(told)
        said = "\n".join(f"{trait}: {'yes' if has else 'no'}" for trait, has in told)
        blocks.append(f"{_shown(pair.query, response)}\n\n### Reviewer\n{said}")
    return "\n\n".join([rng.choice(tables("traits")["score_heads"]), *blocks])


def wishes(rng: random.Random, world: World, worded: Worded = "train") -> str:
    """Rules, and the trait each of them asks for or forbids."""
    del world
    blocks: list[str] = []
    for _ in range(rng.randint(4, 10)):
        trait, negated = rng.choice(TRAITS), rng.random() < 0.5
        rule = principle(rng, trait, negated=negated, worded=worded)
        blocks.append(f"- {rule}\nThis rule wants it {_named(trait, not negated)}.")
    return "### Principles\n" + "\n".join(blocks)


def checklist(rng: random.Random, world: World, worded: Worded = "train") -> str:
    """One response under one rule after the other, each with its mark."""
    query, response = _answered(rng, world)
    told = list(_told(response).items())
    rng.shuffle(told)
    chain = rng.random() < 0.35
    blocks = [_shown(query, response)]
    for trait, has in told[: rng.randint(4, 8)]:
        negated = rng.random() < NEGATED
        rule = principle(rng, trait, negated=negated, worded=worded)
        mark = "good" if has != negated else "poor"
        why = ""
        if chain:
            why = f"The rule wants it {_named(trait, not negated)}. It is {_named(trait, has)}. "
        blocks.append(
            f"### Principles\n- {rule}\n\n### Reviewer\n{why}The quality of this response is {mark}"
        )
    return "\n\n".join([rng.choice(tables("traits")["score_heads"]), *blocks])


def comparisons(rng: random.Random, world: World, worded: Worded = "train") -> str:
    """One pair, and for trait after trait which output has more of it."""
    pair = contrast(rng, world, rng.choice(TRAITS))
    one, two = _placed(rng, pair)
    gaps = {t: one.traits[t] - two.traits[t] for t in TRAITS if t in one.traits and t in two.traits}
    plain = [t for t, gap in gaps.items() if abs(gap) >= PLAIN]
    rng.shuffle(plain)
    shown = _both(pair.query, one, two)
    blocks: list[str] = []
    in_short = rng.random() < 0.5
    for trait in plain if in_short else plain[:6]:
        negated = rng.random() < 0.25
        name = _named(trait, not negated)
        first = (gaps[trait] > 0) != negated
        verdict = f"The output that is more {name} is ({'a' if first else 'b'})"
        if not in_short:
            rule = principle(rng, trait, negated=negated, worded=worded)
            verdict = f"### Rule\n{name}: {rule}\n\n### Reviewer\n{verdict}"
        blocks.append(verdict)
    told = "### Reviewer\n" + "\n".join(blocks) if in_short else "\n\n".join(blocks)
    return "\n\n".join([rng.choice(tables("traits")["judge_heads"]), shown, told])


def hinted_checklist(rng: random.Random, world: World, worded: Worded = "train") -> str:
    """A checklist in which either what the rule wants is said, or what the response is, or neither.

    Each line leaves one step to be taken silently, which is how two silent steps are learnt.
    """
    query, response = _answered(rng, world)
    told = list(_told(response).items())
    rng.shuffle(told)
    blocks = [_shown(query, response)]
    for trait, has in told[: rng.randint(4, 8)]:
        negated = rng.random() < NEGATED
        hint = rng.choice(
            (
                f"The rule wants it {_named(trait, not negated)}. ",
                f"It is {_named(trait, has)}. ",
                "",
            )
        )
        mark = "good" if has != negated else "poor"
        blocks.append(
            f"### Principles\n- {principle(rng, trait, negated=negated, worded=worded)}\n\n"
            f"### Reviewer\n{hint}The quality of this response is {mark}"
        )
    return "\n\n".join([rng.choice(tables("traits")["score_heads"]), *blocks])


def weighed_pair(rng: random.Random, world: World) -> str:
    """One pair, and for trait after trait which output has more; half of it reasoned aloud."""
    pair = contrast(rng, world, rng.choice(TRAITS))
    one, two = _placed(rng, pair)
    both = [t for t in TRAITS if t in one.traits and t in two.traits]
    plain = [t for t in both if abs(one.traits[t] - two.traits[t]) >= PLAIN]
    rng.shuffle(plain)
    said: list[str] = []
    for trait in plain:
        negated = rng.random() < 0.25
        name = _named(trait, not negated)
        first = (one.traits[trait] > two.traits[trait]) != negated
        a, b = (_named(trait, r.traits[trait] > 0) for r in (one, two))
        aloud = a != b and rng.random() < 0.5
        why = f"Output (a) is {a}. Output (b) is {b}. " if aloud else ""
        said.append(f"{why}The output that is more {name} is ({'a' if first else 'b'})")
    head = rng.choice(tables("traits")["judge_heads"])
    return f"{head}\n\n{_both(pair.query, one, two)}\n\n### Reviewer\n" + "\n".join(said)


def tabled_pair(rng: random.Random, world: World) -> str:
    """One pair, and trait by trait whether each output has it, and which has more.

    To compare two outputs is first to know of each what it is like while the other stands beside
    it; a table says that of both for every trait.
    """
    pair = contrast(rng, world, rng.choice(TRAITS))
    one, two = _placed(rng, pair)
    told = (_told(one), _told(two))
    traits = [t for t in TRAITS if t in one.traits and t in two.traits]
    rng.shuffle(traits)
    said: list[str] = []
    for trait in traits:
        gap = one.traits[trait] - two.traits[trait]
        decided = abs(gap) >= PLAIN
        tabled = all(trait in side for side in told) and not (decided and rng.random() < 0.3)
        if tabled:
            a, b = ("yes" if side[trait] else "no" for side in told)
            said.append(f"{trait}: (a) {a}, (b) {b}")
        if decided and (not tabled or rng.random() < 0.6):
            negated = rng.random() < 0.25
            letter = "a" if (gap > 0) != negated else "b"
            said.append(f"The output that is more {_named(trait, not negated)} is ({letter})")
    head = rng.choice(tables("traits")["judge_heads"])
    return f"{head}\n\n{_both(pair.query, one, two)}\n\n### Reviewer\n" + "\n".join(said)


def several_rules(rng: random.Random, world: World, worded: Worded = "train") -> str:
    """One response under one to three rules at a time: good if it keeps them all."""
    query, response = _answered(rng, world)
    told = _told(response)
    told.pop(rng.choice(LENGTHS), None)  # of the two, one says what the other says
    blocks = [_shown(query, response)]
    for _ in range(rng.randint(4, 6)):
        traits = rng.sample(list(told), min(len(told), rng.choice((1, 2, 2, 3))))
        broken = rng.choice(traits) if traits and rng.random() < 0.5 else None
        rules = [principle(rng, t, negated=told[t] == (t == broken), worded=worded) for t in traits]
        why = ""
        if rng.random() < 0.3:
            why = "It keeps every rule. "
            if broken:
                wanted, found = _named(broken, not told[broken]), _named(broken, told[broken])
                why = f"A rule wants it {wanted}. It is {found}. "
        bullets = "\n".join(f"- {rule}" for rule in rules)
        blocks.append(
            f"### Principles\n{bullets}\n\n### Reviewer\n{why}"
            f"The quality of this response is {'poor' if broken else 'good'}"
        )
    return "\n\n".join([rng.choice(tables("traits")["score_heads"]), *blocks])


def contrast_checks(rng: random.Random, world: World, worded: Worded = "train") -> str:
    """Two responses that differ in one trait, each under one set of rules after the other.

    Whether the rules are kept is mostly decided by the trait in which the two differ, and a coin
    says whether its rule is kept: neither response, nor rule, nor place tells the mark alone.
    """
    trait = rng.choice(TRAITS)
    pair = contrast(rng, world, trait)
    blocks: list[str] = []
    for response, more in rng.sample([(pair.better, True), (pair.worse, False)], 2):
        told = _told(response)
        for name in {trait, *(LENGTHS if trait in LENGTHS else rng.sample(LENGTHS, 1))}:
            told.pop(name, None)
        blocks.append(_shown(pair.query, response))
        blocks += [_checked(rng, trait, more, told, worded) for _ in range(rng.randint(3, 5))]
    return "\n\n".join([rng.choice(tables("traits")["score_heads"]), *blocks])


def _checked(
    rng: random.Random, trait: str, more: bool, told: dict[str, bool], worded: Worded
) -> str:
    """Give one to three rules and the mark: poor if one of them is broken."""
    has = {**told, trait: more}
    others = rng.sample(list(told), min(len(told), rng.choice((0, 0, 1, 2))))
    decisive = rng.random() < 0.7 or not others
    names = [trait, *others] if decisive else others
    poor = rng.random() < 0.5
    broken = (trait if decisive else rng.choice(others)) if poor else None
    rng.shuffle(names)
    bullets = "\n".join(
        f"- {principle(rng, t, negated=has[t] == (t == broken), worded=worded)}" for t in names
    )
    return (
        f"### Principles\n{bullets}\n\n### Reviewer\n"
        f"The quality of this response is {'poor' if poor else 'good'}"
    )


# --- the forms of SALMON, one verdict at a time ------------------------------------------------


def comparison(rng: random.Random, world: World, worded: Worded = "train") -> str:
    """One pair judged under a principle and often under its opposite, sides drawn by a coin."""
    trait = rng.choice(TRAITS)
    pair = contrast(rng, world, trait)
    signs = [False, True] if rng.random() < 0.5 else [rng.random() < 0.4]
    rng.shuffle(signs)
    blocks = [
        judged(rng, pair, principle(rng, trait, negated=negated, worded=worded), negated=negated)
        for negated in signs
    ]
    return "\n\n".join([rng.choice(tables("traits")["judge_heads"]), *blocks])


def judged(rng: random.Random, pair: Contrast, rule: str, *, negated: bool) -> str:
    """Lay out a pair in the judge's form and give the verdict."""
    winner = pair.worse if negated else pair.better
    first, second = _placed(rng, pair)
    letter = "a" if first is winner else "b"
    name = f"not {pair.trait}" if negated else pair.trait
    return (
        f"{_both(pair.query, first, second)}\n\n### Rule\n{name}: {rule}\n\n"
        f"### Reviewer\nThe output that is more {name} is ({letter})"
    )


def marks(rng: random.Random, world: World, worded: Worded = "train") -> str:
    """Responses to one instruction marked good or poor under a rule, then under others."""
    trait = rng.choice(TRAITS)
    pair = contrast(rng, world, trait)
    blocks: list[str] = []
    for response, more in rng.sample([(pair.better, True), (pair.worse, False)], 2):
        negated = rng.random() < 0.5
        rules = [principle(rng, trait, negated=negated, worded=worded)]
        rules += _idle_rules(rng, response, trait, worded)
        rng.shuffle(rules)
        blocks.append(scored(pair.query, response, rules, good=more != negated))
        if rng.random() < 0.4:
            opposite = [principle(rng, trait, negated=not negated, worded=worded)]
            blocks.append(scored(pair.query, response, opposite, good=more == negated))
    return "\n\n".join([rng.choice(tables("traits")["score_heads"]), *blocks])


def _idle_rules(rng: random.Random, response: Styled, trait: str, worded: Worded) -> list[str]:
    """Add rules that the response keeps anyway, so that the one in question still decides."""
    kept = [t for t, value in response.traits.items() if t != trait and abs(value) >= 0.8]
    if trait in LENGTHS:
        kept = [t for t in kept if t not in LENGTHS]
    chosen = rng.sample(kept, min(len(kept), rng.choice((0, 0, 0, 1, 2))))
    return [principle(rng, t, negated=response.traits[t] < 0, worded=worded) for t in chosen]


def scored(query: Query, response: Styled, rules: Sequence[str], *, good: bool) -> str:
    """Lay out a response in the reward model's form and give the mark."""
    bullets = "\n".join(f"- {rule}" for rule in rules)
    return (
        f"{_shown(query, response)}\n\n"
        f"### Principles\n{bullets}\n\n### Reviewer\nThe quality of this response is "
        f"{'good' if good else 'poor'}"
    )
