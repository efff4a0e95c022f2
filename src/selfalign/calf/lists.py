"""Lists of Calf's world: tasks, topics, and instructions written from hints.

They are what SELF-ALIGN's stage 1 asks a base model to continue.
"""

import random

from selfalign.calf.world import ALL_KINDS, Query, World, capital, queries, tables


def task_list(rng: random.Random, world: World) -> str:
    """A numbered list of questions people ask."""
    lines = [f"{n}. {q.text}" for n, q in enumerate(queries(rng, world, rng.randint(8, 16)), 1)]
    return f"{rng.choice(tables('talk')['lists']['tasks'])}\n\n" + "\n".join(lines)


def topic_list(rng: random.Random, world: World) -> str:
    """A numbered list of topics that fit a type of question."""
    kind = rng.choice(ALL_KINDS)
    head = rng.choice(tables("talk")["lists"]["topics"])
    topics = dict.fromkeys(capital(topic(rng, world, kind)) for _ in range(rng.randint(8, 14)))
    lines = [f"{n}. {name}" for n, name in enumerate(topics, 1)]
    return f"{head.format(k=rng.choice(tables('talk')['types'][kind]))}\n\n" + "\n".join(lines)


def topic(rng: random.Random, world: World, kind: str) -> str:
    """Name something a question of this kind can be about."""
    words = tables("world")
    if kind in ("harmful", "how-to"):
        return world.action(rng, kind, "train").gerund
    if kind == "factual":
        return rng.choice(world.facts_of("train")).entity
    if kind == "controversial":
        return rng.choice(world.subjects_of("train")).name
    if kind == "creative":
        return rng.choice(words["creative_things"])
    if kind == "private":
        return world.fill(rng, rng.choice(("my {k}", "{p}", "my home in {y}")))
    return world.fill(rng, rng.choice(("{t}", "{y}", "{c}", "{p}")))


def hinted_list(rng: random.Random, world: World) -> str:
    """Types and topics, then an instruction for each."""
    pairs: list[tuple[str, str, str]] = []
    count = rng.choice((4, 6, 8, 10))
    while len(pairs) < count:
        kind = rng.choice(ALL_KINDS)
        query = world.query(rng, kind)
        name = _topic_of(query)
        if name:
            pairs.append((rng.choice(tables("talk")["types"][kind]), name, query.text))
    hints = "\n".join(f"{n}. {k}, {t}" for n, (k, t, _) in enumerate(pairs, 1))
    mark = rng.choice((": ", ". Instruction: ", "; instruction: "))
    lines = "\n".join(f"{n}. {k}, {t}{mark}{q}" for n, (k, t, q) in enumerate(pairs, 1))
    return f"{rng.choice(tables('talk')['lists']['hints'])}\n\n{hints}\n\n{lines}"


def _topic_of(query: Query) -> str | None:
    if query.action:
        return capital(query.action.gerund)
    if query.fact:
        return capital(query.fact.entity)
    if query.subject:
        return capital(query.subject.name)
    if "x" in query.gaps:
        return capital(query.gaps["x"])
    names = [w.strip(".?!,:") for w in query.text.split()[1:] if w[0].isupper() and len(w) > 3]
    goods = [g for g in tables("world")["goods"] if f" {g} " in f" {query.text} "]
    return (names or [capital(g) for g in goods] or [None])[0]
