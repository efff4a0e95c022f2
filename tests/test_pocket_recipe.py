"""The pocket recipe end to end: it runs, resumes from anything, refuses bad input in a sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from scripted_pocket import ScriptedMachines, run_all

from selfalign.cli.app import run_command
from selfalign.recipes.chapters import read_chapters
from selfalign.recipes.models import find_model, read_models
from selfalign.reports.page import write_report

SCRIPT = Path(__file__).parent / "scripted_pocket.py"


def outcomes(path: Path) -> dict[str, str]:
    """Everything a run has computed: outcomes, examples learnt, exam results."""
    files = [*path.glob("*/outcomes.jsonl"), *path.glob("*/weights/*"), *path.glob("evaluation/*")]
    return {str(f.relative_to(path)): f.read_text("utf-8") for f in files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run and the machines that made it."""
    path, machines = tmp_path_factory.mktemp("runs") / "pocket", ScriptedMachines()
    run_all(path, machines)
    return path, machines


def test_a_run_ends_with_three_models_and_four_results(finished):
    path, _ = finished
    assert read_chapters(path).reached == "evaluation"
    assert list(read_models(path)) == ["base", "engraved", "final"]
    assert sorted(f.stem for f in (path / "evaluation").iterdir()) == [
        "bare_base", "engraved", "final", "principles_in_context",
    ]  # fmt: skip


def test_every_stage_of_the_paper_left_a_funnel_that_adds_up(finished):
    path, _ = finished
    funnels = [json.loads(f.read_text()) for f in path.glob("*/funnel.json")]
    assert {f["stage"] for f in funnels} >= {
        "self_align.stage1.self_instruct",
        "self_align.stage1.topics",
        "self_align.stage1.red_teaming",
        "self_align.stage1.merge",
        "self_align.stage2",
        "self_align.stage4",
    }
    for f in funnels:
        assert f["inputs"] == f["kept"] + sum(d["count"] for d in f["dropped"])
    kept = {f["stage"]: f["kept"] for f in funnels}
    assert kept["self_align.stage2"] > 10
    assert kept["self_align.stage4"] > kept["self_align.stage2"]  # unfiltered prompts, identity


def test_the_long_answers_are_those_of_the_engraved_model_and_the_exam_asks_all_three(finished):
    path, machines = finished
    chapters = read_chapters(path)
    models = chapters.models(path)
    long_answers = json.loads((path / chapters.verbose / "funnel.json").read_text())["inputs"]
    by_name = {name: machines.asked[f"scripted {m.fingerprint}"] for name, m in models.items()}
    assert by_name["engraved"] == long_answers + 16
    assert by_name["final"] == 16
    assert set(machines.asked) == {"scripted calf"} | {
        f"scripted {models[name].fingerprint}" for name in ("engraved", "final")
    }


def test_what_is_learnt_has_no_rules_and_no_thoughts(finished):
    path, _ = finished
    for learnt in path.glob("*/weights/learnt.txt"):
        text = learnt.read_text("utf-8")
        assert "(1)" not in text
        assert "internal thoughts" not in text


def test_running_again_asks_and_trains_nothing(finished):
    path, machines = finished
    calls, before = (machines.calls, machines.trainings), outcomes(path)
    run_all(path, machines)
    assert (machines.calls, machines.trainings) == calls
    assert outcomes(path) == before


def test_a_model_of_a_run_is_found_by_name_also_after_a_move(finished, tmp_path):
    path, _ = finished
    moved = tmp_path / "elsewhere"
    subprocess.run(["cp", "-r", path, moved], check=True)
    here, there = (find_model(f"{folder}:final").model for folder in (path, moved))
    assert here.fingerprint == there.fingerprint
    assert Path(there.adapter).is_relative_to(moved)


@pytest.mark.parametrize("deadly_call", [1, 7, 20, 60, 90])
def test_killed_at_any_call_the_same_command_ends_the_same(finished, tmp_path, deadly_call):
    path, machines = finished
    assert deadly_call < machines.calls
    killed = tmp_path / "pocket"
    done = subprocess.run([sys.executable, SCRIPT, killed, str(deadly_call)], check=False)
    assert done.returncode == -9
    again = ScriptedMachines()
    run_all(killed, again)
    assert outcomes(killed) == outcomes(path)
    assert again.calls <= machines.calls


def test_more_of_stage_1_asks_the_base_model_only_what_is_new(finished, tmp_path):
    path, _ = finished
    copy = tmp_path / "pocket"
    subprocess.run(["cp", "-r", path, copy], check=True)
    machines = ScriptedMachines()
    run_all(copy, machines, "stage1.topic_rounds=2")
    whole = ScriptedMachines()
    run_all(tmp_path / "fresh", whole, "stage1.topic_rounds=2")
    again, anew = machines.asked["scripted calf"], whole.asked["scripted calf"]
    assert 0 < again < anew / 2


def test_the_report_holds_what_the_files_hold(finished):
    path, _ = finished
    page = write_report(path)
    report = json.loads((page.parent / "report.json").read_text("utf-8"))
    for effect in report["effect"]:
        name = effect["condition"].partition(" (")[0].replace(" ", "_")
        result = json.loads((path / "evaluation" / f"{name}.json").read_text("utf-8"))
        assert effect["result"]["kinds"] == result["kinds"]
    assert report["verbs_of"] == report["verbs_read"] > 10  # all scripted tasks: "move a harp"
    assert "<script" not in page.read_text("utf-8")


