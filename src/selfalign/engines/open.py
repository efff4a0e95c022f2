"""From a model's name to a running model: the one lazy import of the house.

    "calf" | directory | adapter directory | "hf:org/name@rev" | Checkpoint  ->  LanguageModel
    "http://…[#model]", "https://…" (an OpenAI-compatible server), "vllm:MODEL" (one we start)

Importing this file imports no GPU library; opening a model does.
"""

from selfalign.core.errors import InputError
from selfalign.core.protocols import LanguageModel
from selfalign.core.records import Checkpoint
from selfalign.core.weights import identify, locate


def open_model(
    model: str | Checkpoint,
    *,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int | None = None,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Load a model and return it ready to generate and score.

    `device`, `dtype` and `batch_size` concern speed and memory, never what the model is called.

    Raises:
        ModelError: there is no such model, or its files cannot be used.
        InputError: a device, dtype or batch size that cannot be had.
        EngineError: a server of ours did not start.
    """
    if isinstance(model, str) and model.startswith(("http://", "https://", "vllm:")):
        return _open_server(model, device, dtype, batch_size)
    located = locate(model)
    from selfalign.engines.hf import TransformersLM  # torch and transformers take seconds
    from selfalign.engines.loading import load_model, pinned_revision
    from selfalign.engines.settings import EngineSettings

    settings = EngineSettings.of(device=device, dtype=dtype, batch_size=batch_size)
    loaded, tokenizer = load_model(located, settings, trust_remote_code=trust_remote_code)
    named = model if isinstance(model, Checkpoint) else identify(model)
    if not named.revision:
        named = named.model_copy(update={"revision": pinned_revision(loaded)})
    return TransformersLM(loaded, tokenizer, fingerprint=named.fingerprint, settings=settings)


def _open_server(model: str, device: str, dtype: str, batch_size: int | None) -> LanguageModel:
    from selfalign.engines.server import open_server  # httpx and torch, as above
    from selfalign.engines.server_vllm import VLLM, open_vllm

    managed = model.startswith(VLLM)
    chosen = {"device": device} if managed else {"device": device, "dtype": dtype}
    for name, value in chosen.items():
        if value != "auto":
            raise InputError(
                f"{name} {value!r} is the server's choice and cannot be made for {model}. Start "
                f'the server with it, and leave {name} at "auto".',
                field=name,
            )
    if managed:
        return open_vllm(model, dtype=dtype, batch_size=batch_size)
    return open_server(model, batch_size=batch_size)
