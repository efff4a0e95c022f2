"""What overrules the principles, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.errors import InputError
from selfalign.core.records import Instruction, ResponsePair
from selfalign.salmon.label_rules import (
    Languages,
    boilerplate_rule,
    language_rule,
    languages_of,
)

PHRASE = "As an AI language model"
code = st.sampled_from(["en", "de", "fr"])


@given(st.text(), st.text())
def test_the_answer_with_the_phrase_loses_on_either_side(plain, tail):
    said = f"{PHRASE}{tail}"
    if PHRASE not in plain:
        assert boilerplate_rule(plain, said, PHRASE) == 1
        assert boilerplate_rule(said, plain, PHRASE) == 2
    assert boilerplate_rule(said, said, PHRASE) is None
    assert boilerplate_rule(plain, said, "") is None


def test_capitals_count_in_the_phrase():
    assert boilerplate_rule("I speak as an AI language model.", "Boil it.", PHRASE) is None


@given(code, code, code)
def test_the_one_answer_in_the_language_of_the_request_wins(asked, first, second):
    verdict = language_rule(Languages(asked, first, second))
    if first == second:
        assert verdict == (None if first == asked else "neither")
    elif asked in (first, second):
        assert verdict == (1 if first == asked else 2)
    else:
        assert verdict == "neither"


def test_a_text_is_shown_to_the_identifier_as_one_line():
    seen: list[str] = []
    pair = ResponsePair(
        instruction=Instruction(text="a\nb", origin="user"), first="c\r\n d", second="e"
    )
    assert languages_of(pair, lambda text: seen.append(text) or "en") == ("en", "en", "en")
    assert seen == ["a b", "c d", "e"]


@pytest.mark.slow
def test_py3langid_tells_languages_apart_without_a_download():
    pytest.importorskip("py3langid")
    from selfalign.salmon.languages import PyLangId

    few, every = PyLangId(("en", "de")), PyLangId()
    assert few("Bees make honey from the nectar of flowers.") == "en"
    assert few("Bienen machen Honig aus dem Nektar der Blumen.") == "de"
    assert every("Las abejas hacen miel con el néctar de las flores.") == "es"
    assert few("Las abejas hacen miel con el néctar de las flores.") in ("en", "de")
    assert few.fingerprint != every.fingerprint
    with pytest.raises(InputError, match=r"'xx'.*use codes such as"):
        PyLangId(("en", "xx"))
