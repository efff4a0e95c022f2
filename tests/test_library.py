"""What ships in the library: it loads, it agrees with itself, and it has the counts of the papers.

The texts are reviewed as prose; here stands what a reviewer's eye would miss. Counts and names are
facts of the papers (`docs/papers.md`), so they are written out, not computed.
"""

import re
from collections import Counter
from itertools import combinations
from string import ascii_uppercase, punctuation

import pytest
from rouge_score.rouge_scorer import RougeScorer

from selfalign.core.exemplars import cite, cited_rules, render_exemplars
from selfalign.core.library import PAPER_LIMIT, check_library, count_library, open_library

LIBRARY = open_library()
CONSTITUTIONS = LIBRARY.names("constitutions")
CHAT_PROMPTS = ("chat/concise", "chat/standard", "chat/verbose", "chat/multilingual")

RULES = (
    *("ethical", "informative", "helpful", "question assessment", "reasoning", "multi-aspect"),
    *("candor", "knowledge recitation", "static", "clarification", "numerical sensitivity"),
    *("dated knowledge", "step-by-step", "balanced & informative perspectives", "creative"),
    "operational",
)
"""SELF-ALIGN's sixteen, in the paper's order."""

PRINCIPLES_AND_WEIGHTS = {
    "salmon_preferences": (11, 11),
    "salmon_rl": (14, 27),
    "salmon_interventions": (3, 3),
    "salmon_harmless": (11, 36),
    "salmon_honest": (8, 29),
    "salmon_non_evasive": (9, 15),
}
"""SALMON's sets: how many principles, and the sum of their weights."""

BLACKLIST = re.compile(
    r"\b(images?|graphs?|pictures?|files?|maps?|draw|plot|go to|video|audio|music|flowchart|"
    r"diagram)\b",
    re.IGNORECASE,
)
"""The authors' words for what a model of text cannot do; stage 1 would drop such a task."""


# --- constitutions -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONSTITUTIONS)
def test_every_constitution_loads_under_the_name_it_calls_itself(name):
    assert LIBRARY.constitution(name).name == name


@pytest.mark.parametrize("name", CONSTITUTIONS)
def test_every_principle_is_a_sentence_and_says_something_of_its_own(name):
    principles = LIBRARY.constitution(name).principles
    texts = [p.text for p in principles] + [p.negation for p in principles if p.negation]
    assert all(text[0].isupper() and text.endswith(".") for text in texts)
    assert max(Counter(texts).values()) == 1


def test_the_default_constitution_has_the_sixteen_rules_in_the_papers_order():
    assert LIBRARY.constitution("self_align").names == RULES


def test_v2_adds_the_seventeenth_rule_and_changes_no_other():
    first, second = LIBRARY.constitution("self_align"), LIBRARY.constitution("self_align_v2")
    assert second.principles[:16] == first.principles
    assert second.names[16:] == ("multilingual",)


@pytest.mark.parametrize("name", PRINCIPLES_AND_WEIGHTS)
def test_salmon_sets_have_the_authors_sizes_and_weights(name):
    principles = LIBRARY.constitution(name).principles
    assert (len(principles), sum(p.weight for p in principles)) == PRINCIPLES_AND_WEIGHTS[name]


def test_every_preference_principle_has_an_opposite_and_eight_are_aggregated():
    principles = LIBRARY.constitution("salmon_preferences").principles
    assert all(p.negation for p in principles)
    assert [p.name for p in principles if not p.aggregated] == [
        "overall helpful",
        "natural and fluent",
        "multilingual",
    ]


def test_the_non_evasive_set_is_the_rl_set_without_its_restraints():
    everything = LIBRARY.constitution("salmon_rl").principles
    restraints = {"candor", "honest and accurate", "ethical", "stand-alone", "privacy protection"}
    kept = tuple(p for p in everything if p.name not in restraints)
    assert LIBRARY.constitution("salmon_non_evasive").principles == kept


def test_names_carry_the_words_by_which_prompt_types_boost_principles():
    """SALMON's boosts look for these words in the names; see method of RL-time sampling."""
    names = LIBRARY.constitution("salmon_rl").names
    assert [n for n in names if "reason" in n or "numerical" in n] == [
        "consistent reasoning",
        "numerical sensitive",
    ]
    assert [n for n in names if "ethical" in n or "harmless" in n] == ["ethical"]


