"""Train on several examples per forward pass without padding and without contamination.

    examples --flatten--> one row of tokens, labels, positions, and the examples' lengths
    attention --example by example, causal--> each example sees itself only

Flattening a batch keeps the optimiser's step what it would be with padding: the same examples, the
loss averaged over the same trained tokens. Given the lengths, no attention mask is needed, so no
example can see another one; a test compares packed with separate logits.

Shapes: T tokens of all examples of a batch together, H query heads, K key heads, D head size.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel

from selfalign.trainers.untyped import attention_name, ints, logits_of, set_attention, split

ATTENTION_NAME = "selfalign_segments"
"""The name under which transformers' AttentionInterface knows `segment_attention`."""

IGNORED = -100
"""Label of a token that is not trained (torch's cross entropy skips it)."""

_UNSUPPORTED = ("softcap", "s_aux", "position_bias")
_TOLERANCE = 1e-3
_LONGEST_SQUARE = 512
"""Tokens of a segment; 12 heads then hold 12 MiB of scores."""
_LIKE = 0.8
"""Segments run together if the shortest has this share of the longest one's tokens."""


def segment_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001  transformers passes it by position; always None
    **options: object,
) -> tuple[Tensor, None]:
    """Attend causally inside each segment of (1, heads, T, D) tensors; return (1, T, H, D).

    The option `segments` holds the lengths of the segments, summing to T. Without it, each row of
    a (B, heads, T, D) batch is one segment.
    """
    strange = sorted(name for name in _UNSUPPORTED if options.get(name) is not None)
    if strange:
        raise RuntimeError(f"its attention also wants {', '.join(strange)}")
    rate = cast(float, options.get("dropout") or 0.0) if module.training else 0.0
    scale = cast(float | None, options.get("scaling"))
    window = cast(int | None, options.get("sliding_window"))
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    segments = cast(Tensor | None, options.get("segments"))
    lengths = ints(segments) if segments is not None else [query.shape[2]]
    if window is None and query.shape[0] == 1 and _products_are_faster(query, lengths):
        scaled = query * (query.shape[3] ** -0.5 if scale is None else scale)
        return _in_plain_products(scaled, key, value, tuple(lengths), rate), None
    parts: list[Tensor] = []
    # split, not slices: the gradient of a slice is a tensor of zeros as long as the whole row.
    stretches = zip(*(split(t, lengths, dim=2) for t in (query, key, value)), strict=True)
    for length, (q, k, v) in zip(lengths, stretches, strict=True):
        band = _band(q, window) if window is not None and length > window else None
        parts.append(
            functional.scaled_dot_product_attention(
                q, k, v, band, dropout_p=rate, is_causal=band is None, scale=scale
            )
        )
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _products_are_faster(query: Tensor, lengths: Sequence[int]) -> bool:
    """Whether torch's fused kernel is the slower one, and the scores take little memory."""
    rounded = torch.get_float32_matmul_precision() != "highest"  # within products.fast_products
    return rounded and query.device.type == "cpu" and max(lengths) <= _LONGEST_SQUARE


def _in_plain_products(
    query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], dropout: float
) -> Tensor:
    """Attend inside each segment, segments of like length together; return (1, T, H, D)."""
    groups, back = _groups(lengths)
    parts: list[Tensor] = []
    for places, shape in groups:
        apart = (query.shape[1], *shape, query.shape[3])
        q, k, v = (x[0].index_select(1, places).view(apart) for x in (query, key, value))
        scores = q @ k.transpose(2, 3) + _unseen(shape[1])
        attended = functional.dropout(scores.softmax(-1), dropout) @ v
        parts.append(attended.flatten(1, 2))
    return torch.cat(parts, dim=1).index_select(1, back).transpose(0, 1)[None]


@lru_cache(maxsize=64)
def _groups(lengths: tuple[int, ...]) -> tuple[list[tuple[Tensor, tuple[int, int]]], Tensor]:
    """Put segments of like length together, each filled up with copies of its last token.

    Returns the places of each group's tokens in the row, with (segments, tokens of each), and for
    each token of the row its place in all groups together. What is filled in comes last, so no
    token of a segment sees it.
    """
    starts = [0, *accumulate(lengths)]
    groups: list[tuple[list[int], int]] = []
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        if groups and lengths[number] >= _LIKE * groups[-1][1]:
            groups[-1][0].append(number)
        else:
            groups.append(([number], lengths[number]))
    found: list[tuple[Tensor, tuple[int, int]]] = []
    back = torch.empty(starts[-1], dtype=torch.long)
    filled = 0
    for numbers, length in groups:
        row = torch.arange(length)
        places = [starts[n] + row.clamp(max=lengths[n] - 1) for n in numbers]
        for n in numbers:
            back[starts[n] : starts[n + 1]] = filled + row[: lengths[n]]
            filled += length
        found.append((torch.cat(places), (len(numbers), length)))
    return found, back


