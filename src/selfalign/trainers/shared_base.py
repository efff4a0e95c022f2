"""One base model, four adapters: policy, reference, value and reward share every frozen weight.

Paper: arXiv:2310.05910v2, the appendix on RL training (all models of PPO on one quantised base).

    base (once, frozen)  +  policy      trained, starts as the policy checkpoint's adapter
                         +  reference   a frozen copy of that start
                         +  value       trained, starts as the reward model's adapter; head of zeros
                         +  reward      frozen, with the reward model's head

    tokens --base, one adapter--> logits | last hidden states --head--> a number per token or text

A policy that is the bare base gets a fresh adapter, which changes nothing at first: its copy, the
reference, is then the base itself. Differences from the authors' code: none in the set-up; they
hold the base in four bits, here it is float32 or bfloat16.
"""

import contextlib
import copy
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from torch import Tensor

from selfalign.core.errors import ModelError, TrainingError, UnfitError
from selfalign.core.protocols import PolicyTraining
from selfalign.trainers.reward_untyped import reward_tokens
from selfalign.trainers.rl_losses import token_entropies, token_logprobs
from selfalign.trainers.rl_rows import Rows, lay_out, passes, places
from selfalign.trainers.rl_untyped import (
    adapter_weights,
    fill_adapter,
    floats,
    read_tensors,
    seeded,
    write_config,
    write_tensors,
)
from selfalign.trainers.shared_files import (
    ADAPTER_WEIGHTS,
    HEAD,
    Stand,
    end_tokens,
    fresh_config,
    load_base,
    read_config,
    take_head,
)
from selfalign.trainers.side_by_side import batched, each_alone, parts_for
from selfalign.trainers.untyped import linear_layers

Adapter = Literal["policy", "reference", "value", "reward"]
TRAINED: tuple[Adapter, ...] = ("policy", "value")


