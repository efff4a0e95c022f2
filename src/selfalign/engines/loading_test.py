"""Opening a model: names, adapters, settings, and sentences for what cannot be opened."""

import shutil
from pathlib import Path

import pytest
import torch

from selfalign.core.errors import InputError, ModelError
from selfalign.core.protocols import Sampling
from selfalign.core.weights import identify
from selfalign.engines.open import open_model
from selfalign.engines.settings import EngineSettings

ASK = (["The king of"], [Sampling(temperature=0, max_tokens=8)])


def test_a_model_opened_by_name_or_as_a_checkpoint_is_the_same(tiny_model: Path) -> None:
    named, recorded = open_model(str(tiny_model)), open_model(identify(str(tiny_model)))
    assert named.fingerprint == recorded.fingerprint
    assert named.generate(*ASK) == recorded.generate(*ASK)


def test_the_machine_does_not_rename_the_model(tiny_model: Path) -> None:
    first = open_model(str(tiny_model), dtype="float32", batch_size=1)
    second = open_model(str(tiny_model), dtype="bfloat16", batch_size=64, device="cpu")
    assert first.fingerprint == second.fingerprint


def test_broken_weights_are_explained(tiny_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "m"
    shutil.copytree(tiny_model, copy)
    (copy / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ModelError, match=r"cannot load the model .*/m: .*whole"):
        open_model(str(copy))


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_a_file_that_is_json_of_another_kind_is_explained(
    tiny_model: Path, tmp_path: Path, file: str
) -> None:
    copy = tmp_path / "m"
    shutil.copytree(tiny_model, copy)
    (copy / file).write_text("[]", "utf-8")
    with pytest.raises(ModelError, match=r"cannot load the model .*/m: .*\. Check .*whole"):
        open_model(str(copy))


def test_a_config_of_no_known_kind_is_explained(tiny_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "m"
    shutil.copytree(tiny_model, copy)
    (copy / "config.json").write_text('{"model_type": "no_such_model"}')
    with pytest.raises(ModelError, match="causal language model"):
        open_model(str(copy))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dtype": "float8"}, "float8.*bfloat16"),
        ({"batch_size": 0}, "below 1"),
        ({"device": "toaster"}, "no such kind of device"),
        pytest.param(
            {"device": "cuda"},
            "no CUDA device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
    ],
)
def test_settings_that_cannot_be_had_are_explained(
    tiny_model: Path, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        open_model(str(tiny_model), **settings)


def test_automatic_settings_name_a_device_and_a_type() -> None:
    settings = EngineSettings()
    assert settings.torch_device().type in {"cpu", "cuda"}
    assert settings.torch_dtype() in {torch.float32, torch.bfloat16}
    assert settings.cache_budget() > 1 << 20
