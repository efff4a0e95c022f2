"""A constitution is refused with a sentence or taken exactly as written."""

import random
from collections import Counter
from pathlib import Path

import pytest

from selfalign.core.constitution import load_constitution
from selfalign.core.errors import ConstitutionError

GOOD = """\
name: test
principles:
  - name: ethical
    text: >-
      Do no
      harm.
    negation: Do harm.
  - {name: question assessment, text: Check the question.}
"""


@pytest.fixture
def written(tmp_path):
    def write(text: str):
        path = tmp_path / "test.yaml"
        path.write_text(text, "utf-8")
        return path

    return write


def refused(path: Path, said: str) -> None:
    with pytest.raises(ConstitutionError, match=said) as error:
        load_constitution(path)
    assert str(path) in str(error.value)


def test_rules_are_numbered_from_one_on_a_line_each(written):
    constitution = load_constitution(written(GOOD))
    assert constitution.as_numbered_rules() == (
        "1 (ethical). Do no harm.\n2 (question assessment). Check the question."
    )
    assert constitution.number_of("question assessment") == 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "name: ethical",
            "nam: ethical",
            r"`principles\.0\.name` is missing; .*`principles\.0\.nam` is",
        ),
        ("name: test\n", "", "`name` is missing"),
        ("text: Check the question.", "text: ''", r"`principles\.1\.text` is empty"),
        (
            "negation: Do harm.",
            "negation: Do harm.\n    rewordings: [Be good., '']",
            r"`principles\.0\.rewordings` is empty",
        ),
        ("text: Check the question.", "text: 5", r"`principles\.1\.text`: input should be a valid"),
        ("name: question assessment", "name: Ethical", r"\['ethical'\] more than once"),
        ("name: question assessment", "name: rule 2", "use letters, single spaces"),
        ("principles:\n", "principles: []\nothers:\n", "`others` is not a field"),
        ("negation: Do harm.", "negation: Do: harm: now", "line 7: this is not YAML"),
        ("name: test", "name: [", "line"),
    ],
)
def test_a_slip_is_named_with_its_place(written, old, new, said):
    refused(written(GOOD.replace(old, new)), said)


def test_a_constitution_without_principles_is_refused(written):
    with pytest.raises(ConstitutionError, match="has no principle"):
        load_constitution(written("name: test\nprinciples: []\n"))


def test_a_missing_or_unreadable_file_is_a_sentence(tmp_path):
    with pytest.raises(ConstitutionError, match="no file at"):
        load_constitution(tmp_path / "none.yaml")
    with pytest.raises(ConstitutionError, match="cannot be read"):
        load_constitution(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: caf\xe9".encode("latin-1"))
    with pytest.raises(ConstitutionError, match="not UTF-8"):
        load_constitution(tmp_path / "latin.yaml")


def test_a_missing_negation_names_the_line_to_add(written):
    constitution = load_constitution(written(GOOD))
    assert constitution.negated("ethical") == "Do harm."
    with pytest.raises(ConstitutionError, match="Add a `negation:` line"):
        constitution.negated("question assessment")
    with pytest.raises(ConstitutionError, match="it has ethical, question assessment"):
        constitution.negated("wit")


def test_order_and_wording_are_part_of_the_fingerprint(written):
    first = load_constitution(written(GOOD))
    turned = first.model_copy(update={"principles": first.principles[::-1]})
    reworded = load_constitution(written(GOOD.replace("Check the", "Check every")))
    assert len({first.fingerprint, turned.fingerprint, reworded.fingerprint}) == 3


def test_a_principle_is_said_in_all_its_words_and_first_as_it_is_written(written):
    more = "negation: Do harm.\n    rewordings: [Be good.]\n    negation_rewordings: [Be bad.]"
    constitution = load_constitution(written(GOOD.replace("negation: Do harm.", more)))
    assert constitution.sentences("ethical", negated=False) == ("Do no harm.", "Be good.")
    assert constitution.sentences("ethical", negated=True) == ("Do harm.", "Be bad.")
    with pytest.raises(ConstitutionError, match="Add a `negation:` line"):
        constitution.sentences("question assessment", negated=True)


FRAMED = GOOD.replace(
    "principles:\n", "frames: ['Do ${wish}.']\nnegated_frames: ['Do not ${wish}.']\nprinciples:\n"
).replace("negation: Do harm.", "negation: Do harm.\n    wishes: [heal]\n    opposites: [hurt]")


def test_wishes_are_said_in_every_frame_and_opposites_the_other_way_round(written):
    constitution = load_constitution(written(FRAMED))
    plain = constitution.sentences("ethical", negated=False)
    assert plain == ("Do no harm.", "Do heal.", "Do not hurt.")
    assert constitution.sentences("ethical", negated=True) == (
        "Do harm.",
        "Do not heal.",
        "Do hurt.",
    )
    assert constitution.without_rewordings == load_constitution(written(GOOD))


def test_what_is_written_is_drawn_every_fifth_time_and_everything_is_drawn(written):
    constitution = load_constitution(written(FRAMED))
    rng = random.Random(0)
    drawn = Counter(constitution.drawn_sentence("ethical", rng, negated=True) for _ in range(2000))
    assert set(drawn) == set(constitution.sentences("ethical", negated=True))
    assert drawn["Do harm."] / 2000 == pytest.approx(0.2, abs=0.04)
    bare = load_constitution(written(GOOD))
    assert bare.drawn_sentence("ethical", rng, negated=False) == "Do no harm."


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "Do ${wish}.",
            "Do it.",
            r"`frames\.0` is 'Do it\.', which has to have the gap \$\{wish\}",
        ),
        ("Do not ${wish}.", "Do not ${act}.", r"`negated_frames\.0`"),
        ("Do ${wish}.", "Pay $5 to ${wish}.", r"`frames\.0`.*write `\$\$`"),
        ("frames: ['Do ${wish}.']\n", "", "'ethical' has `wishes`.*write some of both"),
        ("wishes: [heal]", "wishes: ['']", r"`principles\.0\.wishes` is empty"),
    ],
)
def test_frames_that_cannot_be_filled_are_refused(written, old, new, said):
    assert old in FRAMED
    refused(written(FRAMED.replace(old, new, 1)), said)


def test_a_field_that_came_later_and_says_nothing_renames_nothing(written):
    assert load_constitution(written(GOOD)).fingerprint == "ccce8dcd8a23a82f"
    assert load_constitution(written(FRAMED)).fingerprint != "ccce8dcd8a23a82f"
