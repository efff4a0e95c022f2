"""Principles edited while a real policy trains: PPO, its rewards and the steering folder."""

from pathlib import Path

import pytest

from selfalign.core.library import open_library
from selfalign.core.records import Checkpoint, Instruction
from selfalign.salmon.oversight import Oversight, Watch
from selfalign.salmon.principle_sampling import PrincipleSamplingConfig
from selfalign.salmon.principle_state import AlwaysOn, Removed
from selfalign.salmon.probes import ProbeConfig, Probes
from selfalign.salmon.records import Rollout
from selfalign.salmon.reward_prompt import RewardPrompt
from selfalign.salmon.rewarding import Rewarding
from selfalign.salmon.rollout_rewards import rollout_log, summary_log
from selfalign.salmon.schedule import Schedule, ScheduleEntry, principle_plan
from selfalign.salmon.stage3_reinforcement_learning import ReinforcementLearning
from selfalign.salmon.steering import STEERING, Steering
from selfalign.trainers.ppo import PpoTrainer
from selfalign.trainers.trl_kit_test import RECIPE, adapter, policy_on, reward_model_on

LIBRARY = open_library("pocket")
INSTRUCTIONS = [
    Instruction(text=f"What is the capital of Fonoton {n}?", origin="user") for n in range(6)
]
STEPS, EDITED_AT = 5, 2
PPO = RECIPE.model_copy(
    update={
        "algorithm": "ppo",
        "steps": STEPS,
        "rollout_batch": 4,
        "update_batch": 4,
        "max_prompt_tokens": 1024,
        "max_tokens": 8,
        "save_every": 2,
    }
)


class Killed(BaseException):
    """What kill -9 is to a process, as far as Python can be told."""


@pytest.fixture(scope="module")
def checkpoints(make_tiny_model, tmp_path_factory) -> tuple[Checkpoint, Checkpoint]:
    folder = tmp_path_factory.mktemp("steered")
    model = make_tiny_model(folder / "base", max_position_embeddings=4096)
    return policy_on(model, folder / "policy"), reward_model_on(model, folder / "reward")


def train(
    run: Path, checkpoints: tuple[Checkpoint, Checkpoint], kill_at: int | None = None
) -> Path:
    """Train in a run's folder; a person edits the principles when step EDITED_AT is being done."""
    steering, folder = Steering(run / STEERING), run / "training"
    prompt = LIBRARY.prompt
    plan = principle_plan(
        Schedule(entries=(ScheduleEntry(from_step=1, weights={"polite": 3}),)),
        pool=LIBRARY.constitution("salmon_rl"),
        interventions=LIBRARY.constitution("salmon_interventions"),
        k=2,
        library=LIBRARY,
    )
    rewarding = Rewarding(
        plan,
        PrincipleSamplingConfig(k=2),
        RewardPrompt(prompt("salmon/reward_model"), prompt("salmon/reward_model_rl")),
    )
    probes = Probes(
        LIBRARY.constitution("salmon_preferences"),
        ProbeConfig(every=2, responses=2, max_fall=None),
    )
    watch = Watch(LIBRARY.constitution("salmon_remedies"))

    def on_step(step: int) -> None:
        if step == EDITED_AT and not steering.edits():
            steering.edit([AlwaysOn(text="Be brief."), Removed(principle="detailed")])
        if step == kill_at:
            raise Killed

    ppo = PpoTrainer(device="cpu", report_to=(), on_step=lambda at, _: on_step(at.step))
    ReinforcementLearning(
        *checkpoints,
        LIBRARY.chat_prompt("chat/standard"),
        "Calf",
        "us",
        rewarding,
        PPO,
        Oversight(steering, probes, watch),
        trainer=ppo,
    )(INSTRUCTIONS, folder)
    return folder


def rollouts(folder: Path, step: int) -> list[Rollout]:
    return rollout_log(folder).of([step])


@pytest.mark.slow
def test_a_steered_training_that_is_killed_ends_where_an_uninterrupted_one_does(
    checkpoints, tmp_path
):
    whole = train(tmp_path / "whole", checkpoints)
    for kill_at in (2, 4):
        with pytest.raises(Killed):
            train(tmp_path / "killed", checkpoints, kill_at)
    killed = train(tmp_path / "killed", checkpoints)
    for file in ("rollouts.jsonl", "summary.jsonl"):
        assert (killed / file).read_text() == (whole / file).read_text()
    one, other = adapter(killed), adapter(whole)
    assert all(bool((one[name] == other[name]).all()) for name in other)

    (line,) = [x for x in Steering(tmp_path / "whole" / STEERING).heard() if x.edits]
    for step in range(STEPS):
        for rollout in rollouts(whole, step):
            assert ("Be brief." in rollout.always) == (step >= line.step)
            assert len(rollout.clauses) == len(rollout.always) + 2
    weights = [summary.weights for summary in summary_log(whole).of(range(STEPS))]
    assert [w["polite"] for w in weights] == [1, 3, 3, 3, 3]
    assert ["detailed" in w for w in weights] == [step < line.step for step in range(STEPS)]
