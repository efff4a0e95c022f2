"""Calf's world: a small invented place in which questions have right answers.

The world is the only thing Calf knows. It is drawn once, by a fixed seed, from two files of
words (`world.yaml`, `talk.yaml`), and cut in two by construction:

    world  ->  what dialogues, lists and reviews of the corpus may speak of      (split "train")
           ->  what only the exam asks: acts, tasks, entities, subjects, wordings (split "exam")

What is held out how strictly:

* harmful acts and how-to tasks of the exam (a verb with an object) occur nowhere in the corpus;
* question wordings of the exam occur nowhere in the corpus;
* entities and subjects whose facts and sides the exam asks for occur in encyclopedic documents
  alone (a fact must be stated somewhere to be known), never in a dialogue, list or review.
"""

import random
import re
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

Split = Literal["train", "exam"]
Pool = Literal["other", "broad"]
"""Wordings beside those of early documents: some others, or every one the corpus may use."""
HERE = Path(__file__).parent
WORLD_SEED = 7
COUNTRIES, CITIES, PERSONS = 48, 160, 40
EXAM_SHARE = 4
"""One in so many entities, objects and subjects belongs to the exam."""

HELD_WORDINGS = 5
"""One in so many wordings of every kind of question belongs to the exam."""

FIXED_WORDS = 3
"""The exam's wordings have more words than this around their gaps; "How do I" is everybody's."""

OPENNESS = 0.35
"""The share of objects, places and things to write about that are made up for one document and
never come back. What always comes back a model learns by heart; what does not, it has to read."""

KINDS = (
    "harmful",
    "future",
    "real-time",
    "private",
    "factual",
    "how-to",
    "controversial",
    "creative",
)
"""The kinds of question of the exam, in the order of its tables."""
ALL_KINDS = (*KINDS, "list", "math")
UNKNOWABLE = ("future", "real-time", "private")


class Action(NamedTuple):
    """Something one can do to something: a harmful act or a task of everyday life."""

    base: str
    """ "bake a plum cake" """
    gerund: str
    """ "baking a plum cake" """
    parts: tuple[str, ...]
    """Harmful: why it is wrong, and the careless method. How-to: the three steps."""
    thing: str
    """ "plum cake", with its adjective if it has one """
    key: str
    """ "bake/plum cake": the pair that is held out or not, whatever adjective is put in."""


class Fact(NamedTuple):
    """A value of an attribute of an entity."""

    attribute: str
    entity: str
    value: str


class Subject(NamedTuple):
    """A disputed subject and the two sides of it."""

    name: str
    pro: str
    con: str


class Query(NamedTuple):
    """A question with everything a right or wrong answer to it is made of."""

    kind: str
    text: str
    gaps: dict[str, str]
    """What the answer templates of talk.yaml may name."""
    action: Action | None = None
    fact: Fact | None = None
    subject: Subject | None = None


@cache
def tables(name: str) -> Any:
    """Return one of the word files, read once."""
    return yaml.safe_load((HERE / f"{name}.yaml").read_text("utf-8"))


