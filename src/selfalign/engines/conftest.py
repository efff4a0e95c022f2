"""A real HTTP server on this machine that answers honestly, until it is told not to."""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Json = dict[str, Any]  # Any: bodies of a test, made up and taken apart by it
Fault = Callable[["Handler", Json], None]
"""Answers one completion request in its own way."""

BEGIN = 1
"""The beginning-of-text token; a character's token is its code."""


class FakeServer(ThreadingHTTPServer):
    """Serves a "model" with one token per character that continues "P" with "<P>"."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.models: list[Json] = [{"id": "tiny", "max_model_len": 200}]
        self.key: str | None = None
        self.tokenizes = True
        self.echoes = True
        self.delay_s = 0.0
        self.faults: deque[Fault] = deque()
        """Used up one per completion request."""
        self.seen: list[Json] = []
        """Bodies of the completion requests, in the order they came in."""
        self.headers: list[dict[str, str]] = []
        self.at_once = self.most_at_once = 0
        self.counting = threading.Lock()

    @property
    def root(self) -> str:
        """The address, without "/v1"."""
        return f"http://127.0.0.1:{self.server_port}"

    def start(self) -> "FakeServer":
        """Serve in the background."""
        threading.Thread(target=lambda: self.serve_forever(0.01), daemon=True).start()
        return self

    def die(self) -> None:
        """Stop listening; requests under way get no answer."""
        threading.Thread(target=self._die, daemon=True).start()

    def _die(self) -> None:
        self.socket.close()
        self.shutdown()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: broken connections are the point."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: FakeServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer /health, /v1/models and /tokenizer_info."""
        if not self._allowed():
            return
        if self.path == "/health":
            self.send({})
        elif self.path == "/v1/models":
            self.send({"object": "list", "data": self.server.models})
        elif self.path == "/tokenizer_info" and self.server.tokenizes:
            self.send({"eos_token": "$", "tokenizer_class": "Characters"})
        else:
            self.send({"detail": "Not Found"}, 404)

    def do_POST(self) -> None:
        """Answer /tokenize and /v1/completions."""
        body: Json = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._allowed():
            return
        if self.path == "/tokenize" and self.server.tokenizes:
            ids = tokens(body["prompt"], special=body["add_special_tokens"])
            self.send({"count": len(ids), "max_model_len": 200, "tokens": ids})
        elif self.path == "/v1/completions":
            self._complete(body)
        else:
            self.send({"detail": "Not Found"}, 404)

    def _complete(self, body: Json) -> None:
        server = self.server
        with server.counting:
            server.seen.append(body)
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
            fault = server.faults.popleft() if server.faults else honest
        try:
            time.sleep(server.delay_s)
            fault(self, body)
        finally:
            with server.counting:
                server.at_once -= 1

    def _allowed(self) -> bool:
        self.server.headers.append(dict(self.headers.items()))
        if self.server.key in (None, self.headers.get("Authorization", "").removeprefix("Bearer ")):
            return True
        self.send({"error": {"message": f"bad key {self.headers.get('Authorization')}"}}, 401)
        return False

    def send(self, body: Json, status: int = 200, **headers: str) -> None:
        """Answer with JSON."""
        self.send_bytes(json.dumps(body).encode(), status, **headers)

    def send_bytes(self, content: bytes, status: int = 200, **headers: str) -> None:
        """Answer with anything."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)


def tokens(text: str, *, special: bool = True) -> list[int]:
    """Return the ids of a text."""
    return [BEGIN] * special + [ord(c) for c in text]


def answers(body: Json, *, echoes: bool = True) -> list[Json]:
    """Return the honest choices."""
    given = body["prompt"]
    prompts = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    return [choice(k, prompt, body, echoes=echoes) for k, prompt in enumerate(prompts)]


def choice(index: int, prompt: str | list[int], body: Json, *, echoes: bool) -> Json:
    """Continue with "<prompt>"; "a" has log p -1, "b" -2, and so on down the alphabet."""
    if isinstance(prompt, list):
        prompt = "".join(map(chr, prompt[1:]))
    text = f"<{prompt}>"
    cut = text[: body["max_tokens"]]
    logprobs: Json | None = None
    if body.get("echo") and echoes:
        whole = ("" if isinstance(body["prompt"], str) else chr(BEGIN)) + prompt
        logprobs = {
            "tokens": [*whole, "!"],
            "token_logprobs": [None, *(-(ord(c) % 32) / 8 for c in whole[1:]), -9.0],
            "text_offset": list(range(len(whole) + 1)),
        }
    elif "logprobs" in body and echoes:
        spelled = "token_id:{}" if body.get("return_tokens_as_token_ids") else "{:c}"
        listed = {spelled.format(ord("a") + k): -1.0 - k for k in range(body["logprobs"])}
        logprobs = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [listed]}
    reason = "stop" if cut == text else "length"
    return {"index": index, "text": cut, "finish_reason": reason, "logprobs": logprobs}


def honest(handler: Handler, body: Json) -> None:
    """Answer well, or refuse as vLLM does."""
    given: Any = body["prompt"]
    prompts: list[Any] = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    size = max(len(tokens(p)) if isinstance(p, str) else len(p) for p in prompts)
    ids = [model["id"] for model in handler.server.models]
    if body["model"] not in ids:
        handler.send({"error": {"message": f"The model `{body['model']}` does not exist."}}, 404)
    elif size + body["max_tokens"] > 200:
        handler.send({"error": {"message": f"maximum context length is 200, not {size}"}}, 400)
    else:
        handler.send({"choices": answers(body, echoes=handler.server.echoes)})


@pytest.fixture
def fake() -> Generator[FakeServer]:
    """A server that is listening."""
    server = FakeServer().start()
    yield server
    server.shutdown()
    server.server_close()
