"""The transformers engine for reward models: texts in, one score each out.

    texts --tokens--> batches of similar length, right-padded --model--> last hidden state (B, T, H)
    --at each text's last token--> head, in float32 --> scores in the texts' order

The head multiplies in float32 whatever the model runs in: in bfloat16, scores come in coarse steps
and close ones tie. What looks like a special token inside a text is read as text, and an end token
that the tokenizer appends is taken off, so that the score is read where the training read it.
"""

import contextlib
from collections.abc import Generator, Iterator, Sequence
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hf_logging

from selfalign.core.errors import EngineError, ModelError
from selfalign.core.weights import Located
from selfalign.engines.loading import UNREADABLE
from selfalign.engines.reward import not_a_reward_model, refuse_other_architectures
from selfalign.engines.settings import EngineSettings
from selfalign.engines.untyped import floats, stated

_HEAD = "score"
"""What transformers calls the linear layer from the last hidden state to the score."""
_PASS_TOKENS = 4096
"""Padded tokens per pass; a larger product of matrices is not faster."""
_UNSTATED_CONTEXT = 32_768
"""For models whose config names no limit (recurrent ones)."""


class TransformersRewardModel:
    """A `core.protocols.RewardModel` on one device, CPU included."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        fingerprint: str,
        settings: EngineSettings | None = None,
    ) -> None:
        """Take a model with a score head, and LoRA layers inside it if it was trained so."""
        self.fingerprint = fingerprint
        self.settings = settings or EngineSettings()
        self.tokenizer = tokenizer
        self.model = model
        self._head = _head_of(model)

    @property
    def context_length(self) -> int:
        """Tokens the model can attend to."""
        config = cast(Any, self.model.config).get_text_config()  # Any: untyped
        positions: int | None = stated(config, "max_position_embeddings")
        if positions is not None:
            return positions
        limit: float = stated(self.tokenizer, "model_max_length", _UNSTATED_CONTEXT)
        return int(min(limit, _UNSTATED_CONTEXT))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, special tokens not counted."""
        return [len(row) for row in self._encode(texts, special=False)]

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return a finite score per text, read at its last token; higher is better.

        Raises:
            EngineError: a text is empty or longer than the model's context, or a score is NaN.
        """
        rows = self._encode(texts, special=True)
        self._check_lengths(rows)
        scores = torch.empty(len(rows))
        for numbers in self._batches([len(row) for row in rows]):
            scores[numbers] = self._run([rows[n] for n in numbers]).cpu()
        if not bool(scores.isfinite().all()):
            raise EngineError(
                f"the reward model gave {int((~scores.isfinite()).sum())} scores of {len(rows)} "
                f"that are not finite numbers. Its weights are damaged, or its training diverged: "
                f"train it again with a lower `learning_rate`."
            )
        return floats(scores)

    def _run(self, rows: Sequence[list[int]]) -> Tensor:
        """Score rows of one batch: (B, T) right-padded ids -> (B,) fp32."""
        longest = max(map(len, rows))
        pad: int = stated(self.tokenizer, "pad_token_id") or 0  # masked: any token does
        ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
        lengths = torch.tensor([len(row) for row in rows])
        mask = (torch.arange(longest)[None] < lengths[:, None]).long()
        device = self.model.device
        with torch.inference_mode():
            hidden = cast(Any, self.model.base_model)(  # Any: a model's call is untyped
                input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
            ).last_hidden_state
            which = torch.arange(len(rows), device=device)
            last = cast(Tensor, hidden)[which, lengths.to(device) - 1]
            weight, bias = self._head.weight.float(), cast(Tensor | None, self._head.bias)
            scores = torch.nn.functional.linear(
                last.float(), weight, None if bias is None else bias.float()
            )
        return scores[:, 0]

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Yield numbers of texts of similar length; padded, few enough tokens for one pass."""
        batch: list[int] = []
        for number in sorted(range(len(lengths)), key=lambda n: (lengths[n], n)):
            many = len(batch) >= self.settings.batch_size
            if batch and (many or (len(batch) + 1) * lengths[number] > _PASS_TOKENS):
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch

    def _encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        if not texts:
            return []
        tokenizer = cast(Any, self.tokenizer)  # Any: partly typed
        found = tokenizer(
            list(texts), add_special_tokens=special, split_special_tokens=True, verbose=False
        )
        rows = cast(list[list[int]], found["input_ids"])
        added = set(cast(list[int], tokenizer.all_special_ids))
        for row in rows:
            while row and row[-1] in added:
                row.pop()
        return rows

    def _check_lengths(self, rows: Sequence[list[int]]) -> None:
        limit = self.context_length
        for number, row in enumerate(rows, start=1):
            if not 0 < len(row) <= limit:
                raise EngineError(
                    f"text {number} of {len(rows)} has {len(row)} tokens, and the reward model "
                    f"reads 1 to {limit}. Shorten the response, or judge by fewer principles."
                )


