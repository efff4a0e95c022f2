"""One batch's conversation with a server: completions, scores, token ids, and refusals explained.

    Session.complete   prompt, Sampling          -> Completion
    Session.ask        up to `packed` Questions  -> log p per choice
    Session.echo       context, continuation     -> log p

Every method may raise TryAgain, and is meant to be called through `Session.each`, which asks again.
"""

from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

from pydantic import JsonValue

from selfalign.core.errors import EngineError, ModelError
from selfalign.core.protocols import END_OF_TEXT, Completion, Sampling
from selfalign.engines.server_client import Link, Refused
from selfalign.engines.server_pace import Errands
from selfalign.engines.server_scores import Question, scores_of, shown, sum_of_echo
from selfalign.engines.server_wire import (
    Choice,
    Prompt,
    Served,
    completion_body,
    read_choices,
    read_completion,
)

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_NEVER = -100
"""OpenAI's documented `logit_bias` for a token that must not come."""
_NOT_FOUND = 404
_ONE_TOKEN = Sampling(temperature=0, max_tokens=1)


@dataclass
class Known:
    """What was learnt about a server; it outlives a batch."""

    served: Served | None = None
    tokenizes: bool | None = None
    banned: dict[str, int] = field(default_factory=dict[str, int])


class Session:
    """An open link to a chosen model."""

    def __init__(self, link: Link, served: Served, errands: Errands, known: Known) -> None:
        self._link, self._errands, self._known = link, errands, known
        self.served = served
        self._model, self._context = served.id, served.max_model_len

    async def each(
        self,
        keys: Iterable[K],
        do: Callable[[K], Awaitable[T]],
        into: dict[K, T] | None = None,
        *,
        named: Callable[[K], str] | None = None,
    ) -> dict[K, T]:
        """Do something for each key, as many at once as the pace allows; results land in `into`.

        `named` says in an error which key it was.
        """
        found: dict[K, T] = {} if into is None else into

        async def attempt(key: K) -> None:
            found[key] = await do(key)

        await self._errands.run(
            list(dict.fromkeys(keys)),
            attempt,
            lambda key: f"to send the prompt {(named or _named)(key)} to model {self._model!r}",
        )
        return found

    async def learn(self, bans: Iterable[str] = ()) -> bool:
        """Find out, once per server, whether it tokenizes, and which tokens the bans name."""
        if self._known.tokenizes is None:
            (probe,) = (await self.each(["a"], self._tokenize_plain)).values()
            self._known.tokenizes = bool(probe)
        new = {text for text in bans if text not in self._known.banned}
        await self.each(sorted(new), self._banned_token, self._known.banned)
        return self._known.tokenizes

    async def ids(self, text: str, *, special: bool = True) -> list[int]:
        """Return the server's token ids; only after `learn` has said that it has them."""
        found = await self._link.tokenize(self._model, text, special=special)
        if found is None:
            raise EngineError(
                f"{self._link.where} no longer tokenizes ({shown(text)}). Was it replaced by "
                f"another server? Run the same command again: what is finished is kept."
            )
        return found

    async def complete(self, prompt: str, sampling: Sampling) -> Completion:
        """Draw one text; shortened to what the context has left beside the prompt.

        Raises:
            EngineError: the prompt leaves no room, or the server refuses it.
        """
        try:
            return await self._draw(prompt, sampling)
        except Refused as refusal:
            room = await self._room(prompt, refusal)
            if room is None or room >= sampling.max_tokens:
                raise self._refusal(prompt, refusal) from None
        try:
            return await self._draw(prompt, sampling.model_copy(update={"max_tokens": room}))
        except Refused as refusal:
            raise self._refusal(prompt, refusal) from None

    async def ask(self, pack: Sequence[Question], alternatives: int) -> list[list[float]]:
        """Return log p (nats) per question and choice; a pack that is refused is asked singly."""
        exact = all(question.tokens is not None for question in pack)
        more: dict[str, JsonValue] = {"logprobs": alternatives}
        if exact:
            more["return_tokens_as_token_ids"] = True
        try:
            found = await self._choices([question.prompt for question in pack], _ONE_TOKEN, more)
        except Refused as refusal:
            if len(pack) > 1:
                singly = [await self.ask([question], alternatives) for question in pack]
                return [scores for (scores,) in singly]
            await self._room(pack[0].context, refusal)
            raise self._refusal(pack[0].context, refusal) from None
        return [scores_of(question, one) for question, one in zip(pack, found, strict=True)]

    async def echo(self, context: str, continuation: str) -> float:
        """Return log p (nats) of a given text after another."""
        whole = context + continuation
        exact = self._known.tokenizes
        ids = (await self.ids(context), await self.ids(whole)) if exact else None
        prompt: Prompt = ids[1] if ids else whole
        more: dict[str, JsonValue] = {"echo": True, "logprobs": 1}
        try:
            (choice,) = await self._choices([prompt], _ONE_TOKEN, more)
        except Refused as refusal:
            await self._room(whole, refusal)
            raise self._refusal(whole, refusal) from None
        return sum_of_echo(choice, context, whole, ids)

    # --- how -------------------------------------------------------------------------------------

    async def _draw(self, prompt: str, sampling: Sampling) -> Completion:
        banned = sorted({self._known.banned[text] for text in sampling.ban})
        bias: dict[str, JsonValue] = {str(token): _NEVER for token in banned}
        more: dict[str, JsonValue] = {"logit_bias": bias} if bias else {}
        (choice,) = await self._choices([prompt], sampling, more)
        return read_completion(choice, sampling.stop, self._link.where)

    async def _choices(
        self, prompts: Sequence[Prompt], sampling: Sampling, more: dict[str, JsonValue]
    ) -> list[Choice]:
        body = completion_body(self._model, prompts, sampling, **more)
        content = await self._link.call("/v1/completions", body)
        return read_choices(content, len(prompts), self._link.where)

    async def _tokenize_plain(self, text: str) -> list[int] | None:
        return await self._link.tokenize(self._model, text, special=False)

    async def _banned_token(self, text: str) -> int:
        if not self._known.tokenizes:
            raise EngineError(
                f"{text!r} is banned, and {self._link.where} does not say which token that is (it "
                f"has no /tokenize like vLLM's). Set `ban: []` in the plan, use vLLM, or name a "
                f"directory to generate in this process."
            )
        spelled = text
        if text == END_OF_TEXT:
            end = await self._link.end_token()
            if end is None:
                raise EngineError(
                    f"the end token is banned, and {self._link.where} does not say which one it "
                    f"is. Start vLLM with --enable-tokenizer-info-endpoint, or set `ban: []` in "
                    f"the plan."
                )
            spelled = end
        found = await self.ids(spelled, special=False)
        if not found:
            raise EngineError(f"{text!r} is banned and has no token. Take it out of `ban`.")
        return found[0]

    async def _room(self, prompt: str, refusal: Refused) -> int | None:
        """Return how many tokens the context has left beside a prompt; None if nobody knows.

        Raises:
            EngineError: none.
            ModelError: the refusal is about the model, which is not served any more.
        """
        if refusal.status == _NOT_FOUND:
            await self._check_model()
        if not self._known.tokenizes or self._context is None:
            return None
        tokens = len(await self.ids(prompt))
        if tokens >= self._context:
            raise EngineError(
                f"the prompt {shown(prompt)} has {tokens} tokens, and the context of model "
                f"{self._model!r} holds {self._context}, answer included. Shorten the prompt "
                f"(fewer or shorter exemplars), or serve the model with a longer context."
            )
        return self._context - tokens

    async def _check_model(self) -> None:
        served = [one.id for one in await self._link.served()]
        if served and self._model not in served:
            names = ", ".join(map(repr, served))
            raise ModelError(
                f"{self._link.where} no longer serves model {self._model!r}; it serves {names}. "
                f"Start it with the model the run began with, and run the same command again."
            )

    def _refusal(self, prompt: str, refusal: Refused) -> EngineError:
        return EngineError(
            f"{self._link.where} refused the prompt {shown(prompt)} to model {self._model!r} "
            f"({refusal.status}): {refusal.said.rstrip('.')}. If it is about length, shorten the "
            f"prompt or max_tokens, or serve the model with a longer context; if it is about a "
            f"parameter, use a server that takes it."
        )


def _named(key: object) -> str:
    """Show the text a key is, or begins with."""
    first = cast("tuple[object, ...]", key)[0] if isinstance(key, tuple) else key
    return shown(str(first))
