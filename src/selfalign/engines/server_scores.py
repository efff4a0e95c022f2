"""Scores out of what a server lists: one token's alternatives, or an echoed text. Pure.

context, choices, their ids --question_of--> Question --server--> alternatives --scores_of--> log p
echoed text --sum_of_echo--> log p of the continuation

With the server's own token ids a choice is one exact token, "a" after "(" another than "a" after
a space. Without them a choice is the listed token spelled like it, else the longest listed token
it begins with: the same token for choices that are one token long, a good guess for longer ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from selfalign.core.errors import EngineError
from selfalign.engines.server_wire import Choice, Prompt

_SHOWN = 60
_TOKEN = "token_id:"
"""How vLLM spells a token when asked with `return_tokens_as_token_ids`."""


@dataclass(frozen=True)
class Question:
    """What comes after a context?"""

    context: str
    prompt: Prompt
    """The context as it is sent: text, or the ids that the context and every choice share."""
    choices: tuple[str, ...]
    tokens: tuple[str, ...] | None
    """Per choice, how the server spells its token; None: it is found by its text."""


def shown(text: str) -> str:
    """Return the end of a text, by which a reader recognises a prompt."""
    return repr(text if len(text) <= _SHOWN else "…" + text[-_SHOWN:])


def question_of(context: str, choices: tuple[str, ...], ids: Sequence[Sequence[int]]) -> Question:
    """Return the question to ask; `ids` are the context's and those of context + each choice.

    Raises:
        EngineError: two choices begin with the same token.
    """
    if not ids:
        return Question(context, context, choices, None)
    bare, wholes = ids[0], ids[1:]
    end = min(min(shared_length(bare, whole), len(whole) - 1) for whole in wholes)
    firsts = [whole[end] for whole in wholes]
    if end < 1 or len(set(firsts)) < len(firsts):
        raise _alike(context, choices)
    return Question(context, list(bare[:end]), choices, tuple(f"{_TOKEN}{t}" for t in firsts))


def scores_of(question: Question, choice: Choice) -> list[float]:
    """Return log p (nats) per choice.

    Raises:
        EngineError: the server lists no alternatives, or a choice is not among them.
    """
    listed = choice.first_alternatives()
    if not listed:
        raise EngineError(
            "the server lists no alternatives to the token it draws, so it cannot score choices. "
            "Start it with logprobs enabled, use vLLM, or name a directory to score in this "
            "process."
        )
    names = question.tokens or _found_by_text(question, listed)
    for name, text in zip(names, question.choices, strict=True):
        if name not in listed:
            raise EngineError(
                f"the choice {text!r} is not among the {len(listed)} likeliest tokens after "
                f"{shown(question.context)}, and a server tells the scores of those alone. The "
                f"likeliest is {max(listed, key=lambda t: listed[t])!r}. Word the prompt so that "
                f"one of {', '.join(map(repr, question.choices))} is expected, or name a directory "
                f"to score in this process."
            )
    return [listed[name] for name in names]


def sum_of_echo(
    choice: Choice, context: str, whole: str, ids: tuple[Sequence[int], Sequence[int]] | None
) -> float:
    """Add up the log p of the continuation's tokens in an echoed text.

    `ids` are those of the context and of the whole; None: the server's text offsets decide, and a
    token that lies across the border counts for the continuation.

    Raises:
        EngineError: the server did not echo the text's log-probabilities.
    """
    told = choice.logprobs
    logps = told.token_logprobs if told else []
    offsets = told.text_offset if told else []
    if ids is not None:
        start, end = max(1, shared_length(*ids)), len(ids[1])
    else:
        ends = [*offsets[1:], len(whole)]
        start = next((k for k, at in enumerate(ends) if at > len(context)), len(offsets))
        start, end = max(1, start), sum(at < len(whole) for at in offsets)
    wanted = logps[start:end]
    if len(wanted) < end - start or end == 0 or any(p is None for p in wanted):
        raise EngineError(
            "the server does not tell the log-probabilities of a given text (`echo` with "
            "`logprobs`), so it cannot compute a likelihood. Use vLLM, or name a directory to "
            "score in this process."
        )
    return sum(p for p in wanted if p is not None)


def shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many items two sequences begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second)))  # noqa: B905


def _found_by_text(question: Question, listed: Mapping[str, float]) -> tuple[str, ...]:
    """Name, per choice, the longest listed token it begins with, or itself if there is none."""
    found = tuple(
        max((t for t in listed if t and text.startswith(t)), key=len, default=text)
        for text in question.choices
    )
    if len(set(found)) < len(found):
        raise _alike(question.context, question.choices)
    return found


def _alike(context: str, choices: Sequence[str]) -> EngineError:
    return EngineError(
        f"the choices {', '.join(map(repr, choices))} begin with the same token after "
        f"{shown(context)}, so their scores cannot be told apart. Choose words that begin "
        f"differently."
    )
