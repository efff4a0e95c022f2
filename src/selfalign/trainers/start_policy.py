"""The policy a training starts from, and the plain adapter it ends as.

    Checkpoint --base, its adapter continued--> model in training  --save--> weights/

A policy with an adapter continues it, whatever rank a recipe asks for; TRL keeps a frozen copy of
it as the reference. A bare base gets a fresh adapter of the recipe's shape, and is itself the
reference.
"""

import contextlib
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from selfalign.core.errors import ModelError, UnfitError
from selfalign.core.protocols import DpoTraining, PolicyTraining
from selfalign.core.records import Checkpoint
from selfalign.core.weights import CALF, Located, locate
from selfalign.trainers.reward_untyped import silenced
from selfalign.trainers.untyped import linear_layers, load


@dataclass(frozen=True)
class StartPolicy:
    """A model ready for one of TRL's trainers."""

    model: torch.nn.Module
    tokenizer: PreTrainedTokenizerBase
    located: Located
    base_name: str
    """What the adapter's files call the base."""

    def fresh_adapter(self, recipe: PolicyTraining | DpoTraining) -> LoraConfig | None:
        """Return the shape of a new adapter; None: the policy's own is continued."""
        if self.located.adapter is not None:
            return None
        targets = recipe.targets
        return LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            target_modules=targets if isinstance(targets, str) else list(targets),
            task_type="CAUSAL_LM",
        )

    @property
    def context_length(self) -> int | None:
        """Tokens the model can attend to; None: its config does not say."""
        config = cast(Any, self.model).config.get_text_config()
        return getattr(config, "max_position_embeddings", None)

    @contextlib.contextmanager
    def explained(self, recipe: PolicyTraining | DpoTraining) -> Generator[None]:
        """Turn PEFT's complaint about unknown targets into a sentence of ours."""
        try:
            yield
        except ValueError as error:
            if "arget" not in str(error):
                raise
            layers = linear_layers(cast(Any, self.model))
            raise UnfitError(
                f"the training cannot be set up for targets {recipe.targets}: {error} This "
                f"model's linear layers are {', '.join(layers)}; name some of them in `targets`, "
                'or "all-linear".',
                field="targets",
            ) from error

    def save(self, trained: Any, folder: Path) -> None:
        """Write the trained adapter and its tokenizer as anybody with PEFT can load them."""
        config = trained.peft_config["default"]
        config.base_model_name_or_path = self.base_name
        config.revision = self.located.revision
        trained.save_pretrained(
            folder,
            selected_adapters=["default"],
            save_embedding_layers=False,  # else PEFT asks the Hub about them
        )
        cast(Any, self.tokenizer).save_pretrained(folder)


def start_policy(policy: Checkpoint) -> StartPolicy:
    """Load a policy for training.

    Raises:
        UnfitError: a training has changed all its weights, so it is no adapter on a base.
        ModelError: its files cannot be read.
    """
    located = locate(policy)
    if policy.adapter is not None and located.adapter is None:
        raise UnfitError(
            f"the policy in {policy.adapter} was trained in all its weights, and what is trained "
            f"here is an adapter on {policy.base}. Train the policy with `method: lora`, or name "
            "that folder as the base.",
            field="policy",
        )
    try:
        model, tokenizer = load(located.base, located.revision or "main")
        found: torch.nn.Module = model
        if located.adapter is not None:
            found = cast(Any, PeftModel).from_pretrained(
                model, str(located.adapter), is_trainable=True
            )
            if (located.adapter / "tokenizer.json").is_file():
                tokenizer = cast(Any, AutoTokenizer).from_pretrained(str(located.adapter))
    except (OSError, ValueError, LookupError, ImportError, RuntimeError, SafetensorError) as error:
        first = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise ModelError(
            f"cannot load the policy {located.adapter or located.base} for training: {first} "
            "Check that its files are whole and that it is a causal language model."
        ) from error
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is None:
        tokenizer.pad_token = cast(Any, tokenizer).convert_ids_to_tokens(0)  # masked everywhere
    return StartPolicy(found, tokenizer, located, CALF if policy.base == CALF else located.base)


@contextlib.contextmanager
def hushed() -> Generator[None]:
    """Set up and train without reports to the Hub, or remarks on names TRL uses of transformers."""
    with silenced(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*gradient_checkpointing", FutureWarning)
        yield
