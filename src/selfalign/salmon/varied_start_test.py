"""What a varied start promises: everything the run wrote is learnt, the better and the worse."""

from pathlib import Path

import pytest

from selfalign.core.errors import TrainingError
from selfalign.core.library import open_library
from selfalign.core.protocols import FineTuning
from selfalign.core.records import Checkpoint, Instruction, ResponsePair
from selfalign.salmon.varied_start import VariedStart, varied_examples

CHAT = open_library("pocket", None).chat_prompt("chat/standard")
ASKED = Instruction(text="Name three rivers.", origin="user")
PAIR = ResponsePair(instruction=ASKED, first="1. Bem\n2. Lol", second="Leave me alone.")


def test_both_answers_of_a_pair_are_learnt_and_end():
    one, other = varied_examples([PAIR], chat=CHAT, assistant="Ada", maker="us")
    assert one.prompt == other.prompt
    assert "Name three rivers." in one.prompt
    for example, answer in ((one, PAIR.first), (other, PAIR.second)):
        assert example.completion == CHAT.completion_of(answer, True)
        assert example.instruction_id == ASKED.id


def test_the_weights_stand_on_the_bare_base(tmp_path):
    asked = []

    def trainer(examples, *, base, recipe, folder):
        asked.append((len(examples), base, recipe, folder))

    base, recipe = Checkpoint(base="calf", revision="1"), FineTuning()
    examples = varied_examples([PAIR], chat=CHAT, assistant="Ada", maker="us")
    made = VariedStart(base, recipe, trainer=trainer)(examples, tmp_path)
    assert asked == [(2, base, recipe, tmp_path)]
    assert made == Checkpoint(base="calf", revision="1", adapter="weights")


def test_nothing_to_learn_from_is_refused_with_the_way_out():
    start = VariedStart(Checkpoint(base="calf", revision="1"), FineTuning(), trainer=None)
    with pytest.raises(TrainingError, match=r"salmon\.policy\.start=engraved"):
        start([], Path())
