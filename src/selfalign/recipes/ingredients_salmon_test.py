"""What SALMON's stages are made of, and so what an edit makes them do again."""

from pathlib import Path

import pytest

from selfalign.core.errors import PlanError
from selfalign.core.library import open_library
from selfalign.core.records import Checkpoint, Instruction, SelfAlignedResponse
from selfalign.core.scripted import ScriptedLM
from selfalign.recipes.ingredients import open_ingredients
from selfalign.recipes.ingredients_salmon import SalmonIngredients
from selfalign.recipes.plan import load_plan
from selfalign.recipes.plan_salmon import Salmon

FILE = "constitutions/salmon_preferences.yaml"
BASE = Checkpoint(base="calf", revision="sha256:0")


def keys(folder: Path, old: str, new: str) -> tuple[str, str, str]:
    """Name judging, labels and the reward model's training of a library with one edit."""
    written = open_library("pocket", None).find(FILE).read_text("utf-8")
    assert old in written
    edited = folder / FILE
    edited.parent.mkdir(parents=True, exist_ok=True)
    edited.write_text(written.replace(old, new), "utf-8")
    made = SalmonIngredients(open_ingredients(load_plan("pocket"), folder), Salmon())
    lm = ScriptedLM()
    training = made.reward_modelling(BASE, trainer=lambda *_, **__: None)
    return made.judging(lm).key, made.aggregation([]).key, training.key


def test_an_edited_rewording_renames_the_reward_model_and_no_judgement(tmp_path: Path) -> None:
    before = keys(tmp_path, "be brief,", "be brief,")
    after = keys(tmp_path, "be brief,", "be terse,")
    assert after[:2] == before[:2]
    assert after[2] != before[2]
    text = keys(tmp_path, "comes to the point in few words", "soon comes to the point")
    assert not set(text) & set(before)


def test_principles_that_do_not_fit_name_the_control_they_are_of():
    plan = load_plan("papers", ["salmon.policy.controls=[{name: many, k: 99}]"])
    with pytest.raises(PlanError, match=r"controls\.0` \(many\): .*99 principles") as error:
        SalmonIngredients(open_ingredients(plan), plan.salmon).principle_plans()
    assert error.value.field == "salmon.policy.controls.0"


def test_a_reward_model_learns_from_labels_and_from_bad_answers_of_both_makers():
    told = [f"How do I cook {dish}?" for dish in ("pike", "rice", "kale", "lamb")]
    aligned = [
        SelfAlignedResponse(
            instruction=Instruction(text=text, origin="user"),
            thoughts="",
            cited=(),
            response=f"Boil the {text[14:-1]} for an hour.",
            finished=True,
        )
        for text in told
    ]
    settings = Salmon.model_validate({"reward_model": {"stubs": 1, "stray_answers": 1}})
    made = SalmonIngredients(open_ingredients(load_plan("pocket")), settings)
    assert [x.chosen for x in made.with_degenerate([], aligned, [])] == [
        one.response for one in aligned
    ]
    labels = made.with_degenerate([], aligned[:1], [])
    assert labels == []
    label = made.with_degenerate([], aligned, [])[0]
    assert [x.rule for x in made.with_degenerate([label], [], [])] == ["stray", "degenerate"]
    off = Salmon.model_validate({"reward_model": {"stubs": 0, "strays": 0, "stray_answers": 0}})
    assert SalmonIngredients(made.kit, off).with_degenerate([label], aligned, []) == [label]
