"""From files to a transformers model and tokenizer in memory.

Located  --tokenizer, weights, adapter-->  (model, tokenizer), ready to run
"""

import contextlib
from collections.abc import Generator
from typing import Any, cast

from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hf_logging

from selfalign.core.errors import ModelError
from selfalign.core.weights import Located
from selfalign.engines.settings import EngineSettings

UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    ImportError,
    RuntimeError,
    SafetensorError,
    # Files that are JSON, but a list where transformers and PEFT look for names.
    TypeError,
    AttributeError,
)
"""What transformers and PEFT raise on files that are not what they should be."""


def load_model(
    located: Located, settings: EngineSettings, *, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load weights onto the settings' device, with the adapter on top if there is one.

    Raises:
        ModelError: the files cannot be read as a causal language model.
    """
    options: dict[str, Any] = {  # Any here and below: transformers' loaders are partly typed
        "revision": located.revision or "main",
        "trust_remote_code": trust_remote_code,
    }
    with _explained(located), _no_bars():
        tokenizer = cast(Any, AutoTokenizer).from_pretrained(_tokenizer_source(located), **options)
        model = cast(Any, AutoModelForCausalLM).from_pretrained(
            located.base, dtype=settings.torch_dtype(), **options
        )
        model = model.to(settings.torch_device())
        if located.adapter is not None:
            model = _with_adapter(model, str(located.adapter), merge=settings.merge_adapter)
    return model.eval(), tokenizer


def pinned_revision(model: PreTrainedModel) -> str:
    """Return the Hub commit a model was loaded from; empty for a directory."""
    return cast(str | None, getattr(model.config, "_commit_hash", None)) or ""


def _with_adapter(model: PreTrainedModel, adapter: str, *, merge: bool) -> PreTrainedModel:
    """Put LoRA layers into the model (or their product into its weights) and return it."""
    from peft import PeftModel  # only when there is an adapter: importing it takes a second

    wrapped = cast(Any, PeftModel).from_pretrained(model, adapter)  # Any: partly typed
    return wrapped.merge_and_unload() if merge else wrapped.get_base_model()


def _tokenizer_source(located: Located) -> str:
    """Prefer the adapter's own tokenizer: a training may have added tokens."""
    if located.adapter is not None and (located.adapter / "tokenizer.json").is_file():
        return str(located.adapter)
    return located.base


@contextlib.contextmanager
def _no_bars() -> Generator[None]:
    """Keep transformers' progress bars for shards out of a run's own progress."""
    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf_logging.enable_progress_bar()


@contextlib.contextmanager
def _explained(located: Located) -> Generator[None]:
    """Turn what transformers says about unreadable files into a sentence of ours."""
    try:
        yield
    except UNREADABLE as error:
        if isinstance(error, ModelError):
            raise
        first = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        first += "" if first.endswith((".", "!", "?")) else "."
        where = located.base if located.adapter is None else f"{located.base} + {located.adapter}"
        hint = (
            "Check that its files are whole and that it is a causal language model."
            if located.directory
            else "Check the name, the network, and that you may read it (HF_TOKEN); or download "
            "it and name the directory."
        )
        raise ModelError(f"cannot load the model {where}: {first} {hint}") from error
