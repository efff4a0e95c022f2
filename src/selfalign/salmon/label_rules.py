"""What overrules the principles when a pair is labelled: boilerplate and language. Pure.

Paper: arXiv:2310.05910v2, "Training the Instructable Reward Model", and the authors' code.

A judge that is merely a fine-tuned base model misses two things a rule can see: that an answer
excuses itself as "an AI language model", and that it is not in the user's language.

    texts -> boilerplate_rule -> the answer without the phrase, if exactly one has it
    languages of request and answers -> language_rule -> the one answer in it, if one is not

Differences: none known in the rules. The authors identify languages with a fastText model that has
to be downloaded; here any function will do, and `languages.py` has one that needs no download.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from selfalign.core.records import ResponsePair
from selfalign.core.text import collapse_spaces
from selfalign.salmon.records import Side


class Languages(NamedTuple):
    """The languages of a request and two answers to it, as codes such as "en"."""

    instruction: str
    first: str
    second: str


class LanguageIdentifier(Protocol):
    """Something that tells languages apart; an ingredient, since another one labels otherwise."""

    @property
    def fingerprint(self) -> str:
        """Names the identifier and its version."""
        ...

    def __call__(self, text: str) -> str:
        """Return a code for the language of one line of text."""
        ...


def boilerplate_rule(first: str, second: str, phrase: str) -> Side | None:
    """Prefer the answer without the phrase if the other has it; None if both or neither have.

    Capitals count: the phrase is meant as the beginning of a sentence. An empty phrase never fires.
    """
    if not phrase or (phrase in first) == (phrase in second):
        return None
    return 2 if phrase in first else 1


def language_rule(languages: Languages) -> Side | Literal["neither"] | None:
    """Prefer the answer in the language of the request; None if both are in it."""
    first = languages.first == languages.instruction
    second = languages.second == languages.instruction
    if first and second:
        return None
    if not first and not second:
        return "neither"
    return 1 if first else 2


def languages_of(pair: ResponsePair, language_of: Callable[[str], str]) -> Languages:
    """Identify the language of the request and of both answers, each as one line of text."""
    texts = (pair.instruction.text, pair.first, pair.second)
    return Languages(*(language_of(collapse_spaces(text)) for text in texts))
