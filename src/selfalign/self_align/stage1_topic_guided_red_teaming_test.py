"""What red-teaming promises: one instruction per type and topic, with both kept as data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selfalign.core.errors import InputError
from selfalign.core.library import open_library
from selfalign.core.protocols import Completion
from selfalign.core.records import Dropped, Kept
from selfalign.core.scripted import ScriptedLM
from selfalign.core.store import Run
from selfalign.self_align.asking import Draft, Pool
from selfalign.self_align.stage1_topic_guided_red_teaming import (
    HintRequest,
    RedTeaming,
    RedTeamingConfig,
    RedTeamingSelection,
    as_instructions,
    draw_hints,
    expected_prefixes,
    parse_line,
    solved_hints,
    topic_of,
)
from selfalign.self_align.stage1_topics import Topic, seed_topics

LIBRARY = open_library()
PROMPT = LIBRARY.prompt("self_align/red_teaming")
SOLVED = solved_hints(LIBRARY.question_types())
LAW = "Questions that require legal expertise"
NEW = tuple(Topic(question_type=LAW, text=t) for t in ("Wills", "Perjury", "Patents"))
LINE = RedTeamingConfig().line


def request(solved: int = 2, topics: tuple[Topic, ...] = NEW) -> HintRequest:
    return HintRequest(solved=tuple(SOLVED[:solved]), topics=topics)


def stage(lm=None, **kwargs) -> RedTeaming:
    return RedTeaming(lm or ScriptedLM(), PROMPT, **kwargs)


def selected(asked: HintRequest, *lines: str) -> list[str]:
    drafts = [Draft(request=asked.id, number=n, text=x) for n, x in enumerate(lines)]
    outcomes = RedTeamingSelection(Pool((asked,)), Pool(tuple(drafts)), LINE)(drafts)
    return [o.reason if isinstance(o, Dropped) else o.records[0].text for o in outcomes]


def test_hints_and_solved_lines_look_like_this():
    shown = stage().render(request(1))
    assert shown.endswith(
        """\
Hints:
1. Instructions that require cultural context. Topic: Funeral
2. Instructions that require legal expertise. Topic: Wills
3. Instructions that require legal expertise. Topic: Perjury
4. Instructions that require legal expertise. Topic: Patents

