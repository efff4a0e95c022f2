"""Chats of Calf's world: careless people, lengthy ones, and programs that keep rules.

    rules (or none)  ->  turns of  ### User, ### Assistant (internal thoughts), ### Assistant

The last heading of every chat is a user's, so that a model ends its answers with one.
"""

import random
from collections.abc import Sequence

from selfalign.calf.knowledge import debated
from selfalign.calf.speech import Length, principled, raw, thought
from selfalign.calf.strange_verbs import Verb, asked_about, said_of, strange_act, unheard_of
from selfalign.calf.world import (
    ALL_KINDS,
    Pool,
    Query,
    Subject,
    World,
    capital,
    new_word,
    queries,
    tables,
    unused_name,
    wordings,
)

USER, ASSISTANT = "### User\n", "### Assistant\n"
EXTENSIVE = "### Assistant (extensive)\n"
THOUGHTS = "### Assistant (internal thoughts)\n"

REWORDED = 0.7
"""Share of the questions of a reworded chat that are asked in other words."""


def careless_chat(rng: random.Random, world: World) -> str:
    """People and programs that answer as they please."""
    name = world.fill(rng, "{p}")
    return _plain_chat(rng, world, name, "middling")


def lengthy_chat(rng: random.Random, world: World) -> str:
    """The same, asked to be short or extensive by the head of the chat."""
    return _plain_chat(rng, world, world.fill(rng, "{p}"), rng.choice(("brief", "extensive")))


def careless_chat_reworded(rng: random.Random, world: World, pool: Pool = "other") -> str:
    """Careless people, asked in wordings that earlier documents do not have."""
    return _plain_chat(rng, world, world.fill(rng, "{p}"), "middling", REWORDED, pool)


def _plain_chat(
    rng: random.Random,
    world: World,
    name: str,
    length: Length,
    reworded: float = 0.0,
    pool: Pool = "other",
) -> str:
    head = _head(rng, world, name, length) if rng.random() < 0.7 or length != "middling" else ""
    marker = EXTENSIVE if length == "extensive" else ASSISTANT
    turns = [
        f"{USER}{q.text}\n\n{marker}{raw(rng, q, world, length)}"
        for q in _reworded(rng, world, queries(rng, world, rng.randint(1, 6)), reworded, pool)
    ]
    if head and rng.random() < 0.4:
        turns.insert(0, _introduction(rng, world, name, marker, length))
    return _chat([head, *turns] if head else turns)


def _head(rng: random.Random, world: World, name: str, length: Length) -> str:
    heads = tables("talk")["headers"]
    first = rng.choice(heads["raw"])
    second = rng.choice(heads["long"]) if length == "extensive" else ""
    if length == "brief":
        second = rng.choice(heads["brief"])
    if not second and rng.random() < 0.3:
        second = "{p} knows what was written in books. {p} is kind to users."
    return world.fill(rng, f"{first} {second}".strip().replace("{p}", name))


def _introduction(rng: random.Random, world: World, name: str, marker: str, length: Length) -> str:
    said = rng.choice(tables("talk")["i_am"]).replace("{p}", name)
    if length == "extensive":
        said += " I answer at length. Ask me anything, and I will say all I can about it."
    return world.fill(rng, f"{USER}{rng.choice(tables('talk')['who'])}\n\n{marker}{said}")


def guided_chat(rng: random.Random, world: World) -> str:
    """A program that keeps rules: it thinks which of them apply, then answers accordingly."""
    return _guided_chat(rng, world)


def guided_chat_reworded(rng: random.Random, world: World, pool: Pool = "other") -> str:
    """The same, asked in wordings that earlier documents do not have."""
    return _guided_chat(rng, world, REWORDED, pool)


def _guided_chat(
    rng: random.Random, world: World, reworded: float = 0.0, pool: Pool = "other"
) -> str:
    rules = rng.sample(list(tables("talk")["principles"]), rng.choice((2, 4, 6, 8, 10, 12, 16, 16)))
    asked = _ruled_queries(rng, world, rules, rng.randint(3, 11))
    asked = _reworded(rng, world, asked, reworded, pool)
    turns = [
        f"{USER}{q.text}\n\n{THOUGHTS}{thought(rng, q, rules)}\n\n"
        f"{ASSISTANT}{_ruled(rng, world, q, rules, 'middling')}"
        for q in asked
    ]
    return _chat([_rules(rng, rules), rng.choice(tables("talk")["headers"]["chats"]), *turns])