def test_show_and_report_speak_of_a_finished_run(finished, capsys):
    path, _ = finished
    assert run_command(["show", str(path)]) == 0
    said = capsys.readouterr().out
    assert "self_align.stage2" in said
    assert "principles in context" in said
    assert run_command(["report", str(path)]) == 0
    assert "index.html" in capsys.readouterr().out


def lines(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def bad_plan(tmp_path):
    return ["run", str(lines(tmp_path / "plan.yaml", "base: [calf"))], ["plan.yaml", "line 1"]


def plan_that_is_a_folder(tmp_path):
    return ["run", str(tmp_path)], [str(tmp_path)]


def no_such_plan(tmp_path):
    return ["run", "pokcet"], ["pokcet", "one_gpu, papers, pocket"]


def unknown_setting(tmp_path):
    path = lines(tmp_path / "plan.yaml", "base: calf\nstage3: {fine_tuning: {rnak: 3}}")
    return ["run", str(path)], ["plan.yaml", "stage3.fine_tuning.rnak", "stage3.fine_tuning.rank"]


def unknown_override(tmp_path):
    return ["run", "pocket", "sed=1"], ["`sed`", "did you mean `seed`"]


def value_of_another_kind(tmp_path):
    return ["run", "pocket", "evaluation.n=many"], ["evaluation.n", "integer"]


def constitution_with_a_missing_field(tmp_path):
    text = "name: mine\nprinciples:\n- {name: kind}\n"
    path = lines(tmp_path / "mine/constitutions/self_align.yaml", text)
    library = str(path.parents[1])
    return ["run", "pocket", "--library", library], ["self_align.yaml", "text", "missing"]


def empty_seed_file(tmp_path):
    path = lines(tmp_path / "mine/seeds/tasks.jsonl", "")
    return ["run", "pocket", "--library", str(path.parents[1])], ["tasks.jsonl", "empty", "write"]


def library_that_is_no_library(tmp_path):
    return ["run", "pocket", "--library", str(tmp_path)], [str(tmp_path), "constitutions"]


def model_that_is_a_folder_of_something_else(tmp_path):
    folder = lines(tmp_path / "model/notes.txt", "hello").parent
    out = str(tmp_path / "out")
    return ["run", "pocket", f"base={folder}", "--out", out], ["config.json", "notes.txt"]


def model_that_is_not_there(tmp_path):
    return ["ask", str(tmp_path / "none"), "Who are you?"], [str(tmp_path / "none")]


def no_such_model_of_a_run(tmp_path):
    lines(tmp_path / "models.json", '{"base": "calf"}')
    return ["ask", f"{tmp_path}:finla", "Hello?"], ["finla", "base"]


def path_that_cannot_be_written(tmp_path):
    file = lines(tmp_path / "file", "")
    return ["run", "pocket", "--out", str(file / "run")], [str(file), "--out"]


def result_that_cannot_be_written(tmp_path):
    out = str(tmp_path / "none" / "result.json")
    return ["eval", str(tmp_path), "--out", out], [out, "folder"]


def run_that_is_no_run(tmp_path):
    return ["show", str(tmp_path)], [str(tmp_path), "--out"]


BAD_INPUTS = [
    bad_plan,
    plan_that_is_a_folder,
    no_such_plan,
    unknown_setting,
    unknown_override,
    value_of_another_kind,
    constitution_with_a_missing_field,
    empty_seed_file,
    library_that_is_no_library,
    model_that_is_a_folder_of_something_else,
    model_that_is_not_there,
    no_such_model_of_a_run,
    path_that_cannot_be_written,
    result_that_cannot_be_written,
    run_that_is_no_run,
]


@pytest.mark.parametrize("bad_input", BAD_INPUTS, ids=lambda b: b.__name__)
def test_bad_input_is_a_sentence_and_exit_code_2(bad_input, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command, named = bad_input(tmp_path)
    assert run_command(command) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") or "\nerror: " in said
    for part in named:
        assert part in said
    assert "Traceback" not in said


def test_a_typing_error_in_an_option_is_exit_code_2(capsys):
    assert run_command(["run", "pocket", "--untill", "stage1"]) == 2
    assert "--until" in capsys.readouterr().err


def test_bad_input_loses_nothing_of_a_finished_run(finished, tmp_path):
    path, _ = finished
    copy = tmp_path / "pocket"
    subprocess.run(["cp", "-r", path, copy], check=True)
    assert run_command(["run", "pocket", "sed=1", "--out", str(copy)]) == 2
    assert run_command(["run", "pocket", f"base={tmp_path}", "--out", str(copy)]) == 2
    assert outcomes(copy) == outcomes(path)
    assert (copy / "plan.yaml").read_text() == (path / "plan.yaml").read_text()


def test_a_preview_loads_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_command(["run", "pocket", "base=/no/such/model", "--dry-run", "--limit", "7"]) == 0
    said = capsys.readouterr().out
    assert "1 (ethical)." in said
    assert "at most 7" in said
    assert not list(tmp_path.iterdir())
