"""What instructions ask for: their root verb and its object, as in the paper's data figure.

Paper: arXiv:2305.03047v2, the figure on the statistics of synthetic prompts (its first panel).

    "Write a short poem about the sea"   ->  write, poem
    "How can I bake a plum cake?"        ->  bake, cake
    "What is the tallest mountain?"      ->  none: no verb with an object

Differences from the paper: the authors' figure rests on a syntactic parser, whose weights would
have to be downloaded. This is a heuristic for requests: the verb is where a request has it, the
object is the last word of the phrase after it. What it cannot read is counted, never guessed.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from selfalign.reports.charts import Branch

ASKING = re.compile(
    r"""^(?:please|kindly|now|then|next)\s+
      | ^(?:can|could|would|will)\s+you\s+(?:please\s+|kindly\s+)?
      | ^(?:i\s+(?:want|need|would\s+like)\s+(?:you\s+)?to|i'd\s+like\s+(?:you\s+)?to)\s+
      | ^(?:help\s+me(?:\s+to)?|(?:show|teach|tell|explain|describe)(?:\s+(?:to\s+)?(?:me|us))?
          \s+how\s+(?:to|(?:i|we|you|one|people)(?:\s+can)?))\s+
      | ^(?:how|where|when)\s+(?:can|could|do|should|would|might|does|did)\s+
          (?:i|we|you|one|somebody|someone|people)\s+
      | ^how\s+to\s+
      | ^(?:given|for|using|based\s+on|from|in)\b[^,]*,\s+
    """,
    re.VERBOSE | re.IGNORECASE,
)
WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
NOT_VERBS = frozenset(
    WORD.findall(
        """a an the this that these those my your his her its our their some any every each no all
        both i you he she it we they who what which whose whom where when why how is are was were
        am be been do does did has have had can could would should will shall may might must if in
        on at of for from with by to about into over under between as and or but not so there here
        one two three four five six seven eight nine ten yes"""
    )
)
PHRASE_ENDS = frozenset(
    WORD.findall(
        """of about for to in on at with that which who whose where when and or but from by as
        into onto using between among if so because while than via without within per over under
        during after before is are was were be can could should would will made used called named
        based how what why through against toward towards like such including above below"""
    )
)
SKIPPED = frozenset(
    WORD.findall("me us him her them a an the this that these those my your our their")
)


class Asked(NamedTuple):
    """What an instruction asks to do, and to what."""

    verb: str
    noun: str


def asked_for(instruction: str) -> Asked | None:
    """Read verb and object off an instruction; None when it is not a request with an object."""
    sentence = re.split(r"(?<=[.?!:;])\s|\n", instruction.strip(), maxsplit=1)[0]
    while (shorter := ASKING.sub("", sentence, count=1)) != sentence:
        sentence = shorter
    words = list(WORD.finditer(sentence))
    if not words or words[0].start() > 1 or words[0].group().lower() in NOT_VERBS:
        return None
    noun = _head_noun(sentence, words[1:])
    return Asked(words[0].group().lower(), noun) if noun else None


def root_verbs(instructions: Iterable[str], verbs: int = 20, nouns: int = 4) -> list[Branch]:
    """Count the most common verbs and, for each, its most common objects (the paper: 20 and 4)."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for instruction in instructions:
        if asked := asked_for(instruction):
            counts[asked.verb][asked.noun] += 1
    largest = sorted(counts, key=lambda verb: (-counts[verb].total(), verb))[:verbs]
    return [Branch(verb, counts[verb].total(), _top(counts[verb], nouns)) for verb in largest]


def _head_noun(sentence: str, words: Sequence[re.Match[str]]) -> str | None:
    """Return the last word of the first phrase; a phrase ends at punctuation or a linking word."""
    head: str | None = None
    end: int | None = None
    for word in words:
        text = word.group().lower()
        if end is not None and sentence[end : word.start()].strip(" \"'“”‘’0123456789"):
            break  # punctuation lies between this word and the one before
        end = word.end()
        if text in SKIPPED and head is None:
            continue
        if text in PHRASE_ENDS:
            break
        head = text
    return None if head in NOT_VERBS else head


def _top(counter: Counter[str], size: int) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:size])
