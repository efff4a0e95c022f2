"""Edits from many processes, heard once, at one step, for good."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from selfalign.core.errors import InputError, StoreError
from selfalign.core.library import open_library
from selfalign.salmon.principle_state import (
    AlwaysOn,
    NumberedChange,
    PrincipleState,
    Removed,
    Reweighed,
)
from selfalign.salmon.steering import Steerable, Steering

POOL = open_library().constitution("salmon_rl")
BRIEF, KIND = AlwaysOn(text="Be brief."), AlwaysOn(text="Be kind.")


@pytest.fixture
def steering(tmp_path):
    made = Steering(tmp_path / "run" / "steering")
    announce(made)
    return made


def announce(steering, step=0, state=None, **more):
    state = state or PrincipleState(pool=POOL)
    steering.announce(Steerable(training="salmon.stage3-1", step=step, k=3, state=state, **more))


def in_force(steering, step, training="salmon.stage3-1"):
    heard = [line for line in steering.heard(training) if line.step <= step]
    return [c for line in heard for edit in line.edits for c in edit.changes]


def test_an_edit_is_a_line_with_its_time_and_is_heard_at_the_next_step(steering):
    steering.hear("salmon.stage3-1", 0)
    at = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    number = steering.edit([BRIEF, Removed(principle="vivid")], clock=lambda: at)
    (edit,) = steering.edits()
    assert (number, edit.number, edit.edit.made) == (1, 1, "2026-01-02T03:04:05+00:00")
    assert str(edit.edit) == 'always "Be brief.", remove vivid'
    assert steering.pending() == [edit]
    assert in_force(steering, 0) == []
    steering.hear("salmon.stage3-1", 1)
    assert steering.pending() == []
    assert in_force(steering, 1) == [
        NumberedChange(1, BRIEF),
        NumberedChange(1, Removed(principle="vivid")),
    ]
    assert in_force(steering, 0) == []


def test_a_step_begun_before_a_crash_keeps_exactly_the_edits_it_had(steering):
    for step in range(3):
        steering.hear("salmon.stage3-1", step)
    steering.edit([BRIEF])
    steering.hear("salmon.stage3-1", 3)
    steering.edit([KIND])
    again = Steering(steering.folder)
    for step in (1, 2, 3):
        again.hear("salmon.stage3-1", step)
    assert in_force(again, 2) == []
    assert in_force(again, 3) == [NumberedChange(1, BRIEF)]
    again.hear("salmon.stage3-1", 4)
    assert in_force(again, 4) == [NumberedChange(1, BRIEF), NumberedChange(2, KIND)]


def test_after_a_hard_stop_new_edits_are_heard_where_the_training_goes_on(steering):
    for step in range(5):
        if step == 3:
            steering.edit([BRIEF])
        steering.hear("salmon.stage3-1", step)
    steering.edit([KIND])
    steering.hear("salmon.stage3-1", 2, anew=True)
    both = [NumberedChange(1, BRIEF), NumberedChange(2, KIND)]
    assert in_force(steering, 1) == []
    assert in_force(steering, 2) == in_force(steering, 9) == both
    steering.hear("salmon.stage3-1", 3)
    assert in_force(steering, 3) == both
    assert [line.step for line in steering.heard()] == [0, 1, 2, 3]


def test_an_edit_belongs_to_the_training_that_first_hears_it(steering):
    steering.edit([BRIEF])
    steering.hear("salmon.stage3-1", 0)
    steering.hear("salmon.stage3-2", 0)
    assert in_force(steering, 0, "salmon.stage3-2") == []
    steering.edit([KIND])
    steering.hear("salmon.stage3-2", 1)
    steering.hear("salmon.stage3-1", 1)
    assert in_force(steering, 9) == [NumberedChange(1, BRIEF)]
    assert in_force(steering, 9, "salmon.stage3-2") == [NumberedChange(2, KIND)]


def test_an_edit_that_does_not_fit_is_refused_whole(steering):
    with pytest.raises(InputError, match="did you mean 'candor'"):
        steering.edit([BRIEF, Reweighed(principle="cander", weight=1)])
    assert steering.edits() == []


def test_edits_are_checked_against_those_nobody_has_heard_yet(steering):
    steering.edit([Removed(principle=name) for name in POOL.names[:11]])
    with pytest.raises(InputError, match=r"would be 2 principles.*3 are drawn"):
        steering.edit([Removed(principle=POOL.names[11])])
    steering.edit([Reweighed(principle=POOL.names[0], weight=1)])
    steering.edit([Removed(principle=POOL.names[11])])
    assert len(steering.pending_state().drawable.names) == 3


def test_before_and_after_the_training_there_is_nobody_to_hear(tmp_path, steering):
    with pytest.raises(InputError, match=r"no reinforcement learning to steer.*--out"):
        Steering(tmp_path / "elsewhere" / "steering").edit([BRIEF])
    announce(steering, step=40, ended=True)
    with pytest.raises(InputError, match=r"salmon.stage3-1 has ended.*schedule"):
        steering.edit([BRIEF])


def test_an_edit_at_the_last_step_is_refused_unless_that_step_is_going_to_be_done_again(steering):
    announce(steering, step=38, steps=40)
    assert steering.edit([BRIEF]) == 1
    announce(steering, step=39, steps=40)
    with pytest.raises(InputError, match=r"is at its last step, 39.* too late"):
        steering.edit([KIND])
    announce(steering, step=39, steps=40, stopped=True)
    assert steering.edit([KIND]) == 2


def test_an_edit_that_came_too_late_is_said_to_have_and_heard_by_no_later_training(steering):
    steering.edit([BRIEF])
    steering.hear("salmon.stage3-1", 0)
    steering.edit([KIND])
    (late,) = steering.close()
    assert late.changes == [NumberedChange(2, KIND)]
    assert (steering.late(), steering.pending(), steering.close()) == ([late], [], [])
    with pytest.raises(InputError, match="has ended"):
        steering.edit([KIND])
    assert steering.hear("salmon.stage3-2", 0) == ()
    assert in_force(steering, 9) == [NumberedChange(1, BRIEF)]
    announce(steering)
    assert steering.edit([KIND]) == 3


def test_a_line_a_crash_left_unfinished_is_no_edit(steering):
    steering.edit([BRIEF])
    with (steering.folder / "edits.jsonl").open("a") as file:
        file.write('{"made":"2026')
    assert [e.number for e in steering.edits()] == [1]
    assert steering.edit([KIND]) == 2
    assert [str(e.edit) for e in steering.edits()] == ['always "Be brief."', 'always "Be kind."']


def test_damaged_files_are_named(steering):
    (steering.folder / "principles.json").write_text("{}")
    with pytest.raises(StoreError, match=r"principles\.json cannot be read.*Delete it"):
        steering.edit([BRIEF])
    announce(steering)
    assert steering.edit([BRIEF]) == 1
    (steering.folder / "edits.jsonl").write_text("what?\n")
    with pytest.raises(StoreError, match=r"edits\.jsonl, line 1"):
        steering.edits()


EDIT_TEN_TIMES = """
import sys
from pathlib import Path
from selfalign.salmon.principle_state import AlwaysOn
from selfalign.salmon.steering import Steering
steering = Steering(Path(sys.argv[1]))
for n in range(10):
    print(steering.edit([AlwaysOn(text=f"Be {sys.argv[2]} {n}." + " so" * 600)]))
"""


@pytest.mark.slow
def test_several_processes_may_edit_at_once(steering):
    tasks = [
        subprocess.Popen(
            [sys.executable, "-c", EDIT_TEN_TIMES, str(steering.folder), who],
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in ("brief", "kind", "honest")
    ]
    numbers = [int(line) for task in tasks for line in task.communicate()[0].split()]
    assert [task.returncode for task in tasks] == [0, 0, 0]
    assert sorted(numbers) == list(range(1, 31))
    assert len({str(e.edit) for e in Steering(Path(steering.folder)).edits()}) == 30
