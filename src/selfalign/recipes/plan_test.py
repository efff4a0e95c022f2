"""Every shipped plan loads, and the papers' plan holds the papers' numbers."""

import pytest

from selfalign.core.errors import PlanError, SelfAlignError
from selfalign.recipes.ingredients import open_ingredients
from selfalign.recipes.plan import Plan, load_plan, shipped_plans
from selfalign.recipes.preview import check_texts


def test_three_plans_ship_and_no_more():
    assert shipped_plans() == ["one_gpu", "papers", "pocket"]


@pytest.mark.parametrize("name", shipped_plans())
def test_every_shipped_plan_loads_and_so_does_every_text_it_names(name):
    check_texts(open_ingredients(load_plan(name)))


def test_the_papers_plan_is_the_papers_numbers():
    """Fact sheet A1 to A4; where the appendix and the released scripts differ, the appendix."""
    plan = load_plan("papers")
    stage1, stage2 = plan.stage1, plan.stage2
    assert (stage1.self_instruct.temperature, stage1.self_instruct.top_p) == (1.0, 0.98)
    assert stage1.self_instruct.max_tokens == stage1.red_teaming.max_tokens == 384
    assert (stage1.growth.target, stage1.growth.seeds_only) == (32 * 8192, False)
    assert (stage1.task_filters.novelty.threshold, stage1.topic_filters.max_words) == (0.7, 3)
    assert (stage2.temperature, stage2.top_p, stage2.max_tokens) == (0.5, 0.9, 256)
    assert plan.stage4.verbose.ngram_penalty == (0.0, 0.0, 1.0, 2.0)
    for tuning, length in ((plan.stage3.fine_tuning, 512), (plan.stage4.fine_tuning, 768)):
        assert (tuning.rank, tuning.alpha, tuning.dropout) == (16, 16, 0.05)
        assert (tuning.learning_rate, tuning.warmup_steps, tuning.schedule) == (4e-4, 100, "linear")
        assert (tuning.batch_size, tuning.epochs, tuning.held_out) == (768, 1, 2000)
        assert tuning.targets == ("q_proj", "k_proj", "v_proj", "o_proj")
        assert tuning.max_tokens == length


def test_the_papers_numbers_are_also_what_a_plan_that_says_nothing_has():
    """But for the seed, the names, and the tokenizer of the novelty filter."""
    said, default = load_plan("papers"), Plan(base="x")
    assert (said.stage2, said.stage3, said.stage4) == (
        default.stage2,
        default.stage3,
        default.stage4,
    )
    assert said.stage1.self_instruct == default.stage1.self_instruct
    assert said.stage1.growth == default.stage1.growth


def test_a_plan_of_no_name_is_answered_with_the_names_there_are():
    with pytest.raises(PlanError, match="one_gpu, papers, pocket"):
        load_plan("pockte")


def test_what_a_run_writes_down_is_the_plan_it_had(tmp_path):
    from selfalign.recipes.everything import Order, begin, reopen

    plan = load_plan("pocket", ["stage3.fine_tuning.rank=3", "evaluation.n=8"])
    begin(tmp_path, Order(plan="pocket"), plan)
    assert reopen(tmp_path).plan == plan


@pytest.mark.parametrize(
    "override",
    [
        "stage3.fine_tuning.rank=0",
        "stage3.fine_tuning.rank=-1",
        "stage3.fine_tuning.learning_rate=nan",
        "stage4.fine_tuning.learning_rate=.inf",
        "stage4.fine_tuning.learning_rate=-1",
        "stage3.fine_tuning.epochs=0",
        "stage3.fine_tuning.seed=-1",
        "stage1.growth.requests_per_round=0",
        "stage1.growth.target=-3",
        "stage1.topic_rounds=-1",
        "stage1.self_instruct.top_p=1.5",
        "stage2.temperature=-0.1",
        "stage2.max_tokens=0",
        "stage4.chats=[]",
        "limit=0",
        "batch_size=0",
        "evaluation.n=0",
        "salmon.policy.training.rollout_batch=1",
        "salmon.policy.training.clip=1e400",
        "salmon.reward_model.training.held_out=-1",
    ],
)
def test_a_setting_out_of_its_range_is_refused_before_a_run_begins(override):
    field = override.partition("=")[0]
    with pytest.raises(PlanError, match=rf"`{field}`: .*correct it"):
        load_plan("papers", [override])


@pytest.mark.parametrize(
    "override",
    ["salmon.policy.training.update_batch=577", "salmon.policy.training.algorithm=rloo"],
)
def test_a_policy_training_that_could_only_fail_is_refused_before_a_run_begins(override):
    plan = load_plan("papers", [override])
    with pytest.raises(PlanError, match=r"the plan's salmon\.policy\.training\.\w+: "):
        check_texts(open_ingredients(plan))


@pytest.mark.parametrize(
    ("start", "field"),
    [
        ("final", "stage4.fine_tuning.method"),
        ("engraved", "stage3.fine_tuning.method"),
        ("varied", "salmon.policy.variety.method"),
    ],
)
def test_a_start_that_shares_no_base_with_the_reward_model_is_refused_before_a_run(start, field):
    plan = load_plan("papers", [f"salmon.policy.start={start}", f"{field}=full"])
    with pytest.raises(PlanError, match=rf"the plan's {field} is 'full'.*share the base") as error:
        check_texts(open_ingredients(plan))
    assert (error.value.field, error.value.exit_code) == (field, 2)
    other = "engraved" if start == "final" else "final"
    check_texts(
        open_ingredients(load_plan("papers", [f"salmon.policy.start={other}", f"{field}=full"]))
    )


@pytest.mark.parametrize("group", [1, 5])
def test_groups_that_do_not_fill_a_batch_are_refused_before_a_run(group):
    sized = [
        "salmon.policy.training.baseline=group",
        "salmon.policy.training.rollout_batch=64",
        "salmon.policy.training.update_batch=32",
    ]
    with pytest.raises(PlanError, match="part of rollout_batch: 64") as error:
        plan = load_plan("papers", [*sized, f"salmon.policy.training.group={group}"])
        check_texts(open_ingredients(plan))
    assert error.value.field == "salmon.policy.training.group"
    check_texts(open_ingredients(load_plan("papers", [*sized, "salmon.policy.training.group=4"])))


def test_every_conversation_that_stage_4_trains_on_is_looked_for_before_a_run_begins():
    plan = load_plan("papers", ["stage4.chats=[chat/standard, chat/nowhere]"])
    with pytest.raises(SelfAlignError, match=r"chat/nowhere\.md"):
        check_texts(open_ingredients(plan))
