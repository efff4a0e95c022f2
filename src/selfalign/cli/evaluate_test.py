"""`selfalign eval`: what is written, and what cannot be asked for."""

import json

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification

from selfalign.cli.app import run_command
from selfalign.core.lock import let_go
from selfalign.recipes.everything import Order, begin
from selfalign.recipes.plan import load_plan

PAIRS = ("--task", "calf-pairs", "--seed", "9", "-n", "10")


@pytest.fixture(scope="module")
def roomy_model(make_tiny_model, tmp_path_factory):
    """A random model whose context holds the pocket prompts, byte by byte."""
    return make_tiny_model(
        tmp_path_factory.mktemp("models") / "roomy", max_position_embeddings=8192
    )


@pytest.fixture
def reward_directory(tiny_model, tmp_path):
    """A directory that says of itself that it is a reward model's adapter."""
    folder = tmp_path / "reward"
    folder.mkdir()
    config = {"base_model_name_or_path": str(tiny_model), "task_type": "SEQ_CLS"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.slow
def test_pairs_are_put_to_a_language_model_and_written_with_rates_and_rows(
    roomy_model, tmp_path, capsys
):
    out = tmp_path / "pairs.json"
    assert run_command(["eval", str(roomy_model), *PAIRS, "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert (found["task"], found["model"], found["reader"]) == (
        "calf-pairs", str(roomy_model), "judge",
    )  # fmt: skip
    assert (found["seed"], found["n"], len(found["rows"])) == (9, 10, 10)
    assert set(found["rates"]["all"]["accuracy"]) == {"n", "rate", "low", "high"}
    shown = capsys.readouterr()
    assert "orders agree" in shown.out
    assert "evaluation.judging_pairs" in shown.err + shown.out
    assert str(out) in shown.out


@pytest.mark.slow
def test_pairs_are_put_to_a_reward_model_of_a_run_by_its_name(roomy_model, tmp_path, capsys):
    run = tmp_path / "run"
    (run / "made").mkdir(parents=True)
    base = AutoModelForSequenceClassification.from_pretrained(roomy_model, num_labels=1)
    adapted = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", target_modules="all-linear"))
    adapted.save_pretrained(run / "made" / "weights")
    begin(run, Order(plan="pocket"), load_plan("pocket"))
    let_go(run)
    (run / "models.json").write_text(json.dumps({"reward": "made/weights"}))
    out = tmp_path / "pairs.json"
    assert run_command(["eval", f"{run}:reward", *PAIRS, "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert (found["model"], found["reader"]) == (f"{run}:reward", "reward model")
    assert {len(row["margins"]) for row in found["rows"]} == {1}
    assert "with distractors" in capsys.readouterr().out


def test_questions_are_not_put_to_a_reward_model(reward_directory, tmp_path, capsys):
    out = tmp_path / "x.json"
    assert run_command(["eval", str(reward_directory), "--out", str(out)]) == 2
    assert "--task calf-pairs" in capsys.readouterr().err
    assert not out.exists()


def test_pairs_know_no_principles_in_context(tiny_model, tmp_path, capsys):
    command = ["eval", str(tiny_model), *PAIRS, "--in-context", "--out", str(tmp_path / "x.json")]
    assert run_command(command) == 2
    assert "--in-context" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_with_a_short_context_is_refused_in_a_sentence(tiny_model, tmp_path, capsys):
    """Byte by byte, a pair has more tokens than 512."""
    out = tmp_path / "x.json"
    assert run_command(["eval", str(tiny_model), *PAIRS, "--out", str(out)]) == 2
    assert "attends to 512" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/no/such/model", *PAIRS, "--out", "{out}"), "no model directory"),
        (("calf", *PAIRS, "--out", "/no/such/folder/x.json"), "there is no folder"),
        (("calf", "--task", "calf-pears", "--out", "{out}"), "calf-pairs"),
        (("calf", "--task", "calf-pairs", "-n", "0", "--out", "{out}"), "-n"),
        (("calf", *PAIRS, "--library", "/no/such/library", "--out", "{out}"), "library"),
    ],
    ids=["model", "folder", "task", "n", "library"],
)
def test_bad_input_ends_with_2_and_a_sentence(arguments, said, tmp_path, capsys):
    out = tmp_path / "x.json"
    assert run_command(["eval", *(word.format(out=out) for word in arguments)]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown
    assert not out.exists()
