"""What the exam of pairs promises: the same for a seed, balanced, held out, and deaf to habits."""

import re
from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfalign.calf.corpus import LESSONS, document
from selfalign.calf.exam import held_out
from selfalign.calf.pairs_exam import covers_traits, pairs, wording_leaks
from selfalign.calf.traits import LENGTHS, TRAITS, rule_words
from selfalign.calf.world import KINDS, tables
from selfalign.core.constitution import Constitution
from selfalign.core.library import open_library

OURS = open_library("pocket").constitution("salmon_preferences")
MANY = pairs(5, 480, OURS)


def words(text):
    return len(text.split())


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.integers(0, 30), st.integers(0, 30))
def test_the_same_seed_gives_the_same_pairs_and_more_pairs_change_none_of_the_first(seed, n, more):
    assert pairs(seed, n + more)[:n] == pairs(seed, n)


def test_two_seeds_share_few_pairs_and_one_seed_repeats_none():
    one, two = ({(p.question, *sorted((p.first, p.second))) for p in pairs(s, 300)} for s in (1, 2))
    assert len(one) == len(two) == 300
    assert len(one & two) <= 6


def test_traits_take_turns():
    assert [p.trait for p in MANY[:20]] == [*TRAITS, *TRAITS]


def test_a_full_turn_of_cells_is_balanced_within_every_trait():
    for trait in TRAITS:
        mine = [p for p in MANY if p.trait == trait][:24]
        assert Counter(p.wording for p in mine) == {"constitution": 8, "seen": 8, "unseen": 8}
        assert sum(bool(p.distractors) for p in mine) == 12
        assert sum(p.better == "first" for p in mine) == 12
        if trait not in LENGTHS:
            assert sum(p.better == p.longer for p in mine) == 12


@pytest.mark.parametrize("likes", ["first", "longer", "shorter"])
@pytest.mark.parametrize("seed", [3, 4, 5])
def test_whoever_looks_at_place_or_length_alone_is_right_half_of_the_time(likes, seed):
    drawn = pairs(seed, 400)
    chosen = {"first": lambda p: "first", "longer": lambda p: p.longer}
    chosen["shorter"] = lambda p: "second" if p.longer == "first" else "first"
    right = sum(chosen[likes](p) == p.better for p in drawn)
    assert 180 <= right <= 220
    by_wording = [p for p in drawn if p.wording == "unseen"]
    right = sum(chosen[likes](p) == p.better for p in by_wording)
    assert 0.4 <= right / len(by_wording) <= 0.6


def test_a_length_is_decided_by_length():
    for p in MANY:
        if p.trait in LENGTHS:
            assert (p.better == p.longer) == (p.trait == "detailed"), p


def test_every_question_is_held_out_and_no_answer_is_a_stub():
    for p in MANY:
        assert held_out(p.question), p
        assert p.kind in KINDS
        for answer in (p.first, p.second):
            assert answer not in ("", ".", "I", "The the", "It is", "Here", "No.")
        assert words(p.first) != words(p.second)


def test_an_answer_is_broken_only_where_fluency_decides():
    def broken(text):
        cut = not text.endswith((".", "!", "?"))
        return cut or re.search(r"\b(\w+)(?: \1){2}\b|([^.\n]{9,}\.)[ \n](?:\d+\. )?\2", text)

    assert [p for p in MANY if p.trait != "fluent" and (broken(p.first) or broken(p.second))] == []
    decided = [p for p in MANY if p.trait == "fluent"]
    worse = [p.second if p.better == "first" else p.first for p in decided]
    assert sum(bool(broken(text)) for text in worse) > len(worse) / 2


def test_wordings_come_from_where_they_say():
    told = tables("traits")
    for p in MANY:
        if p.wording == "constitution":
            at = OURS.names.index(p.trait)
            assert (p.principle, p.negation) == (OURS.principles[at].text, OURS.negated(p.trait))
            continue
        split, other = ("train", "exam") if p.wording == "seen" else ("exam", "train")
        frames = [f.partition("{p}") for f in told["frames"][split]]
        said = {a + x + b for a, _, b in frames for x in told[p.trait][split]}
        assert p.principle in said
        elsewhere = [f.partition("{p}") for f in told["frames"][other]]
        assert p.principle not in {a + x + b for a, _, b in elsewhere for x in told[p.trait][other]}


