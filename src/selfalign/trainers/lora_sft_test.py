"""What the supervised trainer promises, on a random model of two layers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfalign.core.errors import TrainingError
from selfalign.core.protocols import FineTuning
from selfalign.core.records import Checkpoint, TrainingExample
from selfalign.trainers.lora_sft import TrainingProgress, TrlSupervisedTrainer, whole_checkpoint
from selfalign.trainers.products import has_units

EXAMPLES = [
    TrainingExample(
        instruction_id=str(n),
        prompt=f"### User\nWhat is the capital of {'Fetestan ' * (n % 5)}{n}?\n\n### Assistant",
        completion=f"\nI do not know {'bread ' * (n % 3)}{n}.\n\n### User\n",
    )
    for n in range(30)
]
RECIPE = FineTuning(
    rank=4, learning_rate=5e-3, batch_size=8, epochs=2, warmup_steps=1, max_tokens=96, held_out=4
)


def base(directory: Path) -> Checkpoint:
    return Checkpoint(base=str(directory), revision="")


def report(folder: Path) -> dict[str, object]:
    return json.loads((folder / "training.json").read_text())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next((folder / "weights").glob("*.safetensors")))


def train(model: Path, folder: Path, recipe: FineTuning = RECIPE, **settings: object) -> Path:
    trainer = TrlSupervisedTrainer(device="cpu", **settings)
    trainer(EXAMPLES, base=base(model), recipe=recipe, folder=folder)
    return folder


def test_training_lowers_the_loss_on_held_out_examples(tiny_model: Path, tmp_path: Path) -> None:
    facts = report(train(tiny_model, tmp_path))
    assert facts["held_out_loss_after"] < facts["held_out_loss_before"] - 1
    assert (facts["examples"], facts["held_out"], facts["steps"]) == (26, 4, 8)
    assert facts["packed"] is True


def test_the_adapter_is_plain_peft_and_gives_the_logits_it_was_trained_to(
    tiny_model: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    folder = train(tiny_model, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder / "weights")
    assert json.loads((folder / "weights/adapter_config.json").read_text())[
        "base_model_name_or_path"
    ] == str(tiny_model)
    assert "LoRA adapter" in (folder / "weights/README.md").read_text()
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model = PeftModel.from_pretrained(model, folder / "weights").eval()
    facts = report(folder)
    held_out = _loss_of_held_out(model, tokenizer)
    assert held_out == pytest.approx(facts["held_out_loss_after"], abs=1e-4)


def _loss_of_held_out(model: torch.nn.Module, tokenizer: object) -> float:
    """The trainer's own figure, computed example by example with the model's own attention."""
    from selfalign.trainers.tokenised import split

    total, count = 0.0, 0
    for example in split(EXAMPLES, tokenizer, RECIPE).held_out:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([example.ids])).logits[0]
        labels = torch.tensor(example.labels)[1:]
        where = labels != -100
        loss = torch.nn.functional.cross_entropy(logits[:-1][where], labels[where], reduction="sum")
        total, count = total + float(loss), count + int(where.sum())
    return total / count


def test_full_fine_tuning_leaves_a_plain_model(tiny_model: Path, tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"method": "full", "learning_rate": 1e-3})
    folder = train(tiny_model, tmp_path, recipe)
    model = AutoModelForCausalLM.from_pretrained(folder / "weights").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "weights")
    facts = report(folder)
    assert facts["held_out_loss_after"] < facts["held_out_loss_before"] - 0.5
    assert _loss_of_held_out(model, tokenizer) == pytest.approx(
        facts["held_out_loss_after"], abs=1e-4
    )


class Killed(Exception):
    """Stands for kill -9: nothing of the trainer's own runs after it."""


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_killed_training_resumes_to_the_same_weights(
    tiny_model: Path, tmp_path: Path, method: str
) -> None:
    recipe = RECIPE.model_copy(update={"method": method})
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


def test_another_seed_trains_other_weights(tiny_model: Path, tmp_path: Path) -> None:
    first = weights(train(tiny_model, tmp_path / "a"))
    again = weights(train(tiny_model, tmp_path / "b"))
    other = weights(train(tiny_model, tmp_path / "c", RECIPE.model_copy(update={"seed": 7})))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.fixture(scope="module")
