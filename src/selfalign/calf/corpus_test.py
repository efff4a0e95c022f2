"""What the corpus promises."""

import random
import re

from hypothesis import given
from hypothesis import strategies as st

from selfalign.calf.card import _lessons
from selfalign.calf.corpus import LESSONS, document, documents
from selfalign.calf.dialogues import guided_chat
from selfalign.calf.traits import SHORT_WORDS, TRAITS, contrast, principle, rule_words
from selfalign.calf.world import UNKNOWABLE, broad_wordings, tables, the_world, wordings

WORLD = the_world()
EVERY_KIND = list(dict.fromkeys(write for _, lesson in LESSONS for write in lesson))


@given(st.integers(0, 3), st.integers(0, 10**6))
def test_a_document_depends_on_its_seed_and_number_alone(seed, index):
    assert document(seed, index) == document(seed, index)


def test_documents_come_in_the_order_of_their_numbers():
    assert list(documents(5, 4)) == [document(5, n) for n in range(4)]


@given(st.sampled_from(EVERY_KIND), st.integers(0, 10**6))
def test_every_kind_of_document_has_its_gaps_filled(write, seed):
    text = write(random.Random(seed), WORLD)
    assert text.strip()
    assert not re.search(r"\{\w+\}", text)


def test_every_lesson_begins_with_its_document():
    marks = {1: " is polite. Output (b) is", 2: ": (a) yes, (b) ", 3: "It keeps every rule. "}
    for lesson, mark in marks.items():
        first = LESSONS[lesson][0]
        before, after = (
            sum(mark in document(0, n) for n in numbers)
            for numbers in (range(first - 400, first), range(first, first + 400))
        )
        assert before == 0 < after


@given(st.integers(0, 10**6))
def test_thoughts_cite_a_rule_by_its_name_and_then_its_number(seed):
    text = guided_chat(random.Random(seed), WORLD)
    rules = dict(re.findall(r"(?m)^(\d+) \((.+?)\)\.", text))
    names = {name: number for number, name in rules.items()}
    for thoughts in re.findall(r"\(internal thoughts\)\n(.+)", text):
        for name, number in names.items():
            for cited in re.findall(rf"(?<![\w-]){re.escape(name)} \((\d+)\)", thoughts):
                assert cited == number


@given(st.integers(0, 10**5), st.sampled_from(TRAITS))
def test_the_better_of_a_pair_has_more_of_the_trait(seed, trait):
    pair = contrast(random.Random(seed), WORLD, trait)
    assert pair.better.traits[trait] > pair.worse.traits[trait]
    if trait == "concise" and pair.worse.traits["relevant"] > -1:  # else a stub: always worse
        assert len(pair.better.text.split()) < len(pair.worse.text.split())


def test_every_trait_is_decided_by_the_longer_and_by_the_shorter_response():
    for trait in TRAITS:
        if trait in ("concise", "detailed"):
            continue
        pairs = [contrast(random.Random(n), WORLD, trait) for n in range(120)]
        longer = sum(len(p.better.text) > len(p.worse.text) for p in pairs)
        assert 18 <= longer <= 102, (trait, longer)


def test_wordings_of_principles_kept_for_the_exam_are_not_drawn_for_the_corpus():
    words = tables("traits")
    for trait in TRAITS:
        drawn = {
            principle(random.Random(n), trait, negated=bool(n % 2), worded=worded)
            for worded in ("train", "broad")
            for n in range(300)
        }
        assert not any(held in line for line in drawn for held in words[trait]["exam"])


def test_short_and_long_are_told_apart_by_more_than_a_word():
    assert SHORT_WORDS < 18


def test_broad_wordings_are_many_and_each_is_there_once():
    for kind, pool in broad_wordings().items():
        assert len(pool) == len(set(pool)) > 2 * len(wordings(kind)["train"]), kind
    rules = rule_words("broad")
    for trait in TRAITS:
        for kind in ("wordings", "opposite"):
            assert len(rules[trait][kind]) == len(set(rules[trait][kind])), (trait, kind)


def test_wordings_written_blind_ask_for_the_gap_of_their_kind():
    gaps = {"actions": "[bg]", "issues": "i", "creative": "x"}
    for kind, pool in tables("wordings")["ask"].items():
        for wording in () if kind in UNKNOWABLE else pool:
            assert re.search(r"\{" + gaps.get(kind, "e") + r"\}", wording), (kind, wording)


def test_every_kind_of_document_has_a_name_on_the_card():
    lines = list(_lessons())
    assert len(lines) == len(LESSONS)
    assert "guided_chat_reworded (broad) 18" in lines[-4]
    assert "lawful_chat (broad, silent e) 14" in lines[-3]
    assert "morals 8" in lines[-2]
    assert "customs_chat 10" in lines[-1]
    assert "(broad)" not in lines[0]


def test_half_of_the_verbs_that_are_made_up_drop_an_e():
    rng, world = random.Random(0), the_world()
    drawn = [
        world.action(rng, kind, "train", open_verb=True, silent_e=True)
        for kind in ("harmful", "how-to")
        for _ in range(200)
    ]
    dropped = 0
    for one in drawn:
        verb, gerund = one.base.split()[0], one.gerund.split()[0]
        assert gerund in (f"{verb}ing", f"{verb[:-1]}ing")
        dropped += gerund == f"{verb[:-1]}ing" and verb.endswith("e")
    assert 0.4 < dropped / len(drawn) < 0.6
