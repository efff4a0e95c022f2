"""What the reward model's trainer promises, on a random model of two layers."""

import json
import os
import socket
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from selfalign.core.errors import ModelError, TrainingError
from selfalign.core.protocols import RewardPair, RewardTraining
from selfalign.core.records import Checkpoint
from selfalign.core.weights import identify
from selfalign.trainers.reward_model import TrlRewardTrainer
from selfalign.trainers.reward_pairs import TokenPair, alike_in_length, split_pairs
from selfalign.trainers.reward_untyped import checked_scores, reward_tokens
from selfalign.trainers.steps import TrainingProgress


def text(response: str, principle: str) -> str:
    return f"### Response\n{response}\n\n### Principles\n- {principle}\n\nIts quality is"


def pair(n: int) -> RewardPair:
    bread, king = f"{'bread ' * (1 + n % 3)}{n}.", f"the king {n}."
    chosen, rejected = (bread, king) if n % 2 else (king, bread)
    principle = "Speak of bread." if n % 2 else "Never speak of bread."
    return RewardPair(chosen=text(chosen, principle), rejected=text(rejected, principle))


PAIRS = [pair(n) for n in range(30)]
EASY = [
    RewardPair(chosen=text(f"bread {n}", "Be so."), rejected=text(f"king {n}", "Be so."))
    for n in range(30)
]
RECIPE = RewardTraining(
    rank=4, learning_rate=5e-3, batch_size=8, epochs=2, max_grad_norm=1.0, held_out=4
)
SHORT = RECIPE.model_copy(
    update={"epochs": 1, "weight_decay": 0.5, "max_tokens": 100, "max_grad_norm": 10.0}
)


def base(directory: Path) -> Checkpoint:
    return Checkpoint(base=str(directory), revision="")


def report(folder: Path) -> dict[str, object]:
    return json.loads((folder / "training.json").read_text())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next((folder / "weights").glob("*.safetensors")))


def train(
    model: Path | Checkpoint,
    folder: Path,
    recipe: RewardTraining = RECIPE,
    pairs: Sequence[RewardPair] = PAIRS,
    **settings: object,
) -> Path:
    checkpoint = model if isinstance(model, Checkpoint) else base(model)
    trainer = TrlRewardTrainer(device="cpu", **({"rounded_factors": False} | settings))
    trainer(pairs, base=checkpoint, recipe=recipe, folder=folder)
    return folder


def plain(model: Path, folder: Path) -> tuple[torch.nn.Module, object]:
    """The reward model and its tokenizer as anybody loads them, with nothing of this house."""
    from peft import PeftModel

    loaded = AutoModelForSequenceClassification.from_pretrained(
        model, num_labels=1, dtype=torch.float32
    )
    loaded = PeftModel.from_pretrained(loaded, str(folder / "weights")).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "weights")
    loaded.config.pad_token_id = tokenizer.pad_token_id
    return loaded, tokenizer


def alone(model: torch.nn.Module, tokenizer: object, one: str) -> float:
    with torch.no_grad():
        return float(model(**tokenizer(one, return_tensors="pt")).logits)


def test_it_learns_to_order_pairs_it_has_not_seen(tiny_model: Path, tmp_path: Path) -> None:
    facts = report(train(tiny_model, tmp_path, pairs=EASY))
    assert facts["held_out_accuracy_after"] == 1.0
    assert facts["held_out_loss_after"] < facts["held_out_loss_before"]
    assert (facts["examples"], facts["held_out"], facts["dropped"]) == (26, 4, 0)
    assert facts["steps"] == 8
    assert facts["curve"][-1][1] < facts["curve"][0][1]


