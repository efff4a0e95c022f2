"""What a recipe becomes in TRL, and what TRL cannot do."""

import pytest

from selfalign.core.errors import TrainingError
from selfalign.core.protocols import PolicyTraining
from selfalign.trainers.trl_rollouts import CONFIGS
from selfalign.trainers.trl_settings import check, updates_per_batch, values

RLOO = PolicyTraining(algorithm="rloo", kl_estimator="k1")
GRPO = PolicyTraining(algorithm="grpo", kl_estimator="k3")

FIELDS = [
    ("rollout_batch", 1152, "generation_batch_size"),
    ("update_batch", 144, "gradient_accumulation_steps"),
    ("update_epochs", 1, "num_iterations"),
    ("group", 8, "num_generations"),
    ("learning_rate", 1e-3, "learning_rate"),
    ("weight_decay", 0.1, "weight_decay"),
    ("max_grad_norm", 0.5, "max_grad_norm"),
    ("temperature", 1.0, "temperature"),
    ("top_p", 0.9, "top_p"),
    ("max_tokens", 64, "max_completion_length"),
    ("clip", 0.1, "epsilon"),
    ("kl_weight", 0.5, "beta"),
    ("save_every", 3, "save_steps"),
    ("seed", 7, "seed"),
]


def config(recipe: PolicyTraining, steps: int = 10) -> object:
    check(recipe)
    made = values(recipe, steps=steps, at_once=16)
    return CONFIGS[recipe.algorithm](output_dir="x", use_cpu=True, bf16=False, **made)


@pytest.mark.parametrize("recipe", [RLOO, GRPO], ids=["rloo", "grpo"])
@pytest.mark.parametrize(("field", "value", "theirs"), FIELDS)
def test_each_setting_of_ours_changes_the_one_of_trl(
    recipe: PolicyTraining, field: str, value: object, theirs: str
) -> None:
    before = getattr(config(recipe), theirs)
    after = getattr(config(recipe.model_copy(update={field: value})), theirs)
    assert before != after


def test_the_steps_are_counted_in_batches_of_rollouts() -> None:
    assert updates_per_batch(RLOO) == 4
    assert config(RLOO, steps=10).max_steps == 40
    assert config(RLOO).save_steps == 40


def test_values_of_ours_arrive_unchanged() -> None:
    made = config(RLOO)
    assert (made.generation_batch_size, made.steps_per_generation) == (576, 36)
    assert made.per_device_train_batch_size * made.gradient_accumulation_steps == 288
    assert (made.epsilon, made.beta, made.temperature) == (0.2, 0.01, 0.7)
    assert made.normalize_advantages is True
    assert made.disable_dropout is True
    assert made.shuffle_dataset is False


@pytest.mark.parametrize("recipe", [RLOO, GRPO], ids=["rloo", "grpo"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("faithful", True),
        ("baseline", "group"),
        ("gamma", 0.9),
        ("lam", 0.95),
        ("value_clip", 0.1),
        ("value_weight", 0.5),
        ("whiten_rewards", True),
        ("reward_scale", 1.0),
        ("kl_estimator", "k1_clamped"),
        ("group", 1),
        ("group", 5),
        ("update_batch", 100),
        ("algorithm", "ppo"),
    ],
)
def test_what_trl_could_only_ignore_is_refused_by_name(
    recipe: PolicyTraining, field: str, value: object
) -> None:
    with pytest.raises(TrainingError) as refused:
        check(recipe.model_copy(update={field: value}))
    assert refused.value.field == field
    assert field in str(refused.value)


def test_a_limit_on_a_kl_that_is_not_measured_is_refused() -> None:
    with pytest.raises(TrainingError, match="kl_weight 0") as refused:
        check(RLOO.model_copy(update={"max_kl": 5.0, "kl_weight": 0.0}))
    assert refused.value.field == "max_kl"


def test_every_setting_is_mapped_refused_or_used_elsewhere() -> None:
    mapped = {field for field, _, _ in FIELDS}
    refused = {
        "faithful", "gamma", "lam", "value_clip", "value_weight", "whiten_rewards",
        "reward_scale", "kl_estimator", "algorithm", "baseline",
    }  # fmt: skip
    elsewhere = {
        "steps", "epochs", "schedule", "warmup_steps", "rank", "alpha", "targets",
        "max_prompt_tokens", "max_kl",
    }  # fmt: skip
    assert mapped | refused | elsewhere == set(PolicyTraining.model_fields)
