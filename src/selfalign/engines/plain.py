"""Generate and score the way transformers does, for models `Backbone` cannot run.

    prompts, left-padded --the model's own attention and cache--> one token per row and step

Slower: every row carries its whole prompt, and a batch runs until its last row has finished. The
tokens are drawn by the same `Writer`, so seeds, stops, bans and penalties mean the same.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from selfalign.engines.backbone import Backbone
from selfalign.engines.rows import Row, Writer, draw_for
from selfalign.engines.scoring import Wanted
from selfalign.engines.untyped import floats


class PlainDecoder:
    """The counterpart of `Decoder` on the model's own attention."""

    def __init__(self, backbone: Backbone, writer: Writer) -> None:
        backbone.use_attention(shared=False)
        self._model = cast(Any, backbone.model)  # Any: a model's call is untyped
        self._writer = writer

    def run(self, rows: Sequence[Row], places: int) -> None:
        """Fill in `text` and `stopped` of every row, `places` rows at a time."""
        longest_first = sorted(rows, key=lambda row: -len(row.prompt))
        for start in range(0, len(longest_first), places):
            self._batch(longest_first[start : start + places])

    def _batch(self, rows: Sequence[Row]) -> None:
        device = self._model.device
        ids, mask = left_padded([row.prompt for row in rows], device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        draw = draw_for(rows, device)
        done = torch.zeros((len(rows), 1), dtype=torch.long, device=device)
        cache: object = None
        while True:
            with torch.inference_mode():
                output = self._model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
            cache = output.past_key_values
            self._writer.advance(rows, draw, output.logits[:, -1].float())
            if all(row.text is not None for row in rows):
                return
            last = [row.tokens[-1] if row.tokens else 0 for row in rows]
            ids = torch.tensor(last, device=device)[:, None]
            mask = torch.cat([mask, torch.ones_like(done)], dim=1)
            positions = positions[:, -1:] + 1


def left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ids and mask (B, longest), zeros on the left."""
    longest = max(map(len, prompts))
    ids = [[0] * (longest - len(p)) + list(p) for p in prompts]
    mask = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def plain_score(backbone: Backbone, requests: Sequence[Wanted], places: int) -> list[list[float]]:
    """Return what `scoring.score` returns, from whole prompts padded on the right."""
    backbone.use_attention(shared=False)
    device = backbone.device
    scores: list[list[float]] = [[] for _ in requests]
    order = sorted(range(len(requests)), key=lambda i: len(requests[i].tokens))
    for start in range(0, len(order), places):
        group = order[start : start + places]
        rows = [list(requests[number].tokens) for number in group]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
        mask = torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows], device=device)
        with torch.inference_mode():
            output = cast(Any, backbone.model)(input_ids=ids, attention_mask=mask, use_cache=False)
        for line, number in enumerate(group):
            scored = requests[number].scored
            logits = cast(Tensor, output.logits)[line, [p for p, _ in scored]].float()
            logp = torch.log_softmax(logits, dim=-1)
            scores[number] = floats(logp[range(len(scored)), [t for _, t in scored]])
    return scores
