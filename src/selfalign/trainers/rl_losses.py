"""The numbers of PPO: log-probabilities, KL, rewards per token, advantages, clipped losses. Pure.

Paper: arXiv:2310.05910v2, "RL Training with the Instructable Reward Model"; PPO itself is
arXiv:1707.06347, generalised advantage estimation arXiv:1506.02438, the k3 estimate of KL
Schulman's note of 2020.

    logits --temperature--> log-probs, policy and reference --> KL per token
    score per response, KL per token  -->  reward per token  --values-->  advantages, returns
    advantages, old and new log-probs -->  clipped policy loss
    returns, old and new values       -->  clipped value loss

Shapes: B responses, T tokens of the longest of them, V vocabulary. `mask` (B, T) is 1 on the
tokens of a response, its end included, and 0 on the padding behind them.

Differences from the authors' code, all of which `faithful` takes back. They put the reward on the
last padded slot, run the advantages through the padding, and count padding in whitening and in
both losses (log-prob 0, ratio 1; the value of a padded slot is whatever the value model says). So
a response's weight depends on how much padding follows it, and with a lambda below 1 its reward
fades on the way through. Here the padding counts nowhere.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from selfalign.core.protocols import PolicyTraining

KlEstimator = Literal["k1_clamped", "k1", "k3"]
_EPSILON = 1e-8


def token_logprobs(logits: Tensor, tokens: Tensor, temperature: float) -> Tensor:
    """Return the log-probability (nats) of each token where the policy drew it.

    Shapes: (B, T, V), (B, T) -> (B, T). The temperature is the one that was sampled with: rollout,
    reference and update have to agree on it, or the ratio compares two distributions.
    """
    scaled = logits.float() / temperature
    return -functional.cross_entropy(scaled.transpose(1, 2), tokens, reduction="none")


def token_entropies(logits: Tensor, temperature: float) -> Tensor:
    """Return the entropy (nats) of each next-token distribution: (B, T, V) -> (B, T)."""
    logp = torch.log_softmax(logits.float() / temperature, dim=-1)
    return -(logp.exp() * logp).sum(-1)


def token_kl(logp: Tensor, ref_logp: Tensor, estimator: KlEstimator) -> Tensor:
    """Estimate KL(policy | reference) at each sampled token, in nats; all shapes (B, T).

    k1, the log ratio, is unbiased and may be negative. k1_clamped, the authors', is never negative
    and too large on average: a token the policy has made less likely costs nothing, and gives
    nothing back. k3 is unbiased and never negative.
    """
    ratio = logp - ref_logp
    if estimator == "k1":
        return ratio
    if estimator == "k1_clamped":
        return ratio.clamp(min=0)
    return torch.expm1(-ratio) + ratio


def counted(mask: Tensor, *, faithful: bool) -> Tensor:
    """Return the slots that count (B, T): the response's tokens; faithful: the padding as well."""
    return torch.ones_like(mask) if faithful else mask


def shaped_rewards(
    scores: Tensor, kl: Tensor, mask: Tensor, *, kl_weight: float, faithful: bool = False
) -> Tensor:
    """Spread a response's reward over its tokens: -kl_weight * KL each, and the score on the last.

    Shapes: scores (B,), kl (B, T), mask (B, T) -> (B, T); zero on padding. Faithful: the score
    stands on the last slot of the row, padding or not.
    """
    rewards = -kl_weight * kl * mask
    size = mask.shape[1]
    places = torch.arange(1, size + 1, device=mask.device)
    last = torch.full_like(scores, size - 1) if faithful else (mask * places).argmax(1)
    return rewards.scatter_add(1, last.long()[:, None], scores.to(rewards.dtype)[:, None])


def whiten(values: Tensor, slots: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Scale to standard deviation 1 over the slots that count, and to mean 0 unless told not to.

    Shapes: all (B, T). Slots that do not count come back as 0.
    """
    total = slots.sum()
    mean = (values * slots).sum() / total
    spread = (((values - mean).square() * slots).sum() / total).sqrt()
    whitened = (values - mean) / (spread + _EPSILON)
    return (whitened if shift_mean else whitened + mean) * slots


def gae(rewards: Tensor, values: Tensor, slots: Tensor, *, gamma: float, lam: float) -> Tensor:
    """Return generalised advantage estimates, not whitened; all shapes (B, T).

    `values[:, t]` is the worth expected before token t is drawn; behind the last slot that counts
    it is 0, for a response that was cut off as well. Zero where nothing counts.
    """
    values = values * slots
    later = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = (rewards + gamma * later - values) * slots
    running = torch.zeros_like(deltas[:, 0])
    advantages = torch.zeros_like(deltas)
    for t in range(deltas.shape[1] - 1, -1, -1):
        running = deltas[:, t] + gamma * lam * running
        advantages[:, t] = running
    return advantages


class Targets(NamedTuple):
    """What one batch of rollouts asks of policy and value model; (B, T), 0 where nothing counts."""

    advantages: Tensor
    """Whitened over the batch."""
    returns: Tensor
    """What the value model is to predict: advantage before whitening + value."""


def leave_one_out(rewards: Tensor, group: int) -> Tensor:
    """Return each reward less the mean of its group's others; groups lie end to end. (B,) -> (B,).

    The mean of the others says nothing of the response itself, so what is expected of the gradient
    stays the same (arXiv:2402.14740, eq. of RLOO).
    """
    grouped = rewards.view(-1, group)
    return ((grouped - grouped.mean(1, keepdim=True)) * (group / (group - 1))).view(-1)


def ppo_targets(
    scores: Tensor, logps: tuple[Tensor, Tensor], values: Tensor, mask: Tensor, r: PolicyTraining
) -> Targets:
    """Turn a batch's rewards into advantages and returns, as a recipe `r` wants it.

    Shapes: scores (B,); `logps` of policy and reference, values and mask (B, T).
    """
    slots = counted(mask, faithful=r.faithful)
    kl = token_kl(logps[0], logps[1], r.kl_estimator) * mask
    rewards = shaped_rewards(scores, kl, mask, kl_weight=r.kl_weight, faithful=r.faithful)
    if r.whiten_rewards:
        rewards = whiten(rewards, slots, shift_mean=False)
    else:
        rewards = rewards * r.reward_scale
    advantages = gae(rewards, values, slots, gamma=r.gamma, lam=r.lam)
    return Targets(whiten(advantages, slots), (advantages + values) * slots)


def policy_losses(logp: Tensor, old_logp: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Return PPO's clipped loss per token; all shapes (B, T).

    The worse of the plain and the clipped estimate counts, so a ratio that has gone beyond
    1 +- clip in the wanted direction has no gradient left, and one in the unwanted direction has.
    """
    ratio = (logp - old_logp).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)


def clipped_share(logp: Tensor, old_logp: Tensor, mask: Tensor, clip: float) -> Tensor:
    """Return the share of tokens whose ratio lies outside 1 +- clip; (B, T) -> ()."""
    outside = ((logp - old_logp).exp() - 1).abs() > clip
    return masked_mean(outside.to(mask.dtype), mask)


def value_losses(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Return half the squared error per token, or the clipped value's where that is larger.

    Shapes: all (B, T). The clipped value stays within `clip` of the value at the rollout, in the
    units of the returns: it means little where rewards are scaled by 10 and nothing is clipped
    with an infinite `clip`.
    """
    near = torch.maximum(torch.minimum(values, old_values + clip), old_values - clip)
    return 0.5 * torch.maximum((values - returns).square(), (near - returns).square())


def masked_mean(values: Tensor, slots: Tensor) -> Tensor:
    """Return the mean over the slots that count; (B, T), (B, T) -> ()."""
    return (values * slots).sum() / slots.sum()


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float | None:
    """Say how much of the returns' variance the values explain, 1 at most; None: there is none."""
    real = mask > 0
    spread = returns[real].var(unbiased=False)
    if float(spread) == 0:
        return None
    return 1 - float((returns - values)[real].var(unbiased=False) / spread)


def learning_rate_share(step: int, steps: int, r: PolicyTraining) -> float:
    """Return what share of the learning rate batch `step` (from 0) of `steps` is trained with.

    A linear rise over the warm-up, then the recipe's schedule, which ends just above 0 and not at
    it. Faithful: the rise starts at 0, so the first batch of rollouts trains nothing.
    """
    warm = r.warmup_steps
    if step < warm:
        return step / warm if r.faithful else (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    if r.schedule == "linear":
        return 1 - done
    return (1 + math.cos(math.pi * done)) / 2 if r.schedule == "cosine" else 1.0