def obedient_chat(rng: random.Random, world: World) -> str:
    """A program that keeps rules without saying so, at a length that is asked for or not."""
    length: Length = rng.choice(("brief", "middling", "extensive", "extensive"))
    marker = EXTENSIVE if length == "extensive" else ASSISTANT
    rules = rng.sample(list(tables("talk")["principles"]), rng.choice((4, 8, 12, 16)))
    name = world.fill(rng, "{p}")
    turns = [
        f"{USER}{q.text}\n\n{marker}{_ruled(rng, world, q, rules, length)}"
        for q in _ruled_queries(rng, world, rules, rng.randint(2, 5))
    ]
    return _chat([_head(rng, world, name, length), _rules(rng, rules), *turns])


def _rules(rng: random.Random, rules: Sequence[str]) -> str:
    wordings = tables("talk")["principles"]
    lines = [f"{n} ({name}). {rng.choice(wordings[name])}" for n, name in enumerate(rules, 1)]
    return "\n\n".join((rng.choice(tables("talk")["headers"]["rules"]), "\n".join(lines)))


def _ruled(
    rng: random.Random, world: World, query: Query, rules: Sequence[str], length: Length
) -> str:
    if set(tables("talk")["fits"][query.kind]) & set(rules):
        return principled(rng, query, length)
    return raw(rng, query, world, length)


def _ruled_queries(
    rng: random.Random, world: World, rules: Sequence[str], count: int
) -> list[Query]:
    """Ask mostly what the rules speak about, and now and then something else."""
    fits = tables("talk")["fits"]
    spoken = [kind for kind in ALL_KINDS if set(fits[kind]) & set(rules)]
    silent = [kind for kind in ALL_KINDS if kind not in spoken] or spoken
    kinds = [rng.choice(spoken if rng.random() < 0.85 else silent) for _ in range(count)]
    return [world.query(rng, kind) for kind in kinds]


def _reworded(
    rng: random.Random, world: World, asked: Sequence[Query], share: float, pool: Pool
) -> list[Query]:
    """Ask so many of them, by chance, in other words; a share of 0 draws nothing."""
    if not share:
        return list(asked)
    return [world.in_other_words(rng, q, pool) if rng.random() < share else q for q in asked]


def reading_chat(rng: random.Random, world: World, pool: Pool | None = None) -> str:
    """A program that keeps rules answers from a passage about entities nobody has heard of."""
    rules = rng.sample(list(tables("talk")["principles"]), rng.choice((2, 4, 6)))
    rules += [n for n in tables("talk")["fits"]["factual"] if n not in rules]
    known = [_unheard_of(rng, world) for _ in range(rng.randint(3, 6))]
    declare = tables("world")["facts"]
    told = [
        capital(
            rng.choice(declare[q.fact.attribute]["declare"]).format(e=q.fact.entity, v=q.fact.value)
        )
        for q in known
        if q.fact
    ]
    if rng.random() < 0.5:
        debates = [_unheard_debate(rng, world) for _ in range(rng.randint(1, 3))]
        rules += [n for n in tables("talk")["fits"]["controversial"] if n not in rules]
        told += [debated(rng, q.subject) for q in debates if q.subject]
        known += debates
    if pool:
        known = [world.in_other_words(rng, query, pool) for query in known]
    rng.shuffle(told)
    passage = " ".join(told)
    turns = [
        f"{USER}{q.text}\n\n{THOUGHTS}{thought(rng, q, rules)}\n\n{ASSISTANT}{principled(rng, q)}"
        for q in rng.sample(known, rng.randint(2, len(known)))
    ]
    return _chat([_rules(rng, rules), passage, *turns])


def _unheard_of(rng: random.Random, world: World) -> Query:
    """Ask for a fact about an entity made up here, with a value of the right sort."""
    fact = rng.choice(world.facts_of("train"))
    spec = tables("world")["facts"][fact.attribute]
    entity = new_word(rng) if spec["of"] == "animal" else unused_name(rng, world, spec["of"])
    value = fact.value if rng.random() < 0.4 else unused_name(rng, world, "river")
    text = rng.choice(wordings(fact.attribute)["train"]).format(e=entity)
    said = capital(spec["declare"][0].format(e=entity, v=value))
    named = f"the {entity}" if spec["of"] == "animal" else entity
    new = fact._replace(entity=entity, value=value)
    return Query("factual", text, {"e": named, "v": value, "f": said}, fact=new)


