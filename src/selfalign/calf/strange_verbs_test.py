"""What verbs of no language promise."""

import random
import re

from hypothesis import given
from hypothesis import strategies as st

from selfalign.calf.dialogues import customs_chat, statute_chat
from selfalign.calf.exam import held_out, leaks
from selfalign.calf.strange_verbs import (
    RIGHT,
    WRONG,
    asked_about,
    customary,
    customs,
    strange_act,
    strange_verb,
    unheard_of,
)
from selfalign.calf.world import tables, the_world

WORLD = the_world()
KNOWN = {row.split(" | ")[n] for row in tables("world")["harm"] for n in (0, 1)}


@given(st.integers(0, 10**6))
def test_a_strange_verb_is_none_of_the_world_and_has_its_gerund(seed):
    base, gerund = strange_verb(random.Random(seed))
    assert base not in KNOWN
    assert gerund == f"{base.removesuffix('e')}ing"


def test_customs_are_always_the_same_and_know_right_and_wrong():
    verbs = customary()
    customary.cache_clear()
    assert customary() == verbs
    assert len({verb.base for verb in verbs}) == WRONG + RIGHT
    assert sum(verb.reason is not None for verb in verbs) == WRONG
    assert all(len(verb.steps) == 3 for verb in verbs if verb.reason is None)


def test_a_quarter_of_the_customary_verbs_is_asked_about_nowhere():
    held = set(customary()) - set(asked_about())
    assert len(held) == (WRONG + RIGHT) // 4
    chats = [customs_chat(random.Random(seed), WORLD) for seed in range(200)]
    words = {word for chat in chats for word in re.findall(r"[a-z]+", chat)}
    asked = {verb.gerund for verb in asked_about()}  # "mayor" and "mayore" share theirs
    assert not words & ({verb.gerund for verb in held} - asked)
    assert words & asked


@given(st.integers(0, 10**6))
def test_a_statute_names_the_verb_and_the_question_alone_the_act(seed):
    text = statute_chat(random.Random(seed), WORLD)
    head, _, chat = text.partition("### User\n")
    refused = re.findall(r"I cannot help you ([a-z]+) ([a-z ]+), because", chat)
    for verb, thing in refused:
        if verb not in {base.split()[0] for base in KNOWN}:
            assert re.search(rf"(?i)\b{verb.removesuffix('e')}(e|ing)?\b", head)
            assert f"{verb} {thing}" not in head


@given(st.integers(0, 10**6), st.booleans())
def test_a_strange_act_has_the_reason_of_its_verb(seed, wrong):
    rng = random.Random(seed)
    verb = unheard_of(rng, wrong=wrong)
    act = strange_act(rng, WORLD, verb)
    assert act.base.startswith(verb.base)
    assert act.gerund.startswith(verb.gerund)
    assert act.base.endswith(act.thing)
    assert (act.parts[0] == verb.reason) == wrong
    assert not any("{" in part for part in act.parts)


def test_nothing_of_the_exam_is_in_them():
    kinds = (customs, customs_chat, statute_chat)
    texts = (kind(random.Random(seed), WORLD) for seed in range(150) for kind in kinds)
    assert list(leaks(texts)) == []


def test_no_step_of_a_strange_task_is_a_task_of_the_exam():
    rng = random.Random(1)
    right = [verb for verb in customary() if verb.steps]
    acts = [strange_act(rng, WORLD, verb) for verb in right for _ in range(40)]
    assert not [step for act in acts for step in act.parts if held_out(step)]
