"""The server engine on the fake server, with patience for a test; and two ways to misbehave."""

from pydantic import SecretStr

from selfalign.core.protocols import Sampling
from selfalign.engines.conftest import FakeServer, answers
from selfalign.engines.server import ServerLM
from selfalign.engines.server_settings import ServerSettings, parse_address

QUICK = ServerSettings(
    attempts=4,
    connect_timeout_s=1.0,
    answer_timeout_s=2.0,
    first_backoff_s=0.005,
    most_backoff_s=0.01,
    in_flight=8,
)
SAMPLING = Sampling(temperature=1.0, top_p=0.9, max_tokens=40, seed=5)


def engine(fake: FakeServer, model: str = "", key: str | None = None, **changes) -> ServerLM:
    settings = ServerSettings(**{**vars(QUICK), **changes})
    address = parse_address(f"{fake.root}/v1{model and '#' + model}")
    return ServerLM(address, key=SecretStr(key) if key else None, settings=settings)


def texts(lm: ServerLM, prompts: list[str], sampling: Sampling = SAMPLING) -> list[str]:
    return [c.text for c in lm.generate(prompts, [sampling] * len(prompts))]


def sending(content: bytes):
    return lambda handler, body: handler.send_bytes(content)


def changed(change):
    """Answer honestly, with the list of choices changed."""
    return lambda handler, body: handler.send({"choices": change(answers(body))})
