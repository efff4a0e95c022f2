"""Documents that cannot lie: what they name exists, and what they quote is what the command says.

Accept an intended change of the help pages with `UPDATE_HELP=1 pytest tests/test_docs.py`.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from selfalign.cli.app import app

ROOT = Path(__file__).parents[1]
HELP = ROOT / "docs" / "cli"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def verbs(command=None, path=()) -> dict[str, tuple[str, ...]]:
    """Return every command by the name of its help page: "library-check" -> its words."""
    command = command or get_command(app)
    found = {"-".join(("selfalign", *path)): path}
    for name, inner in getattr(command, "commands", {}).items():
        found |= verbs(inner, (*path, name))
    return found


def shell_lines(page: Path) -> list[str]:
    """Return the commands of a page's ```sh blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    lines = "".join(blocks).splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("name", verbs(), ids=str)
def test_the_help_page_is_what_the_command_says(name):
    # Python's own help machinery measures the terminal: fix it, so that every machine agrees.
    environment = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "selfalign.cli", *verbs()[name], "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    page = HELP / f"{name}.txt"
    if os.environ.get("UPDATE_HELP"):
        HELP.mkdir(exist_ok=True)
        page.write_text(done.stdout, "utf-8")
    assert done.stdout == page.read_text("utf-8")


def test_no_help_page_is_left_of_a_command_that_is_gone():
    assert {page.stem for page in HELP.glob("*.txt")} == set(verbs())


def test_every_file_in_the_reading_order_exists():
    named = re.findall(r"`((?:src|docs)/[^`]+)`", (ROOT / "docs/reading-order.md").read_text())
    assert len(named) >= 12
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)[^)]*\)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_command_of_the_readme_exists():
    known = {" ".join(words) for words in verbs().values()}
    targets = re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text())
    lines = shell_lines(ROOT / "README.md")
    assert lines
    for line in lines:
        program, *words = shlex.split(line.removeprefix("$ "))
        if program == "make":
            assert words[0] in targets, line
        elif program == "selfalign":
            assert words[0] in known, line
            if words[0] in ("library", "calf"):
                assert " ".join(words[:2]) in known, line
        else:
            assert (ROOT / program).exists() or program in ("git", "cd", "less", "echo"), line


def test_every_option_the_readme_uses_is_one_the_command_has():
    for line in shell_lines(ROOT / "README.md"):
        program, *words = shlex.split(line.removeprefix("$ "))
        if program == "selfalign":
            depth = 2 if words[0] in ("library", "calf") else 1
            page = (HELP / f"selfalign-{'-'.join(words[:depth])}.txt").read_text("utf-8")
            for option in (w.partition("=")[0] for w in words[depth:] if w.startswith("-")):
                assert option in page, line


def test_a_decision_fits_on_a_page_and_says_when_it_was_wrong():
    decisions = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [d.name[:4] for d in decisions] == [f"{n:04}" for n in range(1, len(decisions) + 1)]
    for decision in decisions:
        text = decision.read_text("utf-8")
        assert len(text.splitlines()) <= 40, decision
        for part in ("**situation.**", "**decision.**", "**what follows.**", "wrong if**"):
            assert part in text.lower(), (decision, part)


def test_no_document_draws_a_file_tree():
    """A tree drawn by hand drifts; reading-order.md lists files and is checked."""
    for page in PAGES:
        assert "├── " not in page.read_text("utf-8"), page
