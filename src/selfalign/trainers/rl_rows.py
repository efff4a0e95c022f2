"""Prompts and responses of different lengths as one block of tokens.

    prompt, response  ->  [padding | prompt | response | padding]

Prompts end, and responses begin, in the same column, so one slice of logits or hidden states
belongs to the responses of all rows. Padding is not attended to, and positions count real tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """B rows of P columns for prompts and T for responses."""

    ids: Tensor
    """(B, P + T)."""
    attended: Tensor
    """(B, P + T); 1 on real tokens."""
    width: int
    """T."""

    @property
    def responses(self) -> Tensor:
        """(B, T): the tokens of the responses, padding behind them."""
        return self.ids[:, self.ids.shape[1] - self.width :]

    @property
    def mask(self) -> Tensor:
        """(B, T), float: 1 on the tokens of the responses."""
        return self.attended[:, self.ids.shape[1] - self.width :].float()

    @property
    def positions(self) -> Tensor:
        """(B, P + T): the place of each real token in its row, from 0."""
        return places(self.attended)


def lay_out(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    padding: int,
    device: torch.device,
    width: int | None = None,
) -> Rows:
    """Lay prompts and responses out; `width` columns for responses, else the longest one's."""
    left = max(map(len, prompts))
    right = max(map(len, responses)) if width is None else width
    ids: list[list[int]] = []
    attended: list[list[int]] = []
    for prompt, response in zip(prompts, responses, strict=True):
        before, behind = left - len(prompt), right - len(response)
        ids.append([padding] * before + [*prompt, *response] + [padding] * behind)
        real = len(prompt) + len(response)
        attended.append([0] * before + [1] * real + [0] * behind)
    return Rows(
        torch.tensor(ids, device=device), torch.tensor(attended, device=device), width=right
    )


def places(attended: Tensor) -> Tensor:
    """Count real tokens along each row, from 0; (B, L) -> (B, L), 0 on padding in front."""
    return (attended.cumsum(1) - 1).clamp(min=0)


def passes(lengths: Sequence[int], budget: int, parts: int = 1) -> list[list[int]]:
    """Group rows of like length so that a padded group has at most `budget` tokens; at least one.

    Of `parts` groups that run at once none should be much larger than the others: then groups are
    made smaller. Returns indices, shortest rows first; equal lengths keep their order.
    """
    if parts > 1 and lengths:
        rounds = -(-sum(lengths) // (budget * parts))
        budget = min(budget, sum(lengths) // (rounds * parts) + max(lengths))
    groups: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        if groups and (len(groups[-1]) + 1) * lengths[row] <= budget:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups
