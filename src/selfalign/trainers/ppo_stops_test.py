"""Where PPO stops, and from which policy it goes on, on a random model of two layers."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from selfalign.core.errors import CollapsedError, TrainingError
from selfalign.core.protocols import PolicyTraining, Sampled, Scorer
from selfalign.core.records import Checkpoint
from selfalign.trainers import ppo_run
from selfalign.trainers.policy_account import read_steps
from selfalign.trainers.ppo_account import PpoStep
from selfalign.trainers.ppo_test import RECIPE as THREE_STEPS
from selfalign.trainers.ppo_test import facts, train
from selfalign.trainers.rl_losses import Targets
from selfalign.trainers.trl_kit_test import Worth, adapter

RECIPE = THREE_STEPS.model_copy(update={"steps": 5})


class Watchful(Worth):
    """Probes every few steps and finds the policy collapsed from a step on; may be steered."""

    def __init__(self, every: int, collapses_at: int = 99, *, steered: bool = False) -> None:
        super().__init__()
        self._every, self._collapses_at, self._steered = every, collapses_at, steered

    def __call__(self, step: int, sampled: Sequence[Sampled], score: Scorer) -> list[float]:
        if step >= self._collapses_at and self.vouches_for(step):
            raise CollapsedError(f"step {step}: the policy has collapsed.")
        return super().__call__(step, sampled, score)

    def vouches_for(self, step: int) -> bool:
        return step % self._every == 0

    def rewards_otherwise(self) -> bool:
        return self._steered

    @property
    def asked(self) -> list[int]:
        return [step for step, _ in self.batches]


@pytest.fixture(scope="module")
def whole(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An uninterrupted training, to compare others with."""
    return train(checkpoints, tmp_path_factory.mktemp("whole"), RECIPE)


def recipe(**changes: object) -> PolicyTraining:
    return RECIPE.model_copy(update=changes)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def same(one: Path, other: Path) -> bool:
    weights = adapter(other)
    return all(torch.equal(weights[name], tensor) for name, tensor in adapter(one).items())


# --- a collapse ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("save_every", "left"),
    [
        (2, 2),  # the checkpoint of step 4 is of the very policy that collapsed
        (1, 2),
        (3, 0),  # that of step 3 was never looked at
        (10, 0),
    ],
)
def test_of_a_collapsed_policy_the_last_checkpoint_that_was_found_whole_is_left(
    whole: Path,
    checkpoints: tuple[Checkpoint, Checkpoint],
    tmp_path: Path,
    save_every: int,
    left: int,
) -> None:
    asked_for = recipe(save_every=save_every)
    with pytest.raises(CollapsedError, match=r"^step 4: the policy has collapsed\.") as stop:
        train(checkpoints, tmp_path, asked_for, rewards=Watchful(2, collapses_at=4))
    assert names(tmp_path) == ([f"step-{left:06d}"] if left else [])
    where = f"kept in {tmp_path}" if left else "the start"
    assert f"found whole is that of step {left}, {where}" in str(stop.value)
    train(checkpoints, tmp_path, asked_for, rewards=(rewards := Watchful(2)))
    assert rewards.asked == list(range(left, 5))
    assert facts(tmp_path) == facts(whole)
    assert same(tmp_path, whole)


