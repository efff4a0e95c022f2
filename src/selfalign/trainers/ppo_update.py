"""What PPO does with a batch of rollouts: measure it once, then update on it a few times.

    responses --policy, reference, value--> log-probs, KL, entropies, values     (no gradient)
    targets   --epochs of shuffled mini-batches--> policy pass, value pass --> one optimiser step

Policy and value model have gradients of their own: two backward passes, one optimiser. Differences
from the authors' code, which `faithful` takes back: padding counts in no mean (rl_losses.py), and
the two gradients are clipped each by itself, so that a value model that is far off, as at the
start with rewards scaled by 10, does not shrink the policy's step. Shapes: N responses of a batch,
T tokens of the longest (faithful: of `max_tokens`).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from selfalign.core.protocols import PolicyTraining
from selfalign.trainers.no_number import NoNumber
from selfalign.trainers.rl_losses import (
    Targets,
    clipped_share,
    counted,
    policy_losses,
    value_losses,
)
from selfalign.trainers.rl_rows import Rows, lay_out, passes
from selfalign.trainers.rl_untyped import backward, norm_of
from selfalign.trainers.shared_base import TRAINED, SharedBase
from selfalign.trainers.side_by_side import batched, each_alone, side_by_side


@dataclass(frozen=True)
class Batch:
    """Responses and what the models thought of them when they were drawn; tensors (N, T)."""

    prompts: list[list[int]]
    responses: list[list[int]]
    mask: Tensor
    logp: Tensor
    ref_logp: Tensor
    values: Tensor
    """Behind the response: whatever the value model says of padding."""
    entropies: Tensor

    @property
    def kl(self) -> Tensor:
        """(N,): unbiased estimate of KL(policy | reference) over each response, nats."""
        return (self.logp - self.ref_logp).sum(1)

    def check(self) -> None:
        """Make sure that no model gave NaN or infinity for a token of a response.

        Raises:
            NoNumber: one did.
        """
        everyone = range(len(self.prompts))
        _check("the KL", self.logp - self.ref_logp, everyone)
        _check("the value", self.values.where(self.mask > 0, 0.0), everyone)

    def rows(self, base: SharedBase, chosen: Sequence[int], *, faithful: bool) -> Rows:
        """Lay some of the responses out, as wide as needed; faithful: as wide as the batch."""
        return lay_out(
            [self.prompts[n] for n in chosen],
            [self.responses[n] for n in chosen],
            padding=base.padding,
            device=base.device,
            width=self.mask.shape[1] if faithful else None,
        )

    def lengths(self, chosen: Sequence[int]) -> list[int]:
        """Return the tokens of prompt and response together."""
        return [len(self.prompts[n]) + len(self.responses[n]) for n in chosen]


def measure(
    base: SharedBase,
    prompts: list[list[int]],
    responses: list[list[int]],
    recipe: PolicyTraining,
    tokens_per_pass: int,
) -> Batch:
    """Run policy, reference and value model over responses that were just drawn."""
    width = recipe.max_tokens if recipe.faithful else max(map(len, responses))
    empty = [torch.zeros(len(prompts), width, device=base.device) for _ in range(5)]
    batch = Batch(prompts, responses, *empty)
    everyone = range(len(prompts))
    with torch.no_grad():
        groups = passes(batch.lengths(everyone), tokens_per_pass, base.parts)
        for at_once in batched(groups, base.parts):
            rows = [batch.rows(base, group, faithful=recipe.faithful) for group in at_once]
            for group, row, found in zip(at_once, rows, _measured(base, rows, recipe), strict=True):
                wholes = (batch.mask, batch.logp, batch.entropies, batch.ref_logp, batch.values)
                for whole, part in zip(wholes, (row.mask, *found), strict=False):
                    whole[group, : row.width] = part
    return batch


def _measured(
    base: SharedBase, rows: Sequence[Rows], recipe: PolicyTraining
) -> list[tuple[Tensor, ...]]:
    """Return log-probabilities, entropies, the reference's and, where they count, values; (B, T).

    Each model runs over all rows side by side before the next one does.
    """
    heat = recipe.temperature
    base.use("policy")
    policy = each_alone(lambda one: base.logprobs_and_entropies("policy", one, heat), rows)
    base.use("reference")
    reference = each_alone(lambda one: base.logprobs("reference", one, heat), rows)
    found = [(*both, its) for both, its in zip(policy, reference, strict=True)]
    if not recipe.value_weight:
        return found
    base.use("value")
    values = each_alone(base.values, rows)
    return [(*known, its) for known, its in zip(found, values, strict=True)]


class Part(NamedTuple):
    """The responses of one pass."""

    rows: Rows
    places: list[int]
    """Which responses of the batch they are."""


@dataclass(frozen=True)
class Updated:
    """What the updates on one batch were like; means over its optimiser steps."""

    policy_loss: float
    value_loss: float
    clip_fraction: float
    """Share of tokens whose probability ratio lay outside the clip."""
    gradient_norm: float
    """Of the policy, before clipping."""


class Updater:
    """Policy, value model and their optimiser."""

    def __init__(self, base: SharedBase, recipe: PolicyTraining, tokens_per_pass: int) -> None:
        self._base, self._recipe, self._tokens = base, recipe, tokens_per_pass
        self._groups = [base.trained(name) for name in TRAINED]
        self.optimizer = torch.optim.AdamW(
            [{"params": group} for group in self._groups],
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
        )

    def update(self, batch: Batch, targets: Targets, step: int, learning_rate: float) -> Updated:
        """Go over a batch of rollouts as often as the recipe says.

        Raises:
            NoNumber: a loss or a gradient is not finite; the weights are as before that update.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        facts = [
            self._step(batch, targets, chosen)
            for chosen in mini_batches(len(batch.prompts), step, self._recipe)
        ]
        policy, value, clipped, norm = (
            sum(column) / len(facts) for column in zip(*facts, strict=True)
        )
        return Updated(policy, value, clipped, norm)

    def _step(
        self, batch: Batch, targets: Targets, chosen: Sequence[int]
    ) -> tuple[float, float, float, float]:
        slots = counted(batch.mask, faithful=self._recipe.faithful)[list(chosen)].sum()
        tokens = batch.mask[list(chosen)].sum()
        policy = value = clipped = 0.0
        (ours, theirs), weight = self._groups, self._recipe.value_weight
        with self._base.learning():
            self._base.use("policy")
            for at_once in self._passes(batch, chosen):
                found = side_by_side(partial(self._policy_loss, batch, targets), at_once, ours)
                backward(sum(loss for loss, _ in found) / slots)
                policy += sum(float(loss.detach()) for loss, _ in found) / float(slots)
                clipped += sum(float(outside.detach()) for _, outside in found) / float(tokens)
            if weight:
                self._base.use("value")
            for at_once in self._passes(batch, chosen) if weight else ():
                losses = side_by_side(partial(self._value_loss, batch, targets), at_once, theirs)
                backward(weight * sum(losses) / slots)
                value += sum(float(loss.detach()) for loss in losses) / float(slots)
        norm = self._clip()
        cast(Any, self.optimizer).step()  # Any: torch types it partly
        self.optimizer.zero_grad(set_to_none=True)
        return policy, value, clipped, norm

    def _passes(self, batch: Batch, chosen: Sequence[int]) -> list[Sequence[Part]]:
        """Cut a mini-batch into passes; those that run at once are together."""
        parts = self._base.parts
        groups = passes(batch.lengths(chosen), self._tokens, parts)
        places = [[chosen[place] for place in group] for group in groups]
        faithful = self._recipe.faithful
        made = [Part(batch.rows(self._base, p, faithful=faithful), p) for p in places]
        return batched(made, parts)

    def _policy_loss(self, batch: Batch, targets: Targets, one: Part) -> Tensor:
        """(2,): the summed loss of some responses, and how many of their tokens were clipped."""
        rows, part = one
        r, width = self._recipe, rows.width
        logp = self._base.logprobs("policy", rows, r.temperature)
        old, advantages = batch.logp[part, :width], targets.advantages[part, :width]
        losses = policy_losses(logp, old, advantages, r.clip)
        share = clipped_share(logp.detach(), old, rows.mask, r.clip)
        losses = losses * counted(rows.mask, faithful=r.faithful)
        _check("the policy's loss", losses, part)
        return torch.stack([losses.sum(), share * rows.mask.sum()])

    def _value_loss(self, batch: Batch, targets: Targets, one: Part) -> Tensor:
        rows, part = one
        r, width = self._recipe, rows.width
        old, returns = batch.values[part, :width], targets.returns[part, :width]
        losses = value_losses(self._base.values(rows), old, returns, r.value_clip)
        losses = losses * counted(rows.mask, faithful=r.faithful)
        _check("the value model's loss", losses, part)
        return losses.sum()

    def _clip(self) -> float:
        """Clip the gradients; return the norm of the policy's, as it was."""
        both = [p for group in self._groups for p in group]
        groups = [both] if self._recipe.faithful else self._groups
        norm = float(norm_of(self._groups[0]))
        for group in groups:
            found = torch.nn.utils.clip_grad_norm_(group, self._recipe.max_grad_norm)
            if not bool(torch.isfinite(found)):
                self.optimizer.zero_grad(set_to_none=True)
                raise NoNumber("a gradient of the policy or the value model", None)
        return norm


def _check(what: str, numbers: Tensor, part: Sequence[int]) -> None:
    """Make sure that all numbers (B, T) of the batch's responses `part` are finite."""
    if not bool(torch.isfinite(numbers.detach().sum())):
        rows = torch.isfinite(numbers.detach()).all(1).logical_not().nonzero()[:, 0]
        raise NoNumber(what, part[int(rows[0])] if len(rows) else None)


def mini_batches(count: int, step: int, recipe: PolicyTraining) -> list[list[int]]:
    """Deal a batch's responses into optimiser steps, anew in each epoch; the last may be small."""
    dealt: list[list[int]] = []
    for epoch in range(recipe.update_epochs):
        order = list(range(count))
        random.Random(f"{recipe.seed}/ppo/{step}/{epoch}").shuffle(order)
        size = recipe.update_batch
        dealt += [order[start : start + size] for start in range(0, count, size)]
    return dealt
