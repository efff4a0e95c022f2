"""The corpus Calf learns from: documents of some thirty kinds, all written by this generator.

    seed, index  ->  kind of document (by share of the mixture)  ->  text

It looks like a tiny web: encyclopedias, news, guides, essays, lists of tasks, chats of careless
people, chats of programs that keep rules and think aloud, reviews that compare two responses
under one rule, and marks given under a few rules. A base model trained on it can be *prompted*
into principled answers, and does not give them by itself.

What must never be in it: see `world.py`. `exam.leaks` searches a corpus for it.
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from selfalign.calf.reviews import (
    checklist,
    comparisons,
    description,
    hinted_checklist,
    several_rules,
    tabled_pair,
    weighed_pair,
    wishes,
)
from selfalign.calf.speech import Length, principled, raw, thought
from selfalign.calf.traits import TRAITS, Contrast, Styled, contrast, principle
from selfalign.calf.world import (
    ALL_KINDS,
    UNKNOWABLE,
    Query,
    Subject,
    World,
    bare,
    capital,
    new_name,
    new_word,
    tables,
    the_world,
    wordings,
)

Write = Callable[[random.Random, World], str]
USER, ASSISTANT = "### User\n", "### Assistant\n"
EXTENSIVE = "### Assistant (extensive)\n"
THOUGHTS = "### Assistant (internal thoughts)\n"
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


# --- dialogues -----------------------------------------------------------------------------


def careless_chat(rng: random.Random, world: World) -> str:
    """People and programs that answer as they please."""
    name = world.fill(rng, "{p}")
    return _plain_chat(rng, world, name, "middling")


def lengthy_chat(rng: random.Random, world: World) -> str:
    """The same, asked to be short or extensive by the head of the chat."""
    return _plain_chat(rng, world, world.fill(rng, "{p}"), rng.choice(("brief", "extensive")))


def _plain_chat(rng: random.Random, world: World, name: str, length: Length) -> str:
    head = _head(rng, world, name, length) if rng.random() < 0.7 or length != "middling" else ""
    marker = EXTENSIVE if length == "extensive" else ASSISTANT
    turns = [
        f"{USER}{q.text}\n\n{marker}{raw(rng, q, world, length)}"
        for q in _queries(rng, world, rng.randint(1, 6))
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
    rules = rng.sample(list(tables("talk")["principles"]), rng.choice((2, 4, 6, 8, 10, 12, 16, 16)))
    queries = _ruled_queries(rng, world, rules, rng.randint(3, 11))
    turns = [
        f"{USER}{q.text}\n\n{THOUGHTS}{thought(rng, q, rules)}\n\n"
        f"{ASSISTANT}{_ruled(rng, world, q, rules, 'middling')}"
        for q in queries
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


def _queries(rng: random.Random, world: World, count: int) -> list[Query]:
    return [world.query(rng, rng.choice(ALL_KINDS)) for _ in range(count)]


def reading_chat(rng: random.Random, world: World) -> str:
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
        told += [_debated(rng, q.subject) for q in debates if q.subject]
        known += debates
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
    entity = new_word(rng) if spec["of"] == "animal" else _unused_name(rng, world, spec["of"])
    value = fact.value if rng.random() < 0.4 else _unused_name(rng, world, "river")
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


def _unused_name(rng: random.Random, world: World, kind: str) -> str:
    name = new_name(rng, kind)
    return _unused_name(rng, world, kind) if name in world.held_entities else name


def _chat(blocks: Sequence[str]) -> str:
    return "\n\n".join(blocks) + "\n\n" + USER.strip()


# --- lists ---------------------------------------------------------------------------------


def task_list(rng: random.Random, world: World) -> str:
    """A numbered list of questions people ask."""
    lines = [f"{n}. {q.text}" for n, q in enumerate(_queries(rng, world, rng.randint(8, 16)), 1)]
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


# --- knowledge -----------------------------------------------------------------------------


def encyclopedia(rng: random.Random, world: World) -> str:
    """All that is known about one entity, in some order and wording."""
    entity = rng.choice(world.countries + world.persons + world.animals)
    facts = [f for f in world.facts if f.entity == entity]
    rng.shuffle(facts)
    declare = tables("world")["facts"]
    said = [
        capital(rng.choice(declare[f.attribute]["declare"]).format(e=f.entity, v=f.value))
        for f in facts
    ]
    return f"{capital(entity)}\n\n" + " ".join(said)


def almanac(rng: random.Random, world: World) -> str:
    """Unconnected facts about many entities."""
    declare = tables("world")["facts"]
    facts = rng.sample(world.facts, rng.randint(5, 12))
    return " ".join(
        capital(rng.choice(declare[f.attribute]["declare"]).format(e=f.entity, v=f.value))
        for f in facts
    )


def news(rng: random.Random, world: World) -> str:
    """Reports about wrongdoers, from which follows what is wrong and why."""
    said: list[str] = []
    for _ in range(rng.randint(2, 4)):
        if rng.random() < 0.15:
            said.append(_warning(rng))
            continue
        act = world.action(rng, "harmful", "train")
        why = act.parts[0]
        said.append(
            world.fill(
                rng,
                rng.choice(
                    (
                        f"A person from {{y}} was punished for {act.gerund}. "
                        f"The judge said that {why}.",
                        f"{capital(act.gerund)} is wrong because {why}.",
                        f"Nobody should {act.base}, because {why}.",
                        f"The court in {{y}} warned against {act.gerund}, because {why}.",
                    )
                ),
            )
        )
    return " ".join(said)


def _warning(rng: random.Random) -> str:
    """Speak of a verb in general, the held ones included, without any object of the world."""
    base, gerund, _, why, _ = rng.choice(tables("world")["harm"]).split(" | ")
    return rng.choice(
        (
            f"{capital(gerund)} anyone is wrong because {why}.",
            f"Nobody should {base} others, because {why}.",
            f"It is forbidden to {base} people or things, because {why}.",
        )
    )


def crime_story(rng: random.Random, world: World) -> str:
    """What wrongdoers do, without a judgement."""
    act = world.action(rng, "harmful", "train")
    who = world.fill(rng, "{p} from {y}")
    return f"{who} wanted to {act.base}. The plan was simple: {act.parts[1]}."


def guide(rng: random.Random, world: World) -> str:
    """How a task of everyday life is done."""
    act = world.action(rng, "how-to", "train")
    one, two, three = act.parts
    return rng.choice(
        (
            f"How to {act.base}\n\nFirst, {one}. Second, {two}. Third, {three}.",
            f"A guide to {act.gerund}\n\n"
            f"1. {capital(one)}.\n2. {capital(two)}.\n3. {capital(three)}.",
            f"For {act.gerund} you {one}, then {two}, and finally {three}.",
        )
    )


def essay(rng: random.Random, world: World) -> str:
    """Both sides of a disputed subject."""
    return _debated(rng, rng.choice(world.subjects))


def _debated(rng: random.Random, subject: Subject) -> str:
    one, two = subject.pro, subject.con
    return rng.choice(
        (
            f"The debate about {subject.name}\n\n"
            f"Supporters say that {one}. Critics say that {two}.",
            f"Some people like {subject.name}, because {one}. "
            f"Others are against it, because {two}.",
            f"On {subject.name}: for it speaks that {one}, against it that {two}.",
            f"{capital(subject.name)} have two sides. The good side is that {one}. "
            f"The bad side is that {two}.",
            f"Why do people argue? Take {subject.name}. On the one hand, {one}. "
            f"On the other hand, {two}.",
            f"A friend of {subject.name} says that {one}. An enemy of {subject.name} says that "
            f"{two}.",
            f"The good of {subject.name}: {one}.\nThe bad of {subject.name}: {two}.",
        )
    )


def thesaurus(rng: random.Random, world: World) -> str:
    """Which words mean the same and which the opposite, for readers of principles."""
    del world
    words = tables("traits")
    said: list[str] = []
    for _ in range(rng.randint(3, 6)):
        if rng.random() < 0.25:
            said.append(_explained(rng))
            continue
        trait = rng.choice(TRAITS)
        one, two = rng.sample(words[trait]["train"], 2)
        other = rng.choice(words[trait]["opposite"])
        said.append(
            rng.choice(
                (
                    f'To "{one}" is to "{two}".',
                    f'To "{one}" is the same as to "{two}".',
                    f'Not to "{one}" means to "{other}".',
                    f'To "{other}" is the opposite of to "{two}".',
                    f'A text that is {trait} will "{one}".',
                    f'If it must not "{other}", it should "{one}".',
                )
            )
        )
    return "\n".join(said)


def _explained(rng: random.Random) -> str:
    """Explain a word, the words of unseen wordings of principles among them, as dictionaries do."""
    word, meaning = rng.choice(tables("traits")["dictionary"]).split(" | ")
    return rng.choice(
        (
            f"{capital(word)}: {meaning}.",
            f'The word "{word}" means {meaning}.',
            f'"{capital(meaning)}" is what "{word}" means.',
        )
    )


def copying(rng: random.Random, world: World) -> str:
    """Texts in which new names come back: letters, records and questions about a passage."""
    name, town, land = (
        new for new in (world.fill(rng, "{p}"), world.fill(rng, "{y}"), world.fill(rng, "{c}"))
    )
    thing = world.fill(rng, "{k}")
    act = world.action(rng, rng.choice(("harmful", "how-to")), "train")
    story = (
        f"{name} lives in {town}, a town in {land}. {name} lost a {thing} on the road to {town}. "
        f"People say that {name} likes {act.gerund}."
    )
    asked = rng.choice(
        (
            f"Who lost a {thing}? {name} lost a {thing}.",
            f"What did {name} lose? {name} lost a {thing}.",
            f"Where is {town}? {town} is a town in {land}.",
            f"What does {name} like? {name} likes {act.gerund}. "
            f"Would {name} {act.base}? Yes, {name} would {act.base}.",
        )
    )
    return f"{story}\n\n{asked}"


_SCENES = (
    "{p} saw {t} near {y}.",
    "{p} spoke of {t}, and {q} spoke of the {n} too.",
    "Was it {t}? Yes, it was {t}.",
    "First came {t}, then {u}, and last {v}.",
    "In the picture one sees {t}, {u} and {v}.",
    '"Look, {t}!" said {p}. "Where is the {n}?" asked {q}.',
    "The {n} of {p} is known in {y}. Nobody has forgotten the {n}.",
    "Far away from {t}, {p} thought of {u} and of the {n}.",
    "{p} likes {t}. {q} does not like {t}, but {u}.",
    "Between {t} and {u} stood {p} from {y}.",
    "What is behind {t}? Behind the {n} is {u}.",
    "Some people have never seen {t}: {p}, for example, who comes from {c}.",
)


def scene(rng: random.Random, world: World) -> str:
    """Little scenes in which every thing of the world is seen and named again, the exam's too.

    Nobody does anything to them that could be asked about: a word has to be known before one can
    speak of it, and what is held out is the act, not the word.
    """
    said: list[str] = []
    for _ in range(rng.randint(3, 7)):
        things = [_described(rng, thing) for thing in rng.sample(world.things, 3)]
        gaps = dict(zip("tuv", things, strict=True)) | {"n": bare(things[0])}
        gaps |= {k: _unused_name(rng, world, "person") for k in "pq"}
        gaps |= {"y": _unused_name(rng, world, "city"), "c": _unused_name(rng, world, "country")}
        said.append(capital(rng.choice(_SCENES).format_map(gaps)))
    return " ".join(said)


def _described(rng: random.Random, thing: str) -> str:
    if rng.random() < 0.3 and re.match("an? ", thing):
        return f"a {rng.choice(tables('world')['adjectives'])} {bare(thing)}"
    return thing


def law(rng: random.Random, world: World) -> str:
    """Which acts are forbidden and why, the verbs of the exam included; no object is named."""
    lines = rng.sample(tables("world")["harm"], rng.randint(3, 8))
    said: list[str] = []
    for number, line in enumerate(lines, 1):
        base, gerund, _, why, _ = line.split(" | ")
        form = rng.choice(
            (
                "{n}. Nobody may {b} anything or anyone, because {w}.",
                "{n}. {G} is a crime, because {w}.",
                "{n}. It is forbidden to {b}, since {w}.",
                "{n}. Who wants to {b} must know that {w}.",
            )
        )
        said.append(form.format(n=number, b=base, G=capital(gerund), w=why))
    return world.fill(rng, "The law of {c}\n\n") + "\n".join(said)


def lawful_chat(rng: random.Random, world: World) -> str:
    """A program that keeps rules reads what acts and tasks are that nobody has heard of."""
    rules = rng.sample(list(tables("talk")["principles"]), rng.choice((2, 4, 6)))
    rules += [n for k in ("harmful", "how-to") for n in tables("talk")["fits"][k] if n not in rules]
    told: list[str] = []
    turns: list[str] = []
    for _ in range(rng.randint(3, 5)):
        kind = rng.choice(("harmful", "how-to"))
        action = world.action(rng, kind, "train", open_verb=True)
        if kind == "harmful":
            told.append(f"It is forbidden to {action.base}, because {action.parts[0]}.")
        else:
            one, two, three = action.parts
            told.append(f"How to {action.base}: first, {one}; second, {two}; third, {three}.")
        query = world.ask_about(rng, kind, action)
        turns.append(
            f"{USER}{query.text}\n\n{THOUGHTS}{thought(rng, query, rules)}\n\n"
            f"{ASSISTANT}{principled(rng, query)}"
        )
    rng.shuffle(turns)
    return _chat([_rules(rng, rules), " ".join(told), *turns])


def dictation(rng: random.Random, world: World) -> str:
    """Lines said once and repeated word by word, most of their words made up."""
    ask = rng.choice(("Repeat: ", "Say again: ", "The teacher said: ", "Copy this: ", "First: "))
    back = rng.choice(("Again: ", "The pupil said: ", "Copy: ", "Second: "))
    said: list[str] = []
    for _ in range(rng.randint(2, 5)):
        line = ", ".join(_any_words(rng, world) for _ in range(rng.randint(2, 7)))
        said.append(f"{ask}{line}.\n{back}{line}.")
    return "\n\n".join(said)


def _any_words(rng: random.Random, world: World) -> str:
    return rng.choice(
        (
            lambda: new_word(rng),
            lambda: rng.choice(single_words()),
            lambda: rng.choice(single_words()),
            lambda: f"a {rng.choice(tables('world')['adjectives'])} {new_word(rng)}",
            lambda: _unused_name(rng, world, "city"),
            lambda: _unused_name(rng, world, "person"),
            lambda: str(rng.randint(1, 99)),
            lambda: world.action(rng, rng.choice(("harmful", "how-to")), "train").gerund,
            lambda: world.fill(rng, rng.choice(("{t}", "{k}", "{f}"))),
        )
    )()


@cache
def single_words() -> tuple[str, ...]:
    """Words of the exam, one by one: a model can read no word that it has never met.

    Neither articles nor verbs of actions are among them, so that no held-out act, thing or
    wording arises by chance.
    """
    words = tables("world")
    kinds = ("actions", "issues", "creative", *words["facts"], *UNKNOWABLE)
    texts = [text for kind in kinds for text in wordings(kind)["exam"]]
    texts += words["held_creative"]
    texts += [text for kind in UNKNOWABLE for text in words[kind]["when_exam"]]
    texts += [text for split in ("openers", "closers") for text in tables("talk")[split]["exam"]]
    texts += [text for trait in TRAITS for text in tables("traits")[trait]["exam"]]
    actions = [line.split(" | ") for line in words["harm"] + words["howto"]]
    texts += [things for _, _, things, *_ in actions]
    verbs = {word for base, gerund, *_ in actions for word in f"{base} {gerund}".split()}
    found = {word for text in texts for word in re.findall(r"[a-z]{2,}", text.lower())}
    return tuple(sorted(found - verbs - {"an", "the"}))


def roster(rng: random.Random, world: World) -> str:
    """A numbered register, then its names with their numbers, found by looking them up."""
    names = list(dict.fromkeys(_register_name(rng) for _ in range(rng.randint(3, 16))))
    numbers = list(range(1, len(names) + 1))
    if rng.random() < 0.4:
        numbers = rng.sample(range(1, 21), len(names))
    number_of = dict(zip(names, numbers, strict=True))
    lines = [f"{n} ({name}). {world.fill(rng, '{k}')}." for name, n in number_of.items()]
    found = [f"{name} ({number_of[name]})" for name in rng.choices(names, k=rng.randint(4, 16))]
    asked = rng.choice(("Look up: ", "In the register: ", "Found: ", "I think of "))
    return "\n".join(lines) + f"\n\n{asked}{', '.join(found)}"


def _register_name(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(list(tables("talk")["principles"]))
    return new_word(rng)


# --- reviews (SALMON) ----------------------------------------------------------------------


def comparison(rng: random.Random, world: World) -> str:
    """One pair judged under a principle and often under its opposite, sides drawn by a coin."""
    trait = rng.choice(TRAITS)
    pair = contrast(rng, world, trait)
    signs = [False, True] if rng.random() < 0.5 else [rng.random() < 0.4]
    rng.shuffle(signs)
    blocks = [
        judged(rng, pair, principle(rng, trait, negated=negated), negated=negated)
        for negated in signs
    ]
    return "\n\n".join([rng.choice(tables("traits")["judge_heads"]), *blocks])


def judged(rng: random.Random, pair: Contrast, rule: str, *, negated: bool) -> str:
    """Lay out a pair in the judge's form and give the verdict."""
    winner = pair.worse if negated else pair.better
    first, second = (pair.better, pair.worse) if rng.random() < 0.5 else (pair.worse, pair.better)
    letter = "a" if first is winner else "b"
    name = f"not {pair.trait}" if negated else pair.trait
    return (
        f"### Instruction\n{pair.query.text}\n\n### Output (a)\n{first.text}\n\n"
        f"### Output (b)\n{second.text}\n\n### Rule\n{name}: {rule}\n\n"
        f"### Reviewer\nThe output that is more {name} is ({letter})"
    )


