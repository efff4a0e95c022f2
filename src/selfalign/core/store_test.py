"""The laws of the run folder: nothing twice, nothing lost, nothing mixed up."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfalign.core.errors import StoreError, UnwritableError
from selfalign.core.funnel import Funnel
from selfalign.core.protocols import Sampling
from selfalign.core.records import Dropped, Instruction, Kept, Record, Settings
from selfalign.core.scripted import ScriptedLM
from selfalign.core.shelf import Shelf
from selfalign.core.stage import Stage
from selfalign.core.store import Run


class Answer(Record):
    text: str


class Config(Settings):
    shortest: int = 0


@dataclass(frozen=True)
class Answering(Stage[Instruction, Answer]):
    """Two answers per question; questions that begin with "no" have none."""

    name = "test.answering"
    version = 1
    writes = Answer

    lm: ScriptedLM
    config: Config = field(default_factory=Config)

    def __call__(self, batch: Sequence[Instruction]) -> list[Kept[Answer] | Dropped]:
        said = self.lm.generate([i.text for i in batch], [Sampling()] * len(batch))
        return [
            Dropped(source=i.id, reason="refused", detail=c.text)
            if i.text.startswith("no")
            else Kept(source=i.id, records=(Answer(text=c.text), Answer(text=c.text + "!")))
            for i, c in zip(batch, said, strict=True)
        ]


def echo() -> ScriptedLM:
    return ScriptedLM(lambda prompt, seed: f"about {prompt}")


def ask(*texts: str) -> list[Instruction]:
    return [Instruction(text=text, origin="user") for text in texts]


def answers_to(instructions: Sequence[Instruction]) -> list[Answer]:
    asked = [i.text for i in instructions if not i.text.startswith("no")]
    return [Answer(text=f"about {t}{mark}") for t in asked for mark in ("", "!")]


QUESTIONS = ask("one", "no two", 'three\n{"source":', "four é 你", "no five", "six")


class Watched:
    """Remembers what a run told."""

    def __init__(self):
        self.told: list[tuple[object, ...]] = []

    def start(self, stage: str, total: int, done: int) -> None:
        self.told.append(("start", stage, total, done))

    def advance(self, n: int) -> None:
        self.told.append(("advance", n))

    def note(self, text: str) -> None:
        self.told.append(("note", text))

    def finish(self, funnel: Funnel) -> None:
        self.told.append(("finish", funnel.kept, funnel.inputs))


# --- the laws


def test_a_finished_stage_costs_nothing_when_run_again(tmp_path):
    lm = echo()
    first = Run(tmp_path).fill(Answering(lm), QUESTIONS)
    assert (first, len(lm.asked)) == (answers_to(QUESTIONS), 6)
    assert Run(tmp_path).fill(Answering(lm), QUESTIONS) == first
    assert len(lm.asked) == 6


def test_more_inputs_cost_only_themselves(tmp_path):
    lm = echo()
    Run(tmp_path).fill(Answering(lm), QUESTIONS[:4])
    assert Run(tmp_path).fill(Answering(lm), QUESTIONS) == answers_to(QUESTIONS)
    assert [prompt for prompt, _ in lm.asked[4:]] == ["no five", "six"]


def test_a_repeated_input_is_asked_once_and_answered_each_time(tmp_path):
    lm = echo()
    (one,) = ask("again?")
    assert Run(tmp_path).fill(Answering(lm), [one, one]) == answers_to([one]) * 2
    assert len(lm.asked) == 1


def test_another_ingredient_gets_its_own_folder(tmp_path):
    for stage in (Answering(echo()), Answering(echo(), Config(shortest=1))):
        Run(tmp_path).fill(stage, QUESTIONS)
    assert len(list(tmp_path.glob("*/outcomes.jsonl"))) == 2


@settings(deadline=None, max_examples=40)
@given(finished=st.integers(0, 6), cut=st.floats(0, 1), chunk=st.integers(1, 7))
def test_a_crash_at_any_byte_loses_and_doubles_nothing(tmp_path_factory, finished, cut, chunk):
    path = tmp_path_factory.mktemp("run")
    Run(path, chunk=chunk).fill(Answering(echo()), QUESTIONS[:finished])
    if finished:
        (file,) = path.glob("*/outcomes.jsonl")
        file.write_bytes(file.read_bytes()[: int(cut * file.stat().st_size)])  # the crash

    resumed = Run(path, chunk=chunk).fill(Answering(echo()), QUESTIONS)
    assert resumed == answers_to(QUESTIONS)
    (file,) = path.glob("*/outcomes.jsonl")
    assert file.read_bytes().count(b"\n") == len(QUESTIONS)


@settings(deadline=None, max_examples=15)
@given(st.permutations(QUESTIONS), st.integers(1, 7))
def test_order_and_chunk_change_no_record(tmp_path_factory, order, chunk):
    path = tmp_path_factory.mktemp("run")
    assert Run(path, chunk=chunk).fill(Answering(echo()), order) == answers_to(order)
    assert Run(path).fill(Answering(echo()), QUESTIONS) == answers_to(QUESTIONS)


# --- interruption


def test_ctrl_c_reaches_the_caller_and_keeps_what_was_done(tmp_path):
    def reply(prompt: str, seed: int) -> str:
        if prompt == "four é 你":
            raise KeyboardInterrupt
        return f"about {prompt}"

    run = Run(tmp_path, chunk=1)
    with pytest.raises(KeyboardInterrupt):
        run.fill(Answering(ScriptedLM(reply)), QUESTIONS)
    lm = echo()
    assert run.fill(Answering(lm), QUESTIONS) == answers_to(QUESTIONS)
    assert len(lm.asked) == 3


SLOW = """
import sys, time
from pathlib import Path
from selfalign.core import store_test as t
from selfalign.core.store import Run

