"""One request at a time to a server, and a sentence for everything that can come back.

    path, JSON --> Link.call --> bytes
                      |--> TryAgain      429, 5xx, silence, a broken connection: ask again
                      |--> Refused       another 4xx: what was asked is at fault
                      '--> EngineError   401, 403: the key is at fault

The key is in the client's headers, which httpx never prints; a reply that repeats it is censored
before any of its text reaches a sentence.
"""

import asyncio
import json
from datetime import UTC, datetime
from types import TracebackType
from typing import cast

import httpx
from pydantic import JsonValue, SecretStr

from selfalign.core.errors import EngineError, ModelError
from selfalign.engines.server_pace import TryAgain, retry_after_s
from selfalign.engines.server_settings import COMMON_KEY, OWN_KEY, Address, ServerSettings
from selfalign.engines.server_wire import (
    Served,
    ServedModels,
    Tokenized,
    TokenizerInfo,
    read,
)

_OK = 200
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_CROWDED = frozenset({429, 503, 529})
_SHOWN = 300


class Refused(Exception):
    """The server will not do what was asked, however often it is asked."""

    def __init__(self, status: int, said: str) -> None:
        """Take the HTTP status and the server's own words."""
        super().__init__(f"{status}: {said}")
        self.status, self.said = status, said


class Link:
    """An open client; used inside one event loop, as an async context manager."""

    def __init__(self, address: Address, key: SecretStr | None, settings: ServerSettings) -> None:
        self.where = f"the server at {address.root}"
        self._address, self._key, self._settings = address, key, settings
        self._client = httpx.AsyncClient(
            base_url=address.root,
            headers={"Authorization": f"Bearer {key.get_secret_value()}"} if key else {},
            timeout=httpx.Timeout(settings.answer_timeout_s, connect=settings.connect_timeout_s),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            verify=address.root.startswith("https://"),  # reading certificates takes its time
            trust_env=not address.loopback,  # a proxy for the world is none for this machine
        )

    async def __aenter__(self) -> "Link":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def call(self, path: str, body: dict[str, JsonValue] | None = None) -> bytes:
        """Post the body, or get the path if there is none; return what a 200 carries.

        Raises:
            TryAgain: the server may answer another time.
            Refused: it will not.
            EngineError: it wants another key.
        """
        method = "GET" if body is None else "POST"
        of = self._settings
        seconds = of.fact_timeout_s if body is None else of.answer_timeout_s
        # The client's own timeout counts from one piece to the next; this one, the whole answer.
        try:
            async with asyncio.timeout(of.connect_timeout_s + seconds):
                response = await self._client.request(method, path, json=body)
        except httpx.ConnectTimeout:
            raise TryAgain(f"{self.where} took no connection in time.", crowded=True) from None
        except (httpx.TimeoutException, TimeoutError):
            raise TryAgain(
                f"{self.where} gave no answer to {path} within {seconds:g} s.", crowded=True
            ) from None
        except httpx.ConnectError:
            raise TryAgain(f"{self.where} cannot be reached: is it running?") from None
        except httpx.RequestError as error:
            kind = type(error).__name__
            raise TryAgain(f"{self.where} broke the connection off ({kind}).") from None
        content = response.content
        if self._key is not None:  # a server may repeat it; no sentence shall
            content = content.replace(self._key.get_secret_value().encode(), b"[key]")
        if response.status_code == _OK:
            return content
        raise self._failure(response, content)

    async def served(self) -> list[Served]:
        """Return the models the server lists; none if it keeps no list."""
        try:
            return read(ServedModels, await self.call("/v1/models"), self.where).data
        except Refused:
            return []

    async def choose(self) -> Served:
        """Return the model the address names, or the only one there is.

        Raises:
            ModelError: the server does not serve it, or serves several and none is named.
        """
        served, wanted = await self.served(), self._address.model
        names = ", ".join(repr(one.id) for one in served) or "none"
        if wanted is not None:
            for one in served or [Served(id=wanted)]:
                if one.id == wanted:
                    return one
            raise ModelError(
                f"{self.where} serves no model {wanted!r}; it serves {names}. Name one of them "
                f"after a # in the address, or start the server with the model you want."
            )
        if len(served) == 1:
            return served[0]
        raise ModelError(
            f"{self.where} serves {len(served)} models ({names}), and the address names none. "
            f"Write the one you want after a #, as in {self._address.root}/v1#model."
        )

    async def tokenize(self, model: str, text: str, *, special: bool) -> list[int] | None:
        """Return the server's token ids of a text; None if it has no /tokenize like vLLM's."""
        body: dict[str, JsonValue] = {
            "model": model,
            "prompt": text,
            "add_special_tokens": special,
        }
        try:
            content = await self.call("/tokenize", body)
        except Refused:
            return None
        try:
            return read(Tokenized, content, self.where).tokens
        except TryAgain:
            if _is_json(content):
                return None  # another server's idea of /tokenize
            raise

    async def end_token(self) -> str | None:
        """Return the text of the end token; None if the server does not tell."""
        try:
            return read(TokenizerInfo, await self.call("/tokenizer_info"), self.where).end
        except Refused:
            return None

    def _failure(
        self, response: httpx.Response, content: bytes
    ) -> TryAgain | Refused | EngineError:
        status = response.status_code
        if status in (401, 403):
            return EngineError(self._key_sentence(status))
        said = _message(content)
        if status in _AGAIN:
            return TryAgain(
                f"{self.where} failed ({status}: {said[:_SHOWN]}).",
                crowded=status in _CROWDED,
                wait_s=retry_after_s(response.headers.get("Retry-After"), datetime.now(UTC)),
            )
        return Refused(status, said[:_SHOWN])

    def _key_sentence(self, status: int) -> str:
        if self._key is None:
            problem = f"wants a key ({status}), and there was none to send"
            if not self._address.loopback and not self._address.root.startswith("https://"):
                problem += f" ({COMMON_KEY} is not sent unencrypted to another machine)"
        else:
            problem = f"refused the key ({status}): it is wrong, expired or not for this model"
        return (
            f"{self.where} {problem}. Put a valid one into the environment as {OWN_KEY} and run "
            f"the same command again: what is finished is kept."
        )


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _message(content: bytes) -> str:
    """Return the words of an error reply: vLLM's, OpenAI's, TGI's or FastAPI's spelling."""
    try:
        found = json.loads(content)
    except ValueError:
        return content.decode("utf-8", "replace").strip() or "no words"
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and name in found:
            found = cast("dict[str, object]", found)[name]
    return found if isinstance(found, str) else json.dumps(found)