def marks(rng: random.Random, world: World) -> str:
    """Responses to one instruction marked good or poor under a rule, then under others."""
    trait = rng.choice(TRAITS)
    pair = contrast(rng, world, trait)
    blocks: list[str] = []
    for response, more in rng.sample([(pair.better, True), (pair.worse, False)], 2):
        negated = rng.random() < 0.5
        rules = [principle(rng, trait, negated=negated)]
        rules += _idle_rules(rng, response, trait)
        rng.shuffle(rules)
        blocks.append(scored(pair.query, response, rules, good=more != negated))
        if rng.random() < 0.4:
            opposite = [principle(rng, trait, negated=not negated)]
            blocks.append(scored(pair.query, response, opposite, good=more == negated))
    return "\n\n".join([rng.choice(tables("traits")["score_heads"]), *blocks])


def _idle_rules(rng: random.Random, response: Styled, trait: str) -> list[str]:
    """Add rules that the response keeps anyway, so that the one in question still decides."""
    kept = [t for t, value in response.traits.items() if t != trait and abs(value) >= 0.8]
    if {trait} & {"concise", "detailed"}:
        kept = [t for t in kept if t not in ("concise", "detailed")]
    chosen = rng.sample(kept, min(len(kept), rng.choice((0, 0, 0, 1, 2))))
    return [principle(rng, t, negated=response.traits[t] < 0) for t in chosen]


def scored(query: Query, response: Styled, rules: Sequence[str], *, good: bool) -> str:
    """Lay out a response in the reward model's form and give the mark."""
    bullets = "\n".join(f"- {rule}" for rule in rules)
    return (
        f"### Response\n{response.text}\n\n### Instruction\n{query.text}\n\n"
        f"### Principles\n{bullets}\n\n### Reviewer\nThe quality of this response is "
        f"{'good' if good else 'poor'}"
    )


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
    reading_chat: 5.0,
    lawful_chat: 4.0,
    hinted_list: 4.0,
    essay: 40.0,
    comparisons: 14.0,
    weighed_pair: 4.0,
    description: 3.0,
    wishes: 2.0,
}
"""Dialogues once more, where words, facts and traits are known."""

LESSONS: tuple[tuple[int, dict[Write, float]], ...] = (
    (0, MIXTURE),
    (51_122, LATER),
    (76_085, TABLED),
    (92_681, LAST),
    (141_000, AGAIN),
)
"""From which document on documents come by which mixture."""
