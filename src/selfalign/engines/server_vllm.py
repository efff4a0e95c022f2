"""A vLLM server of our own: started for a model, stopped with it, never reachable from outside.

    "vllm:MODEL" --> vllm on PATH, or SELFALIGN_VLLM_PYTHON --> 127.0.0.1, a free port, a fresh key
                 --> /health answers --> ServerLM --> the last reference goes, or we do: stopped

vLLM pins its own torch, so it lives in its own environment and is spoken to over HTTP. A keeper
process (`server_keeper.py`) holds it and ends its process group when ours ends, however it ends.
The engine is named by the model's files, so a run may go on with or without vLLM.

    SELFALIGN_VLLM_PYTHON   the interpreter of vLLM's environment
    SELFALIGN_VLLM_ARGS     more arguments for the server, such as "--max-model-len 4096"
"""

import os
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from selfalign.core.errors import ModelError
from selfalign.core.records import Checkpoint
from selfalign.core.weights import identify, locate
from selfalign.engines.server import ServerLM
from selfalign.engines.server_process import START_S, VLLM, ManagedServer, command
from selfalign.engines.server_settings import Address, ServerSettings


def open_vllm(
    name: str, *, dtype: str = "auto", batch_size: int | None = None, start_s: float = START_S
) -> ServerLM:
    """Start vLLM for "vllm:MODEL" and return the model when it is ready.

    Raises:
        ModelError: there is no such model, or no vLLM.
        EngineError: vLLM did not start.
    """
    model = name.removeprefix(VLLM)
    located = locate(model)
    settings = ServerSettings.of(batch_size=batch_size)
    owner = ManagedServer(command(located, name, dtype, os.environ), located, start_s)
    named = pinned(identify(model))
    return ServerLM(
        Address(owner.root, name),
        key=owner.key,
        settings=settings,
        fingerprint=named.fingerprint,
        owner=owner,
    )


def pinned(named: Checkpoint, cache: Path | None = None) -> Checkpoint:
    """Return a Hub model with the commit that lies in the cache, where vLLM has just put it."""
    if named.revision:
        return named
    found = try_to_load_from_cache(named.base, "config.json", cache_dir=cache)
    if not isinstance(found, str):
        raise ModelError(
            f"{VLLM}{named.base} has no revision, and the Hub's cache does not tell which one was "
            f"loaded. Name it as {VLLM}{named.base}@REVISION."
        )
    return named.model_copy(update={"revision": Path(found).parent.name})
