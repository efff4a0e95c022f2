"""What a check of a library hands back, and how it is collected.

load a file  ->  attempt  ->  the value, or a Finding with the error's own words
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from selfalign.core.errors import SelfAlignError
from selfalign.core.text import exact_key

T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """One thing a person should look at."""

    level: Literal["error", "warning"]
    file: str
    """Path of the file, or its name in the library when it is missing."""
    field: str
    """Place inside the file, such as "principles.3.text"; empty: the whole."""
    message: str
    """What is wrong and what to do, as a sentence."""


class Findings:
    """Collects findings while files are loaded one by one."""

    def __init__(self) -> None:
        """Start with none."""
        self.all: list[Finding] = []

    def error(self, file: Path | str, field: str, message: str) -> None:
        """Note something that would stop or spoil a run."""
        self.all.append(Finding("error", str(file), field, message))

    def warn(self, file: Path | str, field: str, message: str) -> None:
        """Note something its author may intend."""
        self.all.append(Finding("warning", str(file), field, message))

    def attempt(self, file: Path | str, load: Callable[[], T]) -> T | None:
        """Return what loads, or note why it does not."""
        try:
            return load()
        except SelfAlignError as error:
            self.error(file, error.field, str(error))
            return None


def repeated(texts: Iterable[str]) -> list[str]:
    """Return the texts said before, but for case, spacing and punctuation; empty ones apart."""
    seen: set[str] = set()
    again: list[str] = []
    for text in texts:
        key = exact_key(text)
        if key and key in seen:
            again.append(text)
        seen.add(key)
    return again
