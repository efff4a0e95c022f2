"""`selfalign library check`: is every file well-formed, and do the files make sense together?

    library  ->  one pass per shelf  ->  findings, each with file, field, what is wrong, way out

An *error* would stop a run or silently spoil it; a *warning* is something its author may intend.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from selfalign.core.constitution import Constitution
from selfalign.core.exemplars import Exemplar, cited_rules, render_exemplars
from selfalign.core.library.findings import Finding, Findings, repeated
from selfalign.core.library.folders import SHIPPED, Library
from selfalign.core.prompts import Prompt

GAPS: Mapping[str, frozenset[str]] = {
    "self_align/topics": frozenset({"question_type", "topics"}),
    "self_align/red_teaming": frozenset({"hints", "examples"}),
    "self_align/self_instruct": frozenset({"examples"}),
    "self_align/self_alignment": frozenset({"rules", "exemplars", "query", "assistant"}),
    "self_align/verbose": frozenset({"assistant", "maker"}),
    "chat/standard": frozenset({"assistant", "maker"}),
    "chat/concise": frozenset({"assistant", "maker"}),
    "chat/verbose": frozenset({"assistant", "maker"}),
    "chat/multilingual": frozenset({"assistant", "maker"}),
}
"""What the stages fill in each prompt they use; a prompt with other gaps cannot be rendered."""

ROOM_FOR_ANSWER = 256
"""The authors' launch script: new tokens a self-alignment prompt must leave for its answer."""


class Window(Protocol):
    """What a check needs of a model: how long its context is and how it counts."""

    @property
    def context_length(self) -> int:
        """Tokens the model can attend to."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has."""
        ...


def check_library(
    library: Library, *, constitution: str = "self_align", window: Window | None = None
) -> list[Finding]:
    """Return everything wrong or odd about a library, errors first.

    Args:
        library: The folders to look at.
        constitution: Which constitution and exemplars must fit the model's context.
        window: The model; None: lengths are not checked.
    """
    found = Findings()
    constitutions = _check_constitutions(library, found)
    exemplars = _check_exemplars(library, constitutions, found)
    prompts = _check_prompts(library, found)
    _check_seeds(library, found)
    _check_unread(library, found)
    if constitution not in library.names("constitutions"):
        wanted = f"constitutions/{constitution}.yaml"
        found.attempt(wanted, lambda: library.find(wanted))
    rules, shown = constitutions.get(constitution), exemplars.get(constitution)
    if window and rules and shown and (prompt := prompts.get("self_align/self_alignment")):
        file = library.find("prompts/self_align/self_alignment.md")
        found.attempt(file, lambda: _check_length(file, prompt, rules, shown, window, found))
    return sorted(found.all, key=lambda finding: finding.level)


def _check_constitutions(library: Library, found: Findings) -> dict[str, Constitution]:
    loaded: dict[str, Constitution] = {}
    for name in library.names("constitutions"):
        file = library.find(f"constitutions/{name}.yaml")
        constitution = found.attempt(file, lambda name=name: library.constitution(name))
        if constitution is None:
            continue
        loaded[name] = constitution
        for twice in repeated(p.text for p in constitution.principles):
            found.error(
                file,
                "principles",
                f"two principles say the same ({twice[:80]!r}); remove one of them.",
            )
    return loaded


def _check_exemplars(
    library: Library, constitutions: Mapping[str, Constitution], found: Findings
) -> dict[str, tuple[Exemplar, ...]]:
    loaded: dict[str, tuple[Exemplar, ...]] = {}
    for name in library.names("exemplars"):
        file = library.find(f"exemplars/{name}.yaml")
        exemplars = found.attempt(file, lambda name=name: library.exemplars(name))
        if exemplars is None:
            continue
        if name not in constitutions:
            if f"constitutions/{name}.yaml" not in library.files():
                found.error(
                    file,
                    "",
                    f"there is no constitutions/{name}.yaml whose rules these exemplars cite; "
                    f"add it, or rename this file.",
                )
            continue
        loaded[name] = exemplars
        _check_citations(file, exemplars, constitutions[name], found)
    return loaded


def _check_citations(
    file: Path, exemplars: Sequence[Exemplar], constitution: Constitution, found: Findings
) -> None:
    for number, exemplar in enumerate(exemplars, start=1):
        unknown = [n for n in exemplar.demonstrates if n not in constitution.names]
        if unknown:
            found.error(
                file,
                f"{number}.cites",
                f"exemplar {number} ({exemplar.subject}) cites {', '.join(unknown)}, which "
                f"constitution {constitution.name!r} does not have; it has "
                f"{', '.join(constitution.names)}. Correct the name or add the principle.",
            )
            continue
        for place, message in _odd_turns(exemplar, constitution):
            found.error(file, f"{number}.{place}", f"exemplar {number}: {message}")
        found.attempt(file, lambda e=exemplar: render_exemplars([e], constitution, assistant=""))
    shown = {name for exemplar in exemplars for name in exemplar.demonstrates}
    never = [name for name in constitution.names if name not in shown]
    if never:
        found.warn(
            file,
            "",
            f"no exemplar demonstrates {', '.join(never)}; the model sees these rules only as "
            f"text. Cite them in an exemplar where they apply.",
        )
    for twice in repeated(turn.user for exemplar in exemplars for turn in exemplar.turns):
        found.warn(file, "", f"two exemplars ask the same ({twice[:80]!r}); remove one of them.")


