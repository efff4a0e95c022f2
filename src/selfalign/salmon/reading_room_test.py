"""How much room is left for a principle that is always on, counted in words."""

import pytest

from selfalign.core.constitution import Constitution, Principle
from selfalign.core.errors import InputError
from selfalign.core.library import open_library
from selfalign.salmon.principle_state import PrincipleState
from selfalign.salmon.reading_room import (
    MOST_CHARACTERS,
    ReadingRoom,
    Room,
    check_room,
    longest_request,
)
from selfalign.salmon.reward_prompt import RewardPrompt

LIBRARY = open_library()
PROMPT = RewardPrompt(
    LIBRARY.prompt("salmon/reward_model"), LIBRARY.prompt("salmon/reward_model_rl")
)
POOL = Constitution(
    name="pool",
    principles=tuple(Principle(name=str(n), text=f"Be {n} " + "so " * n) for n in (1, 2, 3, 4)),
)


class Words:
    """Counts words; takes in 400 of them."""

    tokenizer, context = "words.json", 400

    def count(self, text: str) -> int:
        return len(text.split())


def always(*texts: str) -> PrincipleState:
    named = tuple(Principle(name=f"a{n}", text=text) for n, text in enumerate(texts))
    return PrincipleState(pool=POOL, always=named)


def room(*states: PrincipleState, k: int = 2) -> Room:
    return ReadingRoom(Words(), PROMPT, "Why is it so?", 100, k).of(states)


def count(text: str) -> int:
    return len(text.split())


def test_what_is_free_is_what_the_longest_text_leaves_of_the_context():
    state = always("Be brief.")
    texts = [p.text for p in POOL.principles[:1:-1]]
    longest = PROMPT.render("Why is it so?", " ".join(["word"] * 100), texts, ["Be brief."])
    assert room(state).free == 400 - count(longest) - 1  # a response is counted as one word more
    assert room(state).context == 400


def test_more_principles_leave_less_and_the_narrowest_of_all_phases_counts():
    assert room(always("Be brief."), k=3).free < room(always("Be brief.")).free
    wide, narrow = always("Be brief."), always("Be brief.", "Be kind to them.")
    assert room(wide, narrow).free == room(narrow).free == room(wide).free - 5


def test_an_edit_that_takes_what_is_free_and_no_more_is_let_through():
    now = always("Be brief.")
    free = Room(free=6, context=400, tokenizer="words.json")
    check_room(now, always("Be brief.", "one two three four five"), free, count)
    with pytest.raises(
        InputError,
        match=r"'one two three four five six' leaves no room .* 7 tokens"
        r" would come to it, and 6 of its 400 are free",
    ):
        check_room(now, always("Be brief.", "one two three four five six"), free, count)
    with pytest.raises(InputError, match="8 tokens would come"):
        check_room(now, always("Be brief.", "one two three", "four five six"), free, count)


def test_what_the_edit_switches_off_is_free_again():
    now, free = always("one two three"), Room(free=0, context=400, tokenizer="words.json")
    check_room(now, always("four five six"), free, count)
    check_room(now, always(), free, count)
    with pytest.raises(InputError, match="and 4 of its 400 are free"):
        check_room(now, always("four five six seven"), free, count)


def test_where_nothing_was_free_before_the_edit_is_told_so_with_0():
    free = Room(free=-20, context=400, tokenizer="words.json")
    with pytest.raises(InputError, match="and 0 of its 400 are free"):
        check_room(always("Be brief."), always("Be brief.", "Be."), free, count)
    check_room(always("Be brief."), always("Be brief."), free, count)


@pytest.mark.parametrize("free", [None, Room(free=6, context=400, tokenizer="elsewhere.json")])
def test_where_no_tokenizer_is_known_there_is_a_plain_limit(free):
    check_room(always(), always("x" * MOST_CHARACTERS), free, None)
    with pytest.raises(InputError, match=r"has 2,001 characters, .* may have 2,000"):
        check_room(always(), always("x" * (MOST_CHARACTERS + 1)), free, None)


def test_the_longest_request_is_one_that_is_trained_on():
    requests = [
        (text, f"{text} ###") for text in ("so so", "s s s s", "incomprehensibly", "s " * 9)
    ]
    assert longest_request(requests, Words(), most=6) == "s s s s"
    assert longest_request(requests, Words(), most=99) == "s " * 9
    assert longest_request([], Words(), most=6) == ""
