"""`selfalign library diff A B`: what an edit changes, item by item, and what it sets in motion.

    two libraries  ->  items of each file  ->  added, removed, edited, reordered  ->  stages renamed

A stage is named by its ingredients, so an edited principle renames exactly the stages that read
it and, through the model or the data they make, those after them; all else is found again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from selfalign.core.files import read_text
from selfalign.core.library.folders import Library
from selfalign.core.records import digest

How = Literal["added", "removed", "edited", "reordered"]

_REWARDED = ("salmon.stage2.reward_model", "salmon.stage3")
_JUDGED = ("salmon.stage1", "salmon.stage2", *_REWARDED, "salmon.direct_preferences")
_SALMON = ("salmon.stage1.pairs", *_JUDGED, "salmon.stage3.start")
_ENGRAVED = ("self_align.stage3", "self_align.stage4", "self_align.stage4.final", *_SALMON)
_MERGED = ("self_align.stage1.merge", *_ENGRAVED)
_TASKS = ("self_align.stage1.self_instruct", "self_align.stage1.task_selection", *_MERGED)
_QUESTIONS = ("self_align.stage1.red_teaming_selection", *_MERGED)
_TOPICS = ("self_align.stage1.topics", "self_align.stage1.topic_selection", *_QUESTIONS)
_ALIGNED = ("self_align.stage2", *_ENGRAVED, "evaluation.in_context")

READERS: Mapping[str, tuple[str, ...]] = {
    "seeds/tasks.jsonl": _TASKS,
    "prompts/self_align/self_instruct.md": _TASKS,
    "seeds/question_types.yaml": _TOPICS,
    "prompts/self_align/topics.md": _TOPICS,
    "prompts/self_align/red_teaming.md": ("self_align.stage1.red_teaming", *_QUESTIONS),
    "prompts/self_align/self_alignment.md": _ALIGNED,
    "prompts/self_align/verbose.md": _ENGRAVED[1:],
    "prompts/chat/standard.md": _ENGRAVED,
    "prompts/chat/concise.md": _ENGRAVED[2:],
    "seeds/identity.yaml": _ENGRAVED,
    "prompts/salmon/judge_principle.md": _JUDGED,
    "prompts/salmon/reward_model_pretraining.md": ("salmon.stage2.pretraining", *_REWARDED),
    "prompts/salmon/reward_model.md": _REWARDED,
    "prompts/salmon/reward_model_rl.md": _REWARDED,
    "constitutions/salmon_preferences.yaml": _JUDGED,
    "constitutions/salmon_*.yaml": _REWARDED[1:],
    "constitutions/*.yaml": _ALIGNED,
    "exemplars/*.yaml": _ALIGNED,
}
"""File -> stages that an edit of it renames (new folders); the first pattern that fits counts.

A stage whose inputs change without its ingredients keeps its folder and asks only what is new:
stage 2 after an edit of stage 1, for example.
"""


@dataclass(frozen=True)
class Change:
    """One difference between two libraries."""

    file: str
    item: str
    """What inside the file, such as "principle candor"; "order" when only the order differs."""
    how: How
    """From the first library to the second."""
    stages: tuple[str, ...]
    """Stages of a run that get a new name because of it; empty: none reads the file."""


def diff_libraries(a: Library, b: Library) -> list[Change]:
    """Return what changes from `a` to `b`, file by file.

    Raises:
        SelfAlignError: a file that differs cannot be read; its own message says why.
    """
    files_a, files_b = a.files(), b.files()
    changes: list[Change] = []
    for file in sorted({*files_a, *files_b}):
        if same_text(files_a.get(file), files_b.get(file)):
            continue
        before = _items(a, file) if file in files_a else {}
        after = _items(b, file) if file in files_b else {}
        stages = renamed_by(file)
        changes += [Change(file, item, how, stages) for item, how in _compared(before, after)]
    return changes


def same_text(first: Path | None, second: Path | None) -> bool:
    """Return whether both files are there and say the same, byte for byte."""
    return first is not None and second is not None and read_text(first) == read_text(second)


def renamed_by(file: str) -> tuple[str, ...]:
    """Return the stages that an edit of a file renames, in the order they run."""
    return next((s for pattern, s in READERS.items() if fnmatch(file, pattern)), ())


def _compared(before: Mapping[str, str], after: Mapping[str, str]) -> list[tuple[str, How]]:
    changes: list[tuple[str, How]] = []
    for item in {**before, **after}:
        if item not in after:
            changes.append((item, "removed"))
        elif item not in before:
            changes.append((item, "added"))
        elif before[item] != after[item]:
            changes.append((item, "edited"))
    if [i for i in before if i in after] != [i for i in after if i in before]:
        changes.append(("order", "reordered"))
    return changes


def _items(library: Library, file: str) -> dict[str, str]:
    """Return the things inside a file that a person would name, each with a digest."""
    shelf, _, name = file.partition("/")
    stem = name.rpartition(".")[0]
    if shelf == "constitutions":
        principles = library.constitution(stem).principles
        return {f"principle {p.name}": digest(p.model_dump()) for p in principles}
    if shelf == "exemplars":
        return {f"exemplar {e.subject}": e.model_dump_json() for e in library.exemplars(stem)}
    if shelf == "prompts":
        prompt = library.prompt(stem)
        return {"header": digest(prompt.model_dump(exclude={"text"})), "text": digest(prompt.text)}
    return _seed_items(library, name)


def _seed_items(library: Library, name: str) -> dict[str, str]:
    if name == "tasks.jsonl":
        return {f"task {t.instruction[:80]}": t.id for t in library.seed_tasks()}
    if name == "question_types.yaml":
        return {f"type {t.name}": t.id for t in library.question_types()}
    if name == "identity.yaml":
        pairs = library.identity("${assistant}", "${maker}")
        return {f"pair {pair.question} {pair.answer}": "" for pair in pairs}
    return {}