def load_reward_model(
    located: Located, settings: EngineSettings
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load weights with their score head onto the settings' device, the adapter on top.

    Raises:
        ModelError: the files cannot be read, or have no head for one score.
    """
    options: dict[str, Any] = {"revision": located.revision or "main"}  # Any: partly typed
    adapter = str(located.adapter) if located.adapter is not None else None
    own_tokenizer = located.adapter is not None and (located.adapter / "tokenizer.json").is_file()
    with _explained(located), _silenced():
        if adapter is None:
            config = cast(Any, AutoConfig).from_pretrained(located.base, **options)
            refuse_other_architectures(located.base, stated(config, "architectures"))
            if config.num_labels != 1:
                reason = f"it has {config.num_labels} labels"
                raise not_a_reward_model(located.base, reason)
        tokenizer = cast(Any, AutoTokenizer).from_pretrained(
            adapter if own_tokenizer else located.base, **({} if own_tokenizer else options)
        )
        model = cast(Any, AutoModelForSequenceClassification).from_pretrained(
            located.base, dtype=scoring_dtype(settings), num_labels=1, **options
        )
        if adapter is not None:
            model = cast(Any, PeftModel).from_pretrained(model, adapter).get_base_model()
        _head_of(model)
    return model.to(settings.torch_device()).eval(), tokenizer


def scoring_dtype(settings: EngineSettings) -> torch.dtype:
    """Return what the model runs in; float32 on a CPU unless something else was asked for."""
    if settings.dtype == "auto" and settings.torch_device().type == "cpu":
        return torch.float32
    return settings.torch_dtype()


def _head_of(model: PreTrainedModel) -> torch.nn.Linear:
    """Return the linear layer that gives the score; a trained copy inside PEFT's wrapper first.

    Raises:
        ModelError: there is none, or it gives more than one number.
    """
    head: object = getattr(model, _HEAD, None)
    copies = cast(Any, getattr(head, "modules_to_save", None))  # Any: PEFT is partly typed
    if copies is not None:
        head = cast(object, copies[cast(Any, head).active_adapters[0]])
    if not isinstance(head, torch.nn.Linear) or head.out_features != 1:
        raise not_a_reward_model(
            type(model).__name__, f"it has no linear layer {_HEAD!r} with one output"
        )
    return head


@contextlib.contextmanager
def _silenced() -> Generator[None]:
    """Load without bars, and without remarks on a head that the adapter is about to bring."""
    bars, level = hf_logging.is_progress_bar_enabled(), hf_logging.get_verbosity()
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()


@contextlib.contextmanager
def _explained(located: Located) -> Generator[None]:
    """Turn what transformers and PEFT say about unusable files into a sentence of ours."""
    try:
        yield
    except ModelError:
        raise
    except UNREADABLE as error:
        first = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        first += "" if first.endswith((".", "!", "?")) else "."
        if isinstance(error, KeyError):
            first = f"it has no tensor {first}"
        where = located.base if located.adapter is None else f"{located.base} + {located.adapter}"
        raise ModelError(
            f"cannot load the reward model {where}: {first} Check that its files are whole, that "
            f"the adapter was saved with its score head, and that the base is the one it was "
            f"trained on."
        ) from error
