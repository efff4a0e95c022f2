"""Which server, with which key, and how hard it is asked.

    "http://host:8000/v1#model"  --parse_address-->  Address(root, model)
    SELFALIGN_API_KEY | OPENAI_API_KEY  --key_for-->  SecretStr | None

The key is read from the environment and nowhere else; it is sent as a header and written nowhere.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from selfalign.core.errors import InputError, ModelError

OWN_KEY, COMMON_KEY = "SELFALIGN_API_KEY", "OPENAI_API_KEY"


@dataclass(frozen=True)
class ServerSettings:
    """Patience and pressure; nothing here changes a text or a name."""

    in_flight: int = 32
    """Ours: requests under way at the beginning; the pace then adapts."""
    most_in_flight: int = 256
    """vLLM's own default of sequences at once."""
    packed: int = 4
    """TGI's default limit: one-token questions per request. Long answers are asked one by one."""
    attempts: int = 6
    """Ours: times one request is sent before the batch gives up."""
    connect_timeout_s: float = 10.0
    """Ours: until the server takes the connection."""
    answer_timeout_s: float = 600.0
    """The OpenAI client's: until a whole answer is there, the server's own queue included."""
    fact_timeout_s: float = 20.0
    """Ours: until a server says what it serves, which it knows without any model."""
    first_backoff_s: float = 0.5
    """The OpenAI client's: upper end of the first wait; doubled at each attempt."""
    most_backoff_s: float = 30.0
    """Ours: upper end of any wait the server did not name itself."""
    most_retry_after_s: float = 120.0
    """Ours: a server that asks for a longer pause than this ends the batch with a sentence."""
    alternatives: int = 20
    """vLLM's default limit: likeliest tokens a server is asked to list, with their logprobs."""
    unstated_context: int = 32_768
    """Ours: for servers that do not state a context length; a longer prompt is theirs to refuse."""

    @classmethod
    def of(cls, *, batch_size: int | None) -> "ServerSettings":
        """Let `batch_size` bound the requests under way.

        Raises:
            InputError: a batch of no requests.
        """
        if batch_size is None:
            return cls()
        if batch_size < 1:
            raise InputError(f"batch_size {batch_size} is below 1.", field="batch_size")
        return cls(in_flight=min(batch_size, cls.in_flight), most_in_flight=batch_size)


@dataclass(frozen=True)
class Address:
    """Where a server is, and which of its models is meant."""

    root: str
    """Scheme, host, port and path, without "/v1" and without a final slash."""
    model: str | None
    """None: the only model it serves."""

    @property
    def loopback(self) -> bool:
        """Whether it is this machine."""
        host = urlsplit(self.root).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def parse_address(text: str) -> Address:
    """Read "http(s)://host[:port][/v1][#model]".

    Raises:
        ModelError: no host, or something secret or unknown in the address.
    """
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise ModelError(f"the server's address cannot be read: {error}. {_FORM}") from None
    if "@" in parts.netloc or parts.query:
        # The address itself is not shown: it may hold a password.
        raise ModelError(
            f"the address of the server at {parts.hostname} holds a user name, a password or a "
            f"query, which would end up in logs. Put the key into {OWN_KEY} instead. {_FORM}"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ModelError(f"{text!r} is no server address. {_FORM}")
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return Address(f"{parts.scheme}://{parts.netloc}{path}", parts.fragment or None)


_FORM = "Write it as http://host:8000/v1, followed by #model if it serves several."


def key_for(address: Address, environ: Mapping[str, str]) -> SecretStr | None:
    """Return the key to send to this server; None where there is none to send.

    OPENAI_API_KEY is commonly set for another service, so it does not travel unencrypted to
    another machine; SELFALIGN_API_KEY was set for us and goes wherever the user points.
    """
    own, common = environ.get(OWN_KEY), environ.get(COMMON_KEY)
    if own:
        return SecretStr(own)
    private = address.loopback or address.root.startswith("https://")
    return SecretStr(common) if common and private else None
