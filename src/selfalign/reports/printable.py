r"""Text from a model or a user, made safe to show: control characters become visible.

A generated text may hold terminal escape sequences, bidirectional overrides that reorder what a
reader sees, or bytes that are not allowed in a page. None of them may act; all of them should be
seen. HTML escaping is the template's work (autoescape) and is not done here.

    model text  ->  the same text, every control character written out as \x1b or \u202e
"""

import unicodedata

HARMLESS = frozenset("\n\t\u200c\u200d")
"""Line breaks, and the two joiners that Persian, Hindi and emoji are spelt with."""
ACTING = frozenset({"Cc", "Cf", "Cs"})
"""Unicode categories that act instead of showing: control, format, lone surrogate."""


def printable(text: str) -> str:
    """Write out every control and formatting character; keep newlines, tabs and joiners."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _harmless(c) else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str, width: int = 100) -> str:
    """Return a text on one line, cut with an ellipsis if it is longer than `width` characters."""
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= width else flat[: width - 1].rstrip() + "…"


def _harmless(character: str) -> bool:
    noncharacter = ord(character) & 0xFFFE == 0xFFFE
    acting = unicodedata.category(character) in ACTING and character not in HARMLESS
    return not (acting or noncharacter)
