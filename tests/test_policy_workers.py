"""Policies trained in processes of their own are those the recipe trains itself."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_policies import begun, train

from selfalign.core.progress import Progress
from selfalign.recipes.chapters import PLAN_FILE
from selfalign.trainers.trl_kit_test import adapter

SCRIPT = Path(__file__).parent / "small_policies.py"


class Heard:
    """Remembers what was shown."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.finished: list[str] = []
        self.stages: list[str] = []
        self.at = self.total = 0

    def start(self, stage, total, done):
        self.stages.append(stage)
        self.at, self.total = done, total

    def advance(self, n):
        self.at += n

    def note(self, text):
        self.notes.append(text)

    def finish(self, funnel):
        self.finished.append(funnel.key)


def on_one_core(run: Path, progress: Progress) -> dict[str, Path]:
    """Train one after another in this process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train(run, 1, progress)
    finally:
        torch.set_num_threads(threads)


def same(first: dict[str, Path], second: dict[str, Path]) -> bool:
    """Say whether policies are the same, bit for bit."""
    pairs = [(adapter(first[name]), adapter(second[name])) for name in first]
    return {name: path.name for name, path in first.items()} == {
        name: path.name for name, path in second.items()
    } and all(torch.equal(one[key], other[key]) for one, other in pairs for key in one | other)


@pytest.fixture(scope="module")
def model(make_tiny_model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return make_tiny_model(folder / "base", max_position_embeddings=4096)


@pytest.fixture(scope="module")
def alone(model, tmp_path_factory) -> dict[str, Path]:
    """The policies as one process on one core trains them."""
    return on_one_core(begun(tmp_path_factory.mktemp("alone"), model), Heard())


@pytest.mark.slow
def test_policies_trained_side_by_side_are_those_the_recipe_trains_itself(alone, model, tmp_path):
    run, heard = begun(tmp_path, model), Heard()
    made = train(run, 2, heard)
    assert same(made, alone)
    assert heard.stages == ["salmon.stage3 batches of rollouts, 2 at a time"]
    assert heard.at == heard.total == 2 * 10
    assert heard.finished == [made["policy"].name, made["policy-brief"].name]
    assert heard.notes == ["salmon.stage3: training on 8 examples"] * 2
    assert not (run / "logs").exists()
    assert train(run, 2, heard) == made  # and nothing is trained twice
    assert len(heard.stages) == 1


@pytest.mark.slow
def test_a_worker_that_comes_to_another_training_refuses_and_it_is_done_here(
    alone, model, tmp_path
):
    run, heard = begun(tmp_path, model), Heard()
    plan = run / PLAN_FILE
    text = plan.read_text()

    def edit() -> None:
        plan.write_text(text.replace("steps: 10", "steps: 11"))

    made = train(run, 2, heard, edit)
    assert {name: path.name for name, path in made.items()} == {
        name: path.name for name, path in alone.items()
    }
    told = [note for note in heard.notes if "could not be trained in a process" in note]
    assert [note.partition(" ")[0] for note in sorted(told)] == ["policy", "policy-brief"]
    for name in ("policy", "policy-brief"):
        log = run / "logs" / f"{made[name].name}.log"
        assert any(str(log) in note for note in told)
        assert f"error: {name} is salmon.stage3-" in log.read_text()
        assert "was edited since" in log.read_text()


def state_and_parent(process: int) -> tuple[str, int] | None:
    """Return a process's state, such as "Z", and its parent; None: there is no such process."""
    try:
        told = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return told[0], int(told[1])


def workers_of(parent: int) -> list[int]:
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [n for n in numbers if (found := state_and_parent(n)) and found[1] == parent]


def gone(process: int) -> bool:
    found = state_and_parent(process)
    return found is None or found[0] == "Z"


def wait_for(claim: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "this took too long"
        time.sleep(0.02)


def stop(run: Path, when: Callable[[], object], how: signal.Signals) -> tuple[int, str]:
    """Train side by side in another process, stop it at a moment; return its status and words.

    Whatever it has started ends within seconds.
    """
    parent = subprocess.Popen([sys.executable, SCRIPT, run], stderr=subprocess.PIPE)
    wait_for(lambda: len(workers_of(parent.pid)) == 2 and when(), 120)
    workers = workers_of(parent.pid)
    os.kill(parent.pid, how)
    said = parent.communicate(timeout=20)[1].decode()
    wait_for(lambda: all(gone(one) for one in workers), 3)
    return parent.returncode, said


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")
def test_workers_end_with_their_parent_and_the_same_command_continues(alone, model, tmp_path):
    run = begun(tmp_path, model)

    def with_a(file: str) -> int:
        return len({path.relative_to(run).parts[0] for path in run.glob(f"salmon.stage3-*/{file}")})

    # Libraries are being imported: for seconds no message is sent that nobody would take.
    early, _ = stop(run, lambda: with_a("manifest.json") == 2, signal.SIGKILL)
    assert early == -signal.SIGKILL
    assert with_a("checkpoints/step-000002") == 0
    status, said = stop(run, lambda: with_a("checkpoints/step-00000[2-9]") >= 1, signal.SIGINT)
    assert status == 3
    assert "interrupted; everything finished is kept" in said
    assert with_a("checkpoint.json") < 2
    assert same(on_one_core(run, Heard()), alone)