def _odd_turns(exemplar: Exemplar, constitution: Constitution) -> Iterator[tuple[str, str]]:
    """Yield the field and the sentence of every turn that cannot teach what it should."""
    for at, turn in enumerate(exemplar.turns):
        for field, text in (
            ("user", turn.user),
            ("thoughts", turn.thoughts),
            ("answer", turn.answer),
        ):
            if not text.strip():
                yield f"turns.{at}.{field}", f"`{field}` is empty; write it."
        written = cited_rules(turn.thoughts, constitution)
        if not exemplar.cites_in(turn):
            yield f"turns.{at}.cites", "the turn cites no rule; name at least one in `cites:`."
        elif "${rules}" not in turn.thoughts:
            meant = sorted(constitution.number_of(name) for name in exemplar.cites_in(turn))
            if list(written.rules) != meant or written.wrong:
                yield (
                    f"turns.{at}.thoughts",
                    "the thoughts do not name the rules of `cites:`; write ${rules} where they go.",
                )


def _check_prompts(library: Library, found: Findings) -> dict[str, Prompt]:
    loaded: dict[str, Prompt] = {}
    for name in sorted({*library.names("prompts"), *GAPS}):
        file = library.files().get(f"prompts/{name}.md", f"prompts/{name}.md")
        prompt = found.attempt(file, lambda name=name: library.prompt(name))
        if prompt is None:
            continue
        loaded[name] = prompt
        expected = GAPS.get(name, frozenset(prompt.gaps))
        if expected != frozenset(prompt.gaps):
            found.error(
                file,
                "gaps",
                f"the stage that uses this prompt fills {sorted(expected)}, and the prompt asks "
                f"for {sorted(prompt.gaps)}; use exactly these gaps.",
            )
        if name.startswith("chat/") or name == "self_align/verbose":
            found.attempt(file, lambda name=name: library.chat_prompt(name))
        if not prompt.text.strip():
            found.error(file, "text", "the prompt is empty; write its text under the header.")
    return loaded


def _check_seeds(library: Library, found: Findings) -> None:
    file = library.files().get("seeds/tasks.jsonl", "seeds/tasks.jsonl")
    tasks = found.attempt(file, library.seed_tasks) or []
    for number, task in enumerate(tasks, start=1):
        if not task.instruction.strip():
            found.error(file, f"task {number}", f"task {number} has no instruction; write it.")
    for twice in repeated(f"{task.instruction} {task.input}" for task in tasks):
        found.warn(file, "", f"two seed tasks are the same ({twice[:80]!r}); remove one of them.")

    file = library.files().get("seeds/question_types.yaml", "seeds/question_types.yaml")
    types = found.attempt(file, library.question_types) or []
    for number, kind in enumerate(types, start=1):
        for field, text in (
            ("type", kind.name),
            ("topic", kind.topic),
            ("question", kind.question),
        ):
            if not text.strip():
                found.error(
                    file, f"{number}.{field}", f"entry {number}: `{field}` is empty; write it."
                )
    for twice in repeated(kind.name for kind in types):
        found.error(
            file,
            "type",
            f"the type {twice!r} stands there twice; topics belong to a type by its name, so "
            f"rename or remove one.",
        )

    file = library.files().get("seeds/identity.yaml", "seeds/identity.yaml")
    pairs = found.attempt(file, lambda: library.identity("ASSISTANT", "MAKER")) or []
    for pair, times in Counter(pairs).items():
        if times > 1:
            found.warn(file, "", f"the pair {pair.question!r} comes out {times} times; remove one.")


def _check_unread(library: Library, found: Findings) -> None:
    """Warn of files of the user's that nothing reads: mostly a name with a slip in it."""
    known = {"seeds/tasks.jsonl", "seeds/question_types.yaml", "seeds/identity.yaml"}
    for folder in (f for f in library.folders if not f.is_relative_to(SHIPPED)):
        mine = Library((folder,)).files()
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = path.relative_to(folder).as_posix()
            if any(part.startswith(".") for part in path.relative_to(folder).parts):
                continue
            if name not in mine or (name.startswith("seeds/") and name not in known):
                found.warn(
                    path,
                    "",
                    "nothing reads this file; a library has constitutions/NAME.yaml, "
                    "exemplars/NAME.yaml, prompts/ROOM/NAME.md and "
                    + ", ".join(sorted(known))
                    + ".",
                )


def _check_length(
    file: Path,
    prompt: Prompt,
    constitution: Constitution,
    exemplars: Sequence[Exemplar],
    window: Window,
    found: Findings,
) -> None:
    values = {
        "rules": constitution.as_numbered_rules(),
        "exemplars": render_exemplars(exemplars, constitution, assistant="Assistant"),
        "assistant": "Assistant",
    }
    if set(prompt.gaps) != {*values, "query"}:
        return
    (tokens,) = window.count_tokens([prompt.render(**values, query="")])
    room = window.context_length - tokens
    if room < ROOM_FOR_ANSWER:
        (found.error if room <= 0 else found.warn)(
            file,
            "text",
            f"rules, exemplars and prompt take {tokens} of the model's {window.context_length} "
            f"tokens, which leaves {max(room, 0)} for question, thoughts and answer "
            f"({ROOM_FOR_ANSWER} are wanted). Shorten the exemplars or use a longer context.",
        )
