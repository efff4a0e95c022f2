"""Where the assistant's turn ends: what stages 2 and 4 both need to know about a completion.

    completion -> answer | user header | next turn         finished: the model ended its turn
    completion -> answer cut in the mid                    unfinished: the limit ended it

Paper: arXiv:2305.03047v2, filters of the appendix. Difference from the authors' code: an answer
that ends with the end token is finished too, and a header begun at the very end ("### Us") is
trimmed, as their chat program does.
"""

from typing import NamedTuple

from selfalign.core.chat import ChatPrompt
from selfalign.core.text import drop_last_word


class Turn(NamedTuple):
    """What was answered, and whether the model ended it; only a finished answer teaches to stop."""

    answer: str
    finished: bool


def before_next_turn(text: str, user: str) -> tuple[str, bool]:
    """Return the text up to the next user header after a blank line, and whether there was one."""
    answer, header, _ = text.partition(f"\n\n{user}")
    return answer.strip(), bool(header)


def cut_off(text: str, user: str) -> Turn:
    """Return an unfinished turn: without a header begun at the end, and without the last word."""
    body, _, last_line = text.rstrip().rpartition("\n")
    dangling = user.startswith(last_line.strip())
    return Turn(drop_last_word(body if dangling else text), finished=False)


def closed_length(answer: str, chat: ChatPrompt) -> int:
    """Return the characters of an answer with the user header that closes it (11 more here)."""
    return len(chat.completion_of(answer, finished=True).removeprefix("\n"))
