"""All principles vote as they are written, and their sum decides what DPO is shown."""

from pathlib import Path

import pytest

from selfalign.core.errors import TrainingError
from selfalign.core.library import open_library
from selfalign.core.protocols import DpoTraining
from selfalign.core.records import Checkpoint, Instruction, JudgedPair, Margin, ResponsePair
from selfalign.salmon.direct_preferences import DirectPreferences
from selfalign.salmon.stage2_aggregation import AggregationConfig, aggregate_over

LIBRARY = open_library("pocket", None)
CONSTITUTION = LIBRARY.constitution("salmon_preferences")
POLICY = Checkpoint(base="calf", revision="sha256:0", adapter="adapter")


def judged(question: str, **nats: float) -> JudgedPair:
    """A pair on which the named principles vote, in both orders alike; the others do not."""
    pair = ResponsePair(
        instruction=Instruction(text=question, origin="user"), first="One.", second="Two."
    )
    margins = tuple(
        Margin(principle=name, forward=nats.get(name, 0.0), backward=nats.get(name, 0.0))
        for name in CONSTITUTION.names
    )
    return JudgedPair(pair=pair, margins=margins)


PAIRS = (
    judged("Where is it?", concise=2.0, honest=-1.0),
    judged("Who is it?", concise=-2.0, polite=0.5),
    judged("What is it?"),
)


class Noting:
    """Keeps what it was given, and trains nothing."""

    def __init__(self):
        self.pairs, self.policy = [], None

    def __call__(self, pairs, *, policy, recipe, folder):
        self.pairs, self.policy = list(pairs), policy


def direct(trainer: Noting) -> DirectPreferences:
    aggregation = aggregate_over(PAIRS, CONSTITUTION, AggregationConfig())
    chat = LIBRARY.chat_prompt("chat/standard")
    recipe = DpoTraining()
    return DirectPreferences(
        POLICY, chat, "Calf", "us", aggregation.scales, recipe, trainer=trainer
    )


def test_the_sum_of_scaled_votes_decides_and_no_view_is_left_out() -> None:
    stage = direct(Noting())
    scales = stage.scales
    first, second, none = map(stage.preferred, PAIRS)
    assert none is None
    assert first is not None
    assert second is not None
    assert 2 / scales["concise"] < 1 / scales["honest"]  # the rarer vote is the stronger one
    assert first.chosen.startswith("\nTwo.")
    assert -2 / scales["concise"] + 0.5 / scales["polite"] > 0
    assert second.chosen.startswith("\nOne.")
    assert second.rejected.startswith("\nTwo.")
    assert second.prompt.endswith("### User\nWho is it?\n\n### Assistant")


def test_the_policy_it_starts_from_is_trained_on_every_pair_with_a_view() -> None:
    trainer = Noting()
    made = direct(trainer)(PAIRS, Path("folder"))
    assert len(trainer.pairs) == 2
    assert trainer.policy == POLICY
    assert made.adapter == "weights"


def test_no_pair_with_a_view_is_a_sentence() -> None:
    with pytest.raises(TrainingError, match="of 1 judged pairs none has a preferred answer"):
        direct(Noting())(PAIRS[2:], Path("folder"))