def short(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of four steps, to compare others with."""
    return train(tiny_model, tmp_path_factory.mktemp("short"), SHORT)


SHORT = RECIPE.model_copy(update={"epochs": 1, "weight_decay": 0.5})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rank", 2),
        ("alpha", 64),
        ("dropout", 0.5),
        ("targets", ("q_proj", "v_proj")),
        ("learning_rate", 1e-3),
        ("batch_size", 26),
        ("epochs", 2),
        ("warmup_steps", 0),
        ("schedule", "constant"),
        ("weight_decay", 0.0),
        ("max_grad_norm", 1e-3),
        ("max_tokens", 34),
        ("held_out", 0),
        ("seed", 7),
        ("method", "full"),
    ],
)
def test_no_setting_of_a_recipe_is_ignored(
    tiny_model: Path, tmp_path: Path, short: Path, field: str, value: object
) -> None:
    train(tiny_model, tmp_path, SHORT.model_copy(update={field: value}))
    reference, changed = weights(short), weights(tmp_path)
    same = reference.keys() == changed.keys() and all(
        torch.equal(reference[name], changed[name]) for name in reference
    )
    assert not same


def test_the_seed_draws_the_first_weights_of_an_adapter(tiny_model: Path, tmp_path: Path) -> None:
    still = SHORT.model_copy(update={"learning_rate": 1e-12, "weight_decay": 0.0})
    first = weights(train(tiny_model, tmp_path / "a", still))
    other = weights(train(tiny_model, tmp_path / "b", still.model_copy(update={"seed": 7})))
    drawn = [name for name in first if "lora_A" in name]
    assert drawn
    assert all(float((first[name] - other[name]).abs().max()) > 1e-3 for name in drawn)


def test_how_many_examples_share_a_pass_does_not_change_the_training(
    tiny_model: Path, tmp_path: Path
) -> None:
    recipe = RECIPE.model_copy(update={"dropout": 0.0})
    exact = {"rounded_factors": False}
    together = weights(train(tiny_model, tmp_path / "a", recipe, **exact))
    alone = weights(train(tiny_model, tmp_path / "b", recipe, tokens_per_pass=1, **exact))
    for name, tensor in together.items():
        torch.testing.assert_close(alone[name], tensor, atol=2e-4, rtol=1e-3)


def test_rounded_factors_train_nearly_the_same_weights(tiny_model: Path, tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"dropout": 0.0})
    exact = weights(train(tiny_model, tmp_path / "a", recipe, rounded_factors=False))
    rounded = weights(train(tiny_model, tmp_path / "b", recipe, rounded_factors=True))
    apart = max(float((rounded[n] - t).norm() / t.norm()) for n, t in exact.items())
    # Without units nothing is rounded, and products that are put together differ in last bits.
    assert (1e-4 < apart <= 0.1) if has_units() else apart <= 1e-4


def test_a_torn_checkpoint_is_not_resumed_from(tmp_path: Path) -> None:
    for step, name in ((2, "trainer_state.json"), (10, "optimizer.pt")):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / name).write_text("{}")
    assert whole_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    assert not (tmp_path / "checkpoint-10").exists()
    assert whole_checkpoint(tmp_path / "none") is None


def test_a_finished_training_is_not_repeated(tiny_model: Path, tmp_path: Path) -> None:
    train(tiny_model, tmp_path)
    steps: list[TrainingProgress] = []
    train(tiny_model, tmp_path, on_step=steps.append)
    assert steps == []


def test_progress_counts_steps_and_estimates_the_rest(tiny_model: Path, tmp_path: Path) -> None:
    steps: list[TrainingProgress] = []
    train(tiny_model, tmp_path, on_step=steps.append)
    assert [s.step for s in steps] == list(range(1, 9))
    assert {s.steps for s in steps} == {8}
    assert steps[-1].eta_s == 0
    assert all(s.eta_s is not None and s.eta_s > 0 for s in steps[:-1])


def test_what_is_cut_or_left_out_is_counted(tiny_model: Path, tmp_path: Path) -> None:
    facts = report(train(tiny_model, tmp_path, RECIPE.model_copy(update={"max_tokens": 26})))
    assert facts["truncated"] > 0
    assert facts["dropped"] > 0
    assert facts["examples"] + facts["held_out"] + facts["dropped"] == len(EXAMPLES)


def test_unknown_targets_are_refused_with_the_known_ones(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no_such_proj.*down_proj.*q_proj"):
        train(tiny_model, tmp_path, RECIPE.model_copy(update={"targets": ("no_such_proj",)}))


def test_nothing_left_to_train_on_is_an_error(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"held out.*Lower `held_out`"):
        train(tiny_model, tmp_path, RECIPE.model_copy(update={"held_out": 30}))