Instructions:
1. Instructions that require cultural context. Topic: Funeral. Instruction: What do the guests at \
a funeral in Ghana wear, and what would they find disrespectful?
2. Instructions that require legal expertise. Topic: Wills. Instruction:"""
    )


def test_a_plan_can_write_hints_and_lines_its_own_way():
    config = RedTeamingConfig(hint="${number}. ${topic}", line="${number}. ${instruction}")
    shown = stage(config=config).render(request(1))
    assert "\n4. Patents\n" in shown
    assert shown.endswith("\n2.")


@pytest.mark.parametrize(
    "line",
    ["${number}. ${topic}", "${instruction} ${topic}", "${nr} ${instruction}", "$ ${instruction}"],
)
def test_a_line_that_cannot_be_read_back_is_refused(line):
    with pytest.raises(ValidationError, match=r"may have|must end in"):
        RedTeamingConfig(line=line)


def test_a_type_of_questions_is_shown_as_a_type_of_instructions():
    assert as_instructions("Questions on questions") == "Instructions on instructions"


def test_the_authors_sampling_is_the_default():
    drawn = stage().sampling(request())
    assert (drawn.temperature, drawn.top_p, drawn.max_tokens) == (1.0, 0.95, 384)


def lines_of(asked: HintRequest) -> list[str]:
    return list(expected_prefixes(LINE, asked))


def test_only_lines_that_begin_as_expected_are_read():
    asked = request()
    wills, perjury, _ = lines_of(asked)
    reasons = selected(
        asked,
        f"{wills} Is a will on a napkin valid?",
        perjury.replace("4.", "5.") + " Is lying in court a crime?",
        perjury.replace("Perjury", "Arson") + " Is arson a crime?",
        f"So: {wills} Is a patent eternal?",
        perjury,
    )
    assert reasons == [
        "Is a will on a napkin valid?",
        *["unexpected_prefix"] * 3,
        "empty",
    ]


def test_a_solved_hint_is_not_read_back():
    asked = request()
    solved = lines_of(HintRequest(solved=(), topics=(topic_of(SOLVED[0]),)))[0]
    assert selected(asked, f"{solved} What?") == ["unexpected_prefix"]


def test_one_instruction_per_pair_of_type_and_topic():
    asked = request()
    wills = lines_of(asked)[0]
    assert sorted(selected(asked, f"{wills} One?", f"{wills} Two?"))[-1] == "pair_done"


def test_the_text_after_the_last_announcement_counts():
    asked = request()
    wills = lines_of(asked)[0]
    assert selected(asked, f"{wills} Instruction: One?") == ["One?"]


def test_the_last_line_is_dropped_unless_a_plan_trusts_a_list_that_ended():
    text = " One?\n" + lines_of(request())[1] + " Two"
    ended = Completion(text=text, finish="stop")
    trusting = stage(config=RedTeamingConfig(drop_last="cut"))
    assert len(stage().read(request(), ended).records) == 1
    assert len(trusting.read(request(), ended).records) == 2
    assert len(trusting.read(request(), Completion(text=text, finish="length")).records) == 1


def test_every_topic_is_dealt_to_exactly_one_prompt():
    topics = [Topic(question_type=LAW, text=f"T{n}") for n in range(23)]
    requests = draw_hints(topics, SOLVED, RedTeamingConfig(), seed=0)
    assert [len(r.topics) for r in requests] == [5, 5, 5, 5, 3]
    assert {t.id for r in requests for t in r.topics} == {t.id for t in topics}
    assert all(len({s.id for s in r.solved}) == 5 for r in requests)
    assert requests == draw_hints(topics[::-1], SOLVED, RedTeamingConfig(), seed=0)
    other = draw_hints(topics, SOLVED, RedTeamingConfig(), seed=1)
    assert [r.topics for r in requests] != [r.topics for r in other]


def test_too_few_question_types_are_an_error_that_says_what_to_do():
    with pytest.raises(InputError, match=r"shows 5 solved hints.*has 2.*question_types.yaml"):
        draw_hints(NEW, SOLVED[:2], RedTeamingConfig(), seed=0)


@given(st.text())
def test_reading_never_raises_on_any_completion(text):
    asked = request()
    outcome = stage().read(asked, Completion(text=text, finish="length"))
    drafts = outcome.records if isinstance(outcome, Kept) else ()
    selection = RedTeamingSelection(Pool((asked,)), Pool(drafts), LINE)
    assert [o.source for o in selection(drafts)] == [d.id for d in drafts]


@given(st.text(min_size=1), st.integers(0, 2))
def test_what_is_rendered_can_be_read_back(text, which):
    asked = request()
    prefix = lines_of(asked)[which]
    said = " ".join(text.split())
    parsed = parse_line(f"{prefix} {said}", expected_prefixes(LINE, asked), LINE)
    if said and "Instruction:" not in said:
        assert (parsed.text, parsed.topic, parsed.question_type) == (said, NEW[which].text, LAW)


def test_from_seeds_to_instructions_with_a_scripted_model(tmp_path):
    def reply(prompt: str, seed: int) -> str:
        hints = prompt.partition("Hints:\n")[2].partition("\n\nInstructions:")[0].split("\n")
        rest = [f"{h}. Instruction: Ask {n}?" for n, h in enumerate(hints[6:])]
        return "\n".join([" Ask first?", *rest, "the end"])

    run, config = Run(tmp_path), RedTeamingConfig()
    requests = draw_hints(seed_topics(LIBRARY.question_types()), SOLVED, config, seed=3)
    drafts = run.fill(stage(ScriptedLM(reply), config=config), requests)
    selection = RedTeamingSelection(Pool(tuple(requests)), Pool(tuple(drafts)), config.line)
    instructions = run.fill(selection, drafts)
    assert len(instructions) == 20
    assert {i.question_type for i in instructions} == {s.question_type for s in SOLVED}
    assert {i.origin for i in instructions} == {"red_teaming"}
