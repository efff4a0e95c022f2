"""What has to hold for PPO: a recipe that makes sense, and a policy not too far from its start.

recipe, KL --> a sentence with the way out
"""

from selfalign.core.errors import TrainingError, UnfitError
from selfalign.core.protocols import PolicyTraining
from selfalign.trainers.kept import Kept


def check(recipe: PolicyTraining) -> None:
    """Refuse a recipe that PPO cannot follow.

    Raises:
        UnfitError: names the setting.
    """
    wrong: tuple[tuple[str, object, bool, str], ...] = (
        ("algorithm", recipe.algorithm, recipe.algorithm != "ppo", '"ppo"'),
        ("steps", recipe.steps, recipe.steps is not None and recipe.steps < 1, "1 or more"),
        ("epochs", recipe.epochs, recipe.epochs <= 0, "above 0"),
        ("rollout_batch", recipe.rollout_batch, recipe.rollout_batch < 2, "2 or more"),
        (
            "update_batch",
            recipe.update_batch,
            not 1 <= recipe.update_batch <= recipe.rollout_batch,
            f"1 to rollout_batch: {recipe.rollout_batch}",
        ),
        (
            "group",
            recipe.group,
            recipe.baseline == "group"
            and (recipe.group < 2 or recipe.rollout_batch % recipe.group != 0),
            f"2 or more and a part of rollout_batch: {recipe.rollout_batch} for baseline: group",
        ),
        ("update_epochs", recipe.update_epochs, recipe.update_epochs < 1, "1 or more"),
        ("temperature", recipe.temperature, recipe.temperature <= 0, "above 0, to explore at all"),
        ("top_p", recipe.top_p, not 0 < recipe.top_p <= 1, "above 0 and at most 1"),
        ("max_tokens", recipe.max_tokens, recipe.max_tokens < 1, "1 or more"),
        ("save_every", recipe.save_every, recipe.save_every < 1, "1 or more"),
    )
    for name, value, bad, wanted in wrong:
        if bad:
            raise UnfitError(
                f"{name} {value!r} is nothing PPO can work with; it has to be {wanted}.", field=name
            )


def beyond_max_kl(step: int, kl: float, most: float, kept: Kept) -> TrainingError:
    """Say that the policy that drew a step is too far (nats per response) from where it started."""
    return TrainingError(
        f"step {step}: the policy is {kl:.2f} nats per response away from where it started, and "
        f"max_kl is {most}, so the training stops. It is kept as it is in {kept.newest}. "
        f"{kept.left} Their folders `policy` are plain adapters. To go on from here, raise "
        f"`max_kl` and run the same command again; to go on otherwise from the last one found "
        f"whole, edit principles with `selfalign steer RUN`. A higher `kl_weight` or a lower "
        f"`learning_rate` trains anew.",
        field="max_kl",
    )
