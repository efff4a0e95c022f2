"""Pure text tools that more than one stage needs: cutting repetition, lists and half words.

    answer  ->  repetition_cut  ->  drop_last_word (if unfinished)  ->  cut_numbered_list

arXiv:2305.03047v2, the filters of "Principle-Driven Self-Alignment" and "Verbose Cloning", as the
authors' code has them. Differences from the code: none known in the three cuts.
Comparing texts by ROUGE-L has its own home, `core.novelty`.
"""

import re
from collections.abc import Sequence

SEPARATORS = ("\n", ".", "?", "!", ";", ":", ",")
"""Where `repetition_cut` splits: the authors' code, stage 2."""

VERBOSE_SEPARATORS = (*SEPARATORS, "`")
"""The same for stage 4, and for stage 2 of the v2 release: the back-tick too."""

_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")
_LIST_ITEM = re.compile(r"^[ \t]*(\d+)[.)](?=\s)", re.MULTILINE)


def repetition_cut(text: str, separators: Sequence[str] = SEPARATORS) -> str:
    """Cut a text before the first piece it has said before, and strip it.

    A piece ends with a separator and owns it. Bare separators may repeat. The cut truncates; it
    does not remove repeats, so a legitimate refrain also ends a text (the authors' trade-off).
    """
    bare = {"", *separators}
    seen: set[str] = set()
    kept: list[str] = []
    for piece in pieces(text, separators):
        if piece in seen and piece not in bare:
            break
        seen.add(piece)
        kept.append(piece)
    return "".join(kept).strip()


def pieces(text: str, separators: Sequence[str] = SEPARATORS) -> list[str]:
    """Split after every separator; joined, the pieces are the text."""
    if not separators:
        return [text]
    return re.split(f"(?<=[{re.escape(''.join(separators))}])", text)


def drop_last_word(text: str) -> str:
    """Remove the last word, which the length limit may have cut, and the white space around it."""
    words = text.rsplit(maxsplit=1)
    return words[0].rstrip() if len(words) == 2 else ""


def cut_numbered_list(text: str, keep: int = 12) -> str:
    """Cut a text before item `keep + 1` of a numbered list, if item `keep` stands before it.

    An item is a line that begins with "13." or "13)". A line of that kind that continues no list
    (a year, a score) is left alone.
    """
    reached = False
    for item in _LIST_ITEM.finditer(text):
        if reached and item[1] == str(keep + 1):
            return text[: item.start()].rstrip()
        reached = reached or item[1] == str(keep)
    return text


def collapse_spaces(text: str) -> str:
    """Replace every run of white space by one space, and strip."""
    return " ".join(text.split())


def exact_key(text: str) -> str:
    """Return what two texts share that differ in case, spacing and punctuation alone.

    Difference from the authors' merge step: runs of spaces count as one.
    """
    return _NOT_ALPHANUMERIC.sub(" ", text.casefold()).strip()
