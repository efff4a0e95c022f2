"""What the exemplars become: a text, the sentence all thoughts share, and who is a stranger."""

import pytest

from selfalign.core.errors import LibraryError
from selfalign.core.exemplars import Exemplar, Turn
from selfalign.core.library import open_library
from selfalign.self_align.demonstrations import common_opening, demonstrate

LIBRARY = open_library()
RULES = LIBRARY.constitution("self_align")
STRANGER = Exemplar(
    subject="a private person",
    cites=("candor", "clarification"),
    turns=(
        Turn(
            user="Who is Marit Oldenkamp?",
            thoughts="Hm. ${rules}",
            answer="I, ${assistant}, do not know Marit Oldenkamp. Who is she?",
        ),
    ),
)
LAKE = Exemplar(
    subject="a lake",
    cites=("informative",),
    turns=(Turn(user="Is Lake Baikal deep?", thoughts="Hm. ${rules}", answer="Lake Baikal: yes."),),
)


@pytest.mark.parametrize(
    ("thoughts", "opening"),
    [
        (["I am Ada. It is late.", "I am Ada. It rains."], "I am Ada."),
        (["I am Ada! It is late.", "I am Ada. It rains."], ""),
        (["I am Ada.", "I am Ada."], "I am Ada."),
        (["我是助手。用户问天气。", "我是助手。用户问时间。"], "我是助手。"),
        (["Rules ${rules}. One", "Rules ${rules}. Two"], ""),
        (["One", "Two"], ""),
        ([], ""),
    ],
)
def test_the_opening_is_the_first_sentence_all_thoughts_share(thoughts, opening):
    assert common_opening(thoughts) == opening


@pytest.mark.parametrize("name", ["self_align", "self_align_v2"])
def test_the_shipped_exemplars_share_an_opening(name):
    shown = demonstrate(LIBRARY.exemplars(name), LIBRARY.constitution(name))
    assert shown.opening == "I aim to be useful, truthful and harmless."
    turns = [turn for one in LIBRARY.exemplars(name) for turn in one.turns]
    assert shown.text.count(shown.opening) == len(turns)


def test_a_stranger_is_named_by_an_exemplar_that_asks_back():
    shown = demonstrate([STRANGER, LAKE], RULES, assistant="Ada")
    assert [p.name for p in shown.private] == [("marit", "oldenkamp")]
    assert shown.private[0].answer == "I, Ada, do not know Marit Oldenkamp. Who is she?"
    assert shown.leaks.names == {("marit", "oldenkamp"), ("lake", "baikal")}


def test_a_gap_nobody_fills_is_an_error():
    with pytest.raises(LibraryError, match="assistant"):
        demonstrate([STRANGER], RULES)