def test_a_training_that_is_only_killed_goes_on_from_the_newest_checkpoint(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    def die(line: PpoStep, _: int) -> None:
        if line.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(checkpoints, tmp_path, recipe(), rewards=Watchful(3), on_step=die)
    assert names(tmp_path) == ["step-000003", "step-000004"]
    train(checkpoints, tmp_path, recipe(), rewards=(rewards := Watchful(3)))
    assert rewards.asked == [4]


# --- the limit on KL -----------------------------------------------------------------------------


def stopped_at_max_kl(
    checkpoints: tuple[Checkpoint, Checkpoint], whole: Path, folder: Path
) -> tuple[int, float, str]:
    """Train to a limit between two steps of the uninterrupted training; return where it stopped."""
    kl = [step.kl for step in read_steps(whole, PpoStep)]
    step = max(range(2, 5), key=lambda n: kl[n])
    most = (max(kl[:step]) + kl[step]) / 2
    assert max(kl[:step]) < most
    with pytest.raises(TrainingError, match=f"^step {step}: the policy is ") as stop:
        train(checkpoints, folder, recipe(max_kl=most), rewards=Watchful(1))
    assert (stop.value.field, stop.value.exit_code) == ("max_kl", 1)
    return step, most, str(stop.value)


def test_beyond_max_kl_the_policy_before_is_kept_beside_it_and_both_are_named(
    whole: Path, checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path, tiny_model: Path
) -> None:
    step, _, said = stopped_at_max_kl(checkpoints, whole, tmp_path)
    assert names(tmp_path) == [f"step-{step - 1:06d}", f"step-{step:06d}"]
    assert f"is that of step {step - 1}, kept in" in said
    for name in names(tmp_path):
        assert name in said
        model = AutoModelForCausalLM.from_pretrained(tiny_model)
        assert PeftModel.from_pretrained(model, tmp_path / "checkpoints" / name / "policy")


def test_the_same_command_says_so_again_and_computes_nothing(
    whole: Path, checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    _, most, said = stopped_at_max_kl(checkpoints, whole, tmp_path)
    rewards, before = Watchful(1), names(tmp_path)
    with pytest.raises(TrainingError) as stop:
        train(checkpoints, tmp_path, recipe(max_kl=most), rewards=rewards)
    assert (str(stop.value), rewards.asked, names(tmp_path)) == (said, [], before)


@pytest.mark.parametrize("most", [1e9, None])
def test_with_max_kl_raised_it_goes_on_from_where_it_stopped(
    whole: Path, checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path, most: float | None
) -> None:
    step, *_ = stopped_at_max_kl(checkpoints, whole, tmp_path)
    train(checkpoints, tmp_path, recipe(max_kl=most), rewards=(rewards := Watchful(1)))
    assert rewards.asked == list(range(step, 5))
    assert facts(tmp_path) == facts(whole)
    assert same(tmp_path, whole)


def test_steered_it_goes_on_from_the_policy_before(
    whole: Path, checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    step, most, _ = stopped_at_max_kl(checkpoints, whole, tmp_path)
    rewards = Watchful(1, steered=True)
    with pytest.raises(TrainingError, match=f"^step {step}: the policy is "):
        train(checkpoints, tmp_path, recipe(max_kl=most), rewards=rewards)
    assert rewards.asked == [step - 1, step]  # the same rewards lead to the same stop


# --- numbers that are none -----------------------------------------------------------------------


def test_a_policy_that_is_broken_is_named_with_step_and_request_and_not_kept(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    huge = recipe(learning_rate=1e30, update_batch=8, update_epochs=1)
    with pytest.raises(
        CollapsedError,
        match=r"^step 1: a token's probability of the response to '.*What is \d\? .* \(q\d\) is no "
        r"finite number, so the policy is broken.* Lower `learning_rate`.* step 0, the start",
    ) as stop:
        train(checkpoints, tmp_path, huge)
    assert stop.value.exit_code == 1
    assert names(tmp_path) == []
    assert [step.step for step in read_steps(tmp_path, PpoStep)] == [0]


def test_a_loss_that_is_no_number_stops_before_the_update_and_the_same_command_goes_on(
    whole: Path,
    checkpoints: tuple[Checkpoint, Checkpoint],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right, calls = ppo_run.ppo_targets, 0

    def broken(*given: object) -> Targets:
        nonlocal calls
        calls += 1
        found = right(*given)
        if calls == 3:
            found.advantages[5, 0] = math.nan
        return found

    monkeypatch.setattr(ppo_run, "ppo_targets", broken)
    worth = Worth()
    with pytest.raises(
        TrainingError, match=r"^step 2: the policy's loss of the response to .* is no finite number"
    ) as stop:
        train(checkpoints, tmp_path, recipe(), rewards=worth)
    assert f"({worth.batches[2][1][5].query})" in str(stop.value)
    assert stop.value.exit_code == 1
    assert names(tmp_path) == ["step-000002"]
    train(checkpoints, tmp_path, recipe(), rewards=(again := Worth()))
    assert [step for step, _ in again.batches] == [2, 3, 4]
    assert facts(tmp_path) == facts(whole)
    assert same(tmp_path, whole)
