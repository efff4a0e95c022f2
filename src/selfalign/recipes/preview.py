"""What a plan will do, shown before anything is loaded: the first prompts and the counts.

plan + library  ->  per stage: how many prompts, and the first one as the model will read it
"""

from collections.abc import Iterator

from selfalign.core.errors import PlanError, TrainingError
from selfalign.core.records import Instruction
from selfalign.recipes.evaluate import CONDITIONS
from selfalign.recipes.ingredients import Ingredients
from selfalign.recipes.ingredients_salmon import SalmonIngredients
from selfalign.recipes.no_model import NoModel, Preview
from selfalign.recipes.plan import Plan
from selfalign.recipes.plan_salmon import Salmon
from selfalign.recipes.preview_salmon import preview_salmon
from selfalign.self_align.stage1_topic_guided_red_teaming import draw_hints, solved_hints
from selfalign.trainers.ppo_checks import check as check_ppo
from selfalign.trainers.trl_settings import check as check_trl

SHOWN = 2
"""Ours: training examples shown per stage."""


def preview(kit: Ingredients) -> Iterator[Preview]:
    """Show every stage of a plan; reads the library, opens no model."""
    yield from _preview_stage1(kit)
    first = kit.library.seed_tasks()[0]
    query = Instruction(text=first.instruction, origin="user")
    limit = f", at most {kit.plan.limit:,}" if kit.plan.limit is not None else ""
    yield Preview(
        "stage2",
        f"one prompt per instruction of stage 1{limit}",
        (kit.self_alignment(NoModel()).render(query),),
    )
    examples = kit.engraving_examples([])
    yield Preview(
        "stage3",
        f"one example per answer kept, and {len(examples):,} about the assistant itself; "
        f"{kit.plan.stage3.fine_tuning.epochs:g} epochs in batches of "
        f"{kit.plan.stage3.fine_tuning.batch_size}",
        tuple(f"{e.prompt}▏{e.completion}" for e in examples[:SHOWN]),
    )
    identity = len(kit.asked_at_length([]))
    yield Preview(
        "stage4",
        f"one prompt per instruction of stage 1{limit}, and {identity:,} about the assistant",
        (kit.verbose_cloning(NoModel()).render(query),),
    )
    if kit.plan.salmon is not None:
        yield from preview_salmon(SalmonIngredients(kit, kit.plan.salmon))
    yield from _preview_evaluation(kit)


def check_texts(kit: Ingredients) -> None:
    """Render the first prompt of every stage, so that a broken text stops a run before it begins.

    Settings that the last stage would refuse are refused here as well.

    Raises:
        SelfAlignError: a file is missing or wrong; file, field and way out are named.
    """
    for _ in preview(kit):
        pass
    for name in kit.plan.stage4.chats:
        kit.chat(name)
    _check_policy_training(kit.plan)


def _check_policy_training(plan: Plan) -> None:
    """Refuse a training that could only fail, before the hours that lead to it."""
    if plan.salmon is None:
        return
    _check_shared_base(plan, plan.salmon)
    recipe = plan.salmon.policy.training
    try:
        (check_ppo if recipe.algorithm == "ppo" else check_trl)(recipe)
    except TrainingError as error:
        field = f"salmon.policy.training.{error.field}"
        raise PlanError(f"the plan's {field}: {error}", field=field) from None


def _check_shared_base(plan: Plan, settings: Salmon) -> None:
    """Refuse a start with all weights trained: the reward model is an adapter on the plan's base.

    A base of its own may have another tokenizer, too; in one run, nothing else can lead to that.
    """
    starts = {
        "final": ("stage4.fine_tuning.method", plan.stage4.fine_tuning),
        "engraved": ("stage3.fine_tuning.method", plan.stage3.fine_tuning),
        "varied": ("salmon.policy.variety.method", settings.policy.variety),
    }
    field, recipe = starts[settings.policy.start]
    if recipe.method == "full":
        raise PlanError(
            f"the plan's {field} is 'full', and salmon.policy.start is {settings.policy.start!r}: "
            f"policy and reward model have to share the base {plan.base!r}, and a model with all "
            f"its weights trained is a base of its own. Write {field}=lora, or choose another "
            f"start.",
            field=field,
        )


def _preview_stage1(kit: Ingredients) -> Iterator[Preview]:
    stage1, lm = kit.plan.stage1, NoModel()
    growth, asked = stage1.growth, stage1.red_teaming.asked
    instruct = kit.self_instruct(lm)
    yield Preview(
        "stage1, self-instruct",
        f"{growth.requests_per_round:,} prompts a round until {growth.target:,} tasks are kept, "
        f"at most {growth.rounds:,} rounds",
        (instruct.render(instruct.requests(1)[0]),),
    )
    topics = kit.topics(lm)
    yield Preview(
        "stage1, topics",
        f"{stage1.topic_rounds} rounds, one prompt per topic there is; {len(topics.pool):,} in the "
        f"first",
        tuple(topics.render(topic) for topic in topics.pool.in_order[:1]),
    )
    solved = solved_hints(kit.library.question_types())
    requests = draw_hints(topics.pool, solved, stage1.red_teaming, kit.plan.seed)
    yield Preview(
        "stage1, red-teaming",
        f"one prompt per {asked} topics: {len(requests):,} for the seed topics alone",
        tuple(kit.red_teaming(lm).render(request) for request in requests[:1]),
    )


def _preview_evaluation(kit: Ingredients) -> Iterator[Preview]:
    evaluation = kit.plan.evaluation
    if kit.exam is None:
        yield Preview("evaluation", "none: the plan names no task", ())
        return
    first = kit.exam.questions(evaluation.seed, 1).asked[0]
    yield Preview(
        "evaluation",
        f"{evaluation.n:,} held-out questions under each of {_conditions(kit)} conditions",
        (kit.answering(NoModel()).render(first),),
    )


def _conditions(kit: Ingredients) -> int:
    return sum(c.model != "policy" or kit.plan.salmon is not None for c in CONDITIONS)
