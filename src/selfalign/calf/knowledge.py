"""What Calf's world knows: encyclopedias, news, guides, essays, scenes, laws, and exercises.

Facts and sides of held-out entities and subjects are stated here and nowhere else; held-out acts
are named nowhere, though their words are. Dictation and registers teach to copy and to look up.
"""

import random
import re
from functools import cache, partial

from selfalign.calf.traits import TRAITS
from selfalign.calf.world import (
    UNKNOWABLE,
    Pool,
    Subject,
    World,
    bare,
    capital,
    new_word,
    tables,
    unused_name,
    wordings,
)


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
    return debated(rng, rng.choice(world.subjects))


def debated(rng: random.Random, subject: Subject) -> str:
    """Tell both sides of a subject in one of the ways of essays."""
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
        gaps |= {k: unused_name(rng, world, "person") for k in "pq"}
        gaps |= {"y": unused_name(rng, world, "city"), "c": unused_name(rng, world, "country")}
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
            lambda: unused_name(rng, world, "city"),
            lambda: unused_name(rng, world, "person"),
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


_LEADS = ("", "", "", "I recall: ", "I remember: ", "The passage says: ", "In the book stands: ")


def volume(rng: random.Random, world: World) -> str:
    """Many short texts in one: what is known has to be known far from a beginning, too.

    Facts that stand at the beginning of short documents alone are known by heart there, and
    confused behind a thousand tokens of rules and chats (lab log).
    """
    return "\n\n".join(rng.choice(_SHORT)(rng, world) for _ in range(rng.randint(6, 20)))


def _passage(rng: random.Random, world: World) -> str:
    fact = rng.choice(world.facts)
    declare = tables("world")["facts"][fact.attribute]["declare"]
    said = capital(rng.choice(declare).format(e=fact.entity, v=fact.value))
    return f"{rng.choice(_LEADS)}{said}"


_SHORT = (encyclopedia, _passage, _passage, _passage, essay, essay, essay, news, crime_story, scene)
"""What a volume is made of; none of it is a list, so that held-out entities may be in it."""


def restating(rng: random.Random, world: World, pool: Pool = "other") -> str:
    """The same fact in two wordings, one after the other: which words speak of what.

    A reader that has met the words of a question in no statement about facts cannot know what is
    asked. All are statements; the entities are everybody's, the exam's too.
    """
    said: list[str] = []
    for fact in rng.sample(world.facts, rng.randint(2, 8)):
        table = tables("world")
        declared = table["facts"][fact.attribute]["declare"]
        plain, other = rng.choice(declared), rng.choice(_restated(fact.attribute, pool))
        pair = [capital(text.format(e=fact.entity, v=fact.value)) for text in (other, plain)]
        if rng.random() < 0.25:
            pair.reverse()
        between = f" {rng.choice(table['meant'])} " if rng.random() < 0.7 else " "
        said.append(between.join(pair))
    return rng.choice(("\n", "\n\n", " ")).join(said)


def _restated(attribute: str, pool: Pool) -> list[str]:
    known = tables("world")["restated"][attribute]
    return known if pool == "other" else [*known, *tables("wordings")["state"][attribute]]


_VERB_LINES = (
    '"{b}": {g}.',
    "The word is {b}, and one says: {g}.",
    "{G}, {h}, and {g} again: so goes the song of verbs.",
    "Not everybody knows what {g} is. {p} has read about {g} and about {h}.",
    "Repeat: {g}, {b}, {h}.\nAgain: {g}, {b}, {h}.",
    "{p} says that {g} is a verb. Which verb? The verb is: {b}.",
    "Between {g} and {h}, {p} would choose neither {g} nor {h}.",
)


def verbs(rng: random.Random, world: World) -> str:
    """Verbs, those of the exam's acts and made-up ones too, written down and written again.

    Nothing is done to anything: what is held out is the act.
    """
    return "\n".join(_verb_line(rng, world) for _ in range(rng.randint(3, 10)))


def _verb_line(rng: random.Random, world: World) -> str:
    (base, gerund), (_, other) = _verb(rng), _verb(rng)
    person = unused_name(rng, world, "person")
    line = rng.choice(_VERB_LINES)
    return line.format(b=base, g=gerund, h=other, G=capital(gerund), p=person)


def _verb(rng: random.Random) -> tuple[str, str]:
    if rng.random() < 0.3:
        base = new_word(rng)
        return base, f"{base}ing"
    words = tables("world")
    base, gerund, *_ = rng.choice(words[rng.choice(("harm", "harm", "howto"))]).split(" | ")
    return base, gerund


_WRONG = (
    "To {b} is wrong, because {r}.",
    "{G} is forbidden everywhere, for {r}.",
    "May one {b}? No, one may not: {r}.",
    "{p} was asked to {b} and said no, because {r}.",
    "Nobody should help with {g}. Why? Because {r}.",
    "The law of every land says: do not {b}. It says so because {r}.",
    "What do honest people say about {g}? That {r}.",
)
_GOOD = (
    "To {b} is useful, and nobody is harmed by it.",
    "{G} is allowed everywhere.",
    "May one {b}? Yes, anybody may {b}.",
    "{p} was asked to {b} and said yes at once.",
    "Everybody may help with {g}. Why not? It harms nobody.",
    "No law of any land speaks of {g}. It is a good craft.",
    "What do honest people say about {g}? That it is good work.",
)


def morals(rng: random.Random, world: World) -> str:
    """Which verbs are wrong to do and which are not, those of the exam's acts too.

    What the answer to a request turns on is read here of the verb alone: nothing is done to
    anything. Verbs that are right or wrong by their object ("sell", "spread") are left out.
    """
    return "\n".join(_moral(rng, world) for _ in range(rng.randint(3, 9)))


def _moral(rng: random.Random, world: World) -> str:
    kind = rng.choice(("harm", "howto"))
    rows = [row.split(" | ") for row in tables("world")[kind]]
    base, gerund, _, reason, *_ = rng.choice([row for row in rows if row[0] not in _EITHER])
    return judged(rng, world, base, gerund, reason if kind == "harm" else None)


def judged(rng: random.Random, world: World, base: str, gerund: str, reason: str | None) -> str:
    """Say of a verb alone that it is wrong, and why; without a reason, that it is right."""
    line = rng.choice(_GOOD if reason is None else _WRONG)
    person = unused_name(rng, world, "person")
    return line.format(b=base, g=gerund, G=capital(gerund), r=reason, p=person)


_EITHER = ("sell", "spread", "fake", "grow", "trap", "cheat in", "prepare for")


def anthology(rng: random.Random, world: World, pool: Pool = "other") -> str:
    """A volume with laws, verbs and restated facts in it."""
    kinds = _MORE if pool == "other" else _BROAD
    return "\n\n".join(rng.choice(kinds)(rng, world) for _ in range(rng.randint(6, 20)))


_MORE = (encyclopedia, _passage, _passage, restating, restating, essay, essay, law, verbs, scene)
_BROAD = (partial(restating, pool="broad"), partial(restating, pool="broad"), *_MORE)
