"""A reward model, opened by name: the scores are those of plain transformers and PEFT."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from selfalign.core.errors import EngineError, InputError, ModelError
from selfalign.core.records import Checkpoint
from selfalign.core.weights import identify
from selfalign.engines.reward import open_reward_model

TEXTS = ["The king asked for bread.", "No.", "What is the capital of Fonoton? " * 6, "a", "ab c"]


def seeded(source: Path) -> torch.nn.Module:
    torch.manual_seed(3)
    return AutoModelForSequenceClassification.from_pretrained(
        source, num_labels=1, dtype=torch.float32
    )


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward adapter whose layers and head all matter."""
    config = LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", task_type="SEQ_CLS")
    model = get_peft_model(seeded(tiny_model), config)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                tensor.normal_(std=0.3)
    folder = tmp_path_factory.mktemp("reward") / "weights"
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whole(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model with a head, as one may download it."""
    folder = tmp_path_factory.mktemp("whole")
    seeded(tiny_model).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


def plain_scores(model: torch.nn.Module, source: Path, texts: list[str]) -> list[float]:
    """One text at a time, through the model's own forward."""
    tokenizer = AutoTokenizer.from_pretrained(source)
    with torch.no_grad():
        return [
            float(model.eval()(**tokenizer(text, return_tensors="pt")).logits) for text in texts
        ]


def of_adapter(tiny_model: Path, adapter: Path) -> torch.nn.Module:
    return PeftModel.from_pretrained(seeded(tiny_model), str(adapter))


def test_an_adapters_scores_are_those_of_plain_transformers(
    tiny_model: Path, adapter: Path
) -> None:
    expected = plain_scores(of_adapter(tiny_model, adapter), adapter, TEXTS)
    assert open_reward_model(str(adapter)).score(TEXTS) == pytest.approx(expected, abs=1e-4)
    assert max(expected) - min(expected) > 0.5


def test_a_whole_models_scores_are_those_of_plain_transformers(whole: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(whole, dtype=torch.float32)
    expected = plain_scores(model, whole, TEXTS)
    assert open_reward_model(str(whole)).score(TEXTS) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", ["qwen3", "gemma", "mistral", "gpt_neox"])
def test_other_decoders_are_scored_alike(make_tiny_model, tmp_path: Path, kind: str) -> None:
    base = make_tiny_model(tmp_path / "base", kind=kind)
    model = seeded(base)
    model.save_pretrained(tmp_path / "reward")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "reward")
    expected = plain_scores(model, base, TEXTS)
    scores = open_reward_model(str(tmp_path / "reward")).score(TEXTS)
    assert scores == pytest.approx(expected, abs=1e-3)


@pytest.fixture(scope="module")
def running(adapter: Path):
    return open_reward_model(str(adapter), batch_size=3)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.sampled_from("ab \n#?é<|pd>"), min_size=1, max_size=40)))
def test_a_score_does_not_depend_on_what_is_scored_with_it(running, texts: list[str]) -> None:
    alone = [running.score([text])[0] for text in texts]
    assert running.score(texts) == pytest.approx(alone, abs=1e-4)


def test_no_texts_have_no_scores(running) -> None:
    assert running.score([]) == []
    assert running.count_tokens([]) == []


def test_special_tokens_written_in_a_text_are_only_text(running) -> None:
    assert running.count_tokens(["a<|pad|>"])[0] > 2
    (inside, without) = running.score(["a<|pad|>", "a"])
    assert inside != pytest.approx(without, abs=1e-6)


def test_a_text_that_is_too_long_is_refused_and_never_cut(running) -> None:
    (tokens,) = running.count_tokens(["bread " * 600])
    assert tokens > running.context_length == 512
    with pytest.raises(EngineError, match=rf"text 2 of 2 has {tokens} tokens.*1 to 512"):
        running.score(["short", "bread " * 600])


def test_bfloat16_keeps_the_head_exact(adapter: Path) -> None:
    """Scores in bfloat16 would all be multiples of a coarse step."""
    exact = open_reward_model(str(adapter)).score(TEXTS)
    rough = open_reward_model(str(adapter), dtype="bfloat16").score(TEXTS)
    assert rough == pytest.approx(exact, abs=0.5)
    assert any(score != float(torch.tensor(score).bfloat16()) for score in rough)


def test_it_is_named_by_its_files_and_its_checkpoint_alike(tiny_model: Path, adapter: Path) -> None:
    named = identify(str(adapter))
    assert open_reward_model(str(adapter)).fingerprint == named.fingerprint
    moved = Checkpoint(base=str(tiny_model), revision="", adapter=str(adapter), made_of="x-1")
    opened = open_reward_model(moved)
    assert opened.fingerprint == moved.fingerprint
    assert opened.score(TEXTS[:1]) == open_reward_model(str(adapter)).score(TEXTS[:1])


# --- what is no reward model ---------------------------------------------------------------------


def test_a_language_model_is_no_reward_model(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match=r"is no reward model: it is LlamaForCausalLM"):
        open_reward_model(str(tiny_model))
    with pytest.raises(ModelError, match=r"is no reward model.*RUN:reward"):
        open_reward_model("calf")


def test_a_language_models_adapter_is_no_reward_model(adapter: Path, tmp_path: Path) -> None:
    shutil.copytree(adapter, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, "task_type": "CAUSAL_LM"}))
    with pytest.raises(ModelError, match=r"its adapter is made for CAUSAL_LM"):
        open_reward_model(str(tmp_path))


def test_a_classifier_of_two_labels_is_no_reward_model(tiny_model: Path, tmp_path: Path) -> None:
    AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=2).save_pretrained(
        tmp_path
    )
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="it has 2 labels"):
        open_reward_model(str(tmp_path))


def test_an_adapter_without_its_head_is_refused(adapter: Path, tmp_path: Path) -> None:
    shutil.copytree(adapter, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if "score" not in k}, file)
    with pytest.raises(ModelError, match=r"score\.weight.*with its score head"):
        open_reward_model(str(tmp_path))


def test_a_folder_without_a_model_and_torn_files_are_sentences(
    adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"is not a model.*it holds nothing"):
        open_reward_model(str(tmp_path))
    shutil.copytree(adapter, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(ModelError, match=r"cannot load the reward model"):
        open_reward_model(str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        open_reward_model(str(tmp_path))


def test_scores_that_are_no_numbers_are_an_error(adapter: Path, tmp_path: Path) -> None:
    shutil.copytree(adapter, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "adapter_model.safetensors"
    broken = {k: v * float("nan") if "score" in k else v for k, v in load_file(file).items()}
    save_file(broken, file)
    with pytest.raises(EngineError, match=r"2 scores of 2 that are not finite.*learning_rate"):
        open_reward_model(str(tmp_path)).score(["a", "b"])


def test_a_device_that_is_not_there_is_a_sentence(adapter: Path) -> None:
    with pytest.raises(InputError, match="device"):
        open_reward_model(str(adapter), device="abacus")
