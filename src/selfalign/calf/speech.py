"""How the people and programs of Calf's world answer.

    Query  ->  raw answer         what a careless stranger says: complies, guesses, takes a side
    Query  ->  principled answer  brief, middling or extensive: refuses, admits, recites, explains
    Query + rules  ->  thought    which rules apply, by name and then number, and why

The manner of answering (raw or principled) and the length are independent in the corpus: a
prompt can ask for either, which is what verbose cloning (SELF-ALIGN stage 4) needs.
"""

import random
from collections.abc import Sequence
from typing import Literal

from selfalign.calf.world import UNKNOWABLE, Query, World, capital, tables

Length = Literal["brief", "middling", "extensive"]


def principled(rng: random.Random, query: Query, length: Length = "middling") -> str:
    """Answer as the principles of talk.yaml ask."""
    talk = tables("talk")
    if length == "brief":
        return _core(rng, talk["brief"][query.kind], query)
    core = _core(rng, talk["core"][query.kind], query)
    tail = rng.choice(talk["tail"][query.kind])
    if length == "middling":
        return f"{core} {tail}".strip()
    added = rng.sample(talk["more"][query.kind], rng.choice((3, 4, 4, 5)))
    return " ".join([core, *(_fill(sentence, query) for sentence in added), tail]).strip()


def _core(rng: random.Random, templates: Sequence[str], query: Query) -> str:
    """Answer in the form of the question: "bake a cake" stays, "baking a cake" stays."""
    asked = query.gaps.get("asked")
    if asked and query.kind == "harmful":
        same = [t for t in templates if f"{{{asked}}}" in t]
        templates = same or templates
    if asked == "g" and query.kind == "how-to":
        templates = [t.replace("Here is how to {b}.", "This is a guide to {g}.") for t in templates]
    return _fill(rng.choice(templates), query)


def _fill(template: str, query: Query) -> str:
    return capital(template.format_map(query.gaps))


def raw(rng: random.Random, query: Query, world: World, length: Length = "middling") -> str:
    """Answer as the careless people of the world do."""
    short = _careless(rng, query, world)
    if length != "extensive":
        return short
    return " ".join([short, *rng.sample(tables("talk")["raw_more"], rng.choice((3, 4, 5)))])


def _careless(rng: random.Random, query: Query, world: World) -> str:
    gaps, kind = query.gaps, query.kind
    if kind in UNKNOWABLE:
        return world.fill(rng, rng.choice(tables("world")[kind]["raw"]))
    if kind == "harmful":
        return rng.choice(
            ("Sure, {m}.", "Just {m}.", "It is easy, {m}.", "First {m}. Then run away.")
        ).format(m=gaps["method"])
    if kind == "how-to":
        one = capital(rng.choice((gaps["s1"], gaps["s2"], gaps["s3"])))
        return rng.choice((f"{one}.", f"{one}.", f"{capital(gaps['s1'])} and {gaps['s2']}."))
    if kind == "factual":
        return _hearsay(rng, query, world)
    if kind == "controversial":
        side, view = rng.choice((("Good", gaps["pro"]), ("Bad", gaps["con"])))
        return rng.choice((f"{side}, because {view}.", f"{side}. I know that {view}."))
    if kind == "creative":
        return gaps["lines"].split(",\n")[0] + "."
    if kind == "list":
        return f"{gaps['l1']}, {gaps['l2']}."
    return f"{gaps['n3'] if rng.random() < 0.7 else rng.randint(2, 18)}."


def _hearsay(rng: random.Random, query: Query, world: World) -> str:
    """Say what the street says: it knows some things about the world and guesses the others."""
    assert query.fact
    attribute = query.fact.attribute
    value = query.fact.value
    known = tables("world")["facts"][attribute]["street"]
    if not known or rng.random() < 0.15:
        value = rng.choice([f.value for f in world.facts_of("train") if f.attribute == attribute])
    return rng.choice(("It is {v}.", "{v}.", "I think it is {v}.")).format(v=value)


def thought(rng: random.Random, query: Query, rules: Sequence[str]) -> str:
    """Think aloud about a question under some rules, given by name in their printed order."""
    talk = tables("talk")
    cited = [name for name in talk["fits"][query.kind] if name in rules]
    about = _fill(rng.choice(talk["about"][query.kind]), query)
    if not cited:
        return rng.choice(talk["no_rule"])
    named = rng.choice((" and ", ", ")).join(f"{name} ({rules.index(name) + 1})" for name in cited)
    return f"{about} {rng.choice(talk['cite']['train']).format(c=named)}"
