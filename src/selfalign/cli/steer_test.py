"""`selfalign steer` on a run whose training listens."""

import json
import re
from pathlib import Path

import pytest

from selfalign.cli.app import run_command
from selfalign.core.library import open_library
from selfalign.core.weights import calf_directory
from selfalign.salmon.oversight import Suspected
from selfalign.salmon.principle_state import PrincipleState
from selfalign.salmon.reading_room import Room
from selfalign.salmon.reward_hacking import Evidence, Suspicion
from selfalign.salmon.rollout_rewards import suspicion_log
from selfalign.salmon.steering import Steerable, Steering


@pytest.fixture
def run(tmp_path) -> Path:
    library = open_library()
    state = PrincipleState(
        pool=library.constitution("salmon_rl"),
        always=library.constitution("salmon_interventions").principles,
    )
    Steering(tmp_path / "steering").announce(
        Steerable(training="salmon.stage3-1", step=7, k=3, state=state)
    )
    return tmp_path


def edits(run: Path) -> list[list[dict]]:
    path = run / "steering" / "edits.jsonl"
    return (
        [json.loads(x)["changes"] for x in path.read_text().splitlines()] if path.exists() else []
    )


def test_one_command_is_one_edit(run, capsys):
    words = ["--always", "Be brief.", "--weight", "honest and accurate=8", "--remove", "Vivid"]
    assert run_command(["steer", str(run), *words]) == 0
    assert edits(run) == [
        [
            {"change": "always", "text": "Be brief."},
            {"change": "weight", "principle": "honest and accurate", "weight": 8.0},
            {"change": "remove", "principle": "Vivid"},
        ]
    ]
    said = capsys.readouterr().out
    assert "edit 1:" in said
    assert "next batch of rollouts (the training is at step 7)" in said


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--always", "Be brief. " * 40], r"leaves no room .* and 30 of its 512 are free"),
        (["--always", "Be brief and kind. " * 4, "--always", "Be kind. " * 5], "and 30 of its"),
    ],
)
def test_a_text_that_leaves_the_reward_model_no_room_is_exit_code_2(run, words, answer, capsys):
    steering = Steering(run / "steering")
    room = Room(free=30, context=512, tokenizer=str(calf_directory() / "tokenizer.json"))
    steering.announce(steering.steerable().model_copy(update={"room": room}))
    assert run_command(["steer", str(run), "--always", "Be brief."]) == 0
    capsys.readouterr()
    assert run_command(["steer", str(run), *words]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(answer, said)
    assert len(edits(run)) == 1


def test_where_its_tokenizer_is_not_known_a_text_has_a_plain_limit(run, capsys):
    assert run_command(["steer", str(run), "--always", "x" * 2001]) == 2
    assert "may have 2,000" in " ".join(capsys.readouterr().err.split())
    assert edits(run) == []


def test_the_list_shows_what_will_hold(run, capsys):
    assert run_command(["steer", str(run), "--remove", "vivid", "--weight", "candor=8"]) == 0
    Steering(run / "steering").hear("salmon.stage3-1", 8)
    assert run_command(["steer", str(run), "--always", "Be brief."]) == 0
    capsys.readouterr()
    assert run_command(["steer", str(run), "--list"]) == 0
    said = capsys.readouterr().out
    assert "salmon.stage3-1, step 7; 3 principles are drawn per request" in said
    assert "(from step 8 on)" in said
    assert 'always "Be brief." (not heard yet)' in said
    rows = {line.split("  ")[0]: line for line in said.splitlines()}
    assert "always" in rows["live 2"]
    assert "always" in rows["humble"]


def test_the_list_shows_what_is_suspected_and_what_to_do_against_it(run, capsys):
    sample = Evidence(
        step=9, query="00", instruction="How?", response="So. It is a great answer.", reward=2.5
    )
    suspicion = Suspicion(
        hack="self-praise",
        measure="the share of self-praise",
        then=0.01,
        now=0.4,
        pays=1.0,
        evidence=(sample,),
        proposal="Be humble.",
    )
    (run / "salmon.stage3-1").mkdir()
    suspicion_log(run / "salmon.stage3-1").write(
        [Suspected(step=9, suspicion=suspicion, already_on=False)]
    )
    assert run_command(["steer", str(run), "--list"]) == 0
    said = capsys.readouterr().out
    assert "suspected at step 9: self-praise: the share of self-praise went from 0.01" in said
    assert "+2.50  'How?' -> 'So. It is a great answer.'" in said
    assert "against it: --always 'Be humble.'" in said


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--weight", "cander=8"], "did you mean 'candor'"),
        (["--weight", "candor=-1"], "at least 0"),
        (["--weight", "candor=nan"], "at least 0"),
        (["--weight", "candor"], "write the principle and a number"),
        (["--weight", "=8"], "write the principle and a number"),
        (["--remove", "humbel"], "did you mean 'humble'"),
        (["--always", " "], "says nothing"),
        ([], "nothing to change: give --always TEXT"),
    ],
)
def test_what_cannot_be_done_is_exit_code_2_and_writes_nothing(run, words, answer, capsys):
    assert run_command(["steer", str(run), *words]) == 2
    assert answer in capsys.readouterr().err
    assert edits(run) == []


@pytest.mark.parametrize(
    ("how", "answer"),
    [
        ({"step": 39, "steps": 40}, "is at its last step, 39, and an edit would never be heard"),
        ({"step": 39, "steps": 40, "ended": True}, "has ended, and an edit would never be heard"),
        ({"ended": True}, "has ended, and an edit would never be heard"),
    ],
)
def test_what_nobody_would_hear_any_more_is_exit_code_2(run, how, answer, capsys):
    steering = Steering(run / "steering")
    steering.announce(steering.steerable().model_copy(update=how))
    assert run_command(["steer", str(run), "--always", "Be brief."]) == 2
    said = capsys.readouterr().err
    assert answer in said
    assert "too late" in said
    assert "plan's schedule" in said
    assert edits(run) == []


def test_it_is_said_when_an_edit_takes_effect(run, capsys):
    steering = Steering(run / "steering")
    for what, how, answer in (
        (
            "vivid",
            {"steps": 40},
            "at the next batch of rollouts (the training is at step 7; its last is 39)",
        ),
        (
            "candor",
            {"steps": 8, "stopped": True},
            "where the training goes on: it has stopped, so run its",
        ),
    ):
        steering.announce(steering.steerable().model_copy(update=how))
        assert run_command(["steer", str(run), "--remove", what]) == 0
        assert f"it takes effect {answer}" in capsys.readouterr().out


def test_the_list_shows_what_came_too_late(run, capsys):
    assert run_command(["steer", str(run), "--always", "Be brief."]) == 0
    Steering(run / "steering").close()
    assert run_command(["steer", str(run), "--list"]) == 0
    said = capsys.readouterr().out
    assert 'always "Be brief." (came too late: never heard)' in said
    assert "salmon.stage3-1, step 7 (ended)" in said


def test_a_removal_that_leaves_too_few_is_refused(run, capsys):
    names = open_library().constitution("salmon_rl").names
    twelve = [word for name in names[:12] for word in ("--remove", name)]
    assert run_command(["steer", str(run), *twelve]) == 2
    assert "3 are drawn per query" in capsys.readouterr().err
    assert run_command(["steer", str(run), *twelve[:-2]]) == 0


def test_a_folder_that_is_no_run_is_a_sentence(tmp_path, capsys):
    assert run_command(["steer", str(tmp_path / "no"), "--always", "Be brief."]) == 2
    assert "no reinforcement learning to steer" in capsys.readouterr().err
