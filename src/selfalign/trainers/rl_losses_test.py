"""PPO's numbers, worked by hand, against the authors' oracles, and as laws."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from selfalign.core.protocols import PolicyTraining
from selfalign.trainers.rl_losses import (
    clipped_share,
    counted,
    explained_variance,
    gae,
    learning_rate_share,
    leave_one_out,
    masked_mean,
    policy_losses,
    ppo_targets,
    shaped_rewards,
    token_entropies,
    token_kl,
    token_logprobs,
    value_losses,
    whiten,
)

MASK = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(first: Tensor, second: Tensor) -> None:
    torch.testing.assert_close(first.double(), second.double(), atol=1e-6, rtol=1e-6)


# --- log-probabilities ---------------------------------------------------------------------------


def test_logprobs_are_those_of_the_tempered_distribution() -> None:
    logits = torch.tensor([[[math.log(1.0), math.log(3.0)], [math.log(2.0), math.log(2.0)]]])
    tokens = torch.tensor([[1, 0]])
    close(token_logprobs(logits, tokens, 1.0), torch.tensor([[math.log(0.75), math.log(0.5)]]))
    # At temperature 1/2 the odds 1:3 become 1:9.
    close(token_logprobs(logits, tokens, 0.5), torch.tensor([[math.log(0.9), math.log(0.5)]]))


def test_the_entropy_is_that_of_the_tempered_distribution() -> None:
    logits = torch.tensor([[[math.log(1.0), math.log(3.0)], [0.0, -1000.0]]])
    hand = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    close(token_entropies(logits, 0.5), torch.tensor([[hand, 0.0]]))


# --- KL ------------------------------------------------------------------------------------------


def test_the_authors_kl_of_a_token_made_less_likely_is_nothing() -> None:
    """method.md E5: logp - ref = -0.3 -> 0; +0.3 -> -0.003 per token at beta 0.01, then x10."""
    logp, ref = rows([-1.3, -1.0, -1.0]), rows([-1.0, -1.3, -1.0])
    kl = token_kl(logp, ref, "k1_clamped")
    close(kl, rows([0.0, 0.3, 0.0]))
    per_token = shaped_rewards(torch.zeros(1), kl, torch.ones(1, 3), kl_weight=0.01)
    close(per_token, rows([0.0, -0.003, 0.0]))
    zeros = torch.zeros(1, 3).double()
    recipe = PolicyTraining(faithful=True, kl_weight=0.01)
    returns = ppo_targets(torch.zeros(1), (logp, ref), zeros, torch.ones(1, 3), recipe).returns
    close(returns, rows([-0.03, -0.03, 0.0]))


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=8))
def test_k3_is_never_negative_and_zero_only_without_change(ratios: list[float]) -> None:
    ratio = rows(ratios)
    k3 = token_kl(ratio, torch.zeros_like(ratio), "k3")
    close(k3, (-ratio).exp() - 1 + ratio)
    assert (k3 >= 0).all()
    assert ((k3 == 0) | (ratio != 0)).all()


@given(st.lists(st.floats(-2, 2), min_size=2, max_size=5), st.lists(st.floats(-2, 2), min_size=5))
def test_k1_and_k3_are_unbiased_and_the_clamped_estimate_is_too_large(
    policy: list[float], reference: list[float]
) -> None:
    logp = torch.log_softmax(rows(policy), -1)
    ref = torch.log_softmax(rows(reference[: len(policy)]), -1)
    exact = (logp.exp() * (logp - ref)).sum()
    mean = {k: (logp.exp() * token_kl(logp, ref, k)).sum() for k in ("k1", "k3", "k1_clamped")}
    close(mean["k1"], exact)
    close(mean["k3"], exact)
    assert mean["k1_clamped"] >= exact - 1e-12


# --- rewards per token ---------------------------------------------------------------------------


def test_the_score_stands_on_the_last_token_and_in_faithful_numerics_on_the_last_slot() -> None:
    kl = torch.full((2, 4), 0.5)
    scores = torch.tensor([7.0, -2.0])
    ours = shaped_rewards(scores, kl, MASK, kl_weight=0.1)
    close(ours, rows([-0.05, -0.05, 6.95, 0.0], [-0.05, -2.05, 0.0, 0.0]))
    theirs = shaped_rewards(scores, kl, MASK, kl_weight=0.1, faithful=True)
    close(theirs, rows([-0.05, -0.05, -0.05, 7.0], [-0.05, -0.05, 0.0, -2.0]))


# --- whitening -----------------------------------------------------------------------------------


def test_whitening_counts_the_padding_only_in_faithful_numerics() -> None:
    values = rows([1.0, 3.0, 0.0])
    mask = rows([1.0, 1.0, 0.0])
    close(whiten(values, mask), rows([-1.0, 1.0, 0.0]))
    close(whiten(values, mask, shift_mean=False), rows([1.0, 3.0, 0.0]))
    spread = math.sqrt((1 + 9 + 0) / 3 - (4 / 3) ** 2)
    hand = rows([(1 - 4 / 3) / spread, (3 - 4 / 3) / spread, (0 - 4 / 3) / spread])
    close(whiten(values, counted(mask, faithful=True)), hand)


@given(
    st.lists(st.floats(-50, 50), min_size=4, max_size=12, unique=True),
    st.integers(min_value=0, max_value=5),
)
def test_padding_changes_no_whitened_value_and_no_mean(values: list[float], padding: int) -> None:
    row = rows(values)
    if float(row.std()) < 1e-3:
        return
    mask = torch.ones_like(row)
    longer = torch.nn.functional.pad(row, (0, padding), value=99.0)
    longer_mask = torch.nn.functional.pad(mask, (0, padding))
    whitened = whiten(longer, longer_mask)
    close(whitened[:, : len(values)], whiten(row, mask))
    assert not whitened[:, len(values) :].any()
    assert float(masked_mean(whitened, longer_mask)) == pytest.approx(0, abs=1e-9)
    assert float(masked_mean(whitened.square(), longer_mask)) == pytest.approx(1, rel=1e-4)
    close(masked_mean(longer, longer_mask), row.mean())


# --- advantages ----------------------------------------------------------------------------------


def test_advantages_worked_by_hand() -> None:
    rewards, values = rows([1.0, 0.0, 2.0, 0.0]), rows([0.5, 1.0, 1.5, 9.0])
    mask = rows([1.0, 1.0, 1.0, 0.0])
    # deltas with gamma 0.5: 1 + .5 - .5 = 1;  0 + .75 - 1 = -.25;  2 + 0 - 1.5 = .5
    # backwards with gamma * lam = 0.25: .5;  -.25 + .125 = -.125;  1 - .03125 = .96875
    found = gae(rewards, values, mask, gamma=0.5, lam=0.5)
    close(found, rows([0.96875, -0.125, 0.5, 0.0]))


@given(st.data())
def test_with_gamma_and_lambda_one_an_advantage_is_the_rest_of_the_rewards_minus_the_value(
    data: st.DataObject,
) -> None:
    size = data.draw(st.integers(1, 8))
    numbers = st.lists(st.floats(-9, 9), min_size=size, max_size=size)
    rewards, values = rows(data.draw(numbers)), rows(data.draw(numbers))
    found = gae(rewards, values, torch.ones_like(rewards), gamma=1.0, lam=1.0)
    rest = rewards.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(found, rest - values, atol=1e-9, rtol=1e-9)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 4))
def test_padding_behind_a_response_changes_none_of_its_advantages(
    gamma: float, lam: float, padding: int
) -> None:
    rewards, values = rows([0.3, -1.0, 2.0]), rows([0.1, 0.7, -0.4])
    alone = gae(rewards, values, torch.ones(1, 3).double(), gamma=gamma, lam=lam)
    pad = torch.nn.functional.pad
    padded = gae(
        pad(rewards, (0, padding)),
        pad(values, (0, padding), value=5.0),
        pad(torch.ones(1, 3).double(), (0, padding)),
        gamma=gamma,
        lam=lam,
    )
    close(padded[:, :3], alone)
    assert not padded[:, 3:].any()


def test_where_the_score_stands_matters_only_below_lambda_one() -> None:
    """method.md E3 17: the last padded slot is equivalent for gamma = lambda = 1 and for no other.

    The value model is taken to say 0 on padding, so that only the place of the score differs.
    """
    values = rows([0.1, 0.2, 0.3, 0.0])
    mask, kl, score = rows([1.0, 1.0, 1.0, 0.0]), torch.zeros(1, 4).double(), torch.tensor([2.0])
    ours = shaped_rewards(score, kl, mask, kl_weight=0.0)
    theirs = shaped_rewards(score, kl, mask, kl_weight=0.0, faithful=True)
    every = torch.ones_like(mask)
    same = gae(theirs, values, every, gamma=1.0, lam=1.0)
    close(gae(ours, values, mask, gamma=1.0, lam=1.0)[:, :3], same[:, :3])
    # lam .5, worked by hand. Ours: 1.7; .1 + .85 = .95; .1 + .475 = .575.
    close(gae(ours, values, mask, gamma=1.0, lam=0.5)[:, :3], rows([0.575, 0.95, 1.7]))
    # Theirs: slot 3: 2; -.3 + 1 = .7; .1 + .35 = .45; .1 + .225 = .325.
    close(gae(theirs, values, every, gamma=1.0, lam=0.5), rows([0.325, 0.45, 0.7, 2.0]))


def test_returns_are_what_the_rewards_come_to_and_advantages_are_white() -> None:
    logp = rows([-1.0, -1.0, -1.0, 0.0], [-2.0, -2.0, 0.0, 0.0])
    values = rows([0.4, 0.1, 0.0, 7.0], [0.3, 0.2, 7.0, 7.0])
    recipe = PolicyTraining(reward_scale=1.0)
    scores = torch.tensor([3.0, -1.0]).double()
    targets = ppo_targets(scores, (logp, logp), values, MASK.double(), recipe)
    close(targets.returns, rows([3.0, 3.0, 3.0, 0.0], [-1.0, -1.0, 0.0, 0.0]))
    plain = rows([2.6, 2.9, 3.0, 0.0], [-1.3, -1.2, 0.0, 0.0])
    close(targets.advantages, whiten(plain, MASK.double()))
    ten = ppo_targets(scores, (logp, logp), values, MASK.double(), PolicyTraining())
    close(ten.returns, 10 * targets.returns)


def test_whitened_rewards_are_not_scaled_again() -> None:
    logp, values = torch.zeros(2, 4).double(), torch.zeros(2, 4).double()
    recipe = PolicyTraining(whiten_rewards=True)
    scores = torch.tensor([3.0, -1.0]).double()
    returns = ppo_targets(scores, (logp, logp), values, MASK.double(), recipe).returns
    rewards = rows([0.0, 0.0, 3.0, 0.0], [0.0, -1.0, 0.0, 0.0])
    hand = whiten(rewards, MASK.double(), shift_mean=False)
    close(returns, hand.flip(1).cumsum(1).flip(1) * MASK)


def test_faithful_targets_depend_on_the_padding_and_ours_do_not() -> None:
    pad = torch.nn.functional.pad
    logp, values, mask = rows([-1.0, -2.0]), rows([0.4, 0.1]), rows([1.0, 1.0])
    scores = torch.tensor([3.0]).double()

    def first_advantage(faithful: bool, padding: int) -> float:
        recipe = PolicyTraining(faithful=faithful, lam=0.9)
        wide = [pad(t, (0, padding)) for t in (logp, values, mask)]
        targets = ppo_targets(scores, (wide[0], wide[0]), wide[1], wide[2], recipe)
        return float(targets.advantages[0, 0])

    assert first_advantage(False, 0) == pytest.approx(first_advantage(False, 5))
    assert first_advantage(True, 0) == pytest.approx(first_advantage(False, 0))
    assert abs(first_advantage(True, 5) - first_advantage(True, 0)) > 0.1


# --- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.5, 2.0, -2.4, 0.0),  # gone far enough in the wanted direction
        (0.5, 2.0, -1.0, -1.0),  # the wrong way: pulled back
        (0.5, -2.0, 1.6, 0.0),
        (1.5, -2.0, 3.0, 3.0),
    ],
)
def test_the_clipped_policy_loss_worked_by_hand(
    ratio: float, advantage: float, loss: float, gradient: float
) -> None:
    logp = rows([math.log(ratio)]).requires_grad_()
    found = policy_losses(logp, rows([0.0]), rows([advantage]), 0.2)
    close(found, rows([loss]))
    (slope,) = torch.autograd.grad(found.sum(), logp)
    close(slope, rows([gradient]))


def test_the_share_of_clipped_ratios_ignores_padding() -> None:
    logp = rows([math.log(1.19), math.log(1.3), math.log(0.7), 5.0])
    share = clipped_share(logp, torch.zeros_like(logp), rows([1.0, 1.0, 1.0, 0.0]), 0.2)
    assert float(share) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("value", "old", "target", "loss"),
    [
        (1.1, 1.0, 2.0, 0.5 * 0.9**2),  # inside the clip
        (1.9, 1.0, 2.0, 0.5 * 0.8**2),  # moved too fast: the clipped error, without a gradient
        (0.0, 1.0, 2.0, 0.5 * 2.0**2),  # moved away: its own error
    ],
)
def test_the_clipped_value_loss_worked_by_hand(
    value: float, old: float, target: float, loss: float
) -> None:
    close(value_losses(rows([value]), rows([old]), rows([target]), 0.2), rows([loss]))
    plain = value_losses(rows([value]), rows([old]), rows([target]), math.inf)
    close(plain, rows([0.5 * (value - target) ** 2]))


def test_explained_variance_is_one_for_a_perfect_value_and_zero_for_a_constant() -> None:
    returns = rows([1.0, 2.0, 3.0, 0.0], [4.0, 5.0, 0.0, 0.0])
    assert explained_variance(returns + 10 * (1 - MASK), returns, MASK) == pytest.approx(1)
    assert explained_variance(torch.full_like(returns, 2.0), returns, MASK) == pytest.approx(0)
    assert explained_variance(returns, torch.ones_like(returns), MASK) is None


# --- the schedule --------------------------------------------------------------------------------


def test_the_learning_rate_rises_to_the_recipes_and_falls_along_its_schedule() -> None:
    recipe = PolicyTraining(warmup_steps=2, schedule="linear")
    assert [learning_rate_share(s, 6, recipe) for s in range(6)] == pytest.approx(
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    )
    cosine = recipe.model_copy(update={"schedule": "cosine"})
    assert learning_rate_share(4, 6, cosine) == pytest.approx(0.5)
    constant = recipe.model_copy(update={"schedule": "constant"})
    assert learning_rate_share(5, 6, constant) == 1.0


def test_the_authors_first_batch_trains_nothing() -> None:
    recipe = PolicyTraining(warmup_steps=5, faithful=True)
    assert learning_rate_share(0, 100, recipe) == 0.0
    assert learning_rate_share(1, 100, recipe) == pytest.approx(0.2)
    assert learning_rate_share(0, 100, PolicyTraining(warmup_steps=5)) == pytest.approx(0.2)


def test_a_reward_is_compared_with_the_mean_of_its_groups_others():
    rewards = torch.tensor([1.0, 2.0, 6.0, 100.0, 100.0, 103.0])
    found = leave_one_out(rewards, 3)
    assert found.tolist() == pytest.approx([-3.0, -1.5, 4.5, -1.5, -1.5, 3.0])


@given(st.lists(st.floats(-50, 50), min_size=6, max_size=6), st.floats(-1e3, 1e3))
def test_a_level_of_the_whole_group_changes_nothing(rewards, level):
    plain = leave_one_out(torch.tensor(rewards, dtype=torch.float64), 3)
    raised = leave_one_out(torch.tensor(rewards, dtype=torch.float64) + level, 3)
    assert torch.allclose(plain, raised, atol=1e-8)
