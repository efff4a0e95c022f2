"""A stage is named by everything that can change an outcome, and by nothing else."""

from dataclasses import dataclass, field, replace

import pytest

from selfalign.core.records import Instruction, Kept, Record, Settings
from selfalign.core.scripted import ScriptedLM
from selfalign.core.stage import Stage


class Config(Settings):
    words: int = 3


@dataclass(frozen=True)
class Echo(Stage[Instruction, Instruction]):
    name = "test.echo"
    version = 1
    writes = Instruction

    lm: ScriptedLM = field(default_factory=ScriptedLM)
    config: Config = field(default_factory=Config)
    names: tuple[str, ...] = ("a", "b")
    limits: dict[str, int] = field(default_factory=dict)
    first: Record = field(default_factory=lambda: Instruction(text="first", origin="user"))
    seed: int = 0
    exact: bool = False
    machine: object = field(default=None, compare=False)

    def __call__(self, batch):
        return [Kept(source=i.id, records=(i,)) for i in batch]


@pytest.mark.parametrize(
    "changed",
    [
        {"lm": ScriptedLM(fingerprint="other")},
        {"config": Config(words=4)},
        {"names": ("b", "a")},
        {"limits": {"a": 1}},
        {"first": Instruction(text="other", origin="user")},
        {"seed": 1},
        {"exact": True},
    ],
)
def test_every_ingredient_is_in_the_name(changed):
    assert replace(Echo(), **changed).key != Echo().key


def test_equal_ingredients_give_one_name_and_machines_none():
    assert Echo().key == Echo(machine=print).key
    assert Echo().key.startswith("test.echo-")
    assert "machine" not in Echo().ingredients


def test_a_raised_version_is_another_name():
    @dataclass(frozen=True)
    class Echo2(Echo):
        version = 2

    assert Echo2().key != Echo().key


def test_settings_are_told_in_full():
    assert Echo().settings == {"config": {"words": 3}}


def test_something_nameless_is_refused_with_the_way_out():
    with pytest.raises(TypeError, match="`fingerprint` property, or, if it is a machine"):
        _ = replace(Echo(), names=object()).key


def test_the_source_is_the_file_of_the_stage():
    assert Echo().source_digest != "unknown"
    assert len(Echo().source_digest) == 16