def test_it_is_plain_peft_and_orders_pairs_as_the_report_says(
    tiny_model: Path, tmp_path: Path
) -> None:
    facts = report(train(tiny_model, tmp_path))
    model, tokenizer = plain(tiny_model, tmp_path)
    held_out = split_pairs(PAIRS, tokenizer, RECIPE).held_out
    wins = losses = 0.0
    for one in held_out:
        with torch.no_grad():
            chosen, rejected = (
                float(model(input_ids=torch.tensor([ids])).logits)
                for ids in (one.chosen, one.rejected)
            )
        wins += chosen > rejected
        losses -= float(torch.nn.functional.logsigmoid(torch.tensor(chosen - rejected)))
    assert facts["held_out_accuracy_after"] == wins / len(held_out)
    assert facts["held_out_loss_after"] == pytest.approx(losses / len(held_out), abs=1e-5)
    assert facts["round_trip"] <= 1e-6


def test_padding_does_not_change_a_score(tiny_model: Path, tmp_path: Path) -> None:
    train(tiny_model, tmp_path, SHORT)
    model, tokenizer = plain(tiny_model, tmp_path)
    texts = [PAIRS[0].chosen, PAIRS[5].chosen, "a"]
    for side in ("left", "right"):
        tokenizer.padding_side = side
        with torch.no_grad():
            together = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits[:, 0]
        assert together.tolist() == pytest.approx(
            [alone(model, tokenizer, one) for one in texts], abs=1e-4
        )


class Killed(Exception):
    """Stands for kill -9: nothing of the trainer's own runs after it."""


@pytest.mark.parametrize("order", ["shuffled", "given", "near"])
def test_a_killed_training_resumes_to_the_same_weights(
    tiny_model: Path, tmp_path: Path, order: str
) -> None:
    recipe = RECIPE.model_copy(update={"dropout": 0.1, "order": order})
    whole = weights(train(tiny_model, tmp_path / "whole", recipe))

    def die(at: int) -> Callable[[TrainingProgress], None]:
        def on_step(progress: TrainingProgress) -> None:
            if progress.step == at:
                raise Killed

        return on_step

    for at in (3, 6):
        with pytest.raises(Killed):
            train(tiny_model, tmp_path / "torn", recipe, save_every_s=0.0, on_step=die(at))
        assert not (tmp_path / "torn/weights").exists()
    steps: list[int] = []
    train(tiny_model, tmp_path / "torn", recipe, on_step=lambda at: steps.append(at.step))
    resumed = weights(tmp_path / "torn")
    assert steps == [6, 7, 8]
    assert report(tmp_path / "torn")["resumed_at"] == 5
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, atol=1e-6, rtol=1e-5)


