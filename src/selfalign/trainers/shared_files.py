"""The files four models on one base are made of, found and read.

policy, reward checkpoints --locate--> Stand (one base, two adapters)
folder --> LoRA settings without head and dropout, weights, head
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from peft import LoraConfig
from safetensors import SafetensorError
from torch import Tensor, dtype
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from selfalign.core.errors import ModelError, UnfitError
from selfalign.core.protocols import PolicyTraining
from selfalign.core.records import Checkpoint
from selfalign.core.weights import ADAPTER_CONFIG, Located, files_digest, locate

ADAPTER_WEIGHTS = "adapter_model.safetensors"
HEAD = "base_model.model.score."
"""What the names of the head's weights begin with, as PEFT saves them."""


@dataclass(frozen=True)
class Stand:
    """The files four models are made of."""

    base: Located
    policy: Path | None
    """Adapter; None: the policy starts as the base itself."""
    reward: Path


def find_stand(policy: Checkpoint, reward_model: Checkpoint) -> Stand:
    """Find the one base of a policy and a reward model.

    Raises:
        UnfitError: they have different bases, or the reward model is no adapter.
        ModelError: one of them cannot be found.
    """
    of_policy, of_reward = locate(policy), locate(reward_model)
    if of_reward.adapter is None:
        raise UnfitError(
            f"{of_reward.base} is no adapter, and a reward model has to be one here: policy, "
            "value and reward model share one base. Train it with `method: lora`, or name the "
            "adapter's folder.",
            field="reward_model",
        )
    if not _same_base(of_policy, of_reward):
        raise UnfitError(
            f"the policy stands on {_named(of_policy)} and the reward model on "
            f"{_named(of_reward)}, and they have to share one base. Train one of the two again on "
            "the other's base; a fully fine-tuned policy is a base of its own.",
            field="policy",
        )
    return Stand(of_policy, of_policy.adapter, of_reward.adapter)


def _same_base(first: Located, second: Located) -> bool:
    if first.directory is None or second.directory is None:
        return (first.base, first.revision) == (second.base, second.revision)
    if first.directory == second.directory:
        return True
    return files_digest(first.directory) == files_digest(second.directory)


def _named(located: Located) -> str:
    return located.base + (f"@{located.revision}" if located.revision else "")


def load_base(stand: Stand, stored: dtype) -> tuple[Any, PreTrainedTokenizerBase]:
    """Read base and tokenizer, without dropout: rollout and update have to see one distribution.

    Raises:
        UnfitError: policy and reward model have different tokenizers; no weights were read.
        ModelError: the files cannot be read.
    """
    tokenizer = check_tokenizers(stand)
    source, revision = stand.base.base, stand.base.revision or "main"
    try:
        config = cast(Any, AutoConfig).from_pretrained(source, revision=revision)
        for key, value in cast(dict[str, object], vars(config)).items():
            if ("dropout" in key or key.endswith("pdrop")) and isinstance(value, float):
                setattr(config, key, 0.0)
        model = cast(Any, AutoModelForCausalLM).from_pretrained(
            source, revision=revision, config=config, dtype=stored
        )
    except (OSError, ValueError, LookupError, ImportError, SafetensorError) as error:
        first = next(iter(str(error).strip().splitlines()), "")
        raise ModelError(
            f"cannot load the model {source} for training: {first} Check that its files are whole "
            "and that it is a causal language model."
        ) from error
    return model.requires_grad_(requires_grad=False), tokenizer


def check_tokenizers(stand: Stand) -> PreTrainedTokenizerBase:
    """Return the one tokenizer of a policy and a reward model, before any weights are read.

    Raises:
        UnfitError: they have different ones.
        ModelError: one of them cannot be read.
    """
    source, revision = stand.base.base, stand.base.revision or "main"
    try:
        ours = _load_tokenizer(stand.policy, source, revision)
        other = _load_tokenizer(stand.reward, source, revision)
    except (OSError, ValueError, LookupError, ImportError) as error:
        first = next(iter(str(error).strip().splitlines()), "")
        raise ModelError(
            f"cannot load the tokenizer of {source} or of an adapter on it: {first} Check that its "
            "files are whole."
        ) from error
    of_policy, of_reward = ours.get_vocab(), other.get_vocab()
    if of_policy != of_reward:
        strange = min(dict(of_policy.items() ^ of_reward.items()))
        numbers = (of_policy.get(strange, "no token"), of_reward.get(strange, "no token"))
        raise UnfitError(
            f"the policy in {stand.policy or source} ({len(of_policy)} tokens) and the reward "
            f"model in {stand.reward} ({len(of_reward)} tokens) have different tokenizers, and "
            f"they share one base: {strange!r} is {numbers[0]} in the first and {numbers[1]} in "
            "the second. Train the reward model again with the policy's tokenizer, or remove the "
            "tokenizer's files from the folder they do not belong in.",
            field="reward_model",
        )
    return ours


def end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the tokens that end a text: the tokenizer's, and those the model generates with."""
    stated = cast(int | list[int] | None, model.generation_config.eos_token_id)
    of_model = stated if isinstance(stated, list) else [stated]
    known = [cast(int | None, tokenizer.eos_token_id), *of_model]
    return frozenset(token for token in known if token is not None)


def _load_tokenizer(adapter: Path | None, source: str, revision: str) -> PreTrainedTokenizerBase:
    if adapter is not None and (adapter / "tokenizer.json").is_file():
        return cast(Any, AutoTokenizer).from_pretrained(str(adapter))
    return cast(Any, AutoTokenizer).from_pretrained(source, revision=revision)


def fresh_config(recipe: PolicyTraining) -> LoraConfig:
    """Return the settings of an adapter a bare policy gets."""
    targets = recipe.targets
    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )


def read_config(folder: Path, *, head: bool) -> LoraConfig:
    """Read a LoRA's settings, as it sits on a causal model: without its head, without dropout."""
    try:
        stated = json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))
        kind, saved = stated["peft_type"], set(stated.get("modules_to_save") or ())
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder / ADAPTER_CONFIG} cannot be read: {error}") from None
    if kind != "LORA" or saved - ({"score", "classifier"} if head else set()):
        raise ModelError(
            f"the adapter in {folder} is {kind} with the whole modules {sorted(saved)}, and only "
            "LoRA layers (and a reward model's score) can share a base. Train it as plain LoRA."
        )
    config = cast(LoraConfig, cast(Any, LoraConfig).from_pretrained(str(folder)))
    config.modules_to_save = None
    config.task_type = "CAUSAL_LM"
    config.lora_dropout = 0.0
    config.inference_mode = False
    return config


def take_head(weights: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Take the score head out of an adapter's weights: "weight" (1, H) and perhaps "bias".

    Raises:
        ModelError: there is none, or it gives more than one number.
    """
    names = [name for name in weights if name.startswith(HEAD)]
    head = {name.removeprefix(HEAD): weights.pop(name).float() for name in names}
    if "weight" not in head or head["weight"].shape[0] != 1:
        shape = tuple(head["weight"].shape) if "weight" in head else "no"
        raise ModelError(
            f"{folder} is no reward model: its weights hold {shape} head "
            f"({HEAD}weight of shape (1, hidden size) is needed). Name the folder a reward "
            'training wrote, or train with modules_to_save=["score"].'
        )
    return head
