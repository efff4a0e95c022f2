"""A file of responses is scored row by row, and a stop costs nothing."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from selfalign.core.errors import InputError, StoreError
from selfalign.core.library import open_library
from selfalign.salmon import score_file
from selfalign.salmon.reward_prompt import RewardPrompt
from selfalign.salmon.score_file import FileScoring
from selfalign.salmon.scoring import PrincipleScoring

LIBRARY = open_library()
PROMPT = RewardPrompt(
    LIBRARY.prompt("salmon/reward_model"), LIBRARY.prompt("salmon/reward_model_rl")
)
SCORING = PrincipleScoring(PROMPT, {"brief": "Be brief.", "Be kind.": "Be kind."})


class Killed(BaseException):
    """Stands for kill -9."""


class Letters:
    """A reward model that likes the letter "e" and reads words."""

    context_length = 120

    def __init__(self, name: str = "letters", dies_at: int | None = None) -> None:
        self.fingerprint, self.calls, self._dies_at = name, 0, dies_at

    def score(self, texts: Sequence[str]) -> list[float]:
        self.calls += 1
        if self.calls == self._dies_at:
            raise Killed
        return [text.count("e") / 7 for text in texts]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(score_file, "BATCH", 3)


def written(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


ROWS = [
    {"id": n, "instruction": f"Why {n}?", "response": "e" * n, "note": ["ä", {"x": None}]}
    for n in range(8)
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return written(tmp_path / "rows.jsonl", ROWS)


def test_rows_come_back_in_order_with_their_fields_and_both_kinds_of_score(source, tmp_path):
    out = tmp_path / "scores.jsonl"
    done = FileScoring(Letters(), SCORING)(source, out)
    assert done == (8, 0)
    found = read(out)
    assert [{k: row[k] for k in ROWS[0]} for row in found] == ROWS
    assert list(found[0]) == [*ROWS[0], "score", "scores"]
    for row in found:
        texts = SCORING.render(row["instruction"], row["response"])
        joint, *each = (round(text.count("e") / 7, 6) for text in texts)
        assert row["score"] == joint
        assert row["scores"] == dict(zip(["brief", "Be kind."], each, strict=True))


def test_a_killed_scoring_continues_to_the_same_file_and_repeats_nothing(source, tmp_path):
    whole, torn = tmp_path / "whole.jsonl", tmp_path / "torn.jsonl"
    FileScoring(Letters(), SCORING)(source, whole)
    with pytest.raises(Killed):
        FileScoring(Letters(dies_at=2), SCORING)(source, torn)
    assert len(read(torn)) == 3
    with torn.open("ab") as half:
        half.write(b'{"id": 3, "instruc')  # what a crash leaves of a line
    model = Letters()
    told: list[tuple[int, int]] = []
    done = FileScoring(model, SCORING)(source, torn, lambda *at: told.append(at))
    assert done == (8, 3)
    assert model.calls == 2
    assert told == [(3, 8), (6, 8), (8, 8)]
    assert torn.read_bytes() == whole.read_bytes()


def test_a_finished_scoring_asks_nothing_and_takes_in_new_rows(source, tmp_path):
    out = tmp_path / "scores.jsonl"
    FileScoring(Letters(), SCORING)(source, out)
    model = Letters()
    assert FileScoring(model, SCORING)(source, out) == (8, 8)
    assert model.calls == 0
    written(source, [*ROWS, {"instruction": "New?", "response": "Yes."}])
    assert FileScoring(model, SCORING)(source, out) == (9, 8)
    assert model.calls == 1
    assert len(read(out)) == 9


def test_an_output_made_of_something_else_is_not_touched(source, tmp_path):
    out = tmp_path / "scores.jsonl"
    FileScoring(Letters(), SCORING)(source, out)
    before = out.read_bytes()
    with pytest.raises(InputError, match=r"another reward model.*--output"):
        FileScoring(Letters("other"), SCORING)(source, out)
    with pytest.raises(InputError, match="another set of principles or prompt"):
        FileScoring(Letters(), PrincipleScoring(PROMPT, {"brief": "Be short."}))(source, out)
    for changed in ([*ROWS[:2], {**ROWS[2], "response": "no"}, *ROWS[3:]], ROWS[:4]):
        written(source, changed)
        with pytest.raises(InputError, match=r"first 8 rows.*start over"):
            FileScoring(Letters(), SCORING)(source, out)
    assert out.read_bytes() == before
    stranger = written(tmp_path / "mine.jsonl", [{"precious": True}])
    with pytest.raises(InputError, match="not written by this command"):
        FileScoring(Letters(), SCORING)(source, stranger)


def test_a_shortened_output_is_a_sentence(source, tmp_path):
    out = tmp_path / "scores.jsonl"
    FileScoring(Letters(), SCORING)(source, out)
    out.write_bytes(out.read_bytes()[:50])
    with pytest.raises(StoreError, match=r"shorter than it was left.*start over"):
        FileScoring(Letters(), SCORING)(source, out)


BAD = {
    "[1]": r"line 2: this is not an object",
    '{"instruction": "a"}': r"line 2: the field `response` is missing.*it has instruction",
    '{"instruction": 3, "response": "b"}': r"line 2: the field `instruction` is 3;",
    '{"instruction": "a", "response": null}': r"line 2: the field `response` is null;",
    '{"instruction": "a", "response": "b", "score": 1}': r"line 2: the field `score` is there",
    '{"instruction": "a", "response": "b", "scores": {}}': r"line 2: the field `scores` is there",
    r'{"instruction": "a", "response": "\ud83d"}': r"line 2: the field `response` holds half",
    '{"instruction": ': r"line 2: this is not JSON",
    "[" * 100_000: r"line 2: this is not JSON",
}


@pytest.mark.parametrize(("line", "said"), BAD.items(), ids=range(len(BAD)))
def test_a_bad_row_is_named_before_any_row_is_scored(tmp_path, line, said):
    source, model = tmp_path / "rows.jsonl", Letters()
    source.write_text(f"{json.dumps(ROWS[0])}\n{line}\n")
    with pytest.raises(InputError, match=said):
        FileScoring(model, SCORING)(source, tmp_path / "out.jsonl")
    assert model.calls == 0
    assert not (tmp_path / "out.jsonl").exists()


def test_bytes_that_are_no_text_and_missing_files_are_sentences(source, tmp_path):
    (tmp_path / "latin.jsonl").write_bytes(b'{"instruction": "\xe9"}\n')
    with pytest.raises(InputError, match=r"latin\.jsonl, line 1.*UTF-8"):
        FileScoring(Letters(), SCORING)(tmp_path / "latin.jsonl", tmp_path / "out.jsonl")
    with pytest.raises(InputError, match=r"none\.jsonl cannot be read"):
        FileScoring(Letters(), SCORING)(tmp_path / "none.jsonl", tmp_path / "out.jsonl")
    with pytest.raises(InputError, match="there is no folder"):
        FileScoring(Letters(), SCORING)(source, tmp_path / "no" / "out.jsonl")
    with pytest.raises(InputError, match="cannot be --output as well"):
        FileScoring(Letters(), SCORING)(source, source)


def test_a_row_that_is_too_long_is_named_and_what_was_scored_is_kept(source, tmp_path):
    out = tmp_path / "out.jsonl"
    long = {"instruction": "Why?", "response": "word " * 200}
    written(source, [*ROWS[:4], long, ROWS[5]])
    with pytest.raises(InputError, match=r"line 5: the field `response` is too long.*reads 120"):
        FileScoring(Letters(), SCORING)(source, out)
    assert len(read(out)) == 3
    written(source, [*ROWS[:4], ROWS[5]])
    assert FileScoring(Letters(), SCORING)(source, out) == (5, 3)


def test_a_byte_order_mark_blank_lines_and_odd_characters_are_no_obstacle(tmp_path):
    source, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    row = {"instruction": "\u2028 ä 漢", "response": "", "n": 1.5}
    source.write_bytes(b"\xef\xbb\xbf" + json.dumps(row, ensure_ascii=False).encode() + b"\n\n \n")
    FileScoring(Letters(), SCORING)(source, out)
    (found,) = (json.loads(line) for line in out.read_bytes().split(b"\n") if line)
    assert {k: found[k] for k in row} == row
