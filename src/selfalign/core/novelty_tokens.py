"""Words of a text, as ROUGE-L counts them: one tokenizer for parity, one for every script.

    text -> lower case or case fold -> separators become spaces -> words

"rouge" is the reference's tokenizer (rouge_score, no stemming): it knows a-z and 0-9 only, so a
Chinese instruction has no words and the reference keeps every exact copy of it. "unicode" gives
the same words for ASCII text and also reads every other script: NFKC, case folded, a word is a run
of letters, marks and digits, and in scripts written without spaces (Han, Kana, Thai, Lao, Khmer,
Myanmar and kin) every character is a word of its own, as ROUGE is usually computed for Chinese.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Literal

TokenizerName = Literal["unicode", "rouge"]

_ROUGE_WORD = re.compile(r"[a-z0-9]+")
_ASCII = {code: chr(code).lower() if chr(code).isalnum() else " " for code in range(128)}

_SPACELESS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x3005, 0x3007),  # iteration mark, closing mark, zero
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # Katakana extensions
    (0x3400, 0x4DBF),  # Han extension A
    (0x4E00, 0x9FFF),  # Han
    (0xA9E0, 0xA9FF),  # Myanmar extended B
    (0xAA60, 0xAA7F),  # Myanmar extended A
    (0xF900, 0xFAFF),  # Han compatibility
    (0x1B000, 0x1B16F),  # Kana extensions
    (0x20000, 0x3FFFF),  # Han extensions B and later
)


class _UnicodeTable(dict[int, str]):
    """What each character becomes before splitting at spaces; filled as characters are met."""

    def __missing__(self, code: int) -> str:
        """Classify one character and remember it."""
        character = chr(code)
        if unicodedata.category(character)[0] not in "LMN":
            shown = " "
        elif any(first <= code <= last for first, last in _SPACELESS):
            shown = f" {character} "
        else:
            shown = character
        self[code] = shown
        return shown


_UNICODE = _UnicodeTable()


def rouge_words(text: str) -> list[str]:
    """Split exactly as rouge_score does without a stemmer."""
    if text.isascii():
        return text.translate(_ASCII).split()
    return _ROUGE_WORD.findall(text.lower())


def unicode_words(text: str) -> list[str]:
    """Split text of any script; equal to `rouge_words` when the text is ASCII."""
    if text.isascii():
        return text.translate(_ASCII).split()
    return unicodedata.normalize("NFKC", text).casefold().translate(_UNICODE).split()


def copy_key(text: str) -> str:
    """Return what two texts without a word must share to be copies: all but case and spacing."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


WORDS: dict[TokenizerName, Callable[[str], list[str]]] = {
    "unicode": unicode_words,
    "rouge": rouge_words,
}


class _Numbers(dict[str, int]):
    """Words with their numbers; asking for an unknown word gives it the next one."""

    next = 0

    def __missing__(self, word: str) -> int:
        """Number a new word."""
        self[word] = number = self.next
        self.next += 1
        return number


class Vocabulary:
    """Numbers for words, given in order of first sight; it only grows.

    A word's second, third, ... occurrence inside one text gets a number of its own (an
    *element*), so that a text becomes a set and shared elements count shared words.
    """

    def __init__(self) -> None:
        self._numbers = _Numbers()
        self._repeats: dict[tuple[int, int], int] = {}
        self._number = self._numbers.__getitem__

    def __len__(self) -> int:
        """How many numbers are in use, repeats included."""
        return self._numbers.next

    def encode(self, words: list[str]) -> list[int]:
        """Return the number of each word, in order; unknown words get the next numbers."""
        return list(map(self._number, words))

    def elements(self, tokens: list[int]) -> list[int]:
        """Return the text as a set: repeats of a number are replaced by numbers of their own."""
        if len(set(tokens)) == len(tokens):
            return tokens
        seen: dict[int, int] = {}
        elements: list[int] = []
        for token in tokens:
            times = seen.get(token, 0)
            seen[token] = times + 1
            elements.append(self._repeat(token, times) if times else token)
        return elements

    def _repeat(self, token: int, times: int) -> int:
        number = self._repeats.get((token, times))
        if number is None:
            self._repeats[token, times] = number = self._numbers.next
            self._numbers.next += 1
        return number