# --- exemplars -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), [("self_align", 5), ("self_align_v2", 6)])
def test_exemplars_cite_existing_rules_and_between_them_demonstrate_every_rule(name, count):
    exemplars, constitution = LIBRARY.exemplars(name), LIBRARY.constitution(name)
    assert len(exemplars) == count
    cited = {rule for exemplar in exemplars for rule in exemplar.demonstrates}
    assert cited == set(constitution.names)
    rendered = render_exemplars(exemplars, constitution)
    assert "${" not in rendered


@pytest.mark.parametrize("name", ["self_align", "self_align_v2"])
def test_thoughts_read_back_as_exactly_the_rules_they_cite(name):
    constitution = LIBRARY.constitution(name)
    for exemplar in LIBRARY.exemplars(name):
        for turn in exemplar.turns:
            cites = exemplar.cites_in(turn)
            thoughts = turn.thoughts.replace("${rules}", cite(cites, constitution))
            found = cited_rules(thoughts, constitution)
            assert not found.wrong
            assert found.rules == tuple(sorted(map(constitution.number_of, cites)))


@pytest.mark.parametrize("name", ["self_align", "self_align_v2"])
def test_all_thoughts_open_with_one_sentence_and_close_with_the_rules(name):
    turns = [turn for exemplar in LIBRARY.exemplars(name) for turn in exemplar.turns]
    assert len({turn.thoughts.partition(". ")[0] for turn in turns}) == 1
    assert all(turn.thoughts.endswith("${rules}.") for turn in turns)
    assert all(len(turn.thoughts.split()) > 30 for turn in turns), "thoughts say why"


@pytest.mark.parametrize("name", ["self_align", "self_align_v2"])
def test_no_shown_answer_would_fail_the_filters_of_stage_2(name):
    """Neither an apology at the start nor a header inside; a base model copies what it is shown."""
    answers = [t.answer for exemplar in LIBRARY.exemplars(name) for t in exemplar.turns]
    assert not [a for a in answers if a.startswith(("I'm sorry", "I am sorry")) or "###" in a]


def test_v2_holds_one_conversation_in_chinese_and_answers_at_greater_length():
    chinese = re.compile(r"[\u4e00-\u9fff]")
    spoken = [
        exemplar
        for exemplar in LIBRARY.exemplars("self_align_v2")
        if all(chinese.search(t.user) and chinese.search(t.answer) for t in exemplar.turns)
    ]
    assert [("multilingual" in e.demonstrates) for e in spoken] == [True]

    def mean_chars(name: str) -> float:
        answers = [t.answer for e in LIBRARY.exemplars(name) if e not in spoken for t in e.turns]
        return sum(map(len, answers)) / len(answers)

    assert mean_chars("self_align_v2") > 1.5 * mean_chars("self_align")


# --- prompts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIBRARY.names("prompts"))
def test_every_prompt_loads_under_the_name_of_its_place(name):
    prompt = LIBRARY.prompt(name)
    assert re.search(r"arXiv:\d{4}\.\d{5}v\d", prompt.paper)


@pytest.mark.parametrize(
    ("name", "gap"),
    [
        ("self_align/self_instruct", "examples"),
        ("self_align/topics", "topics"),
        ("self_align/red_teaming", "examples"),
    ],
)
def test_list_prompts_end_with_the_list_the_model_continues(name, gap):
    assert LIBRARY.prompt(name).text.endswith(f"${{{gap}}}")


def test_the_self_alignment_prompt_ends_where_the_thoughts_begin():
    text = LIBRARY.prompt("self_align/self_alignment").text
    assert text.endswith("### User\n${query}\n\n### Assistant (internal thoughts)")


def test_the_self_alignment_prompt_fits_a_context_of_2048_tokens_with_room_for_256():
    """At 4.3 characters a token, about what tokenizers of that time make of plain English."""
    constitution = LIBRARY.constitution("self_align")
    shown = LIBRARY.prompt("self_align/self_alignment").render(
        assistant="Iris",
        rules=constitution.as_numbered_rules(),
        exemplars=render_exemplars(LIBRARY.exemplars("self_align"), constitution),
        query="",
    )
    assert len(shown) < 4.3 * (2048 - 256)


def test_the_judge_is_left_at_an_open_bracket_and_shares_all_but_the_principle():
    text = LIBRARY.prompt("salmon/judge_principle").text
    assert text.endswith("${name} is (")
    places = [text.index(gap) for gap in ("${instruction}", "${first}", "${second}", "${name}")]
    assert places == sorted(places)
    assert text.index("${definition}") > text.index("${second}")