class SharedBase:
    """The four models in memory; which one runs is named in every call."""

    def __init__(
        self,
        stand: Stand,
        recipe: PolicyTraining,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        tokens_per_pass: int = 4096,
        gradient_checkpointing: bool = False,
    ) -> None:
        self.stand = stand
        self.device = device
        self._in_use: Adapter | None = None
        self._tokens_per_pass = tokens_per_pass
        causal, self.tokenizer = load_base(stand, dtype)
        self.context_length = cast(
            int | None, getattr(causal.config, "max_position_embeddings", None)
        )
        self.ends = end_tokens(causal, self.tokenizer)
        """What ends a text: the tokenizer's end token and those the model names."""
        pad = cast(int | None, self.tokenizer.pad_token_id)
        self.padding = pad if pad is not None else min(self.ends, default=0)
        fresh = fresh_config(recipe)
        config = fresh if stand.policy is None else read_config(stand.policy, head=False)
        with seeded(recipe.seed), _explained(stand, recipe, causal):
            self.peft = cast(Any, get_peft_model(causal, config, adapter_name="policy"))
            if stand.policy is not None:
                self._fill("policy", read_tensors(stand.policy / ADAPTER_WEIGHTS))
            self._add("reference", config, self.weights_of("policy"))
            reward = read_tensors(stand.reward / ADAPTER_WEIGHTS)
            head = take_head(reward, stand.reward)
            for name in ("reward", "value"):
                self._add(name, read_config(stand.reward, head=True), reward)
        self._causal: Any = self.peft.get_base_model().to(device).eval()
        self._checkpointing = gradient_checkpointing
        if gradient_checkpointing:
            self._causal.gradient_checkpointing_enable({"use_reentrant": False})
        size = head["weight"].shape[1]
        self.reward_head = torch.nn.Linear(size, 1, bias="bias" in head)
        self.reward_head.load_state_dict(head)
        self.value_head = torch.nn.Linear(size, 1)
        with torch.no_grad():
            self.value_head.weight.zero_()
            self.value_head.bias.zero_()
        self.reward_head.to(device).requires_grad_(False)
        self.value_head.to(device)
        self.parts = parts_for(self._causal)
        """How many passes to run at once."""
        self.use("policy")

    # --- which model ---------------------------------------------------------------------------

    def use(self, name: Adapter) -> None:
        """Run as this model from now on; gradients flow into it alone, if it is trained at all."""
        if name == self._in_use:
            return  # passes that run side by side all say so, and must not disturb each other
        self._in_use = name
        self.peft.base_model.set_adapter(name, inference_mode=name not in TRAINED)

    @contextlib.contextmanager
    def learning(self) -> Generator[None]:
        """Keep less for the backward pass, if asked for; nothing else differs: no dropout is on."""
        self._causal.train(self._checkpointing)
        try:
            yield
        finally:
            self._causal.eval()

    def weights_of(self, name: Adapter) -> dict[str, Tensor]:
        """Return an adapter's weights as PEFT saves them; not a copy."""
        return adapter_weights(self.peft, name)

    def trained(self, name: Adapter) -> list[torch.nn.Parameter]:
        """Return the parameters of a trained model: its adapter, and the value model's head."""
        marked = cast("list[tuple[str, torch.nn.Parameter]]", list(self.peft.named_parameters()))
        found = [p for n, p in marked if f".{name}." in n.partition(".lora_")[2] + "."]
        return found + (list(self.value_head.parameters()) if name == "value" else [])

    def _add(self, name: Adapter, config: LoraConfig, weights: dict[str, Tensor]) -> None:
        self.peft.add_adapter(name, copy.copy(config))
        self._fill(name, {key: tensor.clone() for key, tensor in weights.items()})

    def _fill(self, name: Adapter, weights: dict[str, Tensor]) -> None:
        expected = self.weights_of(name)
        if expected.keys() != weights.keys():
            strange = sorted(expected.keys() ^ weights.keys())
            raise ModelError(
                f"the {name} adapter does not fit the base {self.stand.base.base}: "
                f"{len(strange)} of its weights differ in name, the first is {strange[0]}. Train "
                "it again on this base."
            )
        fill_adapter(self.peft, name, weights)

    # --- running them --------------------------------------------------------------------------

    @property
    def causal(self) -> Any:  # Any: a transformers model's call is untyped
        """The language model under the adapter in use."""
        return self._causal

    def logits(self, rows: Rows) -> Tensor:
        """Return the logits (B, T, V) that the response tokens were drawn from."""
        output = self._causal(
            input_ids=rows.ids,
            attention_mask=rows.attended,
            position_ids=rows.positions,
            use_cache=False,
            logits_to_keep=rows.width + 1,
        )
        return output.logits[:, :-1]

    def logprobs(self, name: Adapter, rows: Rows, temperature: float) -> Tensor:
        """Return each response token's log-probability, (B, T), 0 on padding."""
        self.use(name)
        return token_logprobs(self.logits(rows), rows.responses, temperature) * rows.mask

    def logprobs_and_entropies(
        self, name: Adapter, rows: Rows, temperature: float
    ) -> tuple[Tensor, Tensor]:
        """Return log-probability and entropy at each response token, (B, T), 0 on padding."""
        self.use(name)
        logits = self.logits(rows)
        logp = token_logprobs(logits, rows.responses, temperature)
        return logp * rows.mask, token_entropies(logits, temperature) * rows.mask

    def values(self, rows: Rows) -> Tensor:
        """Return the worth expected before each response token, (B, T); on padding: anything."""
        self.use("value")
        hidden = self._hidden(rows.ids, rows.attended)[:, -rows.width - 1 : -1]
        return self.value_head(hidden.float())[..., 0]

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return the reward model's score of each text, read at its last token.

        Raises:
            TrainingError: a text is empty or longer than the model can read.
        """
        ids = reward_tokens(self.tokenizer, texts)
        self._check_lengths(ids)
        self.use("reward")
        scores = [0.0] * len(ids)
        with torch.no_grad():
            groups = passes([len(one) for one in ids], self._tokens_per_pass, self.parts)
            for at_once in batched(groups, self.parts):
                rows = [[ids[row] for row in group] for group in at_once]
                for group, found in zip(at_once, each_alone(self._scores, rows), strict=True):
                    for row, score in zip(group, found, strict=True):
                        scores[row] = score
        return scores

    def _scores(self, ids: list[list[int]]) -> list[float]:
        nothing: list[list[int]] = [[] for _ in ids]
        rows = lay_out(ids, nothing, padding=self.padding, device=self.device)
        last = self._hidden(rows.ids, rows.attended)[:, -1]
        return floats(self.reward_head(last.float())[:, 0])

    def _hidden(self, ids: Tensor, attended: Tensor) -> Tensor:
        """Return the last hidden states (B, L, H) under the adapter in use."""
        return self._causal.base_model(
            input_ids=ids, attention_mask=attended, position_ids=places(attended), use_cache=False
        ).last_hidden_state

    def _check_lengths(self, ids: list[list[int]]) -> None:
        for number, one in enumerate(ids):
            if not one or (self.context_length is not None and len(one) > self.context_length):
                raise TrainingError(
                    f"text {number + 1} for the reward model has {len(one)} tokens, and the model "
                    f"reads 1 to {self.context_length}. Lower `max_tokens` or `max_prompt_tokens`, "
                    "or use fewer or shorter principles.",
                    field="max_tokens",
                )

    # --- on disk -------------------------------------------------------------------------------

    def save(self, name: Adapter, folder: Path, base: str, revision: str | None) -> None:
        """Write an adapter as plain PEFT files; the value model with its head."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = self.weights_of(name)
        config = copy.copy(cast(LoraConfig, self.peft.peft_config[name]))
        config.base_model_name_or_path, config.revision = base, revision
        config.inference_mode, config.task_type = True, "CAUSAL_LM"
        if name == "value":
            config.task_type, config.modules_to_save = "SEQ_CLS", ["score"]
            head = self.value_head.state_dict()
            weights = weights | {HEAD + key: tensor for key, tensor in head.items()}
        write_tensors(weights, folder / ADAPTER_WEIGHTS)
        write_config(config, folder)

    def restore(self, name: Adapter, folder: Path) -> None:
        """Read back what `save` wrote."""
        weights = read_tensors(folder / ADAPTER_WEIGHTS)
        if name == "value":
            self.value_head.load_state_dict(take_head(weights, folder))
        self._fill(name, weights)


@contextlib.contextmanager
def _explained(stand: Stand, recipe: PolicyTraining, model: Any) -> Generator[None]:
    """Turn PEFT's complaints into sentences of ours."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, TrainingError):
            raise
        first = next(iter(str(error).strip().splitlines()), "")
        where = ", ".join(str(path) for path in (stand.policy, stand.reward) if path)
        raise ModelError(
            f"cannot put the adapters {where} on the base {stand.base.base}: {first} Check that "
            "their files are whole and that they were trained on this base."
        ) from error
    except ValueError as error:
        if isinstance(error, ModelError):
            raise
        raise UnfitError(
            f"the training cannot be set up for targets {recipe.targets}: {error} This model's "
            f"linear layers are {', '.join(linear_layers(model))}; name some of them in "
            '`targets`, or "all-linear".',
            field="targets",
        ) from error
