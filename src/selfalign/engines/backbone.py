"""Any transformers causal LM, run on flattened tokens with attention passes of our own.

    ids, positions (T,) --model's own layers, our attention--> logits of the positions asked for

Whether an architecture can be run this way is not looked up in a list but tried out: `supports`
compares a small forward pass with the model's own attention. What a short trial cannot show (a
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
from selfalign.engines.passes import Prefill, RowCache, decode_pass

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
_LENGTH_DEPENDENT_ROPE = {"dynamic", "longrope"}
_PROBE_PREFIX, _PROBE_ROWS = 9, (5, 8)
_TOLERANCE_EXACT, _TOLERANCE_HALF = 1e-3, 0.1
"""Of the spread of the logits; rounding stays far below, a wrong mask far above."""


class Backbone:
    """A loaded model and the one way this engine calls it."""

    def __init__(self, model: PreTrainedModel) -> None:
        AttentionInterface.register(ATTENTION_NAME, shared_prefix_attention)
        config = cast(Any, model.config)  # Any: configs differ by architecture
        self.model = model
        self.device = cast(torch.device, model.device)
        self.config = config.get_text_config()
        self.vocabulary = cast(int, cast(Any, model.get_output_embeddings()).weight.shape[0])
        self.bytes_per_token = _estimate_bytes(self.config, cast(torch.dtype, model.dtype))
        """Keys and values of one token over all layers; exact after `obstacle`."""
        self.window: int | None = None
        """Tokens some layer sees back, if that is limited; known after `obstacle`."""
        self._own_attention = cast(str, config._attn_implementation)

    def use_attention(self, *, shared: bool) -> None:
        """Switch between `shared_prefix_attention` and what the model was loaded with."""
        name = ATTENTION_NAME if shared else self._own_attention
        if cast(Any, self.model.config)._attn_implementation != name:
            self.model.set_attn_implementation(name)

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
        self.use_attention(shared=True)
        with torch.inference_mode():
            output = cast(Any, self.model)(  # Any: a model's call is untyped
                input_ids=torch.tensor([list(ids)], device=self.device),
                position_ids=torch.tensor([list(positions)], device=self.device),
                use_cache=False,
                logits_to_keep=torch.tensor(list(keep), device=self.device),
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
        rope = cast(dict[str, Any], getattr(self.config, "rope_parameters", None) or {})
        kinds = {r.get("rope_type") for r in (rope, *rope.values()) if isinstance(r, dict)}
        if kinds & _LENGTH_DEPENDENT_ROPE:
            return "its rotary embedding depends on the length of the text"
        seen: dict[str, object] = {}
        try:
            difference = self._probe(seen)
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
            return f"its layers do not fit ({type(error).__name__}: {error})"
        self.window = cast(int | None, seen.pop("sliding_window", None))
        unknown = sorted(k for k, v in seen.items() if v is not None and k not in _HARMLESS)
        if unknown:
            return f"its attention also wants {', '.join(unknown)}"
        exact = cast(torch.dtype, self.model.dtype) == torch.float32
        if not difference <= (_TOLERANCE_EXACT if exact else _TOLERANCE_HALF):
            return f"its logits differ by {difference:.2g} of their spread"
        return None

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


def _estimate_bytes(config: Any, dtype: torch.dtype) -> int:  # Any: configs differ
    layers = getattr(config, "num_hidden_layers", 1)
    width = getattr(config, "hidden_size", 1)
    return 2 * layers * width * dtype.itemsize
