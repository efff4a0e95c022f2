"""A training runs once, and what it made is found again wherever the run lies."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from selfalign.core.errors import StoreError
from selfalign.core.records import Checkpoint, Record
from selfalign.core.stage import Training
from selfalign.core.store import Run, load_checkpoint


class Answer(Record):
    text: str


@dataclass(frozen=True)
class Memorising(Training[Answer]):
    name = "test.memorising"
    version = 1

    base: Checkpoint
    calls: list[int] = field(compare=False)

    def __call__(self, examples: Sequence[Answer], folder: Path) -> Checkpoint:
        self.calls.append(len(examples))
        (folder / "weights").mkdir(exist_ok=True)
        if self.calls == [0]:
            raise KeyboardInterrupt
        return self.base.model_copy(update={"adapter": str(folder / "weights")})


BASE = Checkpoint(base="org/base", revision="abc")


def test_a_training_runs_once_per_ingredients_and_examples(tmp_path):
    calls: list[int] = []
    training, examples = Memorising(BASE, calls), [Answer(text="a"), Answer(text="b")]
    first = Run(tmp_path).train(training, examples)
    assert Run(tmp_path).train(training, examples) == first
    assert Run(tmp_path).train(training, examples[:1]).fingerprint != first.fingerprint
    assert calls == [2, 1]
    assert first.adapter
    assert Path(first.adapter).is_dir()


def test_machines_are_no_part_of_a_name():
    assert Memorising(BASE, []).key == Memorising(BASE, [1]).key
    other = BASE.model_copy(update={"revision": "def"})
    assert Memorising(BASE, []).key != Memorising(other, []).key


def test_a_moved_run_has_the_same_weights_in_their_new_place(tmp_path):
    first = Run(tmp_path / "a").train(Memorising(BASE, []), [Answer(text="a")])
    (tmp_path / "a").rename(tmp_path / "b")
    (folder,) = (tmp_path / "b").glob("test.memorising-*")
    moved = load_checkpoint(folder)
    assert moved.adapter == str(folder / "weights")
    assert moved.fingerprint == first.fingerprint


def test_an_interrupted_training_is_not_a_checkpoint(tmp_path):
    calls: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        Run(tmp_path).train(Memorising(BASE, calls), [])
    (folder,) = tmp_path.glob("test.memorising-*")
    with pytest.raises(StoreError, match="was not finished"):
        load_checkpoint(folder)
    assert Run(tmp_path).train(Memorising(BASE, calls), []).made_of == folder.name
    assert calls == [0, 0]
