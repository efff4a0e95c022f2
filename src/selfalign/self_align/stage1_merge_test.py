"""What the end of stage 1 promises: both halves joined, nothing twice, nothing held back."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.novelty import NoveltySettings
from selfalign.core.records import Dropped, Instruction
from selfalign.self_align.asking import Pool
from selfalign.self_align.stage1_merge import InstructionSelection


def ask(text: str, origin="self_instruct") -> Instruction:
    return Instruction(text=text, origin=origin)


def merged(*instructions: Instruction, **kwargs) -> list[str]:
    stage = InstructionSelection(Pool(instructions), **kwargs)
    return [o.reason if isinstance(o, Dropped) else "kept" for o in stage(instructions)]


@dataclass(frozen=True)
class Holding:
    word: str

    @property
    def fingerprint(self) -> str:
        return self.word

    def excludes(self, text: str) -> bool:
        return self.word in text


def test_both_halves_are_kept_as_they_are():
    assert merged(ask("Sing a song."), ask("Who won?", "red_teaming")) == ["kept", "kept"]


def test_the_same_request_from_both_halves_counts_once():
    twice = [ask("Who won?"), ask("who won", "red_teaming")]
    assert sorted(merged(*twice)) == ["duplicate", "kept"]


def test_near_repetitions_stay_unless_novelty_is_asked_for():
    alike = [ask("List three uses of table salt."), ask("List three uses of sea salt.")]
    assert merged(*alike) == ["kept", "kept"]
    assert sorted(merged(*alike, novelty=NoveltySettings())) == ["kept", "near_duplicate"]


def test_requests_of_an_evaluation_are_held_out():
    held = Holding("Fetestan")
    assert merged(ask("Where is Fetestan?"), ask("Where is Rome?"), held_out=held) == [
        "held_out",
        "kept",
    ]
    assert InstructionSelection(Pool(), held_out=held).key != InstructionSelection(Pool()).key


@given(st.lists(st.text(max_size=12), unique=True, max_size=8), st.booleans(), st.randoms())
def test_every_instruction_has_one_outcome_in_any_order(texts, strict, shuffler):
    instructions = [ask(text) for text in texts]
    novelty = NoveltySettings() if strict else None
    stage = InstructionSelection(Pool(tuple(instructions)), novelty)
    whole = {o.source: o for o in stage(instructions)}
    shuffler.shuffle(instructions)
    again = InstructionSelection(Pool(tuple(instructions)), novelty)
    assert {o.source: o for i in instructions for o in again([i])} == whole
    assert set(whole) == {i.id for i in instructions}
