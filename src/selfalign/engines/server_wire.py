"""What is said over the wire, as records: request bodies out, validated replies in. Pure.

prompts + Sampling --completion_body--> JSON --server--> bytes --read_choices--> Choice per prompt

A reply is trusted in nothing: choices are placed by their index, and a reply with a choice
missing, twice or out of range is refused whole (and asked for again).
"""

from collections.abc import Sequence
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from selfalign.core.protocols import Completion, Sampling
from selfalign.engines.server_pace import TryAgain
from selfalign.engines.texts import first_stop, trim_dangling_stop

Prompt = str | list[int]
"""Text, or token ids where the server's own tokenizer is known."""

_PLAIN: dict[str, JsonValue] = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
"""Off: vLLM would take them from the model's generation_config, llama.cpp from its own defaults."""

_SEEDS = 2**31
"""llama.cpp takes 32 bits; the stages draw 31."""

_ENDED = frozenset({"stop", "eos_token", "stop_sequence", "eos"})
_CUT = frozenset({"length", "max_tokens"})
_SHOWN = 80


class _Reply(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Alternative(_Reply):
    """A token that might have come (llama.cpp's spelling)."""

    token: str
    logprob: float


class Position(_Reply):
    """One generated token with its alternatives (llama.cpp's spelling)."""

    top_logprobs: list[Alternative] = []


class Logprobs(_Reply):
    """Log-probabilities of a choice's tokens, in nats."""

    token_logprobs: list[float | None] = []
    text_offset: list[int] = []
    top_logprobs: list[dict[str, float] | None] = []
    content: list[Position] = []


class Choice(_Reply):
    """One answer."""

    index: int
    text: str
    finish_reason: str | None = None
    logprobs: Logprobs | None = None

    def first_alternatives(self) -> dict[str, float]:
        """Return token -> log p of the first generated token; empty if the server lists none."""
        if self.logprobs is None:
            return {}
        if self.logprobs.top_logprobs:
            return self.logprobs.top_logprobs[0] or {}
        if self.logprobs.content:
            return {a.token: a.logprob for a in self.logprobs.content[0].top_logprobs}
        return {}


class Choices(_Reply):
    """The reply to a completion request."""

    choices: list[Choice]


class Served(_Reply):
    """One entry of /v1/models."""

    id: str
    max_model_len: int | None = None


class ServedModels(_Reply):
    """The reply of /v1/models."""

    data: list[Served]


class Tokenized(_Reply):
    """vLLM's reply to /tokenize."""

    count: int
    tokens: list[int]


class TokenizerInfo(_Reply):
    """vLLM's reply to /tokenizer_info."""

    eos_token: str | dict[str, JsonValue] | None = None

    @property
    def end(self) -> str | None:
        """The text of the end token."""
        if isinstance(self.eos_token, dict):
            content = self.eos_token.get("content")
            return content if isinstance(content, str) else None
        return self.eos_token


R = TypeVar("R", bound=_Reply)


def read(kind: type[R], content: bytes, where: str) -> R:
    """Validate a reply.

    Raises:
        TryAgain: it is cut off, or no such reply.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError:
        shown = content[:_SHOWN].decode("utf-8", "replace")
        raise TryAgain(f"{where} sent something that is no answer: {shown!r}.") from None


def completion_body(
    model: str, prompts: Sequence[Prompt], sampling: Sampling, **more: JsonValue
) -> dict[str, JsonValue]:
    """Return the body of /v1/completions that draws one text per prompt."""
    stop: dict[str, JsonValue] = {"stop": list(sampling.stop)} if sampling.stop else {}
    asked: list[JsonValue] = [p if isinstance(p, str) else list[JsonValue](p) for p in prompts]
    return {
        "model": model,
        "prompt": asked if len(asked) > 1 else asked[0],
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed % _SEEDS,
        "n": 1,
        **stop,
        **_PLAIN,
        **more,
    }


def read_choices(content: bytes, count: int, where: str) -> list[Choice]:
    """Return one choice per prompt, in the prompts' order, whatever order they came in.

    Raises:
        TryAgain: the reply is malformed, or its indices are not 0 … count - 1, each once.
    """
    choices = read(Choices, content, where).choices
    if sorted(choice.index for choice in choices) != list(range(count)):
        indices = [choice.index for choice in choices]
        raise TryAgain(f"{where} was asked for {count} choices and sent those with {indices=}.")
    return sorted(choices, key=lambda choice: choice.index)


def read_completion(choice: Choice, stop: tuple[str, ...], where: str) -> Completion:
    """Return the text up to the first stop string, and why it ended.

    Raises:
        TryAgain: the choice was not finished (aborted, filtered or unstated).
    """
    at = first_stop(choice.text, stop)
    if at is not None:
        return Completion(text=choice.text[:at], finish="stop")
    reason = choice.finish_reason
    if reason not in _ENDED | _CUT:
        raise TryAgain(f"{where} ended a text with finish_reason {reason!r}.")
    finish: Literal["stop", "length"] = "stop" if reason in _ENDED else "length"
    return Completion(text=trim_dangling_stop(choice.text, stop), finish=finish)