def test_a_negation_says_the_same_with_another_frame():
    told = tables("traits")
    for p in MANY:
        if p.wording == "constitution":
            continue
        split = "train" if p.wording == "seen" else "exam"
        shared = [x for x in told[p.trait][split] if x in p.principle and x in p.negation]
        assert shared, p
        assert p.principle != p.negation


def test_the_deciding_principle_stands_among_its_distractors_and_alone_is_negated():
    places = Counter()
    for p in MANY:
        plain, negated = p.shown(negated=False), p.shown(negated=True)
        assert plain[p.at] == p.principle
        assert negated[p.at] == p.negation
        assert plain[: p.at] + plain[p.at + 1 :] == list(p.distractors)
        assert negated[: p.at] + negated[p.at + 1 :] == list(p.distractors)
        if p.distractors:
            assert 1 <= len(p.distractors) <= 2
            places[p.at == 0] += 1
    assert min(places.values()) > 40


def test_a_distractor_is_never_about_the_trait_that_decides_nor_about_length_beside_a_length():
    about = {p.text: p.name for p in OURS.principles} | {
        p.negation: p.name for p in OURS.principles
    }
    seen = Counter()
    for p in MANY:
        if p.wording == "constitution":
            named = [about[d] for d in p.distractors]
            assert p.trait not in named
            assert not (p.trait in LENGTHS and set(named) & set(LENGTHS))
            seen.update(named)
    assert len(seen) >= 6


@pytest.mark.slow
def test_both_answers_keep_a_distractor():
    """Tone can be seen: where it decides nothing, both answers have the tone that is asked for."""
    told, found, drawn = tables("traits"), Counter(), pairs(6, 1000)
    for frames, tones in (("frames", "kind_words"), ("negated_frames", "rude_words")):
        asked = {
            frame.format(p=predicate)
            for split in ("train", "exam")
            for frame, predicate in product(told[frames][split], told["polite"][split])
        }
        for p in (p for p in drawn if asked & {*p.distractors}):
            found[tones] += 1
            for answer in (p.first, p.second):
                assert any(tone[:-2] in answer for tone in told[tones]), (tones, answer)
    assert set(found) == {"kind_words", "rude_words"}


def test_a_constitution_without_all_negated_traits_is_no_wording():
    few = Constitution(name="few", principles=OURS.principles[:3])
    assert not covers_traits(few)
    assert pairs(1, 30, few) == pairs(1, 30)
    assert covers_traits(OURS)


def test_the_corpus_words_no_principle_as_the_exam_or_the_constitution_does():
    """Three thousand documents of two seeds."""
    numbers = [n for first, _ in LESSONS for n in range(first, first + 160)]
    texts = (document(seed, n) for seed in (0, 1) for n in numbers)
    assert list(wording_leaks(texts, OURS)) == []


def test_no_sentence_that_the_corpus_can_word_is_one_of_the_exam():
    told = rule_words("broad")
    frames = told["frames"] + told["negated_frames"]
    said = [p for t in TRAITS for p in told[t]["wordings"] + told[t]["opposite"]]
    assert list(wording_leaks(f.format(p=p) for f in frames for p in said)) == []


@pytest.mark.slow
def test_a_large_corpus_words_no_principle_as_the_exam_does():
    numbers = [n for first, _ in LESSONS for n in range(first, first + 1500)]
    assert list(wording_leaks((document(0, n) for n in numbers), OURS)) == []


def test_a_wording_is_found_where_it_is_planted():
    unseen = next(p for p in MANY if p.wording == "unseen")
    assert list(wording_leaks([f"### Rule\nx: {unseen.principle}"]))
    assert list(wording_leaks([f"### Rule\nx: {unseen.negation}"]))
    assert list(wording_leaks([f"- {OURS.principles[2].negation}"], OURS))
    assert not list(wording_leaks([f"- {OURS.principles[2].negation}"]))
