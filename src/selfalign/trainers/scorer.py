"""The reward model as a policy trainer asks it: texts in, scores out, loaded once.

    Checkpoint --AutoModelForSequenceClassification, PEFT--> texts -> score at the last token

SALMON (arXiv:2310.05910v2): the score is read where response, instruction and principles have
been read. Padding is on the right and masked: a text is scored alike alone and in any batch.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from selfalign.core.errors import ModelError, TrainingError, UnfitError
from selfalign.core.records import Checkpoint
from selfalign.core.weights import ADAPTER_CONFIG, Located, locate
from selfalign.trainers.reward_untyped import (
    HEAD,
    adapter_tensors,
    load_scorer,
    reward_tokens,
    scores_of,
    with_adapter,
)


@dataclass(frozen=True)
class RewardScorer:
    """A reward model in memory; `score` is a `core.protocols.Scorer`."""

    model: torch.nn.Module
    tokenizer: PreTrainedTokenizerBase
    padding: int
    limit: int | None
    """Tokens the model can attend to; None: its config does not say."""
    at_once: int = 32
    """Texts per pass; texts of like length go together."""

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return a score per text, in order; whoever asks knows what to say of one that is NaN.

        Raises:
            TrainingError: a text is longer than the model can attend to.
        """
        rows = reward_tokens(self.tokenizer, texts)
        self._check_lengths(rows)
        order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
        scores = [0.0] * len(rows)
        for start in range(0, len(order), self.at_once):
            numbers = order[start : start + self.at_once]
            for number, score in zip(numbers, self._pass([rows[n] for n in numbers]), strict=True):
                scores[number] = score
        return scores

    def _pass(self, rows: list[list[int]]) -> list[float]:
        width = max(map(len, rows))
        device = next(self.model.parameters()).device
        ids = torch.tensor([row + [self.padding] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        with torch.inference_mode():
            scores = scores_of(self.model, ids.to(device), mask.to(device))
        return cast(Any, scores.float()).tolist()  # Any: torch types tolist as unknown

    def _check_lengths(self, rows: list[list[int]]) -> None:
        for number, row in enumerate(rows, start=1):
            if not row or (self.limit is not None and len(row) > self.limit):
                raise TrainingError(
                    f"text {number} for the reward model has {len(row)} tokens, and the model "
                    f"reads 1 to {self.limit}. Lower `max_tokens` or `max_prompt_tokens`, or use "
                    "fewer or shorter principles.",
                    field="max_tokens",
                )


def open_scorer(reward_model: Checkpoint, device: str, at_once: int = 32) -> RewardScorer:
    """Load a reward model for scoring.

    Raises:
        UnfitError: the weights have no head that scores.
        ModelError: its files cannot be read.
    """
    located = locate(reward_model)
    try:
        _check_head(located)
        model, tokenizer = load_scorer(located.base, located.revision or "main", seed=0)
        padding, limit = _padding(model, tokenizer), _limit(model)
        found: torch.nn.Module = model
        if located.adapter is not None:
            found = with_adapter(model, located.adapter)
            tokenizer = _tokenizer_of(located.adapter) or tokenizer
    except (OSError, ValueError, LookupError, RuntimeError, SafetensorError) as error:
        if isinstance(error, TrainingError | ModelError):
            raise
        first = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise ModelError(
            f"cannot load the reward model {located.adapter or located.base}: {first} Check that "
            "its files are whole."
        ) from error
    ready = cast(torch.nn.Module, cast(Any, found).to(device).eval())
    return RewardScorer(ready, tokenizer, padding, limit, at_once)


def _check_head(located: Located) -> None:
    """Refuse weights that would be given a random head."""
    if located.adapter is None:
        config = cast(Any, AutoConfig).from_pretrained(
            located.base, revision=located.revision or "main"
        )
        kind = ", ".join(config.architectures or ["of no stated kind"])
        headed = "ForSequenceClassification" in kind
    else:
        stated = json.loads((located.adapter / ADAPTER_CONFIG).read_text("utf-8"))
        kind = f"an adapter for {stated.get('task_type')}"
        headed = any(f".{HEAD}." in name for name in adapter_tensors(located.adapter))
    if not headed:
        raise UnfitError(
            f"{located.adapter or located.base} is no reward model: it is {kind}, without a head "
            "that scores. Name the folder a reward model was trained into.",
            field="reward_model",
        )


def _padding(model: Any, tokenizer: Any) -> int:
    """Return the padding token, and make the model skip it."""
    config = model.config.get_text_config()
    known = (config.pad_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    padding: int = next(one for one in known if one is not None)
    config.pad_token_id = padding
    return padding


def _limit(model: Any) -> int | None:
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def _tokenizer_of(adapter: Path) -> PreTrainedTokenizerBase | None:
    if not (adapter / "tokenizer.json").is_file():
        return None
    return cast(Any, AutoTokenizer).from_pretrained(str(adapter))
