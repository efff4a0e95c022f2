"""What a finished training says became of every example."""

import json
from pathlib import Path

import pytest

from selfalign.recipes.trainings import TRAINING_FILE, funnel_of_training


@pytest.mark.parametrize(
    ("report", "drops"),
    [
        ({"examples": 5, "held_out": 2, "dropped": 1}, {"held_out": 2, "too_long": 1}),
        ({"prompts": 7, "dropped": 1}, {"too_long": 1}),
        (
            {"prompts": 5, "dropped": 1, "probes": 1, "probes_dropped": 1},
            {"held_out": 1, "too_long": 1, "probe_too_long": 1},
        ),
    ],
    ids=["supervised", "a policy nobody probes", "a policy"],
)
def test_every_example_was_trained_on_or_is_counted_under_a_reason(
    report: dict, drops: dict, tmp_path: Path
) -> None:
    folder = tmp_path / "some.training-0123"
    folder.mkdir()
    (folder / TRAINING_FILE).write_text(json.dumps({**report, "seconds": 1.0}))
    funnel = funnel_of_training(folder)
    assert funnel.inputs == 8
    assert {drop.reason: drop.count for drop in funnel.dropped} == drops
    assert funnel.kept + sum(drops.values()) == funnel.inputs