@pytest.mark.parametrize("name", ["salmon/reward_model", "salmon/reward_model_rl"])
def test_the_reward_model_reads_response_then_instruction_then_principles(name):
    prompt = LIBRARY.prompt(name)
    gaps = [gap for gap in re.findall(r"\$\{(\w+)\}", prompt.text) if gap != "interventions"]
    assert gaps == ["response", "instruction", "principles"]
    assert prompt.text.endswith(" is")
    assert ("${interventions}\n${principles}" in prompt.text) == name.endswith("_rl")


@pytest.mark.parametrize("name", [*CHAT_PROMPTS, "self_align/verbose"])
def test_conversations_introduce_themselves_as_long_as_their_manner(name):
    chat = LIBRARY.chat_prompt(name)
    assert chat.user == "### User"
    assert (chat.assistant == "### Assistant") == (name != "self_align/verbose")
    introductions = chat.prompt.text.count(f"\n\n{chat.assistant}\n")
    assert introductions == (0 if name == "chat/concise" else 1)
    assert set(chat.prompt.gaps) == {"assistant", "maker"}


# --- seeds ---------------------------------------------------------------------------------------


def test_there_are_175_seed_tasks_26_classifications_and_50_without_input():
    tasks = LIBRARY.seed_tasks()
    assert len({(t.instruction, t.input) for t in tasks}) == 175
    assert sum(t.is_classification for t in tasks) == 26
    assert sum(not t.input for t in tasks) == 50


def test_every_seed_task_would_pass_the_filters_of_stage_1():
    for task in LIBRARY.seed_tasks():
        words = task.instruction.split()
        assert 4 <= len(words) <= 150, task
        assert not BLACKLIST.search(f"{task.instruction}\n{task.input}"), task
        assert task.instruction[0].isascii() and task.instruction[0] not in punctuation, task
        assert len(task.input.split()) <= 100, task
        assert "###" not in task.input, task


def test_no_two_seed_tasks_are_alike():
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    texts = [t.instruction for t in LIBRARY.seed_tasks()]
    worst = max(
        (scorer.score(a, b)["rougeL"].fmeasure, a, b)
        for a, b in combinations(texts, 2)
        if set(a.lower().split()) & set(b.lower().split())
    )
    assert worst[0] < 0.7, worst


def test_seed_tasks_begin_with_more_than_a_hundred_different_words():
    assert len({t.instruction.split()[0] for t in LIBRARY.seed_tasks()}) > 100


def test_there_are_twenty_question_types_with_a_topic_and_a_question_each():
    types = LIBRARY.question_types()
    assert [len({getattr(t, f) for t in types}) for f in ("name", "topic", "question")] == [20] * 3
    for kind in types:
        assert kind.name.startswith("Questions that require ") and "," not in kind.name
        assert len(kind.topic.split()) <= 3 and kind.topic[0] in ascii_uppercase
        assert kind.topic[-1] not in punctuation and "," not in kind.topic
        assert kind.question[-1] in "?."


def test_identity_has_the_papers_910_pairs_84_questions_24_answers_and_816_denials():
    pairs = LIBRARY.identity("Iris", "the Iris team")
    assert len(set(pairs)) == len(pairs) == 910
    assert len({p.question for p in pairs}) == 84
    assert len({p.answer for p in pairs}) == 24
    denials = [p for p in pairs if re.match(r"No\b", p.answer)]
    assert len(denials) == 816
    assert {p.question for p in denials}.isdisjoint(p.question for p in set(pairs) - set(denials))


def test_every_identity_answer_names_the_assistant_or_its_maker_and_nobody_else():
    for pair in LIBRARY.identity("Iris", "the Iris team"):
        assert "Iris" in pair.answer and "${" not in pair.question + pair.answer
        strangers = re.findall(r"\b(?:ChatGPT|Claude|Gemini|OpenAI|Google|Meta)\b", pair.answer)
        assert not strangers


# --- the whole -----------------------------------------------------------------------------------


def test_the_shipped_library_gives_its_own_check_nothing_to_say():
    assert check_library(LIBRARY) == []


def test_the_humans_whole_contribution_is_216_annotations_where_the_paper_allows_300():
    """By the paper's own accounting: seeds, types, principles, exemplars."""
    total = next(row.count for row in count_library(LIBRARY) if row.kind == "total")
    assert total == 175 + 20 + 16 + 5 < PAPER_LIMIT


def test_salmon_needs_six_exemplars_and_thirty_one_principles():
    """The paper counts the rules of v2 and those of RL, not the judges or the control sets."""
    rules, clauses = LIBRARY.constitution("self_align_v2"), LIBRARY.constitution("salmon_rl")
    assert len(LIBRARY.exemplars("self_align_v2")) == 6
    assert len(rules.principles) + len(clauses.principles) == 31
