"""Where files are found, what is counted, what an edit moves."""

import shutil
from pathlib import Path

import pytest

from selfalign.core.errors import LibraryError, PromptError, SelfAlignError
from selfalign.core.library import (
    PAPER_LIMIT,
    SYSTEMS,
    Library,
    count_library,
    count_salmon,
    diff_libraries,
    open_library,
    renamed_by,
)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


# --- folders


def test_a_users_file_wins_and_the_rest_is_ours(tmp_path):
    (tmp_path / "constitutions").mkdir()
    file = tmp_path / "constitutions/self_align.yaml"
    file.write_text("name: self_align\nprinciples:\n- {name: kind, text: Be kind.}\n")
    library = open_library(directory=tmp_path)
    assert library.constitution("self_align").names == ("kind",)
    assert library.find("constitutions/self_align.yaml") == file
    assert len(library.seed_tasks()) == 175


def test_folders_are_searched_in_the_order_user_overlay_shipped(tmp_path):
    for folder, names in {"user": "a", "overlay": "ab", "shipped": "abc"}.items():
        for name in names:
            path = tmp_path / folder / "prompts/r" / f"{name}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"---\nname: r/{name}\npaper: ours\ngaps: []\n---\n{folder}")
    library = Library(tuple(tmp_path / f for f in ("user", "overlay", "shipped")))
    assert [library.prompt(f"r/{n}").text for n in "abc"] == ["user", "overlay", "shipped"]
    assert library.names("prompts") == ["r/a", "r/b", "r/c"]


def test_a_missing_file_is_answered_with_those_there_are():
    with pytest.raises(LibraryError, match=r"no constitutions/wit\.yaml in .*self_align\.yaml"):
        open_library().constitution("wit")


def test_a_prompt_that_calls_itself_otherwise_is_refused(mine):
    edit(mine / "prompts/chat/standard.md", "name: chat/standard", "name: chat/concise")
    with pytest.raises(PromptError, match="make `name:` agree"):
        open_library(directory=mine).chat_prompt("chat/standard")


def test_folders_that_are_no_library_are_refused(tmp_path):
    with pytest.raises(LibraryError, match="no library folder at"):
        open_library(directory=tmp_path / "none")
    with pytest.raises(LibraryError, match="is not a library: it has none of"):
        open_library(directory=tmp_path)
    with pytest.raises(LibraryError, match="no shipped library 'atlantis'"):
        open_library("atlantis")


# --- what ships, by the paper's counts (method.md E5)


def test_the_seeds_are_as_many_as_the_papers():
    tasks = open_library().seed_tasks()
    assert len(tasks) == 175
    assert sum(task.is_classification for task in tasks) == 26
    assert sum(not task.input for task in tasks) == 50
    assert len(open_library().question_types()) == 20


def test_identity_expands_to_the_papers_910_pairs_with_names_filled_in():
    pairs = open_library().identity("Calf", "the Meadow team")
    assert len(pairs) == len(set(pairs)) == 910
    assert not any("$" in text for pair in pairs for text in pair)
    assert any("Calf" in pair.answer and "the Meadow team" in pair.answer for pair in pairs)


def test_a_subject_multiplies_only_the_pairs_that_speak_of_it(tmp_path):
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds/identity.yaml").write_text(
        "families:\n"
        "- questions: ['Who are you?', 'Are you ${subject}?']\n"
        "  answers: ['I am ${assistant}.', 'Not ${subject}.']\n"
        "  subjects: [A, B]\n"
    )
    assert open_library(directory=tmp_path).identity("Calf", "M") == [
        ("Who are you?", "I am Calf."),
        ("Who are you?", "Not A."),
        ("Who are you?", "Not B."),
        ("Are you A?", "I am Calf."),
        ("Are you B?", "I am Calf."),
        ("Are you A?", "Not A."),
        ("Are you B?", "Not B."),
    ]


def test_a_name_that_looks_like_a_gap_is_not_filled_again():
    pairs = open_library().identity("${maker}", "M")
    assert any("${maker}" in pair.answer for pair in pairs)


# --- count