@lru_cache(maxsize=256)
def _unseen(length: int) -> Tensor:
    """(T, T): what is added to scores, so that no token sees one behind it."""
    return torch.full((length, length), float("-inf")).triu(1)


def _band(query: Tensor, window: int) -> Tensor:
    """(T, T) bool: each token sees itself and the window - 1 tokens before it."""
    ones = torch.ones(query.shape[2], query.shape[2], dtype=torch.bool, device=query.device)
    return ones.tril().triu(1 - window)


def isolates(model: PreTrainedModel) -> str | None:
    """Say why a model's packed examples would not stay apart; None if they do.

    Tried out, not looked up: logits of two packed examples against each of them alone on the
    model's own attention. Leaves the model on `segment_attention` if they agree.
    """
    own = attention_name(model)
    size = cast(int, cast(Any, model.get_input_embeddings()).weight.shape[0])  # Any: a Module
    rows = [[(37 * i * i + 11 * i + n) % size for i in range(n)] for n in (7, 5)]
    training = model.training
    model.eval()
    try:
        reason = _contamination(model, rows)
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
    model.train(training)
    if reason is not None:
        set_attention(model, own)
    return reason


def _contamination(model: PreTrainedModel, rows: list[list[int]]) -> str | None:
    with torch.no_grad():
        alone = [
            logits_of(model, input_ids=torch.tensor([row], device=model.device), use_cache=False)
            for row in rows
        ]
        cast(Any, AttentionInterface).register(ATTENTION_NAME, segment_attention)  # untyped
        set_attention(model, ATTENTION_NAME)
        batch = flatten([{"input_ids": row, "labels": row} for row in rows])
        batch.pop("labels")
        inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
        packed = logits_of(model, **inputs, use_cache=False)
    expected = torch.cat(alone)
    difference = float((packed - expected).abs().max() / expected.std())
    return None if difference < _TOLERANCE else f"their logits differ by {difference:.2g}"


def flatten(examples: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, Tensor]:
    """Lay examples of `input_ids` and `labels` one after another into one row.

    The first token of an example is never trained: what precedes it is another example.
    """
    ids: list[int] = []
    labels: list[int] = []
    positions: list[int] = []
    for example in examples:
        length = len(example["input_ids"])
        ids += example["input_ids"]
        labels += [IGNORED, *example["labels"][1:]]
        positions += range(length)
    lengths = [len(example["input_ids"]) for example in examples]
    return {
        "input_ids": torch.tensor([ids]),
        "labels": torch.tensor([labels]),
        "position_ids": torch.tensor([positions]),
        "segments": torch.tensor(lengths),
    }


def apart(batch: Mapping[str, Tensor], parts: int) -> list[dict[str, Tensor]]:
    """Cut a row that `flatten` made into at most so many rows of about equally many tokens.

    Cut between examples, so the same tokens are trained and each sees what it saw.
    """
    lengths = ints(batch["segments"])
    ends, whole = list(accumulate(lengths)), sum(lengths)
    wanted = [whole * part / parts for part in range(1, parts)]
    nearest = (min(range(len(ends)), key=lambda n: abs(ends[n] - at)) + 1 for at in wanted)
    cuts = sorted({0, len(lengths), *nearest})
    rows: list[dict[str, Tensor]] = []
    for first, last in pairwise(cuts):
        tokens = slice(ends[first - 1] if first else 0, ends[last - 1])
        row = {name: tensor[:, tokens] for name, tensor in batch.items() if name != "segments"}
        rows.append({**row, "segments": batch["segments"][first:last]})
    return rows


def micro_batch(batch_size: int, mean_tokens: float, budget: int) -> int:
    """Return how many examples to run at once: the largest divisor that fits the token budget."""
    fitting = max(1, int(budget / max(1.0, mean_tokens)))
    return max(d for d in range(1, batch_size + 1) if batch_size % d == 0 and d <= fitting)
