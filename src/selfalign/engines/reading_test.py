"""Counting tokens without weights, as the model with them would."""

from pathlib import Path

from transformers import AutoConfig, AutoTokenizer

from selfalign.core.records import Checkpoint
from selfalign.core.weights import calf_directory
from selfalign.engines.reading import counter_of, reading_of

TEXT = "### Response\nThe king asked for a loaf of bread.\n"


def test_a_model_is_counted_for_as_by_its_own_tokenizer():
    reading = reading_of(Checkpoint(base="calf", revision=""))
    tokenizer = AutoTokenizer.from_pretrained(calf_directory())
    assert reading.count(TEXT) == len(tokenizer(TEXT)["input_ids"])
    assert reading.context == AutoConfig.from_pretrained(calf_directory()).max_position_embeddings
    plain = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert counter_of(reading.tokenizer)(TEXT) == len(plain)


def test_what_is_not_here_is_not_known(tmp_path: Path):
    assert reading_of(Checkpoint(base="some/model", revision="")) is None
    assert reading_of(Checkpoint(base=str(tmp_path / "gone"), revision="")) is None
    assert counter_of(str(tmp_path / "tokenizer.json")) is None
    (tmp_path / "tokenizer.json").write_text("{}")
    assert counter_of(str(tmp_path / "tokenizer.json")) is None
