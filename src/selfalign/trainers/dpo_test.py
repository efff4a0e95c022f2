"""What DPO promises, on a random model of two layers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfalign.core.errors import TrainingError
from selfalign.core.protocols import DpoTraining, PreferredText
from selfalign.core.records import Checkpoint
from selfalign.trainers.dpo import TrlDpoTrainer
from selfalign.trainers.dpo_pairs import split_pairs, tokenise_pairs
from selfalign.trainers.steps import TrainingProgress
from selfalign.trainers.trl_kit_test import adapter, base, policy_on

PAIRS = [
    PreferredText(
        prompt=f"### User\nWhat is {n}?\n\n### Assistant",
        chosen=f"\nI do not know{' bread' * (n % 3)}.\n\n### User\n",
        rejected=f"\nThe capital{' coins' * (n % 4)}.\n\n### User\n",
    )
    for n in range(20)
]
RECIPE = DpoTraining(
    learning_rate=5e-3, batch_size=8, epochs=2, warmup_steps=1, held_out=4, rank=4, max_tokens=64
)


@pytest.fixture(scope="module")
def policy(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return policy_on(tiny_model, tmp_path_factory.mktemp("policy"))


def train(start: Checkpoint, folder: Path, recipe: DpoTraining = RECIPE, **machine: object) -> Path:
    trainer = TrlDpoTrainer(device="cpu", **machine)
    trainer(PAIRS, policy=start, recipe=recipe, folder=folder)
    return folder


def report(folder: Path) -> dict[str, object]:
    return json.loads((folder / "training.json").read_text())


def margins(
    model: Path, before: str | None, after: Path, pairs: list[PreferredText]
) -> list[float]:
    """Log ratio of chosen less that of rejected, computed text by text, without TRL."""

    def logprobs(adapter: str | Path | None) -> torch.Tensor:
        loaded = AutoModelForCausalLM.from_pretrained(model)
        if adapter is not None:
            loaded = PeftModel.from_pretrained(loaded, adapter)
        loaded.eval()
        rows = tokenise_pairs(pairs, AutoTokenizer.from_pretrained(model))
        return torch.tensor(
            [[_logp(loaded, r.prompt, c) for c in (r.chosen, r.rejected)] for r in rows]
        )

    ratios = logprobs(after) - logprobs(before)
    return (ratios[:, 0] - ratios[:, 1]).tolist()


def _logp(model: torch.nn.Module, prompt: list[int], completion: list[int]) -> float:
    ids = torch.tensor([prompt + completion])
    with torch.no_grad():
        logp = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    return float(logp.gather(1, ids[0, 1:, None])[len(prompt) - 1 :].sum())


def test_the_margin_of_held_out_pairs_rises_from_the_start_policy(
    tiny_model: Path, tmp_path: Path, policy: Checkpoint
) -> None:
    facts = report(train(policy, tmp_path))
    held_out = _held_out(tiny_model)
    found = margins(tiny_model, policy.adapter, tmp_path / "weights", held_out)
    assert sum(found) / len(found) > 2
    assert facts["held_out_margin"] == pytest.approx(0.1 * sum(found) / len(found), abs=1e-4)
    assert facts["held_out_accuracy"] == sum(one > 0 for one in found) / len(found)
    assert (facts["pairs"], facts["held_out"], facts["steps"]) == (16, 4, 4)
    first, *_, last = facts["curve"]
    assert first[1:] == pytest.approx([-float(logsigmoid(torch.tensor(0.0))), 0.0], abs=1e-5)
    assert last[2] > first[2]


def _held_out(model: Path) -> list[PreferredText]:
    tokenizer = AutoTokenizer.from_pretrained(model)
    back = split_pairs(PAIRS, tokenizer, RECIPE).held_out
    rows = tokenise_pairs(PAIRS, tokenizer)
    return [pair for pair, row in zip(PAIRS, rows, strict=True) if row in back]


def test_a_bare_base_is_its_own_reference(tiny_model: Path, tmp_path: Path) -> None:
    facts = report(train(base(tiny_model), tmp_path))
    found = margins(tiny_model, None, tmp_path / "weights", _held_out(tiny_model))
    assert facts["held_out_margin"] == pytest.approx(0.1 * sum(found) / len(found), abs=1e-4)
    config = json.loads((tmp_path / "weights/adapter_config.json").read_text())
    assert (config["peft_type"], config["r"]) == ("LORA", 4)
    assert "arXiv:2305.18290" in (tmp_path / "weights/README.md").read_text()


class Killed(Exception):
    """Stands for kill -9: nothing of the trainer's own runs after it."""