def reply(prompt, seed):
    time.sleep(0.05)
    return f"about {prompt}"

stage = t.Answering(t.ScriptedLM(reply))
Run(Path(sys.argv[1]), chunk=1).fill(stage, t.ask(*(f"q{n}" for n in range(400))))
"""


def slow_writer(path: Path) -> subprocess.Popen[bytes]:
    """Start another process that fills `path` slowly; return once it has written something."""
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(path)])
    deadline = time.monotonic() + 60
    while not any(f.stat().st_size for f in path.glob("*/outcomes.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    return process


def test_a_second_process_gets_a_sentence_and_a_killed_one_leaves_no_lock(tmp_path):
    process = slow_writer(tmp_path)
    try:
        with pytest.raises(
            StoreError, match=rf"another process \(process {process.pid} on .*--out"
        ):
            Run(tmp_path).fill(Answering(echo()), QUESTIONS)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    lm = echo()
    questions = ask(*(f"q{n}" for n in range(400)))
    assert Run(tmp_path).fill(Answering(lm), questions) == answers_to(questions)
    assert 0 < len(lm.asked) < 400  # what the killed process finished is not asked again


def test_reading_needs_no_lock_and_writes_nothing(tmp_path):
    process = slow_writer(tmp_path)
    try:
        run = Run(tmp_path)
        assert isinstance(next(run.outcomes(Answering(echo()), ask("q0")))[1], Kept)
        assert run.manifest(Answering(echo()).key).name == "test.answering"
    finally:
        process.kill()
        process.wait()


# --- broken promises and broken disks


def test_a_stage_that_loses_an_input_is_named_and_nothing_of_it_is_stored(tmp_path):
    class Losing(Answering):
        def __call__(self, batch: Sequence[Instruction]) -> list[Kept[Answer] | Dropped]:
            return super().__call__(batch)[1:]

    with pytest.raises(StoreError, match=r"test\.answering was given 6 inputs and returned 5"):
        Run(tmp_path).fill(Losing(echo()), QUESTIONS)
    assert not any(f.stat().st_size for f in tmp_path.glob("*/outcomes.jsonl"))


@pytest.mark.parametrize(
    "damage", ["{}", "not json", '{"source":"00ff00ff00ff00ff","records":[7]}']
)
def test_a_damaged_line_is_named_and_deleting_it_is_the_way_out(tmp_path, damage):
    Run(tmp_path).fill(Answering(echo()), QUESTIONS)
    (file,) = tmp_path.glob("*/outcomes.jsonl")
    lines = file.read_text("utf-8").splitlines(keepends=True)
    source = lines[2][len('{"source":"') :][:16]
    lines[2] = damage.replace("00ff00ff00ff00ff", source) + "\n"
    file.write_text("".join(lines), "utf-8")
    with pytest.raises(StoreError, match=r"outcomes\.jsonl, line 3: .*Delete that line"):
        Run(tmp_path).fill(Answering(echo()), QUESTIONS)

    file.write_text("".join(lines[:2] + lines[3:]), "utf-8")
    assert Run(tmp_path).fill(Answering(echo()), QUESTIONS) == answers_to(QUESTIONS)


def test_a_path_that_cannot_be_a_folder_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnwritableError, match=r"cannot be written: .*--out DIR") as error:
        Run(tmp_path / "file").fill(Answering(echo()), QUESTIONS)
    assert error.value.exit_code == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_a_sentence_and_what_was_written_stays(tmp_path):
    Run(tmp_path).fill(Answering(echo()), QUESTIONS[:2])
    (file,) = tmp_path.glob("*/outcomes.jsonl")
    shelf = Shelf(file.parent, Answer)
    shelf._path = Path("/dev/full")  # pyright: ignore
    with pytest.raises(UnwritableError, match=os.strerror(errno.ENOSPC) + "|" + os.strerror(22)):
        shelf.append([Dropped(source="0" * 16, reason="x")])
    assert len(Shelf(file.parent, Answer)) == 2


def test_filling_with_nothing_is_filling(tmp_path):
    assert Run(tmp_path).fill(Answering(echo()), []) == []
    assert Run(tmp_path).funnels()[0].inputs == 0


# --- facts


def test_progress_is_told_from_start_to_finish(tmp_path):
    Run(tmp_path).fill(Answering(echo()), QUESTIONS[:1])
    seen = Watched()
    Run(tmp_path, chunk=3, progress=seen).fill(Answering(echo()), QUESTIONS)
    assert seen.told == [
        ("start", "test.answering", 6, 1),
        ("advance", 3),
        ("advance", 2),
        ("finish", 4, 6),
    ]


def test_the_funnel_accounts_for_every_input_of_the_last_fill(tmp_path):
    questions = [*QUESTIONS, *ask("no seven", "no eight"), QUESTIONS[0]]
    Run(tmp_path).fill(Answering(echo()), [*questions, *ask("extra")])
    Run(tmp_path).fill(Answering(echo()), questions)
    (funnel,) = Run(tmp_path).funnels()
    assert (funnel.inputs, funnel.kept, funnel.records) == (8, 4, 8)
    (drops,) = funnel.dropped
    assert (drops.reason, drops.count) == ("refused", 4)
    assert [(e.input, e.detail) for e in drops.examples] == [
        ("no two", "about no two"),
        ("no five", "about no five"),
        ("no seven", "about no seven"),
    ]


def test_the_seconds_of_a_stage_add_up_over_runs(tmp_path):
    stage = Answering(echo())
    Run(tmp_path).fill(stage, QUESTIONS[:3])
    first = Run(tmp_path).funnel(stage.key)
    path = tmp_path / stage.key / "funnel.json"
    path.write_text(first.model_copy(update={"seconds": 7.0}).model_dump_json())
    Run(tmp_path).fill(stage, QUESTIONS)
    assert 7 <= Run(tmp_path).funnel(stage.key).seconds < 1000


def test_outcomes_pair_every_input_with_what_became_of_it(tmp_path):
    stage = Answering(echo())
    Run(tmp_path).fill(stage, QUESTIONS)
    pairs = list(Run(tmp_path).outcomes(stage, QUESTIONS[::-1]))
    assert [i for i, _ in pairs] == QUESTIONS[::-1]
    assert [isinstance(o, Dropped) for _, o in pairs] == [i.text[:2] == "no" for i, _ in pairs]


def test_the_manifest_says_what_the_work_was_made_of(tmp_path):
    stage = Answering(echo(), Config(shortest=3))
    Run(tmp_path).fill(stage, QUESTIONS)
    manifest = Run(tmp_path).manifest(stage.key)
    assert (manifest.name, manifest.version, manifest.key) == ("test.answering", 1, stage.key)
    assert manifest.ingredients == {"lm": "scripted", "config": Config(shortest=3).fingerprint}
    assert manifest.settings == {"config": {"shortest": 3}}
    assert manifest.packages["pydantic"]


def test_changed_code_is_a_warning_and_not_a_new_folder(tmp_path):
    stage = Answering(echo())
    run = Run(tmp_path)
    run.fill(stage, QUESTIONS)
    assert run.warnings == []
    path = tmp_path / stage.key / "manifest.json"
    path.write_text(path.read_text().replace(stage.source_digest, "another"))
    seen = Watched()
    run = Run(tmp_path, progress=seen)
    run.fill(stage, QUESTIONS)
    run.fill(stage, QUESTIONS)
    assert len(run.warnings) == 1
    assert "the code of test.answering changed" in run.warnings[0]
    assert ("note", run.warnings[0]) in seen.told


@pytest.mark.parametrize("name", ["manifest.json", "funnel.json"])
def test_a_damaged_fact_is_named_and_deleting_it_alone_is_the_way_out(tmp_path, name):
    run = Run(tmp_path)
    before = list(run.fill(Answering(echo()), QUESTIONS))
    (path,) = tmp_path.glob(f"*/{name}")
    path.write_text('{"stage": "test.answ')
    with pytest.raises(StoreError, match=f"{name} cannot be read .* delete this file alone"):
        list(Run(tmp_path).fill(Answering(echo()), QUESTIONS))
    path.unlink()
    unasked = ScriptedLM(lambda prompt, seed: pytest.fail("asked again"))
    assert list(Run(tmp_path).fill(Answering(unasked), QUESTIONS)) == before
    assert path.is_file()
