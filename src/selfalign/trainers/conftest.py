"""What the tests of policy trainers share."""

from pathlib import Path

import pytest

from selfalign.core.records import Checkpoint
from selfalign.trainers.trl_kit_test import policy_on, reward_model_on


@pytest.fixture(scope="module")
def checkpoints(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Checkpoint, Checkpoint]:
    """A policy and a reward model, both adapters on the tiny model."""
    folder = tmp_path_factory.mktemp("adapters")
    return policy_on(tiny_model, folder / "policy"), reward_model_on(tiny_model, folder / "reward")
