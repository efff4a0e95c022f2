"""A model's name leads to its files or to a sentence, and its content gives it its identity."""

import json
import shutil
from pathlib import Path

import pytest

from selfalign.core import weights
from selfalign.core.errors import ModelError
from selfalign.core.records import Checkpoint
from selfalign.core.weights import files_digest, identify, locate, trained_weights


@pytest.fixture(autouse=True)
def _own_memory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def model(directory: Path, content: bytes = b"weights") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json"):
        (directory / name).write_text("{}")
    (directory / "model.safetensors").write_bytes(content)
    return directory


def adapter(directory: Path, base: object) -> Path:
    directory.mkdir(parents=True)
    (directory / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    (directory / "adapter_model.safetensors").write_bytes(b"adapter")
    return directory


def test_a_directory_is_located_absolutely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model(tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    found = locate("m")
    assert found.directory == (tmp_path / "m").resolve()
    assert found.adapter is None


def test_a_hub_name_keeps_its_revision() -> None:
    found = locate("hf:org/name@abc")
    assert (found.base, found.revision, found.directory) == ("org/name", "abc", None)
    assert locate("org/name").revision is None


def test_an_adapter_brings_its_base(tmp_path: Path) -> None:
    base, on_top = model(tmp_path / "m"), adapter(tmp_path / "a", str(tmp_path / "m"))
    found = locate(str(on_top))
    assert (found.directory, found.adapter) == (base.resolve(), on_top.resolve())
    beside = locate(str(adapter(tmp_path / "b", "../m")))
    assert beside.directory == base.resolve()
    assert locate(str(adapter(tmp_path / "h", "org/name"))).base == "org/name"


def test_a_checkpoint_is_its_base_its_adapter_or_its_whole_weights(tmp_path: Path) -> None:
    base = model(tmp_path / "m")
    plain = Checkpoint(base=str(base), revision="sha256:x")
    assert locate(plain).directory == base.resolve()
    weights_of = adapter(tmp_path / "run/train/weights", str(base))
    tuned = plain.model_copy(update={"adapter": str(tmp_path / "run/train")})
    assert locate(tuned).adapter == weights_of.resolve()
    whole = model(tmp_path / "run/full/weights")
    full = plain.model_copy(update={"adapter": str(tmp_path / "run/full")})
    assert locate(full).directory == whole.resolve()
    assert locate(full).adapter is None
    hub = Checkpoint(base="org/name", revision="abc")
    assert locate(hub).revision == "abc"
    assert trained_weights(whole) == whole.resolve()


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_directory_that_is_no_model_is_told_what_it_lacks(tmp_path: Path, missing: str) -> None:
    directory = model(tmp_path / "m")
    (directory / missing).unlink()
    (directory / "notes.txt").write_text("hello")
    with pytest.raises(ModelError, match=r"is not a model: .*missing; it holds .*notes\.txt") as e:
        locate(str(directory))
    assert missing.partition(".")[0].replace("model", "weights") in str(e.value)


def test_an_empty_directory_lacks_everything(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json, weights .* are missing; it holds nothing"):
        locate(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/no/such/place", "no model directory at /no/such/place"),
        ("./here", "no model directory"),
        ("a/b/c", "no model directory"),
        ("hf:", "is no model"),
        ("two words", "is no model"),
        ("", "is no model"),
    ],
)
def test_a_name_that_leads_nowhere_is_explained(name: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        locate(name)


def test_a_file_is_not_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_text("x")
    with pytest.raises(ModelError, match="it is a file"):
        locate(str(path))


@pytest.mark.parametrize("config", ["not json", "{}", '{"base_model_name_or_path": 3}', "[1]"])
def test_an_adapter_without_a_base_is_explained(tmp_path: Path, config: str) -> None:
    directory = adapter(tmp_path / "a", "x")
    (directory / "adapter_config.json").write_text(config)
    with pytest.raises(ModelError, match="base_model_name_or_path"):
        locate(str(directory))


def test_an_adapter_on_an_adapter_is_refused(tmp_path: Path) -> None:
    model(tmp_path / "m")
    first = adapter(tmp_path / "a", str(tmp_path / "m"))
    with pytest.raises(ModelError, match="stands on another adapter"):
        locate(str(adapter(tmp_path / "b", str(first))))


def test_a_missing_embedded_model_says_how_to_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "calf_directory", lambda: tmp_path)
    with pytest.raises(ModelError, match="selfalign calf pretrain"):
        locate("calf")


def test_a_copied_model_keeps_its_name_and_a_changed_one_does_not(tmp_path: Path) -> None:
    first = identify(str(model(tmp_path / "a")))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b/README.md").write_text("moved")
    assert identify(str(tmp_path / "b")).fingerprint == first.fingerprint
    (tmp_path / "b/model.safetensors").write_bytes(b"other")
    assert identify(str(tmp_path / "b")).fingerprint != first.fingerprint


def test_another_adapter_on_the_same_base_is_another_model(tmp_path: Path) -> None:
    base = identify(str(model(tmp_path / "m")))
    one = identify(str(adapter(tmp_path / "a", str(tmp_path / "m"))))
    (tmp_path / "a/adapter_model.safetensors").write_bytes(b"other")
    two = identify(str(tmp_path / "a"))
    assert len({base.fingerprint, one.fingerprint, two.fingerprint}) == 3


def test_a_big_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_BLOCK", 4)
    directory = model(tmp_path / "m", b"many bytes")
    first = files_digest(directory)
    assert len(list(weights._memory_path().iterdir())) == 1
    for remembered in weights._memory_path().iterdir():
        remembered.write_text("torn")
    assert files_digest(directory) == first
    (directory / "model.safetensors").write_bytes(b"other bytes")
    assert files_digest(directory) != first


def test_a_home_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_BLOCK", 4)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    directory = model(tmp_path / "m", b"many bytes")
    assert files_digest(directory) == files_digest(directory)
