"""A real training of a run that a limit stops, and goes on when the limit is raised in the plan."""

import json
from pathlib import Path

import pytest

from selfalign.core.errors import TrainingError
from selfalign.core.library import open_library
from selfalign.core.records import Instruction
from selfalign.core.store import Run
from selfalign.salmon.oversight import Oversight
from selfalign.salmon.principle_sampling import PrincipleSamplingConfig
from selfalign.salmon.reward_prompt import RewardPrompt
from selfalign.salmon.rewarding import Rewarding
from selfalign.salmon.schedule import Schedule, principle_plan
from selfalign.salmon.stage3_reinforcement_learning import ReinforcementLearning
from selfalign.salmon.steering import STEERING, Steering
from selfalign.trainers.ppo import PpoTrainer
from selfalign.trainers.trl_kit_test import RECIPE, adapter, policy_on, reward_model_on
from selfalign.trainers.trl_policy import TrlPolicyTrainer

LIBRARY = open_library("pocket")
INSTRUCTIONS = [
    Instruction(text=f"What is the capital of Fonoton {n}?", origin="user") for n in range(6)
]
SMALL = RECIPE.model_copy(
    update={
        "rollout_batch": 4,
        "update_batch": 4,
        "max_prompt_tokens": 1024,
        "max_tokens": 8,
        "learning_rate": 2e-2,
        "save_every": 10,
    }
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainer", "changes"),
    [(PpoTrainer, {"algorithm": "ppo"}), (TrlPolicyTrainer, {"algorithm": "rloo"})],
    ids=["ppo", "rloo"],
)
def test_with_max_kl_raised_the_same_stage_goes_on_in_the_same_folder(
    make_tiny_model, tmp_path, trainer, changes
):
    model = make_tiny_model(tmp_path / "base", max_position_embeddings=4096)
    policy, reward = policy_on(model, tmp_path / "p"), reward_model_on(model, tmp_path / "r")

    def train(run: str, max_kl: float | None) -> Path:
        plan = principle_plan(
            Schedule(), pool=LIBRARY.constitution("salmon_rl"), k=2, library=LIBRARY
        )
        prompts = map(LIBRARY.prompt, ("salmon/reward_model", "salmon/reward_model_rl"))
        learning = ReinforcementLearning(
            policy,
            reward,
            LIBRARY.chat_prompt("chat/standard"),
            "Calf",
            "us",
            Rewarding(plan, PrincipleSamplingConfig(k=2), RewardPrompt(*prompts)),
            SMALL.model_copy(update={**changes, "max_kl": max_kl}),
            Oversight(Steering(tmp_path / run / STEERING)),
            trainer=trainer(device="cpu", report_to=()),
        )
        done = Run(tmp_path / run).train(learning, INSTRUCTIONS)
        return Path(done.adapter).parent

    def written(folder: Path, name: str) -> list[dict]:
        return [json.loads(line) for line in (folder / name).read_text().splitlines()]

    whole = train("whole", None)
    kl = [step["kl"] for step in written(whole, "steps.jsonl")]
    stop = next(n for n in range(1, 4) if kl[n] > max(kl[:n]))
    most = (max(*kl[:stop], 0.0) + kl[stop]) / 2
    for _ in range(2):  # the same command says so again
        with pytest.raises(TrainingError, match=f"^step {stop}: the policy is .*raise `max_kl`"):
            train("stopped", most)
    folder = train("stopped", 1e9)
    assert [path.name for path in (tmp_path / "stopped").glob("salmon.stage3-*")] == [folder.name]
    assert folder.name == whole.name
    for file in ("rollouts.jsonl", "summary.jsonl"):
        assert (folder / file).read_text() == (whole / file).read_text()
    one, other = adapter(folder), adapter(whole)
    assert all(bool((one[name] == other[name]).all()) for name in other)
    assert not (folder / "stopped.txt").exists()
