"""The command line in processes of its own: real engine, real trainer, a tiny random model."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ONE_THREAD = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "NO_COLOR": "1",
    "COLUMNS": "100",
}
TINY = (
    "salmon=null",
    "stage1.growth.target=4",
    "stage1.growth.requests_per_round=4",
    "stage1.growth.rounds=1",
    "stage1.self_instruct.max_tokens=24",
    "stage1.topic_rounds=1",
    "stage1.topics.max_tokens=12",
    "stage1.red_teaming.max_tokens=24",
    "stage1.task_filters.min_words=1",
    "stage2.max_tokens=24",
    "stage3.fine_tuning.epochs=1",
    "stage3.fine_tuning.held_out=4",
    "stage4.verbose.max_tokens=24",
    "stage4.verbose.min_unfinished_chars=1",
    "stage4.fine_tuning.epochs=1",
    "stage4.fine_tuning.held_out=1",
    "evaluation.n=8",
    "evaluation.answering.max_tokens=8",
)


def selfalign(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, "-m", "selfalign.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=ONE_THREAD, **options
    )


@pytest.fixture(scope="module")
def roomy_model(make_tiny_model, tmp_path_factory):
    """A random model whose context holds the pocket prompts, byte by byte."""
    return make_tiny_model(
        tmp_path_factory.mktemp("models") / "roomy", max_position_embeddings=8192
    )


def command_for(model: Path, out: Path) -> list[str]:
    return ["run", "pocket", *TINY, f"base={model}", "--out", str(out)]


@pytest.fixture(scope="module")
def finished(roomy_model, tmp_path_factory):
    """A run that was stopped by SIGTERM and then finished by the same command."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    command = command_for(roomy_model, out)
    process = subprocess.Popen(
        [sys.executable, "-m", "selfalign.cli", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ONE_THREAD,
    )
    while not list(out.glob("self_align.stage1.*/outcomes.jsonl")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, stopped = process.communicate(timeout=120)
    return out, process.returncode, stopped, selfalign(*command)


@pytest.mark.slow
def test_a_terminated_run_says_how_to_go_on_and_ends_with_3(finished):
    out, code, stopped, _ = finished
    assert code == 3, stopped
    assert "selfalign run pocket" in stopped
    assert str(out) in stopped
    assert "Traceback" not in stopped


@pytest.mark.slow
def test_the_same_command_ends_with_models_an_effect_table_and_a_report(finished):
    out, _, _, done = finished
    assert done.returncode == 0, done.stderr
    assert "principles in context" in done.stdout
    assert "self_align.stage2  kept" in done.stdout
    assert "self_align.stage3  kept" in done.stdout
    assert "Warning" not in done.stderr
    assert str(out / "report" / "index.html") in done.stdout
    assert (out / "report" / "index.html").is_file()
    assert json.loads((out / "models.json").read_text())["final"].endswith("/weights")


@pytest.mark.slow
def test_the_adapter_of_a_run_is_an_ordinary_one(finished):
    out, _, _, _ = finished
    weights = out / json.loads((out / "models.json").read_text())["engraved"]
    assert (weights / "adapter_config.json").is_file()
    assert (weights / "adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_a_finished_run_loads_no_gpu_library_when_run_again(finished, roomy_model):
    out, _, _, _ = finished
    program = (
        "import sys; from selfalign.cli.app import run_command;"
        f"code = run_command({command_for(roomy_model, out)!r});"
        "sys.exit(code or ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, env=ONE_THREAD)
    assert done.returncode == 0


@pytest.mark.slow
def test_a_model_of_a_run_can_be_examined_and_asked(finished, tmp_path):
    out, _, _, _ = finished
    result = tmp_path / "result.json"
    done = selfalign(
        "eval", f"{out}:engraved", "--seed", "7", "-n", "8", "--out", str(result), "--task", "calf"
    )
    assert done.returncode == 0, done.stderr
    written = json.loads(result.read_text())
    assert list(written) == [
        "task", "model", "seed", "n", "mean_words", "kinds", "unknowable", "rows",
    ]  # fmt: skip
    assert written["n"] == len(written["rows"]) == 8
    done = selfalign("ask", f"{out}:final", "--max-tokens", "4", input="Who are you?\nWhy?\n")
    assert [json.loads(line)["instruction"] for line in done.stdout.splitlines()] == [
        "Who are you?",
        "Why?",
    ]


def test_an_unexpected_error_leaves_its_traceback_in_a_file_and_not_on_the_screen(tmp_path):
    program = (
        "from selfalign.cli.outcome import CrashLog, log_crashes; from pathlib import Path;"
        f"log_crashes(); CrashLog.folder = Path({str(tmp_path / 'logs')!r}); 1 / 0"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (log,) = (tmp_path / "logs").iterdir()
    assert str(log) in done.stderr
    assert "ZeroDivisionError" in log.read_text()