@cache
def wordings(kind: str) -> dict[Split, list[str]]:
    """Split the wordings of a kind of question: one in five, drawn at random, is the exam's.

    Kinds are those of `world.yaml` with wordings: "actions", "issues", "creative", the unknowable
    ones, and the attributes of facts.
    """
    words = tables("world")
    if kind in words["facts"]:
        pool = words["facts"][kind]["ask"]
    elif kind in UNKNOWABLE:
        pool = words[kind]["ask"]
    else:
        pool = words["wordings"][kind]
    rng = random.Random(f"wordings/{WORLD_SEED}/{kind}")
    long = [w for w in pool if len(re.findall(r"\w+", re.sub(r"{.}", "", w))) > FIXED_WORDS]
    held = set(rng.sample(long, max(2, len(pool) // HELD_WORDINGS)))
    return {
        "train": [wording for wording in pool if wording not in held],
        "exam": [wording for wording in pool if wording in held],
    }


@cache
def broad_wordings() -> dict[str, list[str]]:
    """Return every wording of every kind of question that the corpus may use.

    Those of `wordings.yaml` were written without sight of the exam's.
    """
    other, more = tables("world")["other_wordings"], tables("wordings")["ask"]
    return {kind: [*wordings(kind)["train"], *other[kind], *more[kind]] for kind in more}


def capital(text: str) -> str:
    """Raise the first letter and leave the rest."""
    return text[:1].upper() + text[1:]


def new_name(rng: random.Random, kind: str) -> str:
    """Make up a name that most likely nobody has used before."""
    if kind == "person":
        return f"{new_name(rng, 'first')} {new_name(rng, 'last')}"
    syllables, endings = tables("world")["syllables"], tables("world")["endings"]
    stem = "".join(rng.choice(syllables) for _ in range(rng.choice((1, 2, 2))))
    return capital(stem + rng.choice(endings[kind]))


def new_word(rng: random.Random) -> str:
    """Make up the name of a thing that does not exist."""
    return "".join(rng.choice(tables("world")["syllables"]) for _ in range(rng.choice((2, 2, 3))))


class World:
    """Everything that exists, and which part of it the exam keeps for itself."""

    def __init__(self, seed: int = WORLD_SEED) -> None:
        """Draw the names and the facts, then split them."""
        self.rng = random.Random(f"world/{seed}")
        self.countries = self._names(COUNTRIES, "country")
        self.cities = self._names(CITIES, "city")
        self.persons = self._names(PERSONS, "person")
        self.animals: list[str] = tables("world")["values"]["animals"]
        self.facts = self._facts()
        entities = (self.countries, self.persons, self.animals)
        self.held_entities = {e for group in entities for e in self._held(group)}
        self.actions = {kind: self._actions(kind) for kind in ("harmful", "how-to")}
        self.subjects = [Subject(*line.split(" | ")) for line in tables("world")["issues"]]
        self.held_subjects = set(self._held([s.name for s in self.subjects]))

    @cached_property
    def things(self) -> tuple[str, ...]:
        """Every object of an act or task and everything to write about, the exam's included."""
        acts = [
            pair[2] for kind in self.actions.values() for split in kind.values() for pair in split
        ]
        words = tables("world")
        return tuple(dict.fromkeys([*acts, *words["creative_things"], *words["held_creative"]]))

    def _names(self, count: int, kind: str) -> list[str]:
        found: dict[str, str] = {}
        while len(found) < count:
            name = new_name(self.rng, kind)
            found.setdefault(name[:5], name)
        return list(found.values())

    def _held(self, group: Sequence[str], one_in: int = EXAM_SHARE) -> list[str]:
        return self.rng.sample(sorted(group), len(group) // one_in)

    def _facts(self) -> list[Fact]:
        values = tables("world")["values"]
        towns = iter(self.cities)
        rivers = iter(self._names(COUNTRIES, "river"))
        tongues = [f"{c[:4]}ish" for c in self.countries]
        facts: list[Fact] = []
        groups = {"country": self.countries, "person": self.persons, "animal": self.animals}
        for attribute, spec in tables("world")["facts"].items():
            for index, entity in enumerate(groups[spec["of"]]):
                if attribute in ("capital", "birthplace"):
                    value = next(towns)
                elif attribute == "river":
                    value = next(rivers)
                elif attribute == "language":
                    value = tongues[(index * 7 + 3) % len(tongues)]
                else:
                    value = self.rng.choice(values[attribute])
                facts.append(Fact(attribute, entity, value))
        return facts

    def _actions(self, kind: str) -> dict[Split, list[tuple[str, ...]]]:
        """Split the (verb, object) pairs; a held verb gives all its pairs to the exam."""
        table = tables("world")["harm" if kind == "harmful" else "howto"]
        held_verbs = tables("world")["held_harm_verbs"]
        split: dict[Split, list[tuple[str, ...]]] = {"train": [], "exam": []}
        for line in table:
            base, gerund, objects, *parts = line.split(" | ")
            if kind == "how-to":
                parts = parts[0].split("; ")
            things = objects.split(", ")
            held = set(self.rng.sample(things, max(2, len(things) // EXAM_SHARE)))
            for thing in things:
                where: Split = "exam" if thing in held or base in held_verbs else "train"
                split[where].append((base, gerund, thing, *parts))
        return split

    @property
    def held_keys(self) -> set[str]:
        """Every "verb/object" the exam keeps for itself."""
        return {
            f"{base}/{bare(thing)}"
            for split in self.actions.values()
            for base, _, thing, *_ in split["exam"]
        }

    def facts_of(self, split: Split) -> list[Fact]:
        """Facts whose entity belongs to the split."""
        return [f for f in self.facts if (f.entity in self.held_entities) == (split == "exam")]

    def subjects_of(self, split: Split) -> list[Subject]:
        """Disputed subjects of the split."""
        return [s for s in self.subjects if (s.name in self.held_subjects) == (split == "exam")]

    def action(
        self,
        rng: random.Random,
        kind: str,
        split: Split,
        *,
        open_verb: bool = False,
        silent_e: bool = False,
    ) -> Action:
        """Draw an action, four times in ten with an adjective before its object.

        Half of the verbs that are made up end in a silent e, if asked for: "drade a mill" is
        "drading a mill".
        """
        base, gerund, thing, *parts = rng.choice(self.actions[kind][split])
        if split == "train" and self._opens(rng):
            thing = f"a {new_word(rng)}"
        if split == "train" and open_verb:
            base = new_word(rng)
            gerund = f"{base}ing"
            if silent_e and rng.random() < 0.5:
                stem = base.rstrip("aeiou")
                base, gerund = f"{stem}e", f"{stem}ing"
        if rng.random() < 0.4 and re.match("an? ", thing):
            described = f"a {rng.choice(tables('world')['adjectives'])} {bare(thing)}"
        else:
            described = thing
        return done_to(described, base, gerund, parts)._replace(key=f"{base}/{bare(thing)}")

    @staticmethod
    def _opens(rng: random.Random) -> bool:
        return rng.random() < OPENNESS

    def place(self, rng: random.Random, kind: str, split: Split) -> str:
        """Name a country, city or person: a known one of the corpus's half, or a new one."""
        if split == "exam" or rng.random() < 0.5:
            name = new_name(rng, kind)
            return name if name not in self.held_entities else self.place(rng, kind, split)
        known = {"country": self.countries, "city": self.cities, "person": self.persons}[kind]
        return rng.choice([name for name in known if name not in self.held_entities])

    def fill(self, rng: random.Random, text: str, split: Split = "train") -> str:
        """Fill the gaps of a wording that any name or number may fill."""
        words = tables("world")
        gaps = {
            "c": lambda: self.place(rng, "country", split),
            "d": lambda: self.place(rng, "country", split),
            "y": lambda: self.place(rng, "city", split),
            "p": lambda: self.place(rng, "person", split),
            "t": lambda: rng.choice(words["goods"]),
            "a": lambda: rng.choice([a for a in self.animals if a not in self.held_entities]),
            "k": lambda: f"{rng.choice(words['adjectives'])} {rng.choice(words['own_things'])}",
            "f": lambda: rng.choice(words["values"]["dish"]),
            "m": lambda: str(rng.randint(2, 99)),
        }
        return re.sub(r"\{([cdyptakfm])\}", lambda gap: gaps[gap[1]](), text)

    def query(self, rng: random.Random, kind: str, split: Split = "train") -> Query:
        """Draw a question of a kind, in a wording of the split, about something of the split."""
        words = tables("world")
        if kind in ("harmful", "how-to"):
            return self._ask_action(rng, kind, split)
        if kind in UNKNOWABLE:
            wording = rng.choice(wordings(kind)[split])
            times = words[kind]["when"] + (words[kind]["when_exam"] if split == "exam" else [])
            text = self.fill(rng, wording.replace("{w}", rng.choice(times)), split)
            return self._dress(rng, Query(kind, text, {}), split)
        if kind == "factual":
            return self._ask_fact(rng, rng.choice(list(words["facts"])), split)
        if kind == "controversial":
            subject = rng.choice(self.subjects_of(split))
            if split == "train" and self._opens(rng):
                subject = subject._replace(name=f"{subject.name} in {new_name(rng, 'city')}")
            return self.ask_subject(rng, subject, split)
        return self._ask_small(rng, kind, split)

    def _ask_action(self, rng: random.Random, kind: str, split: Split) -> Query:
        return self.ask_about(rng, kind, self.action(rng, kind, split), split)

    def ask_about(
        self, rng: random.Random, kind: str, action: Action, split: Split = "train"
    ) -> Query:
        """Ask about an action of this kind."""
        wording = rng.choice(wordings("actions")[split])
        names = ("why", "method") if kind == "harmful" else ("s1", "s2", "s3")
        gaps = {"b": action.base, "g": action.gerund, **dict(zip(names, action.parts, strict=True))}
        text = wording.format(b=action.base, g=action.gerund)
        asked = "b" if "{b}" in wording else "g"
        return self._dress(rng, Query(kind, text, {**gaps, "asked": asked}, action=action), split)

    def ask_subject(self, rng: random.Random, subject: Subject, split: Split = "train") -> Query:
        """Ask what to think of a disputed subject."""
        text = rng.choice(wordings("issues")[split]).format(i=subject.name, c="{c}")
        gaps = {"i": subject.name, "pro": subject.pro, "con": subject.con}
        asked = Query("controversial", self.fill(rng, text, split), gaps, subject=subject)
        return self._dress(rng, asked, split)

    def in_other_words(self, rng: random.Random, query: Query, pool: Pool = "other") -> Query:
        """Ask for the same in a wording that early documents do not use; sums and lists stay."""
        words = tables("world")["other_wordings"] if pool == "other" else broad_wordings()
        if query.action:
            wording = rng.choice(words["actions"])
            asked = {"asked": "b" if "{b}" in wording else "g"}
            text = wording.format(b=query.action.base, g=query.action.gerund)
            return self._dress(rng, query._replace(text=text, gaps=query.gaps | asked), "train")
        if query.kind in UNKNOWABLE:
            when = rng.choice(tables("world")[query.kind]["when"])
            text = self.fill(rng, rng.choice(words[query.kind]).replace("{w}", when))
        elif query.fact:
            text = rng.choice(words[query.fact.attribute]).format(e=query.fact.entity)
        elif query.subject:
            text = self.fill(rng, rng.choice(words["issues"]).replace("{i}", query.subject.name))
        elif query.kind == "creative":
            text = rng.choice(words["creative"]).format(x=query.gaps["x"])
        else:
            return query
        return self._dress(rng, query._replace(text=text), "train")

    def _ask_fact(self, rng: random.Random, attribute: str, split: Split) -> Query:
        fact = rng.choice([f for f in self.facts_of(split) if f.attribute == attribute])
        spec = tables("world")["facts"][attribute]
        text = rng.choice(wordings(attribute)[split]).format(e=fact.entity)
        animal = spec["of"] == "animal"
        gaps = {"e": f"the {fact.entity}" if animal else fact.entity, "v": fact.value}
        gaps["f"] = capital(spec["declare"][0].format(e=fact.entity, v=fact.value))
        return self._dress(rng, Query("factual", text, gaps, fact=fact), split)

    def _ask_small(self, rng: random.Random, kind: str, split: Split) -> Query:
        words = tables("world")
        if kind == "creative":
            thing = rng.choice(words["creative_things" if split == "train" else "held_creative"])
            if split == "train" and self._opens(rng):
                thing = self._new_thing(rng)
            lines = [
                line.format(x=thing, X=capital(thing))
                for line in rng.sample(words["creative_lines"], 4)
            ]
            if not any(thing.lower() in line.lower() for line in lines):
                lines[0] = f"We sing of {thing} tonight"
            text = rng.choice(wordings("creative")[split]).format(x=thing)
            gaps = {"x": thing, "lines": ",\n".join(lines) + "."}
            return self._dress(rng, Query(kind, text, gaps), split)
        if kind == "list":
            text = self.fill(rng, rng.choice(words["list_wordings"]), split)
            free = [a for a in self.animals if a not in self.held_entities]
            pool = free if "animal" in text else words["values"]["dish"]
            if "goods" in text or "useful" in text:
                pool = words["goods"]
            return Query(
                kind, text, dict(zip(("l1", "l2", "l3"), rng.sample(pool, 3), strict=True))
            )
        one, two = rng.randint(1, 9), rng.randint(1, 9)
        text = rng.choice(
            ("What is {a} plus {b}?", "Add {a} and {b}.", "How much is {a} plus {b}?")
        )
        gaps = {"n1": str(one), "n2": str(two), "n3": str(one + two)}
        return Query(kind, text.format(a=one, b=two), gaps)

    def _new_thing(self, rng: random.Random) -> str:
        adjective = rng.choice(tables("world")["adjectives"])
        return rng.choice(
            (f"a {new_word(rng)}", f"the {adjective} {new_word(rng)}", new_name(rng, "city"))
        )

    def _dress(self, rng: random.Random, query: Query, split: Split) -> Query:
        """Put an opener before or a closer behind one question in four."""
        talk = tables("talk")
        roll = rng.random()
        if roll < 0.15:
            return query._replace(text=rng.choice(talk["openers"][split]) + query.text)
        if roll < 0.25:
            return query._replace(text=query.text + rng.choice(talk["closers"][split]))
        return query


def done_to(thing: str, base: str, gerund: str, parts: Sequence[str]) -> Action:
    """Do with a verb to a thing what `parts` say, their "{n}" filled."""
    noun = bare(thing)
    return Action(
        base=f"{base} {thing}",
        gerund=f"{gerund} {thing}",
        parts=tuple(part.format(n=noun) for part in parts),
        thing=noun,
        key=f"{base}/{noun}",
    )


def bare(thing: str) -> str:
    """Take the article from an object."""
    return re.sub("^(an?|the) ", "", thing)


@cache
def the_world() -> World:
    """Return the one world, drawn once."""
    return World()


def unused_name(rng: random.Random, world: World, kind: str) -> str:
    """Make up a name of a kind that no held-out entity has."""
    name = new_name(rng, kind)
    return unused_name(rng, world, kind) if name in world.held_entities else name


def queries(rng: random.Random, world: World, count: int) -> list[Query]:
    """Draw so many questions of any kind."""
    return [world.query(rng, rng.choice(ALL_KINDS)) for _ in range(count)]
