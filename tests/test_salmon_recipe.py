"""The whole of both papers on the embedded model, with small numbers and nothing replaced."""

import warnings

import pytest

from selfalign.core.store import Run
from selfalign.recipes.chapters import read_chapters
from selfalign.recipes.evaluate import read_results
from selfalign.recipes.evaluate_salmon import read_controls, read_pairs
from selfalign.recipes.everything import Order, begin, everything
from selfalign.recipes.ingredients import open_ingredients
from selfalign.recipes.machines import RealMachines
from selfalign.recipes.models import find_model, read_models
from selfalign.recipes.plan import load_plan
from selfalign.recipes.stages import all_funnels
from selfalign.reports.page import write_report
from selfalign.salmon.rollout_rewards import rollout_log, summary_log

PLAN = "pocket"
SMALL = (
    "stage1.growth.target=24",
    "stage1.growth.requests_per_round=4",
    "stage1.growth.rounds=2",
    "stage1.topic_rounds=0",
    "stage3.fine_tuning.epochs=1",
    "stage4.fine_tuning.epochs=1",
    "limit=24",
    "salmon.preferences.pairs.temperature=1.3",
    "salmon.reward_model.training.held_out=4",
    "salmon.policy.training.steps=2",
    "salmon.policy.training.rollout_batch=8",
    "salmon.policy.training.update_batch=8",
    "salmon.policy.training.update_epochs=1",
    "salmon.policy.variety.epochs=1",
    "salmon.policy.interventions=salmon_interventions",
    "salmon.policy.controls=[{name: brief, always: [The response must be short.]}]",
    "salmon.policy.dpo={batch_size: 16, learning_rate: 2.0e-4, warmup_steps: 2, held_out: 2,"
    " max_tokens: 512}",
    "evaluation.n=8",
)


@pytest.fixture(scope="module")
def warned():
    """What libraries warned of during the run."""
    return []


@pytest.fixture(scope="module")
def parts():
    """What was reached after each part of the run, and how many conditions were measured then."""
    return []


@pytest.fixture(scope="module")
def path(tmp_path_factory, warned, parts):
    path = tmp_path_factory.mktemp("runs") / "pocket"
    kit = open_ingredients(load_plan(PLAN, SMALL))
    begin(path, Order(plan=PLAN, overrides=SMALL), kit.plan)
    run = Run(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for chapters in everything(kit, run, RealMachines()):
            parts.append((chapters.reached, len(read_results(run))))
    warned += [str(one.message) for one in caught]
    run.close()
    return path


def test_the_first_paper_is_measured_before_the_second_begins(path, parts):
    assert path.is_dir()
    assert parts == [
        ("stage1", 0),
        ("stage2", 0),
        ("stage3", 0),
        ("stage4", 0),
        ("stage4", 4),
        ("salmon1", 4),
        ("salmon2", 4),
        ("salmon3", 4),
        ("evaluation", 5),
    ]


def test_the_whole_recipe_runs_on_the_embedded_model(path) -> None:
    chapters = read_chapters(path)
    assert chapters.reached == "evaluation"
    assert set(read_models(path)) == {
        "base",
        "engraved",
        "final",
        "reward",
        "varied",
        "policy",
        "policy-brief",
        "policy-dpo",
    }
    stages = {funnel.stage for funnel in all_funnels(Run(path))}
    assert {"salmon.stage1.pairs", "salmon.stage1", "salmon.stage2", "salmon.stage3"} <= stages
    for name in ("reward", "policy"):
        assert find_model(f"{path}:{name}").run == path


def test_every_rollout_of_the_policy_is_there_with_the_clauses_that_rewarded_it(path) -> None:
    chapters = read_chapters(path)
    folder = path / chapters.policies["policy"]
    steps = range(2)
    rollouts = rollout_log(folder).of(steps)
    assert len(rollouts) == 2 * 8
    assert all(len(one.clauses) == 1 + 2 for one in rollouts)  # the intervention, and two drawn
    assert len(summary_log(folder).of(steps)) == 2


def test_judge_reward_model_and_policies_are_measured(path) -> None:
    pairs, controls = read_pairs(path), read_controls(path)
    assert set(pairs) == {"judge", "reward"}
    assert {result.n for result in pairs.values()} == {8}
    assert controls is not None
    assert [row.policy for row in controls.root] == [
        "varied",
        "policy",
        "policy-brief",
        "policy-dpo",
    ]


def test_nothing_was_looked_for_in_the_network(path, warned) -> None:
    assert not [one for one in warned if "remote" in one or "config file" in one]


def test_the_report_shows_every_policy(path) -> None:
    page = write_report(path).read_text("utf-8")
    assert "policy-brief" in page
    assert "policy-dpo" in page