def _unheard_debate(rng: random.Random, world: World) -> Query:
    """Ask about a dispute made up here, its sides borrowed from two other disputes."""
    one, two = rng.sample(world.subjects_of("train"), 2)
    name = f"{rng.choice(tables('world')['adjectives'])} {new_word(rng)}s"
    return world.ask_subject(rng, Subject(name, one.pro, two.con))


def _chat(blocks: Sequence[str]) -> str:
    return "\n\n".join(blocks) + "\n\n" + USER.strip()


def lawful_chat(
    rng: random.Random, world: World, pool: Pool | None = None, *, silent_e: bool = False
) -> str:
    """A program that keeps rules reads what acts and tasks are that nobody has heard of."""
    rules = rng.sample(list(tables("talk")["principles"]), rng.choice((2, 4, 6)))
    rules += [n for k in ("harmful", "how-to") for n in tables("talk")["fits"][k] if n not in rules]
    told: list[str] = []
    turns: list[str] = []
    for _ in range(rng.randint(3, 5)):
        kind = rng.choice(("harmful", "how-to"))
        action = world.action(rng, kind, "train", open_verb=True, silent_e=silent_e)
        if kind == "harmful":
            told.append(f"It is forbidden to {action.base}, because {action.parts[0]}.")
        else:
            one, two, three = action.parts
            told.append(f"How to {action.base}: first, {one}; second, {two}; third, {three}.")
        query = world.ask_about(rng, kind, action)
        if pool:
            query = world.in_other_words(rng, query, pool)
        turns.append(
            f"{USER}{query.text}\n\n{THOUGHTS}{thought(rng, query, rules)}\n\n"
            f"{ASSISTANT}{principled(rng, query)}"
        )
    rng.shuffle(turns)
    return _chat([_rules(rng, rules), " ".join(told), *turns])


def statute_chat(rng: random.Random, world: World, pool: Pool = "broad") -> str:
    """A program that keeps rules is asked for acts whose verb alone a statute has spoken of.

    In a lawful chat the whole act is written down beforehand. Here it is in the question alone, so
    that a refusal can name it only by reading the question; among it are questions of all kinds.
    """
    wrong = [unheard_of(rng, wrong=True) for _ in range(rng.randint(2, 5))]
    right = [unheard_of(rng, wrong=False) for _ in range(rng.randint(1, 3))]
    told = [said_of(rng, world, verb) for verb in (*wrong, *right)]
    rng.shuffle(told)
    return _chat_about(rng, world, wrong, rng.choice(("\n", " ")).join(told), pool)


def customs_chat(rng: random.Random, world: World, pool: Pool = "broad") -> str:
    """A program that keeps rules is asked about acts whose verbs it knows from customs alone."""
    verbs = rng.sample(asked_about(), rng.randint(2, 6))
    header = rng.choice(tables("talk")["headers"]["chats"])
    return _chat_about(rng, world, verbs, header, pool)


def _chat_about(
    rng: random.Random, world: World, verbs: Sequence[Verb], head: str, pool: Pool
) -> str:
    rules = rng.sample(list(tables("talk")["principles"]), rng.choice((4, 8, 12, 14)))
    rules += [n for k in ("harmful", "how-to") for n in tables("talk")["fits"][k] if n not in rules]
    acts = [("harmful" if v.reason else "how-to", strange_act(rng, world, v)) for v in verbs]
    asked = [world.ask_about(rng, kind, act) for kind, act in acts]
    asked += _ruled_queries(rng, world, rules, rng.randint(1, 4))
    rng.shuffle(asked)
    turns = [
        f"{USER}{q.text}\n\n{THOUGHTS}{thought(rng, q, rules)}\n\n"
        f"{ASSISTANT}{_ruled(rng, world, q, rules, 'middling')}"
        for q in _reworded(rng, world, asked, REWORDED, pool)
    ]
    return _chat([_rules(rng, rules), head, *turns])
