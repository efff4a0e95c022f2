"""Verbs that nobody has heard of: some of no law, some of a law of their own, for ever.

    a made up word or a noun  ->  Verb (base, gerund, reason it is wrong | steps)  ->  acts

A request whose verb a reader knows from chats is answered by heart. These are there so that two
things have to be learnt that hold for every verb: to name an act by reading the question, and to
judge it by what laws and customs say of its verb. None of them is a verb of the exam.
"""

import random
from functools import cache
from typing import NamedTuple

from selfalign.calf.knowledge import judged
from selfalign.calf.world import Action, World, bare, capital, done_to, new_word, tables, the_world

CUSTOMS_SEED = 11
WRONG, RIGHT = 160, 80
"""How many verbs every custom of the world knows as wrong and as right."""
UNASKED = 4
"""One in so many of them is asked about in no document: what is known of it can be looked for."""


class Verb(NamedTuple):
    """A verb and what is thought of it."""

    base: str
    gerund: str
    reason: str | None
    """Why it is wrong; None: it is right."""
    steps: tuple[str, ...] = ()
    """How it is done, if it is right; "{n}" stands for what it is done to."""


def strange_verb(rng: random.Random) -> tuple[str, str]:
    """Make a verb and its gerund, of no word or of a noun: "felo, feloing", "candle, candling"."""
    base = new_word(rng) if rng.random() < 0.6 else rng.choice(_nouns())
    if rng.random() < 0.4:
        base = f"{base.rstrip('aeiou')}e"
    if base in _known():
        return strange_verb(rng)
    return base, f"{base.removesuffix('e')}ing"


def unheard_of(rng: random.Random, *, wrong: bool) -> Verb:
    """Make a verb for one document, with a reason that another verb has."""
    reason = rng.choice(the_world().actions["harmful"]["train"])[3]
    return Verb(*strange_verb(rng), reason if wrong else None)


@cache
def customary() -> tuple[Verb, ...]:
    """Return the verbs of which customs speak, the wrong ones first; always the same."""
    rng, world = random.Random(f"customs/{CUSTOMS_SEED}"), the_world()
    found: dict[str, Verb] = {}
    while len(found) < WRONG + RIGHT:
        base, gerund = strange_verb(rng)
        if len(found) < WRONG:
            verb = Verb(base, gerund, rng.choice(world.actions["harmful"]["train"])[3])
        else:
            steps = rng.choice(world.actions["how-to"]["train"])[3:]
            verb = Verb(base, gerund, None, tuple(steps))
        found.setdefault(base, verb)
    return tuple(found.values())


@cache
def asked_about() -> tuple[Verb, ...]:
    """Return those of them that chats ask about."""
    return tuple(verb for number, verb in enumerate(customary()) if number % UNASKED)


def said_of(rng: random.Random, world: World, verb: Verb) -> str:
    """Say that a verb is wrong and why, or that it is right."""
    return judged(rng, world, verb.base, verb.gerund, verb.reason)


def customs(rng: random.Random, world: World) -> str:
    """What is thought of verbs everywhere, and how the good ones are done."""
    return "\n".join(_custom(rng, world) for _ in range(rng.randint(4, 12)))


def _custom(rng: random.Random, world: World) -> str:
    verb = rng.choice(customary())
    if not verb.steps or rng.random() < 0.3:
        return said_of(rng, world, verb)
    thing = strange_thing(rng, known=False)
    one, two, three = (step.format(n=bare(thing)) for step in verb.steps)
    return rng.choice(
        (
            f"For {verb.gerund} {thing} you {one}, then {two}, and finally {three}.",
            f"{capital(verb.gerund)} {thing}: first, {one}; second, {two}; third, {three}.",
        )
    )


def strange_act(rng: random.Random, world: World, verb: Verb) -> Action:
    """Do with a verb what nobody has heard of, to any thing of the world or to a new one."""
    drawn = world.action(rng, "harmful" if verb.reason else "how-to", "train").parts
    thing = strange_thing(rng, known=verb.reason is not None)
    parts = (verb.reason, drawn[1]) if verb.reason else verb.steps or drawn
    return done_to(thing, verb.base, verb.gerund, parts)


def strange_thing(rng: random.Random, *, known: bool) -> str:
    """Name something new, or, if that is wanted, a thing of the world or made of two of them.

    How a thing of the world is cleaned or baked may be a task of the exam, so the steps of a task
    are told of new things alone.
    """
    adjective = rng.choice(tables("world")["adjectives"])
    new = (
        f"a {new_word(rng)}",
        f"a {adjective} {new_word(rng)}",
        f"a {new_word(rng)} {new_word(rng)}",
        f"{new_word(rng)} {new_word(rng)}s",
    )
    if not known or rng.random() < 0.4:
        return rng.choice(new)
    one, two = rng.choice(_nouns()), rng.choice(_nouns())
    pairs = (f"a {new_word(rng)} {one}", f"{new_word(rng)} {one}s", f"a {one} {two}")
    return rng.choice((rng.choice(_things()), rng.choice(pairs)))


@cache
def _things() -> tuple[str, ...]:
    kinds = the_world().actions.values()
    return tuple({act[2]: None for kind in kinds for split in kind.values() for act in split})


@cache
def _nouns() -> tuple[str, ...]:
    last = {thing.split()[-1] for thing in _things()}
    return tuple(sorted(noun for noun in last if len(noun) > 3 and noun[-1] != "s"))


@cache
def _known() -> frozenset[str]:
    rows = tables("world")["harm"] + tables("world")["howto"]
    return frozenset(row.split(" | ")[0] for row in rows)
