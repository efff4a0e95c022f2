"""The server engine: any OpenAI-compatible server (vLLM, SGLang, llama.cpp, TGI), over HTTP.

    prompts --sorted: shared beginnings are neighbours--> Errands --/v1/completions--> texts
    (context, choices) --/tokenize--> ids --one token, 20 alternatives--> log p per choice
    (context, continuation) --echo--> log p of every token --> their sum

What a server can do that the others cannot: vLLM's /tokenize makes counts, bans and scores exact.
Without it, a count is an estimate (a token per three bytes, more than English needs), a choice is
found by its text among the alternatives, and a ban is refused. No server can subtract an n-gram
penalty.

Scores ask for one generated token and its alternatives: `prompt_logprobs` would bypass vLLM's
prefix cache. `loglikelihood` has no such way round and is for occasional use.

When a server dies in the middle of a batch, the error says so; texts that had arrived are kept in
this object and not asked for again, and `core.store` has every earlier chunk on disk.

Name: a served model is called by the id the server reports, not by its address. Who serves other
weights under the same id gets the same name: give them another id.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, TypeVar

from pydantic import SecretStr

from selfalign.core.errors import EngineError
from selfalign.core.protocols import Completion, Sampling
from selfalign.core.records import digest
from selfalign.engines.server_client import Link
from selfalign.engines.server_pace import Errands, Pace
from selfalign.engines.server_scores import Question, question_of, shown
from selfalign.engines.server_session import Known, Session
from selfalign.engines.server_settings import Address, ServerSettings, key_for, parse_address
from selfalign.engines.server_wire import Served

T = TypeVar("T")

_BYTES_PER_TOKEN = 3


class Owner(Protocol):
    """Whoever started the server, if it was one of us."""

    def check(self) -> None:
        """Raise EngineError if the server has ended."""
        ...

    def stop(self) -> None:
        """End the server."""
        ...


def open_server(text: str, *, batch_size: int | None = None) -> "ServerLM":
    """Return the model at "http(s)://host:port/v1#model"; it is first spoken to when it is used.

    Raises:
        ModelError: this is no address.
    """
    address = parse_address(text)
    settings = ServerSettings.of(batch_size=batch_size)
    return ServerLM(address, key=key_for(address, os.environ), settings=settings)


class ServerLM:
    """A `core.protocols.LanguageModel` behind a URL."""

    def __init__(
        self,
        address: Address,
        *,
        key: SecretStr | None = None,
        settings: ServerSettings | None = None,
        fingerprint: str | None = None,
        owner: Owner | None = None,
    ) -> None:
        """Take the address; `fingerprint` is given where the weights are known to the caller."""
        self.settings = settings or ServerSettings()
        self._address, self._key, self._owner = address, key, owner
        self._given = fingerprint
        self._known = Known()
        self._kept: dict[tuple[str, Sampling], Completion] = {}
        alive = owner.check if owner is not None else _unwatched
        pace = Pace(self.settings.in_flight, self.settings.most_in_flight)
        self._errands = Errands(pace, self.settings, alive)

    def __enter__(self) -> "ServerLM":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server if it was started for this object."""
        if self._owner is not None:
            self._owner.stop()

    @property
    def fingerprint(self) -> str:
        """Names the model: its files where we started the server, else the id it is served by."""
        return self._given or digest(["served", self._served().id])

    @property
    def context_length(self) -> int:
        """Tokens the model can attend to, as the server states them."""
        return self._served().max_model_len or self.settings.unstated_context

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has; an estimate where the server does not count."""

        async def count(session: Session) -> list[int]:
            if not await session.learn():
                return [-(-len(text.encode()) // _BYTES_PER_TOKEN) for text in texts]
            ids = await session.each(texts, lambda text: session.ids(text, special=False))
            return [len(ids[text]) for text in texts]

        return self._run(count)

    def generate(self, prompts: Sequence[str], sampling: Sequence[Sampling]) -> list[Completion]:
        """Continue each prompt; the answers come back in the order of the prompts.

        Raises:
            EngineError: the server failed, refused a prompt, or cannot draw as asked.
            ModelError: it does not serve the model.
        """
        wanted = list(zip(prompts, sampling, strict=True))
        _check_penalties(sampling)

        async def draw(session: Session) -> None:
            await session.learn(text for choice in sampling for text in choice.ban)
            missing = [one for one in wanted if one not in self._kept]
            missing.sort(key=lambda one: one[0])  # neighbours share the longest beginnings
            await session.each(missing, lambda one: session.complete(*one), self._kept)

        self._run(draw)
        answers = [self._kept[one] for one in wanted]
        self._kept.clear()
        return answers

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[float]:
        """Return log p(continuation | context) in nats, summed over the continuation's tokens.

        Raises:
            EngineError: the server failed, or does not score given texts.
        """

        async def score(session: Session) -> list[float]:
            await session.learn()
            asked = sorted(one for one in requests if one[1])
            found = await session.each(asked, lambda one: session.echo(*one))
            return [found[one] if one[1] else 0.0 for one in requests]

        return self._run(score)

    def next_token_logprobs(
        self, contexts: Sequence[str], choices: Sequence[str]
    ) -> list[list[float]]:
        """Return, per context and choice, log p (nats) of the token the choice begins with.

        Raises:
            EngineError: the server failed, or a choice is not among the likeliest tokens.
        """

        async def score(session: Session) -> list[list[float]]:
            questions = await self._questions(session, contexts, tuple(choices))
            size, listed = self.settings.packed, self.settings.alternatives
            starts = range(0, len(questions), size)
            packs = await session.each(
                starts,
                lambda start: session.ask(questions[start : start + size], listed),
                named=lambda start: shown(questions[start].context),
            )
            flat = [scores for start in starts for scores in packs[start]]
            found = {q.context: scores for q, scores in zip(questions, flat, strict=True)}
            return [found[context] for context in contexts]

        return self._run(score)

    # --- how -------------------------------------------------------------------------------------

    async def _questions(
        self, session: Session, contexts: Sequence[str], choices: tuple[str, ...]
    ) -> list[Question]:
        """Return one question per different context; neighbours share the longest beginnings."""
        unique = sorted(set(contexts))
        ends = ("", *choices) if await session.learn() else ()
        texts = [context + end for context in unique for end in ends]
        ids = await session.each(texts, session.ids)
        return [question_of(c, choices, [ids[c + end] for end in ends]) for c in unique]

    def _served(self) -> Served:
        async def which(session: Session) -> Served:
            return session.served

        return self._known.served or self._run(which)

    def _run(self, work: Callable[[Session], Awaitable[T]]) -> T:
        async def session() -> T:
            async with Link(self._address, self._key, self.settings) as link:
                served = self._known.served or await self._choose(link)
                return await work(Session(link, served, self._errands, self._known))

        return _finish(session())

    async def _choose(self, link: Link) -> Served:
        found: list[Served] = []

        async def choose(_: None) -> None:
            found.append(await link.choose())

        await self._errands.run([None], choose, lambda _: "to ask for its models")
        self._known.served = found[0]
        return found[0]


def _finish(work: Coroutine[None, None, T]) -> T:
    """Run to the end from code that does not await, inside a notebook's event loop as well."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(max_workers=1) as elsewhere:
        return elsewhere.submit(asyncio.run, work).result()


def _unwatched() -> None:
    """A server that somebody else started may always come back."""


def _check_penalties(sampling: Iterable[Sampling]) -> None:
    penalty = next((c.ngram_penalty for c in sampling if any(c.ngram_penalty)), None)
    if penalty is not None:
        raise EngineError(
            f"ngram_penalty {list(penalty)} was asked for, and servers cannot subtract it. Set "
            f"`ngram_penalty: []` in the plan, or name a directory to generate in this process."
        )
