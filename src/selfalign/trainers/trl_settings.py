"""From `PolicyTraining` to TRL's settings for RLOO and GRPO, and what they cannot hold.

    PolicyTraining --check--> UnfitError naming the field
                   --values--> keyword arguments of RLOOConfig or GRPOConfig

What the fields become (a test changes each one and looks at the config):

    rollout_batch  -> generation_batch_size        update_epochs -> num_iterations
    update_batch   -> per_device_train_batch_size x gradient_accumulation_steps
    group          -> num_generations              max_tokens    -> max_completion_length
    clip           -> epsilon                      kl_weight     -> beta
    steps, epochs  -> max_steps                    save_every    -> save_steps (optimiser steps)
    learning_rate, weight_decay, max_grad_norm, temperature, top_p, seed -> the same names

`schedule` and `warmup_steps` move the learning rate once per batch of rollouts, as PPO's does
(rl_losses.py); `rank`, `alpha`, `targets` shape the adapter, `max_prompt_tokens` the prompts,
`max_kl` the stop. Set here and not in TRL's defaults: dropout is off (as in the
authors' adapters), RLOO's advantages are normalised over the batch (as PPO's are), the order of
prompts is ours. GRPO keeps TRL's loss ("dapo": mean over the batch's tokens) and divides rewards
by the spread of their group.
"""

from selfalign.core.errors import UnfitError
from selfalign.core.protocols import PolicyTraining

_KL = {"rloo": ("k1", "summed over a response inside its reward"), "grpo": ("k3", "in the loss")}
_WHY = {
    "faithful": "which is not what the authors ran",
    "baseline": "which compares each response with its group in any case",
    "gamma": "which rewards whole responses and discounts nothing",
    "lam": "which has no value model to bootstrap from",
    "value_clip": "which has no value model",
    "value_weight": "which has no value model",
    "whiten_rewards": "which rewards whole responses, not tokens",
    "reward_scale": "whose advantages are normalised, so that scale is lost",
}


def check(recipe: PolicyTraining) -> None:
    """Refuse what TRL's algorithm could only ignore.

    Raises:
        UnfitError: names the field, and the value it can have.
    """
    if recipe.algorithm not in _KL:
        raise UnfitError(
            f"algorithm {recipe.algorithm!r} does not go through TRL. Use the PPO trainer for it, "
            f"or choose one of {', '.join(_KL)}.",
            field="algorithm",
        )
    for name, why in _WHY.items():
        _only(recipe, name, PolicyTraining.model_fields[name].default, why)
    estimator, where = _KL[recipe.algorithm]
    _only(recipe, "kl_estimator", estimator, f"which has the KL {where}")
    _check_batches(recipe)
    if recipe.max_kl is not None and recipe.kl_weight == 0:
        raise UnfitError(
            f"max_kl {recipe.max_kl} cannot be watched: with kl_weight 0, TRL compares with no "
            "reference. Give kl_weight a small value, or leave max_kl out.",
            field="max_kl",
        )


def updates_per_batch(recipe: PolicyTraining) -> int:
    """Return the optimiser steps that one batch of rollouts is worth."""
    return recipe.update_epochs * (recipe.rollout_batch // recipe.update_batch)


def values(recipe: PolicyTraining, *, steps: int, at_once: int) -> dict[str, object]:
    """Return TRL's settings for a checked recipe; `at_once` responses per pass."""
    updates = updates_per_batch(recipe)
    found: dict[str, object] = {
        "max_steps": steps * updates,
        "generation_batch_size": recipe.rollout_batch,
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": recipe.update_batch // at_once,
        "num_iterations": recipe.update_epochs,
        "num_generations": recipe.group,
        "learning_rate": recipe.learning_rate,
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "temperature": recipe.temperature,
        "top_p": recipe.top_p,
        "max_completion_length": recipe.max_tokens,
        "epsilon": recipe.clip,
        "beta": recipe.kl_weight,
        "save_strategy": "steps",
        "save_steps": recipe.save_every * updates,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "shuffle_dataset": False,
        "disable_dropout": True,
    }
    return {**found, "normalize_advantages": True} if recipe.algorithm == "rloo" else found


def _only(recipe: PolicyTraining, name: str, allowed: object, why: str) -> None:
    value: object = getattr(recipe, name)
    if value != allowed:
        raise UnfitError(
            f"{name}: {value!r} cannot hold with algorithm {recipe.algorithm!r}, {why}. Write "
            f"{name}: {allowed!r}, or algorithm: 'ppo'.",
            field=name,
        )


def _check_batches(recipe: PolicyTraining) -> None:
    if recipe.group < 2:
        raise UnfitError(
            f"group: {recipe.group} leaves a response nothing to be compared with; write 2 or "
            "more.",
            field="group",
        )
    for name in ("group", "update_batch"):
        part: int = getattr(recipe, name)
        if part < 1 or recipe.rollout_batch % part:
            raise UnfitError(
                f"rollout_batch: {recipe.rollout_batch} is not a multiple of {name}: {part}. "
                f"Change one of them, e.g. rollout_batch: {max(part, 1) * 8}.",
                field=name,
            )
