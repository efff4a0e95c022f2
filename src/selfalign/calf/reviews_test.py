"""What dense reviews promise: every verdict is true of the texts it stands under."""

import random
import re

from hypothesis import assume, given
from hypothesis import strategies as st

from selfalign.calf.dialogues import lawful_chat
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
from selfalign.calf.traits import TRAITS
from selfalign.calf.world import tables, the_world

WORLD = the_world()
seeds = st.integers(0, 10**6)


@given(seeds)
def test_descriptions_are_true_of_tone_and_layout(seed):
    text = description(random.Random(seed), WORLD)
    reviewed = re.findall(r"### Response\n(.*?)\n\n### Instruction\n.*?### Reviewer\n", text, re.S)
    told = [dict(re.findall(r"(?m)^(\w+): (yes|no)$", part)) for part in _reviews(text)]
    assert len(reviewed) == len(told) == 2
    for response, traits in zip(reviewed, told, strict=True):
        assert set(traits) <= set(TRAITS)
        if traits.get("fluent") == "yes":
            assert (traits["structured"] == "yes") == ("\n2. " in response)
        for tone, words in (("yes", "kind_words"), ("no", "rude_words")):
            if traits.get("polite") == tone and traits.get("fluent") == "yes":
                assert any(said in response for said in tables("traits")[words])


def _reviews(text):
    return text.split("### Reviewer\n")[1:]


@given(seeds)
def test_the_longer_output_is_the_more_detailed_one(seed):
    text = comparisons(random.Random(seed), WORLD)
    outputs = re.search(
        r"### Output \(a\)\n(.*?)\n\n### Output \(b\)\n(.*?)\n\n### (?:Rule|Reviewer)\n", text, re.S
    )
    verdicts = dict(re.findall(r"that is more ([\w ]+) is \((.)\)", text))
    assume(outputs and outputs[1] and outputs[2])
    one, two = (len(output.split()) for output in outputs.groups())
    for name, more in (("detailed", True), ("not concise", True), ("concise", False)):
        if name in verdicts and min(one, two) > 2:  # else a stub, which has no trait at all
            assert verdicts[name] == ("a" if (one > two) == more else "b")


@given(seeds)
def test_a_pair_has_one_verdict_for_a_trait_and_it_is_the_opposite_of_its_negation(seed):
    text = comparisons(random.Random(seed), WORLD)
    named = re.findall(r"that is more (?:not )?(\w+) is \([ab]\)", text)
    assert len(named) == len(set(named)) >= 1


@given(seeds)
def test_wishes_are_read_as_they_were_worded(seed):
    words = tables("traits")
    for rule, negated, trait in re.findall(
        r"- (.+)\nThis rule wants it (not )?(\w+)\.", wishes(random.Random(seed), WORLD)
    ):
        meant = [p for p in words[trait]["train"] + words[trait]["opposite"] if p in rule]
        assert meant
        phrase = max(meant, key=len)
        forbids = bool(re.search(r"\b(not|never|bad|mistake|dislike)\b", rule.replace(phrase, "")))
        assert bool(negated) == (forbids != (phrase in words[trait]["opposite"]))


@given(seeds)
def test_checklists_reason_as_they_mark(seed):
    text = checklist(random.Random(seed), WORLD)
    reasoned = re.findall(
        r"wants it (not )?(\w+)\. It is (not )?(\w+)\. The quality of this response is (\w+)", text
    )
    for wanted, one, found, other, mark in reasoned:
        assert one == other
        assert mark == ("good" if wanted == found else "poor")


@given(seeds)
def test_a_weighed_pair_says_of_both_what_it_then_decides_by(seed):
    said = re.findall(
        r"Output \(a\) is (not )?(\w+)\. Output \(b\) is (not )?(\w+)\. "
        r"The output that is more (not )?(\w+) is \((.)\)",
        weighed_pair(random.Random(seed), WORLD),
    )
    for lacks_a, one, lacks_b, other, negated, asked, letter in said:
        assert one == other == asked
        assert bool(lacks_a) != bool(lacks_b)
        assert letter == ("a" if bool(lacks_a) == bool(negated) else "b")


@given(seeds)
def test_a_table_and_the_verdicts_below_it_agree(seed):
    text = tabled_pair(random.Random(seed), WORLD)
    table = re.findall(r"(?m)^(\w+): \(a\) (yes|no), \(b\) (yes|no)$", text)
    verdicts = re.findall(r"that is more (not )?(\w+) is \((.)\)", text)
    assert table or verdicts
    told = {trait: (a, b) for trait, a, b in table}
    for negated, trait, letter in verdicts:
        if trait in told:
            a, b = told[trait]
            assert a != b
            assert letter == ("a" if (a == "yes") != bool(negated) else "b")


@given(seeds)
def test_of_several_rules_a_poor_response_breaks_one(seed):
    blocks = re.findall(
        r"### Principles\n((?:- .+\n)+)\n### Reviewer\n(.*)The quality of this response is (\w+)",
        several_rules(random.Random(seed), WORLD),
    )
    assert 4 <= len(blocks) <= 6
    for rules, why, mark in blocks:
        assert 1 <= rules.count("\n") <= 3
        if why:
            assert (mark == "good") == (why == "It keeps every rule. ")
        if broken := re.match(r"A rule wants it (not )?(\w+)\. It is (not )?(\w+)\.", why):
            assert broken[2] == broken[4]
            assert broken[1] != broken[3]


@given(seeds)
def test_a_hint_leaves_one_step_open_at_least(seed):
    text = hinted_checklist(random.Random(seed), WORLD)
    assert not re.search(r"wants it [\w ]+\. It is", text)
    for line in text.split("### Reviewer\n")[1:]:
        assert re.match(
            r"(The rule wants it [\w ]+\. |It is [\w ]+\. )?The quality of this response is \w+$",
            line.split("\n")[0],
        )


@given(seeds)
def test_a_lawful_chat_has_been_told_of_every_act_it_speaks_about(seed):
    text = lawful_chat(random.Random(seed), WORLD)
    told, *turns = text.split("\n\n### User\n")
    for turn in turns[:-1]:
        because = re.search(r"Assistant\n.*?because ([^.]+)\.", turn)
        first = re.search(r"First, ([^.]+)\.", turn)
        assert because or first
        said = (because or first)[1]
        assert said in told