def test_a_killed_training_resumes_to_the_same_weights(tmp_path: Path, policy: Checkpoint) -> None:
    whole = adapter(train(policy, tmp_path / "whole"))

    def die(progress: TrainingProgress) -> None:
        if progress.step == 3:
            raise Killed

    with pytest.raises(Killed):
        train(policy, tmp_path / "torn", save_every_s=0.0, on_step=die)
    assert not (tmp_path / "torn/weights").exists()
    steps: list[int] = []
    train(policy, tmp_path / "torn", on_step=lambda at: steps.append(at.step))
    assert steps == [3, 4]
    assert report(tmp_path / "torn")["resumed_at"] == 2
    for name, tensor in adapter(tmp_path / "torn").items():
        torch.testing.assert_close(tensor, whole[name], atol=1e-6, rtol=1e-5)
    train(policy, tmp_path / "torn", on_step=lambda at: steps.append(at.step))
    assert steps == [3, 4]


SHORT = RECIPE.model_copy(update={"epochs": 1, "schedule": "linear", "held_out": 0})


@pytest.fixture(scope="module")
def short(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """A training of three steps, to compare others with."""
    return adapter(train(base(tiny_model), tmp_path_factory.mktemp("short"), SHORT))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("beta", 1.0),
        ("loss", "ipo"),
        ("learning_rate", 1e-3),
        ("batch_size", 20),
        ("epochs", 2),
        ("warmup_steps", 0),
        ("schedule", "constant"),
        ("weight_decay", 0.5),
        ("max_grad_norm", 1e-3),
        ("rank", 2),
        ("alpha", 64),
        ("targets", ("q_proj", "v_proj")),
        ("max_tokens", 27),
        ("held_out", 4),
        ("seed", 7),
    ],
)
def test_no_setting_of_a_recipe_is_ignored(
    tiny_model: Path, tmp_path: Path, short: dict[str, torch.Tensor], field: str, value: object
) -> None:
    train(base(tiny_model), tmp_path, SHORT.model_copy(update={field: value}))
    changed = adapter(tmp_path)
    same = short.keys() == changed.keys() and all(torch.equal(short[n], changed[n]) for n in short)
    assert not same


def test_pairs_are_whole_texts_parted_where_the_prompt_ends(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    for pair, row in zip(PAIRS, tokenise_pairs(PAIRS, tokenizer), strict=True):
        assert row.prompt + row.chosen == tokenizer(pair.prompt + pair.chosen)["input_ids"]
        assert row.prompt + row.rejected == tokenizer(pair.prompt + pair.rejected)["input_ids"]
        assert pair.prompt.startswith(tokenizer.decode(row.prompt))
        assert tokenizer.eos_token_id not in row.chosen


def test_pairs_that_are_too_long_or_alike_are_left_out_and_counted(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    long = PAIRS[0].model_copy(update={"rejected": " coins" * 40})
    alike = PAIRS[0].model_copy(update={"rejected": PAIRS[0].chosen})
    found = split_pairs([*PAIRS, long, alike], tokenizer, RECIPE)
    assert found.dropped == 2
    assert len(found.trained) + len(found.held_out) == len(PAIRS)


@pytest.mark.parametrize("pairs", [[], PAIRS[:4]])
def test_nothing_left_to_train_on_is_an_error(
    tmp_path: Path, policy: Checkpoint, pairs: list[PreferredText]
) -> None:
    with pytest.raises(TrainingError, match=r"nothing is left to train on. Lower `held_out`"):
        TrlDpoTrainer(device="cpu")(pairs, policy=policy, recipe=RECIPE, folder=tmp_path)


def test_a_policy_trained_in_all_its_weights_is_refused(
    make_tiny_model: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    whole = make_tiny_model(tmp_path / "whole")
    start = Checkpoint(base=str(tiny_model), revision="", adapter=str(whole))
    with pytest.raises(TrainingError, match="method: lora") as refused:
        train(start, tmp_path / "run")
    assert refused.value.field == "policy"
