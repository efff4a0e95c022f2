"""Where RLOO and GRPO stop, and from which policy they go on, on a random model of two layers."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from selfalign.core.errors import CollapsedError, TrainingError, UnfitError
from selfalign.core.protocols import Sampled, Scorer
from selfalign.core.records import Checkpoint
from selfalign.trainers import trl_rollouts
from selfalign.trainers.policy_account import PolicyStep, read_steps
from selfalign.trainers.trl_kit_test import (
    PROMPTS,
    RECIPE,
    Worth,
    adapter,
    policy_on,
)
from selfalign.trainers.trl_policy import TrlPolicyTrainer

KINDS = pytest.mark.parametrize(
    "changes", [{}, {"algorithm": "grpo", "kl_estimator": "k3"}], ids=["rloo", "grpo"]
)


class Watchful(Worth):
    """Probes every second step and finds the policy collapsed from a step on; may be steered."""

    def __init__(self, collapses_at: int = 99, *, steered: bool = False) -> None:
        super().__init__()
        self._collapses_at, self._steered = collapses_at, steered

    def __call__(self, step: int, sampled: Sequence[Sampled], score: Scorer) -> list[float]:
        if step >= self._collapses_at and self.vouches_for(step):
            raise CollapsedError(f"step {step}: the policy has collapsed.")
        return super().__call__(step, sampled, score)

    def vouches_for(self, step: int) -> bool:
        return step % 2 == 0

    def rewards_otherwise(self) -> bool:
        return self._steered

    @property
    def asked(self) -> list[int]:
        return [step for step, _ in self.batches]


def train(
    checkpoints: tuple[Checkpoint, Checkpoint], folder: Path, rewards: Worth, **changes: object
) -> Worth:
    TrlPolicyTrainer(device="cpu", report_to=())(
        PROMPTS,
        policy=checkpoints[0],
        reward_model=checkpoints[1],
        rewards=rewards,
        recipe=RECIPE.model_copy(update={"steps": 5} | changes),
        folder=folder,
    )
    return rewards


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").glob("checkpoint-*"))


@KINDS
def test_of_a_collapsed_policy_the_last_checkpoint_that_was_found_whole_is_left(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path, changes: dict
) -> None:
    whole = train(checkpoints, tmp_path / "whole", Watchful(), save_every=2, **changes)
    run = tmp_path / "run"
    with pytest.raises(CollapsedError, match=r"^step 4: the policy has collapsed\.") as stop:
        train(checkpoints, run, Watchful(4), save_every=2, **changes)
    assert names(run) == ["checkpoint-4"]  # two updates a step
    assert f"is that of step 2, kept in {run}" in str(stop.value)
    rest = train(checkpoints, run, Watchful(), save_every=2, **changes)
    assert rest.asked == [2, 3, 4]
    assert rest.batches == whole.batches[2:]
    weights = adapter(run)
    assert all(torch.equal(weights[n], t) for n, t in adapter(tmp_path / "whole").items())


def test_steered_after_max_kl_it_goes_on_from_the_policy_before(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    train(checkpoints, tmp_path / "whole", Worth())
    kl = [step.kl for step in read_steps(tmp_path / "whole", PolicyStep)]
    step = next(n for n in range(1, 5) if kl[n] > max(kl[:n]))
    most, run = (max(*kl[:step], 0.0) + kl[step]) / 2, tmp_path / "run"
    before = (step - 1) // 2 * 2  # the last step probed before the stop
    with pytest.raises(TrainingError, match=rf"^step {step}: .* whole is that of step {before}, "):
        train(checkpoints, run, Watchful(), max_kl=most)
    with pytest.raises(TrainingError, match=rf"^step {step}: the policy is "):
        train(checkpoints, run, again := Watchful(steered=True), max_kl=most)
    assert again.asked == list(range(before, step + 1))


# --- numbers that are none -----------------------------------------------------------------------


@KINDS
def test_a_loss_that_is_no_number_is_named_with_step_and_request_and_the_same_command_goes_on(
    checkpoints: tuple[Checkpoint, Checkpoint],
    tmp_path: Path,
    changes: dict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = trl_rollouts.TRAINERS[changes.get("algorithm", "rloo")]
    right = kind.__mro__[1]._compute_loss

    def broken(self: object, model: object, inputs: dict) -> torch.Tensor:
        if self.state.global_step == 5:  # the second update of step 2
            inputs["advantages"][...] = torch.where(
                torch.arange(len(inputs["advantages"])) == len(inputs["advantages"]) - 1,
                math.nan,
                inputs["advantages"],
            )
        return right(self, model, inputs)

    whole = train(checkpoints, tmp_path / "whole", Worth(), **changes)
    with monkeypatch.context() as patched:
        patched.setattr(kind.__mro__[1], "_compute_loss", broken)
        with pytest.raises(
            TrainingError,
            match=r"^step 2: the policy's loss of the response to '.*What is \d\? .*same command",
        ) as stop:
            train(checkpoints, tmp_path / "run", Worth(), **changes)
    assert stop.value.exit_code == 1
    assert names(tmp_path / "run") == ["checkpoint-2", "checkpoint-4"]
    rest = train(checkpoints, tmp_path / "run", Worth(), **changes)
    assert rest.batches == whole.batches[2:]
    weights = adapter(tmp_path / "run")
    assert all(torch.equal(weights[n], t) for n, t in adapter(tmp_path / "whole").items())


def test_a_gradient_that_is_no_number_is_not_followed(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = trl_rollouts.RlooTrainer.training_step

    def broken(self: object, model: torch.nn.Module, *given: object) -> torch.Tensor:
        loss = right(self, model, *given)
        if self.state.global_step == 3:
            next(p for p in model.parameters() if p.grad is not None).grad.fill_(math.inf)
        return loss

    monkeypatch.setattr(trl_rollouts.RlooTrainer, "training_step", broken)
    with pytest.raises(TrainingError, match=r"^step 1: a gradient of the policy is no finite"):
        train(checkpoints, tmp_path, Worth())
    assert names(tmp_path) == ["checkpoint-2"]


@KINDS
def test_a_policy_that_is_broken_is_named_with_step_and_request_and_not_kept(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path, changes: dict
) -> None:
    with pytest.raises(
        CollapsedError,
        match=r"^step 1: a token's probability of the response to '.*What is \d\? .* is no finite "
        r"number, so the policy is broken.* Lower `learning_rate`.* is that of step 0, the start",
    ):
        train(checkpoints, tmp_path, Worth(), learning_rate=1e38, update_batch=8, **changes)
    assert names(tmp_path) == []


def test_a_policy_and_a_reward_model_with_different_tokenizers_are_refused_before_anything(
    tiny_model: Path, checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    policy = policy_on(tiny_model, tmp_path / "policy")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_tokens(["Zyx"])
    tokenizer.save_pretrained(tmp_path / "policy")
    with pytest.raises(UnfitError, match=r"have different tokenizers.*'Zyx'") as refused:
        train((policy, checkpoints[1]), tmp_path / "run", worth := Worth())
    assert (refused.value.exit_code, worth.batches) == (2, [])
    assert not (tmp_path / "run").exists()
