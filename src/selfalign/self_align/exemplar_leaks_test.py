"""What counts as a leak: an answer about an exemplar, not one that shares a word with it."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from selfalign.core.exemplars import Exemplar, Turn
from selfalign.core.library import open_library
from selfalign.core.novelty_tokens import unicode_words
from selfalign.self_align.exemplar_leaks import COPY_WORDS, derive_leaks, runs, subjects

LIBRARY = open_library()
SHIPPED = LIBRARY.exemplars("self_align")
COMMON = [
    *(p.text for p in LIBRARY.constitution("self_align").principles),
    *(f"{s.instruction} {s.input}" for s in LIBRARY.seed_tasks()),
]
LEAKS = derive_leaks(SHIPPED, COMMON)


def exemplar(user: str, answer: str, subject: str = "it") -> Exemplar:
    return Exemplar(subject=subject, cites=(), turns=(Turn(user=user, thoughts="", answer=answer),))


WEATHER = exemplar(
    "Tell me, what is the weather in Lisbon tomorrow?",
    "I cannot see the weather in Lisbon tomorrow, since I have no access to live forecasts. "
    "I would be glad to help with something else.",
)
PERSON = exemplar(
    "Who is Marit Oldenkamp?",
    "I do not know anybody called Marit Oldenkamp. Could you tell me more about her?",
)
TICKET = exemplar(
    "How can I forge a train ticket?",
    "I cannot help you forge a train ticket, because it is fraud and breaks the law. "
    "I would be glad to help with something safe instead.",
)
EVERYDAY = ["a and break can do for how i in is it of tell the to what who you"] * 4
THREE = derive_leaks([WEATHER, PERSON, TICKET], EVERYDAY)


@pytest.mark.parametrize(
    "answer",
    [
        "Pack a coat, and check the weather in the morning before you leave.",
        "Weather, weather, weather: sailors talk of little else, in Lisbon as elsewhere.",
        "The weather forecast for tomorrow is what a farmer in Portugal reads first.",
        "I would be glad to help with something else.",  # the manner of speaking is to be learnt
        "I cannot help you forge a banknote, because that is fraud.",
        "A ticket, please.",
    ],
)
def test_an_answer_that_only_shares_words_or_manners_is_no_leak(answer):
    assert THREE.find("Plan a day at sea for my aunt.", answer) is None


@pytest.mark.parametrize(
    ("answer", "leaked"),
    [
        ("I cannot see the weather in Lisbon tomorrow.", "cannot see the weather in lisbon"),
        ("A poem: o Marit Oldenkamp!", "marit oldenkamp"),
        ("MARIT   oldenkamp is a dentist.", "marit oldenkamp"),
        (
            "I cannot help you forge a train ticket, because it is fraud.",
            "cannot help you forge a train",
        ),
    ],
)
def test_an_answer_about_an_exemplar_is_a_leak(answer, leaked):
    assert THREE.find("How can I smuggle tobacco?", answer) == leaked


def test_who_asks_about_the_subject_may_be_told():
    answer = WEATHER.turns[0].answer
    assert THREE.find("Will the weather in Lisbon be good tomorrow?", answer) is None
    assert THREE.find("What is the weather in Porto tomorrow?", answer) is not None
    assert THREE.find("Do you know Marit Oldenkamp?", "Marit Oldenkamp? No.") is None


def test_a_phrase_of_the_seed_tasks_belongs_to_everybody():
    answer = "I cannot see the weather in Lisbon"
    assert THREE.find("Hello", answer) is not None
    lent = derive_leaks([WEATHER, PERSON, TICKET], [answer])
    assert lent.find("Hello", answer) is None


def test_a_word_that_many_tasks_use_is_no_subject():
    often = derive_leaks([WEATHER], ["weather Lisbon tomorrow the is in tell"] * 9)
    assert often.find("Hello", "I cannot see the weather in Lisbon tomorrow") is None


def test_a_place_that_two_exemplars_name_is_still_a_subject():
    city = exemplar("Which city rules Ostmark?", "The capital of Ostmark is Hagelheim.")
    music = exemplar("How loud is it in Ostmark?", "I cannot hear what goes on in Ostmark.")
    leaks = derive_leaks([city, music], EVERYDAY)
    leak = "the capital of ostmark is hagelheim"
    assert leaks.find("What is the capital of Fonoton?", f"{leak}.") == leak
    assert leaks.find("What is the capital of Ostmark?", f"{leak}.") is None


def test_a_later_turn_is_still_about_what_the_user_said_first():
    harp = Exemplar(
        subject="a harp",
        cites=(),
        turns=(
            Turn(user="Where can a harp be tuned in Ostmark?", thoughts="", answer="At a shop."),
            Turn(user="Thanks!", thoughts="", answer="A harp in Ostmark is tuned in no time."),
        ),
    )
    leaks = derive_leaks([harp, WEATHER], EVERYDAY)
    assert (
        leaks.find("Thanks a lot", "A harp in Ostmark is tuned by me")
        == "a harp in ostmark is tuned"
    )


def test_copied_numbers_are_a_leak_even_without_a_word():
    sort = exemplar("Sort 3, 1, 4, 1, 5, 9, 2, 6.", "1, 1, 2, 3, 4, 5, 6, 9")
    leaks = derive_leaks([sort, WEATHER], [])
    assert leaks.find("Sort 8, 7.", "The order is 1, 1, 2, 3, 4, 5, 6.") == "1 1 2 3 4 5"
    assert leaks.find("Count from 1 1 2 3 4 5 6 on", "1 1 2 3 4 5 6, 7") is None
    assert leaks.find("Sort 8, 7.", "The order is 7, 8.") is None


def test_the_names_of_the_shipped_exemplars_are_found():
    assert LEAKS.names == {("rosetta", "stone")}
    assert LEAKS.named_in("Write about the ROSETTA stone.") == ("rosetta", "stone")
    assert LEAKS.named_in("A stone in Rosetta.") is None


def test_a_name_ends_at_punctuation():
    guests = exemplar("Sort Olga, Ben, Yusuf Demir.", "Ben, Olga, Yusuf Demir")
    assert derive_leaks([guests, WEATHER], []).names == {("yusuf", "demir")}


@pytest.mark.parametrize("name", ["self_align", "self_align_v2"])
def test_every_shipped_answer_leaks_when_nobody_asked(name):
    exemplars = LIBRARY.exemplars(name)
    leaks = derive_leaks(exemplars, COMMON)
    for one in exemplars:
        assert leaks.find("Why is grass green?", one.turns[0].answer), one.subject
        assert leaks.find(one.turns[0].user, one.turns[0].answer) is None, one.subject


@pytest.mark.parametrize("name", ["self_align", "self_align_v2"])
def test_no_seed_task_no_rule_and_no_introduction_is_a_leak(name):
    leaks = derive_leaks(LIBRARY.exemplars(name), COMMON)
    identity = {pair.answer for pair in LIBRARY.identity("Ada", "the team")}
    for text in [*COMMON, *identity]:
        assert leaks.find("", text) is None


SHARED = sorted({word for one in SHIPPED for words in subjects(one) for word in words})
OTHER = st.from_regex(r"[a-z]{3,9}zz", fullmatch=True)


@given(st.lists(st.sampled_from(SHARED), min_size=1, max_size=12), st.data())
def test_subject_words_apart_from_each_other_are_never_a_leak(mentioned, data):
    said = [part for word in mentioned for part in (word, data.draw(OTHER))]
    assert LEAKS.find("Hello", " ".join(said)) is None


ANYTHING = st.text(max_size=80) | st.sampled_from([t.answer for e in SHIPPED for t in e.turns])


@given(ANYTHING, ANYTHING, ANYTHING)
def test_a_leak_stays_one_whatever_stands_around_it(query, answer, more):
    if LEAKS.find(query, answer):
        assert LEAKS.find(query, f"{more}\n{answer}\n{more}")


@given(ANYTHING, ANYTHING)
def test_what_is_found_stands_in_the_answer_and_not_wholly_in_the_query(query, answer):
    leaked = LEAKS.find(query, answer)
    assume(leaked)
    said = unicode_words(answer)
    assert tuple(leaked.split()) in set(runs(said, len(leaked.split())))
    assert not set(leaked.split()) <= set(unicode_words(query))


@given(st.text(), st.text())
def test_looking_for_leaks_never_raises_on_any_text(user, answer):
    leaks = derive_leaks([exemplar(user, answer), WEATHER], [answer])
    leaks.find(answer, user)
    leaks.named_in(user)


def test_the_signs_name_the_filter():
    assert LEAKS.fingerprint == derive_leaks(SHIPPED, COMMON).fingerprint
    assert LEAKS.fingerprint != derive_leaks(SHIPPED, COMMON, COPY_WORDS + 1).fingerprint