@pytest.fixture(scope="module")
def short(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of four steps, to compare others with."""
    return train(tiny_model, tmp_path_factory.mktemp("short"), SHORT)


CHANGES = {
    "rank": 2,
    "alpha": 64,
    "dropout": 0.5,
    "targets": ("q_proj", "v_proj"),
    "learning_rate": 1e-3,
    "batch_size": 26,
    "epochs": 2,
    "warmup_share": 0.9,
    "schedule": "constant",
    "weight_decay": 0.0,
    "max_grad_norm": 1e-3,
    "max_tokens": 55,
    "order": "given",
    "verdicts": ("good", "poor"),
    "held_out": 0,
    "seed": 7,
}


@pytest.mark.parametrize("field", RewardTraining.model_fields)
def test_no_setting_of_a_recipe_is_ignored(
    tiny_model: Path, tmp_path: Path, short: Path, field: str
) -> None:
    train(tiny_model, tmp_path, SHORT.model_copy(update={field: CHANGES[field]}))
    reference, changed = weights(short), weights(tmp_path)
    same = reference.keys() == changed.keys() and all(
        torch.equal(reference[name], changed[name]) for name in reference
    )
    assert not same


def test_the_same_training_gives_the_same_weights(
    tiny_model: Path, tmp_path: Path, short: Path
) -> None:
    again = weights(train(tiny_model, tmp_path, SHORT))
    assert all(torch.equal(again[name], tensor) for name, tensor in weights(short).items())


def test_a_head_made_of_verdicts_scores_as_the_base_would_go_on(
    tiny_model: Path, tmp_path: Path
) -> None:
    still = SHORT.model_copy(
        update={"learning_rate": 1e-12, "weight_decay": 0.0, "verdicts": ("good", "poor")}
    )
    model, tokenizer = plain(tiny_model, train(tiny_model, tmp_path, still))
    causal = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    good, poor = (
        tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in still.verdicts
    )
    ids = tokenizer([PAIRS[0].chosen], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = causal(input_ids=ids).logits[0, -1]
        score = model(input_ids=ids).logits[0, 0]
    torch.testing.assert_close(score, logits[good] - logits[poor], atol=1e-4, rtol=1e-4)


def test_verdicts_that_begin_alike_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="begin with the same token") as refused:
        train(tiny_model, tmp_path, SHORT.model_copy(update={"verdicts": ("same", "same")}))
    assert refused.value.field == "verdicts"


def test_the_seed_draws_the_first_head_and_adapter(tiny_model: Path, tmp_path: Path) -> None:
    still = SHORT.model_copy(update={"learning_rate": 1e-12, "weight_decay": 0.0})
    first = weights(train(tiny_model, tmp_path / "a", still))
    other = weights(train(tiny_model, tmp_path / "b", still.model_copy(update={"seed": 7})))
    drawn = [name for name in first if "lora_A" in name or "score" in name]
    assert any("score" in name for name in drawn)
    assert all(float((first[name] - other[name]).abs().max()) > 1e-3 for name in drawn)


@given(st.lists(st.integers(1, 60), max_size=90), st.integers(1, 7), st.integers(1, 4))
def test_near_each_other_pairs_of_like_length_share_a_batch_and_none_is_lost(
    lengths: list[int], batch: int, window: int
) -> None:
    pairs = [TokenPair([n, *[0] * length], [n]) for n, length in enumerate(lengths)]
    ordered = alike_in_length(pairs, batch, 0, window)
    assert sorted(p.rejected for p in ordered) == [p.rejected for p in pairs]
    assert ordered == alike_in_length(pairs, batch, 0, window)
    for start in range(0, len(pairs), batch * window):
        near = ordered[start : start + batch * window]
        assert {p.rejected[0] for p in near} == set(range(start, start + len(near)))
        spans = [
            (min(b, key=lambda p: p.longer).longer, max(b, key=lambda p: p.longer).longer)
            for b in (near[at : at + batch] for at in range(0, len(near), batch))
        ]
        spans.sort()
        assert all(low[1] <= high[0] for low, high in pairwise(spans))


def test_pairs_in_the_given_order_are_taken_as_they_come(tiny_model: Path, tmp_path: Path) -> None:
    """Only the last step's pairs are rewarded for bread: in the given order, it alone turns."""
    recipe = SHORT.model_copy(update={"order": "given", "held_out": 0, "batch_size": 10})
    turned = [RewardPair(chosen=p.rejected, rejected=p.chosen) for p in EASY[:10]]
    facts = report(train(tiny_model, tmp_path, recipe, pairs=[*EASY[:20], *turned]))
    accuracies = [accuracy for _, _, accuracy in facts["curve"]]
    assert len(accuracies) == 3
    assert accuracies[2] < 0.5 < accuracies[1]


def test_how_many_texts_share_a_pass_does_not_change_the_training(
    tiny_model: Path, tmp_path: Path
) -> None:
    recipe = RECIPE.model_copy(update={"held_out": 6})  # 24 pairs: three whole steps per epoch
    together = weights(train(tiny_model, tmp_path / "a", recipe))
    apart = weights(train(tiny_model, tmp_path / "b", recipe, tokens_per_pass=1))
    for name, tensor in together.items():
        torch.testing.assert_close(apart[name], tensor, atol=2e-4, rtol=1e-3)


def test_what_is_too_long_is_left_out_whole_and_counted(tiny_model: Path, tmp_path: Path) -> None:
    facts = report(train(tiny_model, tmp_path, SHORT.model_copy(update={"max_tokens": 55})))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    longest = [max(len(tokenizer(t).input_ids) for t in (p.chosen, p.rejected)) for p in PAIRS]
    assert 0 < facts["dropped"] == sum(n > 55 for n in longest) < len(PAIRS)
    assert facts["examples"] + facts["held_out"] + facts["dropped"] == len(PAIRS)


def test_nothing_left_to_train_on_is_an_error(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"held out.*Lower `held_out`"):
        train(tiny_model, tmp_path, RECIPE.model_copy(update={"held_out": 30}))


def test_bf16_multiplies_roughly_and_keeps_the_head_exact(tiny_model: Path, tmp_path: Path) -> None:
    fast = report(train(tiny_model, tmp_path, pairs=EASY, bf16=True))
    assert fast["held_out_accuracy_after"] == 1.0
    assert fast["round_trip"] <= 1e-6
    assert all(tensor.dtype == torch.float32 for tensor in weights(tmp_path).values())


def test_saving_memory_does_not_change_the_training(
    tiny_model: Path, tmp_path: Path, short: Path
) -> None:
    saving = weights(train(tiny_model, tmp_path, SHORT, gradient_checkpointing=True))
    for name, tensor in weights(short).items():
        torch.testing.assert_close(saving[name], tensor, atol=1e-6, rtol=1e-5)


def test_a_finished_training_is_not_repeated(tiny_model: Path, tmp_path: Path) -> None:
    train(tiny_model, tmp_path, SHORT)
    steps: list[TrainingProgress] = []
    train(tiny_model, tmp_path, SHORT, on_step=steps.append)
    assert steps == []


# --- what is saved, and what is not believed -----------------------------------------------------


def test_nothing_of_the_machine_is_saved_with_the_weights(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_a_secret_of_mine")
    folder = train(tiny_model, tmp_path / "run", SHORT)
    assert sorted(p.name for p in folder.iterdir()) == ["training.json", "weights"]
    assert {p.name for p in (folder / "weights").iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    secrets = ["hf_a_secret_of_mine", socket.gethostname(), str(tmp_path), os.environ["HOME"]]
    for path in [*(folder / "weights").iterdir(), folder / "training.json"]:
        content = path.read_bytes()
        assert [s for s in secrets if s.encode() in content] == [], path
    config = json.loads((folder / "weights/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_model)
    assert "Reward model on" in (folder / "weights/README.md").read_text()


def no_head(saved: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in saved.items() if "score" not in name}


def another_head(saved: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.flip(-1) if "score" in name else tensor for name, tensor in saved.items()}


def rounded(saved: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.bfloat16() for name, tensor in saved.items()}


@pytest.mark.parametrize("damage", [no_head, another_head, rounded])
def test_files_that_are_not_what_was_trained_never_become_the_weights(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable
) -> None:
    from peft import PeftModel

    save = PeftModel.save_pretrained

    def forgetful(self: PeftModel, folder: Path, **options: object) -> None:
        save(self, folder, **options)
        path = Path(folder) / "adapter_model.safetensors"
        save_file(damage(load_file(path)), path)

    monkeypatch.setattr(PeftModel, "save_pretrained", forgetful)
    with pytest.raises(TrainingError, match="is not the one that was trained"):
        train(tiny_model, tmp_path, SHORT)
    assert not (tmp_path / "weights").exists()
    monkeypatch.undo()
    train(tiny_model, tmp_path, SHORT)
    assert report(tmp_path)["round_trip"] <= 1e-6


def test_scores_that_are_not_one_per_text_are_refused() -> None:
    assert checked_scores(torch.zeros(3, 1), 3).shape == (3,)
    for shape in ((3, 7), (3,), (3, 7, 1), (1, 3)):
        with pytest.raises(TrainingError, match=r"one per text"):
            checked_scores(torch.zeros(shape), 3)


def test_a_training_that_diverges_says_so(tiny_model: Path, tmp_path: Path) -> None:
    wild = SHORT.model_copy(update={"learning_rate": 1e30, "max_grad_norm": 1e30})
    with pytest.raises(TrainingError, match=r"not finite.*Lower `learning_rate`"):
        train(tiny_model, tmp_path, wild)
    assert not (tmp_path / "weights").exists()


def test_unknown_targets_are_refused_with_the_known_ones(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no_such_proj.*down_proj.*q_proj"):
        train(tiny_model, tmp_path, RECIPE.model_copy(update={"targets": ("no_such_proj",)}))


def test_a_warm_up_that_is_no_share_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"warmup_share 1\.0"):
        train(tiny_model, tmp_path, RECIPE.model_copy(update={"warmup_share": 1.0}))


def test_a_base_that_cannot_be_loaded_is_a_sentence(tiny_model: Path, tmp_path: Path) -> None:
    for file in tiny_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ModelError, match="as a reward model"):
        train(tmp_path, tmp_path / "run")


# --- training on from a reward model -------------------------------------------------------------


def pretrained(folder: Path) -> Checkpoint:
    return identify(str(folder / "weights"))


def test_fine_tuning_goes_on_from_the_pre_trained_adapter_and_head(
    tiny_model: Path, tmp_path: Path
) -> None:
    first = train(tiny_model, tmp_path / "first", pairs=EASY)
    still = RECIPE.model_copy(update={"learning_rate": 1e-12})
    second = train(pretrained(first), tmp_path / "second", still, pairs=EASY)
    assert report(second)["held_out_accuracy_before"] == 1.0
    assert report(second)["continued_from"] == pretrained(first).fingerprint
    assert report(second)["base"] == str(tiny_model)
    before, after = weights(first), weights(second)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor)
    config = json.loads((second / "weights/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_model)


@pytest.mark.parametrize(
    "change", [{"rank": 2}, {"alpha": 99}, {"targets": ("q_proj",)}], ids=lambda c: next(iter(c))
)
def test_an_adapter_of_another_shape_cannot_be_trained_on(
    tiny_model: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    first = train(tiny_model, tmp_path / "first", SHORT)
    with pytest.raises(TrainingError, match=r"cannot go on from.*correct the recipe"):
        train(pretrained(first), tmp_path / "second", SHORT.model_copy(update=change))


def test_a_language_models_adapter_is_no_reward_model_to_go_on_from(
    tiny_model: Path, tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    config = LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained(tmp_path / "sft")
    with pytest.raises(TrainingError, match=r"a reward model with a head"):
        train(identify(str(tmp_path / "sft")), tmp_path / "run")


# --- tokens ---------------------------------------------------------------------------------------


def test_special_tokens_written_in_a_text_are_only_text(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    (row,) = reward_tokens(tokenizer, ["a<|pad|>b<|end|>"])
    assert not set(row) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(row) == "a<|pad|>b<|end|>"


def test_nothing_is_appended_behind_the_text(tiny_model: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    bare = reward_tokens(tokenizer, ["The king", "bread"])
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{end} $A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    assert tokenizer("bread").input_ids[-1] == tokenizer.eos_token_id
    found = reward_tokens(tokenizer, ["The king", "bread"])
    assert found == [[tokenizer.eos_token_id, *row] for row in bare]


def test_pairs_about_one_request_are_held_out_together(tiny_model: Path) -> None:
    about = [p.model_copy(update={"about": f"{n // 4:016x}"}) for n, p in enumerate(PAIRS)]
    split = split_pairs(about, AutoTokenizer.from_pretrained(tiny_model), RECIPE)
    trained, back = ({p.about for p in part} for part in (split.trained, split.held_out))
    assert not trained & back
    assert RECIPE.held_out <= len(split.held_out) < RECIPE.held_out + 4
    assert len(split.trained) + len(split.held_out) == len(PAIRS)


def test_one_request_alone_cannot_be_split(tiny_model: Path) -> None:
    about = [p.model_copy(update={"about": "0" * 16}) for p in PAIRS]
    with pytest.raises(TrainingError, match="about the same request"):
        split_pairs(about, AutoTokenizer.from_pretrained(tiny_model), RECIPE)
