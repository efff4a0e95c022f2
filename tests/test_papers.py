"""docs/papers.md and the source name each other, in both directions."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "papers.md"
PAPERS = ("2305.03047", "2310.05910")


class Row(NamedTuple):
    """One line of a table."""

    paper: str
    section: str
    file: str
    test: str


def rows() -> list[Row]:
    found, paper = [], ""
    for line in PAGE.read_text("utf-8").splitlines():
        if heading := re.match(r"## .*arXiv:(\d{4}\.\d{5})v\d", line):
            paper = heading[1]
        elif line.startswith("| ") and not line.startswith(("| Section", "| ---")):
            section, file, test, _difference = (
                c.strip() for c in line.strip("|").split("|", maxsplit=3)
            )
            found.append(Row(paper, section, file.strip("`"), test.strip("`")))
    return found


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def papers_named_in(path: Path) -> set[str]:
    return {paper for paper in PAPERS if f"arXiv:{paper}v" in docstring(path)}


def sources() -> list[Path]:
    return [p for p in (ROOT / "src").rglob("*.py") if not p.name.endswith("_test.py")]


def test_the_page_has_a_table_per_paper():
    assert {row.paper for row in rows()} == set(PAPERS)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.section)
def test_the_file_of_a_section_exists_and_names_the_paper(row):
    assert row.paper in papers_named_in(ROOT / row.file)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.section)
def test_the_test_of_a_section_exists(row):
    file, _, name = row.test.partition("::")
    assert f"def {name}" in (ROOT / file).read_text("utf-8") if name else (ROOT / file).is_file()


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_source_file_that_names_a_paper_is_on_the_page(path):
    listed = {(row.paper, row.file) for row in rows()}
    for paper in papers_named_in(path):
        assert (paper, str(path.relative_to(ROOT))) in listed
