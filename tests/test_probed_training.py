"""Requests kept out of a real training and answered for its probes, whichever trainer it is."""

import pytest

from selfalign.core.library import open_library
from selfalign.core.records import Instruction
from selfalign.salmon.oversight import Oversight
from selfalign.salmon.principle_sampling import PrincipleSamplingConfig
from selfalign.salmon.probes import ProbeConfig, Probes
from selfalign.salmon.reward_prompt import RewardPrompt
from selfalign.salmon.rewarding import Rewarding
from selfalign.salmon.rollout_rewards import rollout_log, summary_log
from selfalign.salmon.schedule import Schedule, principle_plan
from selfalign.salmon.stage3_reinforcement_learning import ReinforcementLearning
from selfalign.trainers.ppo import PpoTrainer
from selfalign.trainers.trl_kit_test import RECIPE, policy_on, reward_model_on
from selfalign.trainers.trl_policy import TrlPolicyTrainer

LIBRARY = open_library("pocket")
INSTRUCTIONS = [
    Instruction(text=f"What is the capital of Fonoton {n}?", origin="user") for n in range(6)
]
SHORT = {"steps": 3, "rollout_batch": 4, "update_batch": 4, "max_prompt_tokens": 1024}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainer", "changes"),
    [
        (PpoTrainer(device="cpu", report_to=()), {"algorithm": "ppo"}),
        (TrlPolicyTrainer(device="cpu", report_to=()), {"algorithm": "rloo"}),
        (
            TrlPolicyTrainer(device="cpu", report_to=()),
            {"algorithm": "grpo", "kl_estimator": "k3"},
        ),
    ],
    ids=["ppo", "rloo", "grpo"],
)
def test_requests_kept_out_of_the_training_are_what_is_probed(
    make_tiny_model, tmp_path, trainer, changes
):
    model = make_tiny_model(tmp_path / "base", max_position_embeddings=4096)
    principles = LIBRARY.constitution("salmon_preferences")
    plan = principle_plan(
        Schedule(),
        pool=LIBRARY.constitution("salmon_rl"),
        interventions=LIBRARY.constitution("salmon_interventions"),
        k=2,
        library=LIBRARY,
    )
    prompts = map(LIBRARY.prompt, ("salmon/reward_model", "salmon/reward_model_rl"))
    ReinforcementLearning(
        policy_on(model, tmp_path / "policy"),
        reward_model_on(model, tmp_path / "reward"),
        LIBRARY.chat_prompt("chat/standard"),
        "Calf",
        "us",
        Rewarding(plan, PrincipleSamplingConfig(k=2), RewardPrompt(*prompts)),
        RECIPE.model_copy(update=SHORT | changes),
        Oversight(probes=Probes(principles, ProbeConfig(every=2, held_out=2, max_fall=None))),
        trainer=trainer,
    )(INSTRUCTIONS, tmp_path / "training")
    probes = [one.probes for one in summary_log(tmp_path / "training").of(range(3))]
    assert [one and (one.source, one.responses) for one in probes] == [
        ("held_out", 2),
        None,
        ("held_out", 2),
    ]
    assert set(probes[0].means) == set(principles.names)
    assert probes[0].means != probes[2].means
    trained = {one.query for one in rollout_log(tmp_path / "training").of(range(3))}
    assert len(trained) == 4 == len(trained & {one.id for one in INSTRUCTIONS})
