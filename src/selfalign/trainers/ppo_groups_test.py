"""What PPO promises where responses of one prompt are compared with each other."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from selfalign.core.errors import TrainingError
from selfalign.core.protocols import PolicyTraining, Sampled
from selfalign.core.records import Checkpoint
from selfalign.trainers.policy_account import read_steps
from selfalign.trainers.ppo import PpoTrainer
from selfalign.trainers.ppo_account import PpoStep
from selfalign.trainers.trl_kit_test import (
    PROMPTS,
    RECIPE,
    Worth,
    adapter,
    base,
    reward_model_on,
)

GROUPED = RECIPE.model_copy(
    update={
        "algorithm": "ppo",
        "baseline": "group",
        "group": 4,
        "steps": 14,
        "rollout_batch": 24,
        "update_batch": 12,
        "learning_rate": 2e-2,
        "reward_scale": 1.0,
        "warmup_steps": 1,
        "save_every": 100,
    }
)


def trained(
    tiny_model: Path, reward: Checkpoint, folder: Path, recipe: PolicyTraining, worth: Worth
) -> Path:
    PpoTrainer(device="cpu", rounded_factors=False, report_to=())(
        PROMPTS,
        policy=base(tiny_model),
        reward_model=reward,
        rewards=worth,
        recipe=recipe,
        folder=folder,
    )
    return folder


def letters(one: Sampled) -> float:
    return float(min(4.0, one.response.count("e")))


@pytest.fixture(scope="module")
def reward(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return reward_model_on(tiny_model, tmp_path_factory.mktemp("adapters") / "reward")


def test_a_level_of_every_prompt_hides_no_reward(tiny_model, reward, tmp_path) -> None:
    """Each prompt is worth up to 40 by itself, ten times what a response can change."""
    recipe = GROUPED.model_copy(update={"steps": 18, "update_epochs": 2, "value_clip": 100.0})
    batches = []
    for level in (0.0, 10.0):
        worth = Worth(lambda one, level=level: letters(one) + level * int(one.query[1:]))
        trained(tiny_model, reward, tmp_path / str(level), recipe, worth)
        batches.append([[one.response for one in batch] for _, batch in worth.batches])
    assert batches[0] == batches[1]
    first, last = (sum(min(4, r.count("e")) for r in batches[0][n]) / 24 for n in (0, -1))
    assert last > first + 1
    assert len(read_steps(tmp_path / "10.0", PpoStep)) == recipe.steps


def test_responses_of_a_group_share_query_and_turn_and_are_drawn_apart(
    tiny_model, reward, tmp_path
) -> None:
    worth = Worth()
    trained(tiny_model, reward, tmp_path, GROUPED.model_copy(update={"steps": 1}), worth)
    batch: Sequence[Sampled] = worth.batches[0][1]
    groups = [batch[start : start + 4] for start in range(0, 24, 4)]
    for group in groups:
        assert len({(one.query, one.turn) for one in group}) == 1
    assert any(len({one.response for one in group}) > 1 for group in groups)


def test_the_baseline_makes_another_policy(tiny_model, reward, tmp_path) -> None:
    short = {"steps": 2, "group": 2}
    recipes = [GROUPED.model_copy(update={**short, "baseline": b}) for b in ("group", "value")]
    one, other = (
        adapter(trained(tiny_model, reward, tmp_path / recipe.baseline, recipe, Worth()))
        for recipe in recipes
    )
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("group", [1, 5])
def test_groups_that_do_not_fill_a_batch_are_refused(tiny_model, reward, tmp_path, group) -> None:
    recipe = GROUPED.model_copy(update={"group": group})
    with pytest.raises(TrainingError, match="group") as caught:
        trained(tiny_model, reward, tmp_path, recipe, Worth())
    assert caught.value.field == "group"
