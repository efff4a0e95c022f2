"""Any transformers causal LM, run on flattened tokens with attention passes of our own.

    ids, positions (T,) --model's own layers, our attention--> logits of the positions asked for

Whether an architecture can be run this way is not looked up in a list but tried out: `supports`
compares a small forward pass with the model's own attention. A small Llama is then packed
(`packed.py`) and compared once more. What a short trial cannot show (a
sliding window, soft-capped scores, rotations that depend on the length) is read from what the
model passes to its attention and from its config.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

from selfalign.engines.attention import (
    ATTENTION_NAME,
    AttentionPass,
    PrefixNode,
    Sharing,
    shared_prefix_attention,
)
from selfalign.engines.packed import PackedLlama, packable
from selfalign.engines.passes import Prefill, RowCache, decode_pass
from selfalign.engines.untyped import attention_name, set_attention, stated, text_config

_HARMLESS = {
    "attention_pass",
    "attention_options",
    "cache_position",
    "dropout",
    "is_causal",
    "position_ids",
    "scaling",
    "use_cache",
}
_MISFITS = (RuntimeError, TypeError, ValueError, LookupError, AttributeError)
"""What layers raise that were not made for this."""
_LENGTH_DEPENDENT_ROPE = {"dynamic", "longrope"}
_PROBE_PREFIX, _PROBE_ROWS = 9, (5, 8)
_TOLERANCE_EXACT, _TOLERANCE_HALF = 1e-3, 0.1
"""Of the spread of the logits; rounding stays far below, a wrong mask far above."""


class Backbone:
    """A loaded model and the one way this engine calls it."""

    def __init__(self, model: PreTrainedModel, *, pack: bool = True) -> None:
        cast(Any, AttentionInterface).register(ATTENTION_NAME, shared_prefix_attention)  # untyped
        self.model = model
        self.device = model.device
        self.config: object = text_config(model)
        self.vocabulary = cast(int, cast(Any, model.get_output_embeddings()).weight.shape[0])
        self.bytes_per_token = _estimate_bytes(self.config, model.dtype)
        """Keys and values of one token over all layers; exact after `obstacle`."""
        self.window: int | None = None
        """Tokens some layer sees back, if that is limited; known after `obstacle`."""
        self._pack = pack
        self._packed: PackedLlama | None = None
        self._own_attention = attention_name(model)

    def use_attention(self, *, shared: bool) -> None:
        """Switch between `shared_prefix_attention` and what the model was loaded with."""
        set_attention(self.model, ATTENTION_NAME if shared else self._own_attention)

    def logits(
        self,
        ids: Sequence[int],
        positions: Sequence[int],
        attention: AttentionPass,
        keep: Sequence[int],
        seen: dict[str, object] | None = None,
    ) -> Tensor:
        """Run T flattened tokens; return fp32 logits (len(keep), V) of the tokens to keep.

        `seen`, if given, receives the options the model passes to its attention.
        """
        ids_ = torch.tensor(list(ids), device=self.device)
        positions_ = torch.tensor(list(positions), device=self.device)
        keep_ = torch.tensor(list(keep), device=self.device)
        with torch.inference_mode():
            if self._packed is not None:
                return self._packed.logits(ids_, positions_, attention, keep_)
            self.use_attention(shared=True)
            output = cast(Any, self.model)(  # Any: a model's call is untyped
                input_ids=ids_[None],
                position_ids=positions_[None],
                use_cache=False,
                logits_to_keep=keep_,
                attention_pass=attention,
                attention_options=seen,
            )
        return cast(Tensor, output.logits)[0].float()

    def fill(self, node: PrefixNode, seen: dict[str, object] | None = None) -> None:
        """Compute the keys and values of a node below its ancestors."""

        def keep(layer: int, key: Tensor, value: Tensor) -> None:
            if layer != len(node.keys):
                raise RuntimeError(f"layers arrive out of order: {layer} after {len(node.keys)}")
            node.keys.append(key.contiguous())
            node.values.append(value.contiguous())

        above = [Sharing(n, None) for n in (node.parent.path if node.parent else ())]
        attention = Prefill((len(node.tokens),), above, keep)
        self.logits(node.tokens, range(node.start, node.end), attention, [-1], seen)

    def obstacle(self) -> str | None:
        """Say why texts would not come out as the model means them; None if they would.

        Sets `bytes_per_token` and `window`.
        """
        if _rope_types(stated(self.config, "rope_parameters")) & _LENGTH_DEPENDENT_ROPE:
            return "its rotary embedding depends on the length of the text"
        seen: dict[str, object] = {}
        try:
            difference = self._probe(seen)
        except _MISFITS as error:
            return f"its layers do not fit ({type(error).__name__}: {error})"
        self.window = cast(int | None, seen.pop("sliding_window", None))
        unknown = sorted(k for k, v in seen.items() if v is not None and k not in _HARMLESS)
        if unknown:
            return f"its attention also wants {', '.join(unknown)}"
        if not self._close(difference):
            return f"its logits differ by {difference:.2g} of their spread"
        if self._pack and packable(self.model):
            self._try_packing()
        return None

    def _try_packing(self) -> None:
        try:
            self._packed = PackedLlama(self.model)
            agrees = self._close(self._probe({}))
        except _MISFITS:
            agrees = False
        if not agrees:
            self._packed = None

    def _close(self, difference: float) -> bool:
        exact = self.model.dtype == torch.float32
        return difference <= (_TOLERANCE_EXACT if exact else _TOLERANCE_HALF)

    def _probe(self, seen: dict[str, object]) -> float:
        """Compare prefix + prefill + one decode step with the model's own attention."""
        prefix, *rows = (
            [(37 * i * i + 11 * i + 5 + n) % (self.vocabulary - 1) for i in range(n)]
            for n in (_PROBE_PREFIX, *_PROBE_ROWS)
        )
        expected = torch.stack([self._plain_logits(prefix + row) for row in rows])
        node = PrefixNode(None, 0, tuple(prefix))
        self.fill(node, seen)
        self.bytes_per_token = node.size_bytes // len(prefix)
        shared = [Sharing(node, None)]
        cache = RowCache()
        cache.reserve(len(rows), max(map(len, rows)))
        lengths = [len(row) - 1 for row in rows]
        prefill = Prefill(lengths, shared, cache.keeper(lengths, 0))
        start = len(prefix)
        positions = [start + t for length in lengths for t in range(length)]
        self.logits([t for row in rows for t in row[:-1]], positions, prefill, [0])
        got = self.logits(
            [row[-1] for row in rows],
            [start + length for length in lengths],
            decode_pass(cache, lengths, shared),
            range(len(rows)),
        )
        spread = float((expected.amax(-1) - expected.amin(-1)).max()) or 1.0
        return float((got - expected).abs().max()) / spread

    def _plain_logits(self, ids: Sequence[int]) -> Tensor:
        self.use_attention(shared=False)
        with torch.inference_mode():
            ids_ = torch.tensor([list(ids)], device=self.device)
            output = cast(Any, self.model)(input_ids=ids_, use_cache=False)  # Any: untyped call
        return cast(Tensor, output.logits)[0, -1].float()


def _estimate_bytes(config: object, dtype: torch.dtype) -> int:
    layers: int = stated(config, "num_hidden_layers", 1)
    width: int = stated(config, "hidden_size", 1)
    return 2 * layers * width * dtype.itemsize


def _rope_types(parameters: object) -> set[str]:
    """Collect the types of rotary embedding; some models have one per kind of layer."""
    if not isinstance(parameters, dict):
        return set()
    fields = cast(dict[str, object], parameters)
    return {str(fields.get("rope_type"))}.union(*map(_rope_types, fields.values()))
