"""Which policies are trained side by side, and how that is shown."""

from pathlib import Path

from selfalign.core.errors import StoreError
from selfalign.core.records import Checkpoint
from selfalign.recipes.policy_workers import (
    PolicyOrder,
    Told,
    _Joint,
    _Shift,
    train_side_by_side,
    trainings_for,
)

HUB = Checkpoint(base="someone/model", revision="0123")


class Heard:
    """Remembers what was shown."""

    def __init__(self) -> None:
        self.stages: list[tuple[int, int]] = []
        self.advanced = 0
        self.notes: list[str] = []

    def start(self, stage, total, done):
        self.stages.append((total, done))

    def advance(self, n):
        self.advanced += n

    def note(self, text):
        self.notes.append(text)

    def finish(self, funnel):
        raise StoreError("nothing is finished here")


def order(run: Path, policy: str) -> PolicyOrder:
    return PolicyOrder(
        run=run, policy=policy, made_of=f"x-{policy}", start=HUB, reward=HUB, instructions="i"
    )


def test_nobody_knows_how_large_a_model_of_the_hub_is_so_one_policy_is_trained_at_a_time():
    assert trainings_for(HUB) == 1
    assert trainings_for(Checkpoint(base="/nowhere/at/all", revision="")) == 1


def test_one_policy_or_one_at_a_time_needs_no_worker(tmp_path):
    for orders, at_once in (([order(tmp_path, "policy")], 4), ([order(tmp_path, "a")] * 2, 1)):
        train_side_by_side(orders, at_once, Heard())
    assert not list(tmp_path.iterdir())


def test_the_joint_stage_is_as_long_as_its_trainings_and_knows_what_was_done_before():
    heard = Heard()
    joint = _Joint(heard, "joint", 3)
    joint.tell("a", Told(what="start", total=10))
    joint.tell("a", Told(what="advance", n=1))
    joint.tell("b", Told(what="start", total=10))  # as was thought
    joint.tell("b", Told(what="advance", n=1))
    joint.tell("c", Told(what="start", total=10, n=4))  # it goes on from its fifth batch
    assert heard.stages == [(30, 0), (30, 6)]
    assert heard.advanced == 2


def test_workers_that_cannot_be_started_leave_their_policies_to_the_recipe(tmp_path):
    heard = Heard()
    gone = tmp_path / "gone"
    _Shift(2, heard).train([order(gone, name) for name in ("policy", "policy-brief", "c")])
    assert len(heard.notes) == 3
    assert heard.notes[0].startswith("policy could not be trained in a process of its own (it ")
