"""The process behind a managed server: what is run, until when it is waited for, how it ends.

    model --command--> [python, -m, vllm…, …] --ManagedServer--> keeper --> vLLM on 127.0.0.1

The keeper (`server_keeper.py`) reads a pipe from us and ends vLLM when the pipe closes, so not even
a SIGKILL leaves a server behind.
"""

import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import httpx
from pydantic import SecretStr

from selfalign.core.errors import EngineError, ModelError
from selfalign.core.weights import Located
from selfalign.engines.server_settings import COMMON_KEY, OWN_KEY

VLLM = "vllm:"
PYTHON, ARGUMENTS = "SELFALIGN_VLLM_PYTHON", "SELFALIGN_VLLM_ARGS"

START_S = 900.0
"""Ours: until /health answers; a large model is read and compiled in minutes."""
_GRACE_S = 15.0
"""Ours: between asking a server to end and making it."""
_POLL_S = 0.2
_TAIL = 25
_KEEPER = Path(__file__).with_name("server_keeper.py")


def command(located: Located, name: str, dtype: str, environ: Mapping[str, str]) -> list[str]:
    """Return how to start vLLM for a model; host and port are added by `ManagedServer`.

    Raises:
        ModelError: no vLLM is found, or the model is an adapter.
    """
    if located.adapter is not None:
        raise ModelError(
            f"{name} is an adapter, and a managed vLLM serves whole models. Merge it into its "
            f"base and name the merged directory, or leave out {VLLM!r} to run it in this process."
        )
    revision = ["--revision", located.revision] if located.revision else []
    return [
        *_vllm(environ, located.base),
        *revision,
        *("--served-model-name", name),
        *("--dtype", dtype),
        "--enable-tokenizer-info-endpoint",
        *shlex.split(environ.get(ARGUMENTS, "")),
    ]


def _vllm(environ: Mapping[str, str], model: str) -> list[str]:
    python = environ.get(PYTHON)
    if python is None:
        found = shutil.which("vllm", path=environ.get("PATH"))
        if found is None:
            raise ModelError(
                f"there is no vllm on PATH. Install it in an environment of its own and set "
                f"{PYTHON} to that environment's python, or name the model without {VLLM!r}."
            )
        return [found, "serve", model]
    if shutil.which(python) is None:
        raise ModelError(f"{PYTHON} is {python!r}, which cannot be run. Set it to vLLM's python.")
    return [python, "-m", "vllm.entrypoints.openai.api_server", "--model", model]


class ManagedServer:
    """A server process on this machine; gone at the latest when this object is."""

    def __init__(self, start: list[str], located: Located, start_s: float = START_S) -> None:
        """Start it and wait until it is ready.

        Raises:
            EngineError: it ended, or was not ready in time; with the end of its log.
        """
        self._model = located.base
        port = _free_port()
        self.root = f"http://127.0.0.1:{port}"
        self.key = SecretStr(secrets.token_urlsafe(32))
        handle, log = tempfile.mkstemp(prefix="selfalign-vllm-", suffix=".log")
        self.log = Path(log)
        with os.fdopen(handle, "wb") as file:
            self._keeper = subprocess.Popen(
                [
                    *(sys.executable, str(_KEEPER), str(_GRACE_S)),
                    *(*start, "--host", "127.0.0.1", "--port", str(port)),
                ],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self._environment(offline=located.directory is not None),
                start_new_session=True,  # Ctrl-C is ours; the keeper ends when we do
            )
        self._stop = weakref.finalize(self, _end, self._keeper, self.log)
        try:
            self._wait(start_s)
        except BaseException:
            self.stop()
            raise

    def check(self) -> None:
        """Raise EngineError if the server has ended."""
        if self._keeper.poll() is not None:
            raise EngineError(
                f"vLLM for {self._model} has ended (status {self._keeper.returncode}). Its last "
                f"words:\n{self._tail()}\nMend what they name ({ARGUMENTS} takes more arguments "
                f"for it) and run the same command again: what is finished is kept."
            )

    def stop(self) -> None:
        """End the server and everything it started, and wait for that."""
        self._stop()

    def _wait(self, start_s: float) -> None:
        end = time.monotonic() + start_s
        with httpx.Client(trust_env=False, verify=False, timeout=2.0) as client:
            while not _healthy(client, f"{self.root}/health"):
                self.check()
                if time.monotonic() > end:
                    raise EngineError(
                        f"vLLM for {self._model} was not ready after {start_s:g} s. The end of its "
                        f"log:\n{self._tail()}\nIf it was still loading, try again: the files are "
                        f"in memory now. If it was stuck, {ARGUMENTS} takes more arguments for it."
                    )
                time.sleep(_POLL_S)

    def _environment(self, *, offline: bool) -> dict[str, str]:
        """Return the child's environment: our keys are not in it, a fresh one is."""
        kept = {k: v for k, v in os.environ.items() if k not in (OWN_KEY, COMMON_KEY)}
        alone = {"HF_HUB_OFFLINE": "1"} if offline else {}
        return {
            **kept,
            **alone,
            "VLLM_API_KEY": self.key.get_secret_value(),
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
        }

    def _tail(self) -> str:
        lines = self.log.read_text("utf-8", "replace").splitlines()[-_TAIL:]
        text = "\n".join(lines) or "(nothing)"
        return text.replace(self.key.get_secret_value(), "[key]")


def _end(keeper: "subprocess.Popen[bytes]", log: Path) -> None:
    """Tell the keeper to end; it does the rest."""
    pipe: IO[bytes] | None = keeper.stdin
    if pipe is not None:
        pipe.close()
    keeper.terminate()  # a forked worker of ours may hold the pipe open
    try:
        keeper.wait(_GRACE_S + 5)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()
    log.unlink(missing_ok=True)


def _healthy(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).is_success
    except httpx.TransportError:
        return False  # not listening yet


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
