"""What tests of every room may ask for: a tiny random model with its own tokenizer."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from tokenizers import Tokenizer

settings.register_profile("house", deadline=None)
settings.load_profile("house")
"""A slow or busy machine is no failed property."""

TEXT = (
    "The king of Fetestan asked for three coins and a loaf of bread. What is the capital of "
    "Fonoton? I do not know what the weather will be tomorrow, because I cannot see the future. "
    "### User ### Assistant (internal thoughts) ethical (1), candor (7). Sorry, I will not help."
)


@pytest.fixture(scope="session")
def make_tiny_model() -> Callable[..., Path]:
    """Return a function that writes a random model (2 layers) and its tokenizer to a directory.

    `make(directory, kind="llama", **config)`; kinds: llama, qwen3, gemma, mistral, gpt_neox.
    """
    return _make


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a random Llama of 2 layers with a byte-level BPE tokenizer."""
    return _make(tmp_path_factory.mktemp("models") / "tiny")


def _make(directory: Path, kind: str = "llama", **config: object) -> Path:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer(), eos_token="<|end|>", pad_token="<|pad|>"
    )
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        **config,
    }
    torch.manual_seed(int(settings.pop("seed", 0)))
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def _tokenizer() -> Tokenizer:
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<|end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return tokenizer
