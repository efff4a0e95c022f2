"""Each slip a person can make in a library is found, and named with its place and its way out."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from selfalign.core.library import GAPS, Finding, Library, check_library, open_library, overlays
from selfalign.core.scripted import ScriptedLM


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def findings(folder: Path, level: str) -> list[Finding]:
    return [f for f in check_library(open_library(directory=folder)) if f.level == level]


def test_what_ships_has_no_finding_at_all():
    assert check_library(open_library()) == []


@pytest.mark.parametrize("overlay", overlays())
def test_what_ships_as_an_overlay_has_no_error(overlay):
    assert [f for f in check_library(open_library(overlay)) if f.level == "error"] == []


def test_a_constitution_that_is_not_there_is_an_error():
    (one,) = check_library(open_library(), constitution="nowhere")
    assert (one.level, one.field) == ("error", "constitutions/nowhere.yaml")
    assert "there is no constitutions/nowhere.yaml" in one.message


Slip = Callable[[Path], None]
SLIPS: dict[str, tuple[str, Slip, str, str]] = {
    "a principle given twice": (
        "error",
        lambda d: edit(
            d / "constitutions/self_align.yaml",
            "name: self_align\nprinciples:\n",
            "name: self_align\nprinciples:\n"
            "  - {name: one, text: Be kind.}\n  - {name: two, text: be  KIND}\n",
        ),
        "principles",
        "two principles say the same",
    ),
    "an empty principle": (
        "error",
        lambda d: edit(
            d / "constitutions/self_align.yaml",
            "name: self_align\nprinciples:\n",
            "name: self_align\nprinciples:\n  - {name: one, text: ' '}\n",
        ),
        "principles.0.text",
        "is empty; write it",
    ),
    "a rule nobody has": (
        "error",
        lambda d: edit(d / "exemplars/self_align.yaml", "cites: [ethical,", "cites: [ethicla,"),
        "1.cites",
        "cites ethicla, which constitution 'self_align' does not have",
    ),
    "a rule never shown": (
        "warning",
        lambda d: edit(
            d / "exemplars/self_align.yaml", "[informative, knowledge recitation]", "[informative]"
        ),
        "",
        "no exemplar demonstrates knowledge recitation; ",
    ),
    "thoughts that name other rules than cites": (
        "error",
        lambda d: edit(d / "exemplars/self_align.yaml", "${rules}", "candor (7)"),
        "1.turns.0.thoughts",
        "do not name the rules of `cites:`",
    ),
    "an unknown gap in an exemplar": (
        "error",
        lambda d: edit(d / "exemplars/self_align.yaml", "${rules}", "${rules} ${wit}"),
        "",
        "the gap ${wit} is not known",
    ),
    "exemplars without a constitution": (
        "error",
        lambda d: shutil.copy(d / "exemplars/self_align.yaml", d / "exemplars/other.yaml"),
        "",
        "no constitutions/other.yaml",
    ),
    "a prompt with another gap": (
        "error",
        lambda d: edit(
            d / "prompts/self_align/topics.md",
            "gaps: [question_type, topics]",
            "gaps: [question_type]",
        ),
        "gaps",
        "declares gaps ['question_type']",
    ),
    "gaps the stage does not fill": (
        "error",
        lambda d: (d / "prompts/self_align/topics.md").write_text(
            "---\nname: self_align/topics\npaper: ours\ngaps: [kind]\n---\n${kind}\n1."
        ),
        "gaps",
        "fills ['question_type', 'topics'], and the prompt asks for ['kind']",
    ),
    "a chat without headers": (
        "error",
        lambda d: edit(d / "prompts/chat/standard.md", 'user: "### User"\n', ""),
        "user",
        "is no conversation",
    ),
    "an empty seed file": (
        "error",
        lambda d: (d / "seeds/tasks.jsonl").write_text("\n"),
        "",
        "is empty; write at least one seed task",
    ),
    "a seed that is not JSON": (
        "error",
        lambda d: edit(d / "seeds/tasks.jsonl", "{", "{{"),
        "line 1",
        "line 1: this is not JSON",
    ),
    "a seed without an instruction": (
        "error",
        lambda d: (d / "seeds/tasks.jsonl").write_text('{"instruction": " "}\n'),
        "task 1",
        "task 1 has no instruction",
    ),
    "the same seed twice": (
        "warning",
        lambda d: (d / "seeds/tasks.jsonl").write_text('{"instruction": "Sing."}\n' * 2),
        "",
        "two seed tasks are the same",
    ),
    "a type given twice": (
        "error",
        lambda d: (d / "seeds/question_types.yaml").write_text(
            "- {type: A, topic: T, question: q}\n- {type: a, topic: U, question: r}\n"
        ),
        "type",
        "stands there twice",
    ),
    "broken YAML": (
        "error",
        lambda d: (d / "seeds/question_types.yaml").write_text("- type: a\n  topic: [b\n"),
        "line 3",
        "line 3: this is not YAML",
    ),
    "a family without subjects": (
        "error",
        lambda d: (d / "seeds/identity.yaml").write_text(
            "families:\n- questions: ['Are you ${subject}?']\n  answers: [No.]\n"
        ),
        "subjects",
        "family 1 speaks of ${subject} but lists no `subjects:`",
    ),
    "a file nobody reads": (
        "warning",
        lambda d: (d / "seeds/task.jsonl").write_text("{}"),
        "",
        "nothing reads this file",
    ),
    "an unreadable file": (
        "error",
        lambda d: (d / "seeds/tasks.jsonl").write_bytes(b"\xff\xfe"),
        "",
        "is not UTF-8",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_each_slip_is_found_and_named(mine, slip):
    level, make, field, said = SLIPS[slip]
    make(mine)
    found = findings(mine, level)
    assert [f for f in found if f.field == field and said in f.message], found
    assert all(str(mine) in f.file for f in found)


def test_an_untouched_copy_has_no_finding(mine):
    assert check_library(open_library(directory=mine)) == []


def test_every_prompt_a_stage_needs_must_be_there(mine):
    (mine / "prompts/self_align/topics.md").unlink()
    found = check_library(Library((mine,)))
    assert [(f.level, f.file) for f in found] == [("error", "prompts/self_align/topics.md")]
    for name in GAPS:
        assert f"prompts/{name}.md" in open_library().files()


def test_a_prompt_longer_than_the_context_is_an_error_and_a_tight_one_a_warning():
    library = open_library()
    (alone,) = check_library(library, window=ScriptedLM(context_length=100))
    assert (alone.level, alone.field) == ("error", "text")
    assert "of the model's 100 tokens" in alone.message
    tokens = int(alone.message.split(" take ")[1].split()[0])
    (tight,) = check_library(library, window=ScriptedLM(context_length=tokens + 255))
    assert tight.level == "warning"
    assert check_library(library, window=ScriptedLM(context_length=tokens + 256)) == []


def test_a_new_constitution_under_our_exemplars_is_told_what_to_add(tmp_path):
    (tmp_path / "constitutions").mkdir()
    (tmp_path / "constitutions/self_align.yaml").write_text(
        "name: self_align\nprinciples:\n- {name: kind, text: Be kind.}\n"
    )
    found = check_library(open_library(directory=tmp_path))
    assert found
    assert all("does not have; it has kind" in f.message for f in found if f.level == "error")
