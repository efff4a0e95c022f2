"""How like two answers are in their words."""

from functools import lru_cache

from selfalign.core.novelty_tokens import unicode_words


@lru_cache(maxsize=8192)
def words_of(text: str) -> frozenset[str]:
    """Return the different words of a text, in lower case."""
    return frozenset(unicode_words(text))


def likeness(one: str, other: str) -> float:
    """Return shared words over all words (Jaccard), 0 to 1; of two texts without a word 0."""
    words, others = words_of(one), words_of(other)
    return len(words & others) / max(1, len(words | others))
