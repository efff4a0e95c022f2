"""What has to hold for PPO: a recipe that makes sense, and a policy not too far from its start.

recipe, KL --> nothing | a sentence with the way out
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

from selfalign.core.errors import TrainingError
from selfalign.core.protocols import PolicyTraining


def check(recipe: PolicyTraining) -> None:
    """Refuse a recipe that PPO cannot follow.

    Raises:
        TrainingError: names the setting.
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
        ("update_epochs", recipe.update_epochs, recipe.update_epochs < 1, "1 or more"),
        ("temperature", recipe.temperature, recipe.temperature <= 0, "above 0, to explore at all"),
        ("top_p", recipe.top_p, not 0 < recipe.top_p <= 1, "above 0 and at most 1"),
        ("max_tokens", recipe.max_tokens, recipe.max_tokens < 1, "1 or more"),
        ("save_every", recipe.save_every, recipe.save_every < 1, "1 or more"),
    )
    for name, value, bad, wanted in wrong:
        if bad:
            raise TrainingError(
                f"{name} {value!r} is nothing PPO can work with; it has to be {wanted}.", field=name
            )


def check_kl(kl: Sequence[float], most: float | None, checkpoints: Path) -> None:
    """Make sure that the policy is not too far (nats per response) from where it started.

    Raises:
        TrainingError: it is.
    """
    mean = statistics.fmean(kl)
    if most is not None and mean > most:
        raise TrainingError(
            f"the policy is {mean:.2f} nats per response away from where it started, and "
            f"max_kl is {most}. It is kept as it is in {checkpoints}, its "
            "folder `policy` is a plain adapter. Raise `kl_weight`, lower `learning_rate` or "
            "`steps`, or raise `max_kl`.",
            field="max_kl",
        )
