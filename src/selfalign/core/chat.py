"""Conversations as text: one layout for training, generation, evaluation and the chat window.

    system text
    (blank line)
    ### User
    what the user says
    (blank line)
    ### Assistant          <- the prompt ends here, without a newline; the completion brings it

A base model has no end-of-turn token that was ever trained, so the user header plays its part: a
finished answer ends with it, and generation stops at it (arXiv:2305.03047v2, appendix on prompts).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selfalign.core.errors import InputError, PromptError
from selfalign.core.prompts import Prompt, load_prompt, quoted

USER = "### User"
ASSISTANT = "### Assistant"
THOUGHTS = "### Assistant (internal thoughts)"


@dataclass(frozen=True)
class ChatPrompt:
    """A prompt that opens a conversation: a system text and the two turn headers."""

    prompt: Prompt
    user: str
    """Header of the user's turns."""
    assistant: str
    """Header of the assistant's turns."""

    @property
    def name(self) -> str:
        """Name of the prompt file."""
        return self.prompt.name

    @property
    def fingerprint(self) -> str:
        """Digest of the prompt file, headers included."""
        return self.prompt.fingerprint

    @property
    def stop(self) -> tuple[str, ...]:
        """Where an answer ends: at the next user header, with or without its blank line.

        What the prompt file names under `stop` ends it, too.
        """
        return tuple(dict.fromkeys(("\n\n" + self.user, self.user, *self.prompt.stop)))

    def completion_of(self, answer: str, finished: bool) -> str:
        """Return what follows the assistant header in training.

        A finished answer ends with the user header, so that the model learns to stop; an
        unfinished one ends where the length limit cut it.
        """
        return f"\n{answer}\n\n{self.user}\n" if finished else f"\n{answer}"


def render_chat(chat: ChatPrompt, turns: Sequence[str], **values: str) -> str:
    """Render system text and turns, ending right after the assistant header.

    Args:
        chat: The layout.
        turns: User, assistant, user, …: an odd number, the last one waiting for its answer.
        values: What fills the gaps of the system text.

    Raises:
        InputError: the number of turns is even.
    """
    if len(turns) % 2 == 0:
        raise InputError(
            f"a conversation of {len(turns)} turns does not end with the user; give an odd number."
        )
    blocks = [chat.prompt.render(**values)]
    for number, text in enumerate(turns):
        blocks.append(f"{chat.assistant if number % 2 else chat.user}\n{quoted(text)}")
    return "\n\n".join([*blocks, chat.assistant])


def as_chat(prompt: Prompt) -> ChatPrompt:
    """Use a prompt as the opening of a conversation.

    Raises:
        PromptError: its header does not name the two turn headers.
    """
    if prompt.user is None or prompt.assistant is None:
        raise PromptError(
            f"prompt {prompt.name!r} is no conversation: its header lacks `user:` or `assistant:`. "
            f'Add `user: "{USER}"` and `assistant: "{ASSISTANT}"`.',
            field="user" if prompt.user is None else "assistant",
        )
    return ChatPrompt(prompt, prompt.user, prompt.assistant)


def load_chat_prompt(path: Path) -> ChatPrompt:
    """Read a prompt file that opens a conversation."""
    return as_chat(load_prompt(path))
