"""People's preferences in a plan: read before anything runs, learnt before principles."""

import json
from pathlib import Path

import pytest

from selfalign.core.errors import InputError
from selfalign.core.protocols import RewardTraining
from selfalign.core.records import Checkpoint
from selfalign.core.store import Run
from selfalign.recipes.ingredients import open_ingredients
from selfalign.recipes.ingredients_salmon import SalmonIngredients
from selfalign.recipes.plan import load_plan
from selfalign.recipes.preview import check_texts

BASE = Checkpoint(base="calf", revision="sha256:0")
RANK = "salmon.reward_model.training.rank=3"


def plan_with(file: Path) -> SalmonIngredients:
    kit = open_ingredients(
        load_plan(
            "pocket", ["salmon={}", RANK, f"salmon.reward_model.pretraining={{file: {file}}}"]
        )
    )
    check_texts(kit)
    assert kit.plan.salmon is not None
    return SalmonIngredients(kit, kit.plan.salmon)


def rows(path: Path, *preferences: tuple[str, str]) -> Path:
    path.write_text(
        "".join(
            json.dumps({"prompt": "What is bread?", "chosen": one, "rejected": two}) + "\n"
            for one, two in preferences
        )
    )
    return path


def test_the_lesson_has_the_shape_of_the_adapter_that_goes_on_with_it(tmp_path: Path) -> None:
    ours = plan_with(rows(tmp_path / "p.jsonl", ("Food.", "No."), ("Same.", "Same.")))
    seen: list[tuple[int, Checkpoint, RewardTraining]] = []

    def train(pairs, *, base, recipe, folder: Path) -> None:
        seen.append((len(pairs), base, recipe))
        (folder / "weights").mkdir()

    lesson = ours.first_lesson
    assert lesson is not None
    assert lesson.dropped == {"equal": 1}
    learnt = Run(tmp_path / "run").train(ours.reward_pretraining(BASE, train), lesson.kept)
    (pairs, base, recipe), *_ = seen
    assert (pairs, base) == (1, BASE)
    assert recipe.rank == 3
    assert recipe.learning_rate == 5e-5
    assert ours.reward_modelling(learnt, train).base.adapter is not None


def test_two_files_are_two_reward_models(tmp_path: Path) -> None:
    bases: list[Checkpoint] = []

    def train(pairs, *, base, recipe, folder: Path) -> None:
        (folder / "weights").mkdir()

    for name, good in (("a", "Food."), ("b", "Flour, water and salt.")):
        ours = plan_with(rows(tmp_path / f"{name}.jsonl", (good, "No.")))
        assert ours.first_lesson is not None
        bases.append(
            Run(tmp_path / "run").train(
                ours.reward_pretraining(BASE, train), ours.first_lesson.kept
            )
        )
    assert bases[0].fingerprint != bases[1].fingerprint


@pytest.mark.parametrize("preferences", [(), (("Same.", "Same."),)])
def test_a_file_without_a_preference_is_refused_before_anything_runs(
    tmp_path: Path, preferences: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(InputError, match=r"pretraining\.file.*holds no preference"):
        plan_with(rows(tmp_path / "p.jsonl", *preferences))


def test_without_a_file_no_human_preference_is_used() -> None:
    kit = open_ingredients(load_plan("pocket", ["salmon={}"]))
    assert kit.plan.salmon is not None
    assert SalmonIngredients(kit, kit.plan.salmon).first_lesson is None
