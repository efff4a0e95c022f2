"""Rules are cited by name and number, and read back as they were cited."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.constitution import Constitution, Principle
from selfalign.core.errors import ConstitutionError, LibraryError
from selfalign.core.exemplars import (
    Exemplar,
    Turn,
    cite,
    cited_rules,
    load_exemplars,
    render_exemplars,
)

NAMES = ("ethical", "reasoning", "consistent reasoning", "step-by-step", "balanced & fair")
RULES = Constitution(name="test", principles=tuple(Principle(name=n, text=n) for n in NAMES))
EXEMPLAR = Exemplar(
    subject="sums",
    cites=("step-by-step", "reasoning"),
    turns=(
        Turn(user="2 + 2 for $5?", thoughts="A sum, so ${rules}.", answer="Two and two.\n4.\n"),
        Turn(user="Only the number.", thoughts="Now ${rules}.", answer="4", cites=("ethical",)),
    ),
)


def test_an_exemplar_reads_as_a_conversation_that_cites_names_then_numbers():
    assert render_exemplars([EXEMPLAR], RULES) == (
        "### User\n2 + 2 for $5?\n\n"
        "### Assistant (internal thoughts)\nA sum, so step-by-step (4), reasoning (2).\n\n"
        "### Assistant\nTwo and two.\n4.\n\n"
        "### User\nOnly the number.\n\n"
        "### Assistant (internal thoughts)\nNow ethical (1).\n\n"
        "### Assistant\n4"
    )


@given(st.lists(st.sampled_from(NAMES), unique=True), st.sampled_from(["{}", "So {}.", "Rules {}"]))
def test_what_is_cited_is_read_back(names, around):
    found = cited_rules(around.format(cite(names, RULES)), RULES)
    assert found.rules == tuple(sorted(NAMES.index(n) + 1 for n in names))
    assert found.wrong == ()


@pytest.mark.parametrize(
    ("thoughts", "rules", "wrong"),
    [
        ("follow ethical (1), reasoning (2)", (1, 2), ()),
        ("follow 1 (ethical), 3 (Consistent  Reasoning)", (1, 3), ()),
        ("ETHICAL (1) and balanced & fair (5)", (1, 5), ()),
        ("consistent reasoning (3)", (3,), ()),
        ("consistent\nreasoning (3)", (3,), ()),
        ("unethical (1)", (), ("unethical (1)",)),
        ("ethical (2)", (), ("ethical (2)",)),
        ("wit (9), ethical (1)", (1,), ("wit (9)",)),
        ("9 (wit)", (), ("9 (wit)",)),
        ("ethical (1), ethical (1)", (1,), ()),
        ("no rule at all, in 2021 (a year)", (), ()),
        ("(1) (2)", (), ()),
        ("", (), ()),
    ],
)
def test_a_citation_counts_when_name_and_number_belong_together(thoughts, rules, wrong):
    assert cited_rules(thoughts, RULES) == (rules, wrong)


@given(st.text(alphabet="ethical reasonign(1234567890)\n,. ", max_size=80) | st.text())
def test_reading_citations_never_raises_and_finds_only_rules_there_are(thoughts):
    assert set(cited_rules(thoughts, RULES).rules) <= set(range(1, len(NAMES) + 1))


def test_a_rule_the_constitution_lacks_cannot_be_cited():
    stranger = EXEMPLAR.model_copy(update={"cites": ("wit",)})
    with pytest.raises(ConstitutionError, match="no principle 'wit'"):
        render_exemplars([stranger], RULES)


def test_an_unknown_gap_is_named():
    turn = Turn(user="q", thoughts="${rule}", answer="a")
    exemplar = EXEMPLAR.model_copy(update={"turns": (turn,)})
    with pytest.raises(LibraryError, match=r"sums: the gap \$\{rule\} is not known"):
        render_exemplars([exemplar], RULES)


def test_a_file_is_a_list_of_exemplars_with_turns(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text(
        "- subject: s\n  cites: [ethical]\n  turns:\n  - {user: u, thoughts: t, answer: a}\n"
    )
    (exemplar,) = load_exemplars(path)
    assert exemplar.turns[0].answer == "a"
    for text, said in [
        ("", "must be a list"),
        ("a: b", "must be a list"),
        ("- subject: s\n  cites: []\n  turns: []", r"exemplar 1 \(s\) has no turns"),
        (
            "- subject: s\n  cites: []\n  turns:\n  - {user: u, answer: a}",
            "exemplar 1 .*thoughts` is missing",
        ),
    ]:
        path.write_text(text)
        with pytest.raises(LibraryError, match=said):
            load_exemplars(path)
