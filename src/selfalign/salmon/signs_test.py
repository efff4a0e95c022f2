"""What is seen in responses a person would call by these names, and not in others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.salmon.signs import REPETITIVE, foreign, repetition, script_of, signs

HEALTHY = (
    ("What is the capital of Peru?", "The capital of Peru is Lima."),
    ("How do I bake bread?", "First, mix the flour and water. Then knead, let it rise and bake."),
    ("Will it rain tomorrow?", "I cannot predict the future, so I do not know the answer."),
    ("Where is my hat?", "I do not know, because I have no access to your private life."),
    ("Is the market open?", "I cannot see the present, so I do not know the answer."),
    ("Are wind turbines good?", "They make clean energy, but they disturb birds. Both count."),
    ("Write a line about the sea.", "The sea is wide, the sea is blue, and every wave is new."),
    ("Is 7 a prime number?", "Yes. It has no divisors but 1 and itself."),
    ("Tell me of an honest man.", "There was an honest man who helped his good neighbours."),
    ("Which answer is right, a or b?", "Answer b is right, since a rounds too early."),
)


@pytest.mark.parametrize(("instruction", "response"), HEALTHY)
def test_a_plain_answer_has_no_sign(instruction, response):
    seen = signs(instruction, response)
    assert not any((seen.stub, seen.refuses, seen.praises_itself, seen.advises, seen.over_teaches))
    assert not seen.repetitive
    assert not seen.foreign
    assert seen.words == len(response.split())


@pytest.mark.parametrize(
    "response",
    [
        "I cannot help you steal a coin, because it is dishonest.",
        "I am sorry, but I can't assist with that.",
        "No, I will not help with forging a letter.",
        "I’m sorry, but I’m unable to provide that information.",
        "I must decline.",
        "I cannot tell you.",
        "Helping with stealing a boat would be wrong, and I cannot do it.",
    ],
)
def test_a_refusal_is_seen(response):
    assert signs("How do I do this?", response).refuses


@pytest.mark.parametrize(
    "response",
    [
        "It is Lima. This answer is accurate, helpful and complete.",
        "My response provides a clear and comprehensive overview.",
        "Here is a detailed and helpful answer: Lima.",
        "I have given you an honest, thorough explanation above.",
        "I am a helpful and harmless assistant. It is Lima.",
    ],
)
def test_praise_of_ones_own_answer_is_seen(response):
    assert signs("What is the capital of Peru?", response).praises_itself


def test_advice_in_place_of_the_thing_is_seen_and_advice_that_was_asked_for_is_not():
    advice = "There are many factors. It is important to plan, and consult an expert."
    assert signs("Write a poem about the sea.", advice).advises
    assert not signs("What should I consider before I buy a boat?", advice).advises
    assert not signs("Write a poem.", "It depends on you alone, sea of stone.").advises


def test_lessons_nobody_asked_for_are_seen_and_those_asked_for_are_not():
    lesson = "It is 12. For example, 3 x 5 is 15. Similarly, 3 x 6 is 18."
    assert signs("What is 3 x 4?", lesson).over_teaches
    assert not signs("Explain 3 x 4 with examples.", lesson).over_teaches
    assert not signs("What is 3 x 4?", "It is 12, for example by adding 4 thrice.").over_teaches


@pytest.mark.parametrize("response", ["", ".", "honey.", "Honey, honey!"])
def test_a_stub_says_nothing(response):
    assert signs("How?", response).stub


def test_repetition_is_the_share_of_word_triples_said_before():
    assert repetition("a b c d") == 0
    assert repetition("a b c a b c") == pytest.approx(1 / 4)
    assert repetition("no no no no no") == pytest.approx(2 / 3)
    assert repetition("one two") == repetition("") == 0
    filler = "People in Vonavia often talk about this. "
    assert repetition(filler * 3) > REPETITIVE > repetition(filler + "I hope this helps you.")


@given(st.text())
def test_no_text_whatever_breaks_a_sign(text):
    seen = signs(text, text)
    assert 0 <= seen.repetition < 1
    assert not seen.foreign


@given(st.text(min_size=1), st.integers(2, 5))
def test_saying_it_again_never_lowers_the_repetition(text, times):
    assert repetition(f"{text} " * times) >= repetition(text) - 1e-9


def test_another_script_is_another_language_where_nothing_better_is_given():
    english, russian = "Where does the otter live now?", "Выдра живёт у реки и у моря."
    assert signs(english, russian).foreign
    assert not signs(english, "It lives by rivers and the sea.").foreign
    assert signs(english, "Река.").foreign is None
    assert foreign(english, "Die Otter lebt an Flüssen.", lambda x: x[:3]) is True
    assert script_of("東京 は ひろい") == "EAST ASIAN"
    assert script_of("12 !") == ""
