"""What trainers of policies write down: in one place, under names that files already have."""

import json
from pathlib import Path

import pytest

from selfalign.trainers.policy_account import (
    STEPS_FILE,
    PolicyReport,
    PolicyStep,
    keep_steps,
    read_steps,
    write_step,
)
from selfalign.trainers.ppo_account import PpoReport, PpoStep
from selfalign.trainers.trl_kit_test import RECIPE

STEP = (
    '{"step":%d,"reward":1.5,"reward_std":0.5,"kl":0.25,"tokens":12.0,"finished":1.0,'
    '"entropy":0.75,"clip_fraction":0.125,"learning_rate":0.001,"seconds":2.5}'
)
PPO_STEP = (
    '{"step":%d,"reward":1.5,"reward_std":0.5,"kl":0.25,"tokens":12.0,"finished":1.0,'
    '"entropy":0.75,"clip_fraction":0.125,"explained_variance":null,"policy_loss":0.5,'
    '"value_loss":0.25,"gradient_norm":1.0,"learning_rate":0.001,"seconds":2.5,'
    '"generation_seconds":1.5}'
)
REPORT = {
    "base": "calf",
    "recipe": RECIPE.model_dump(mode="json"),
    "prompts": 6,
    "dropped": 1,
    "steps": 4,
    "rollouts": 32,
    "seconds": 9.5,
    "resumed_at": 0,
    "reward_first": 0.5,
    "reward_last": 1.5,
}
PPO_REPORT = {**REPORT, "policy_rank": 4, "value_rank": 8}


@pytest.mark.parametrize(("kind", "line"), [(PolicyStep, STEP), (PpoStep, PPO_STEP)])
def test_lines_as_finished_runs_have_them_are_read_and_written_under_the_same_keys(
    kind: type[PolicyStep], line: str, tmp_path: Path
) -> None:
    torn = line % 2
    (tmp_path / STEPS_FILE).write_text("".join(f"{line % n}\n" for n in range(2)) + torn[:20])
    steps = read_steps(tmp_path, kind)
    assert [step.step for step in steps] == [0, 1]
    assert json.loads(steps[1].model_dump_json()) == json.loads(line % 1)


@pytest.mark.parametrize(("kind", "facts"), [(PolicyReport, REPORT), (PpoReport, PPO_REPORT)])
def test_reports_as_finished_runs_have_them_are_read_and_written_under_the_same_keys(
    kind: type[PolicyReport], facts: dict, tmp_path: Path
) -> None:
    kind.model_validate_json(json.dumps(facts)).write(tmp_path / "training.json")
    written = json.loads((tmp_path / "training.json").read_text())
    assert written == {**facts, "probes": 0, "probes_dropped": 0}


def test_ppo_says_all_that_every_training_of_a_policy_says() -> None:
    assert issubclass(PpoStep, PolicyStep)
    assert issubclass(PpoReport, PolicyReport)


def test_a_resumed_training_forgets_the_steps_it_does_again(tmp_path: Path) -> None:
    for n in range(3):
        write_step(tmp_path, PolicyStep.model_validate_json(STEP % n))
    kept = keep_steps(tmp_path, PolicyStep, 2)
    assert [step.step for step in kept] == [0, 1]
    assert read_steps(tmp_path, PolicyStep) == kept