def test_the_ledger_stays_under_the_papers_limit_by_the_papers_accounting():
    rows = {row.kind: row for row in count_library(open_library())}
    assert [rows[k].count for k in ("seed tasks", "question types", "principles", "exemplars")] == [
        175,
        20,
        16,
        5,
    ]
    assert rows["total"].count == 216 < PAPER_LIMIT
    assert not rows["prompt texts"].counted
    counted = [r for r in rows.values() if r.counted and r.kind != "total"]
    assert rows["total"].text_lines == sum(r.text_lines for r in counted)


def test_the_comparison_says_which_numbers_are_verified():
    verified = {s.name: s.annotations for s in SYSTEMS if s.verified}
    assert verified["Alpaca"] == "52K"
    assert "Koala" not in verified


def test_counting_a_broken_library_is_a_sentence(mine):
    (mine / "seeds/tasks.jsonl").write_text("")
    with pytest.raises(SelfAlignError, match="is empty"):
        count_library(open_library(directory=mine))


# --- diff


def test_equal_libraries_do_not_differ(mine):
    assert diff_libraries(open_library(), open_library(directory=mine)) == []


def test_an_edited_principle_is_named_with_the_stages_it_renames(mine):
    edit(mine / "constitutions/self_align.yaml", "The assistant does no harm", "It does no harm")
    (change,) = diff_libraries(open_library(), open_library(directory=mine))
    assert (change.file, change.item, change.how) == (
        "constitutions/self_align.yaml",
        "principle ethical",
        "edited",
    )
    assert change.stages[0] == "self_align.stage2"
    assert not any(stage.startswith("self_align.stage1") for stage in change.stages)


def test_a_comment_is_no_change(mine):
    edit(mine / "constitutions/self_align.yaml", "name: self_align", "# mine\nname: self_align")
    assert diff_libraries(open_library(), open_library(directory=mine)) == []


def test_added_removed_and_reordered_things_are_told_apart(mine):
    path = mine / "seeds/question_types.yaml"
    path.write_text("- {type: A, topic: T, question: q}\n- {type: B, topic: T, question: q}\n")
    other = mine.parent / "other"
    shutil.copytree(mine, other)
    (other / "seeds/question_types.yaml").write_text(
        "- {type: C, topic: T, question: q}\n- {type: B, topic: T, question: q}\n"
        "- {type: A, topic: T, question: q}\n"
    )
    changes = diff_libraries(open_library(directory=mine), open_library(directory=other))
    assert [(c.item, c.how) for c in changes] == [("type C", "added"), ("order", "reordered")]
    back = diff_libraries(open_library(directory=other), open_library(directory=mine))
    assert [(c.item, c.how) for c in back] == [("type C", "removed"), ("order", "reordered")]


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("prompts/self_align/verbose.md", "made by", "built by", [("text", "edited")]),
        ("prompts/chat/concise.md", "paper: ", "paper: our ", [("header", "edited")]),
        (
            "exemplars/self_align.yaml",
            "subject: a thing",
            "subject: something",
            [
                ("exemplar a thing known to every encyclopaedia", "removed"),
                ("exemplar something known to every encyclopaedia", "added"),
            ],
        ),
        ("seeds/tasks.jsonl", '"is_classification": false', '"is_classification": true', None),
        ("seeds/identity.yaml", "Who are you?", "Who might you be?", None),
    ],
)
def test_every_kind_of_file_can_be_compared(mine, file, old, new, expected):
    edit(mine / file, old, new)
    changes = diff_libraries(open_library(), open_library(directory=mine))
    assert changes
    assert all((c.file, c.stages) == (file, renamed_by(file)) for c in changes)
    assert expected is None or [(c.item, c.how) for c in changes] == expected


def test_every_shipped_prompt_and_seed_says_which_stages_read_it():
    unread = [f for f in open_library().files() if not renamed_by(f)]
    assert unread == ["prompts/chat/multilingual.md", "prompts/chat/verbose.md"]


def test_the_ledger_of_salmon_is_6_exemplars_and_31_principles():
    rows = {row.kind: row for row in count_salmon(open_library())}
    assert rows["exemplars"].count == 6
    assert rows["principles (self-alignment)"].count + rows["principles (RL)"].count == 31
    assert rows["total"].count == 37
    assert not rows["principles (preferences)"].counted
