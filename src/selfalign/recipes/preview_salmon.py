"""What the SALMON part of a plan will do, shown before anything is loaded.

plan + library  ->  per stage: how much it asks, and a first text as the model will read it
"""

from collections.abc import Iterator

from selfalign.core.records import Clause, Instruction, ResponsePair
from selfalign.recipes.ingredients_salmon import SalmonIngredients
from selfalign.recipes.no_model import NoModel, Preview
from selfalign.salmon.preference_pretraining import pretraining_pairs
from selfalign.salmon.reward_prompt import clause_texts
from selfalign.salmon.stage2_aggregation import check_negations, counted
from selfalign.salmon.varied_start import varied_examples


def preview_salmon(ours: SalmonIngredients) -> Iterator[Preview]:
    """Show every stage; reads the library, opens no model.

    Raises:
        SelfAlignError: a file is missing or wrong; file, field and way out are named.
    """
    settings = ours.settings
    first = ours.kit.library.seed_tasks()[0]
    asked = Instruction(text=first.instruction, origin="user")
    pair = ResponsePair(instruction=asked, first="(one answer)", second="(another answer)")
    limit = settings.preferences.limit
    yield Preview(
        "salmon1, pairs",
        "two samples per instruction of stage 1" + (f", at most {limit:,}" if limit else ""),
        (ours.pair_sampling(NoModel()).render(asked),),
    )
    judging = ours.judging(NoModel())
    yield Preview(
        "salmon1, judging",
        f"{len(judging.constitution.names)} principles in 2 orders per pair",
        (judging.render(pair)[0],),
    )
    if settings.reward_model.aggregation.p_negated > 0:
        check_negations(ours.preferences)
    name = counted(ours.preferences)[0]
    shown = clause_texts([Clause(principle=name)], ours.preferences)
    training = settings.reward_model.training
    yield from _first_lesson(ours)
    yield Preview(
        "salmon2",
        f"{settings.reward_model.aggregation.passes} labels per pair at most; "
        f"{training.epochs:g} epochs in batches of {training.batch_size}",
        (ours.reward_prompt.render(asked.text, pair.first, shown),),
    )
    if settings.policy.start == "varied":
        recipe = settings.policy.variety
        chat = ours.kit.chat(settings.policy.chat)
        plan = ours.kit.plan
        told = varied_examples([pair], chat=chat, assistant=plan.assistant, maker=plan.maker)
        yield Preview(
            "salmon3, start",
            f"what was engraved and both answers of every pair; {recipe.epochs:g} epochs in "
            f"batches of {recipe.batch_size}",
            (told[0].prompt + told[0].completion,),
        )
    plans = ours.principle_plans()
    recipe = settings.policy.training
    amount = f"{recipe.steps:,} steps" if recipe.steps else f"{recipe.epochs:g} epochs"
    state = plans["policy"].at(0)
    drawn = [p.text for p in state.drawable.principles[: settings.policy.principles.k]]
    always = [p.text for p in state.always]
    yield Preview(
        "salmon3",
        f"{amount} of {recipe.rollout_batch:,} responses for each of {len(plans)} policies, "
        f"by {recipe.algorithm}",
        (ours.reward_prompt.render(asked.text, pair.first, drawn, always),),
    )


def _first_lesson(ours: SalmonIngredients) -> Iterator[Preview]:
    lesson = ours.first_lesson
    if lesson is None:
        return
    prompt = ours.kit.library.prompt("salmon/reward_model_pretraining")
    first = pretraining_pairs(lesson.kept[:1], prompt)[0]
    lost = ", ".join(f"{reason} {n:,}" for reason, n in lesson.dropped.items())
    yield Preview(
        "salmon2, people's preferences",
        f"{len(lesson.kept):,} preferences" + (f"; left out: {lost}" if lost else ""),
        (first.chosen,),
    )
