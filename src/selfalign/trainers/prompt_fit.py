"""Which prompts there is room for, decided before the first of them is answered.

    prompts to train on, prompts kept out for probes
        --max_prompt_tokens, the contexts of policy and reward model-->
    those that fit | a count of those that do not | a sentence, where none does

Nothing is ever cut to fit. A probe that would not fit is left out as a prompt to train on is; the
same prompts fit whenever a training goes on, so its probes stay comparable.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from selfalign.core.errors import UnfitError
from selfalign.core.protocols import (
    PolicyPrompt,
    PolicyTraining,
    ProbedRewardFunction,
    RewardFunction,
)
from selfalign.trainers.reward_untyped import reward_tokens
from selfalign.trainers.untyped import encode

logger = logging.getLogger(__name__)

_NAMED = 3
"""Prompts left out that a warning names."""


class Window(NamedTuple):
    """A model by what it takes in."""

    tokenizer: PreTrainedTokenizerBase
    context: int | None
    """Tokens it can attend to; None: its config does not say."""


class Fitting(NamedTuple):
    """The prompts that fit, and how many do not."""

    trained: list[PolicyPrompt]
    dropped: int
    probes: list[PolicyPrompt]
    """Answered now and then, and never trained on."""
    probes_dropped: int


def fit(
    prompts: Sequence[PolicyPrompt],
    rewards: RewardFunction,
    recipe: PolicyTraining,
    *,
    policy: Window,
    reward: Window,
) -> Fitting:
    """Return the prompts that fit; those left out are counted, and named in a warning.

    Raises:
        UnfitError: no prompt, or none of those kept out for probes, fits; or a prompt is short
            enough for the recipe, but not for the model.
    """
    trained = _trained(prompts, recipe, policy)
    looks_on = rewards if isinstance(rewards, ProbedRewardFunction) else None
    probes = _probes(looks_on, recipe, policy, reward) if looks_on else []
    asked = len(looks_on.probe_prompts) if looks_on else 0
    return Fitting(trained, len(prompts) - len(trained), probes, asked - len(probes))


def _trained(
    prompts: Sequence[PolicyPrompt], recipe: PolicyTraining, policy: Window
) -> list[PolicyPrompt]:
    lengths = _lengths(prompts, policy)
    known = list(zip(prompts, lengths, strict=True))
    fitting = [p for p, n in known if n <= recipe.max_prompt_tokens]
    if not fitting:
        raise UnfitError(
            f"of {len(prompts)} prompts none has at most max_prompt_tokens: "
            f"{recipe.max_prompt_tokens} tokens. Raise it, or give shorter prompts.",
            field="max_prompt_tokens",
        )
    longest = max(n for n in lengths if n <= recipe.max_prompt_tokens)
    if policy.context is not None and longest + recipe.max_tokens > policy.context:
        raise UnfitError(
            f"a prompt of {longest} tokens and a response of max_tokens: {recipe.max_tokens} do "
            f"not fit the policy's context of {policy.context}. Lower `max_tokens` or "
            "`max_prompt_tokens`.",
            field="max_tokens",
        )
    if dropped := len(prompts) - len(fitting):
        logger.warning(
            "%d of %d prompts are longer than %d tokens and left out",
            dropped,
            len(prompts),
            recipe.max_prompt_tokens,
        )
    return fitting


def _probes(
    looks_on: ProbedRewardFunction, recipe: PolicyTraining, policy: Window, reward: Window
) -> list[PolicyPrompt]:
    """Return the probes that both models have room for, their responses being as long as can be."""
    asked, most = looks_on.probe_prompts, recipe.max_prompt_tokens
    if policy.context is not None:
        most = min(most, policy.context - recipe.max_tokens)
    fitting = [
        prompt
        for prompt, length in zip(asked, _lengths(asked, policy), strict=True)
        if length <= most and _read(looks_on.probe_texts(prompt), recipe, reward)
    ]
    lost = [prompt.query for prompt in asked if prompt not in fitting]
    if lost and not fitting:
        raise UnfitError(
            f"none of the {len(asked)} requests kept out for probes fits: with a response of "
            f"max_tokens: {recipe.max_tokens} the policy has room for prompts of {most} tokens, "
            f"and the reward model reads {reward.context} tokens in all. Raise "
            "`max_prompt_tokens`, lower `max_tokens`, or set the probes' `held_out` to 0: then "
            "some of each batch are probed.",
            field="max_prompt_tokens",
        )
    if lost:
        logger.warning(
            "%d of %d requests kept out for probes are too long and left out: %s%s",
            len(lost),
            len(asked),
            ", ".join(lost[:_NAMED]),
            ", …" if len(lost) > _NAMED else "",
        )
    return fitting


def _lengths(prompts: Sequence[PolicyPrompt], policy: Window) -> list[int]:
    return list(map(len, encode(policy.tokenizer, [p.text for p in prompts]))) if prompts else []


def _read(texts: Sequence[str], recipe: PolicyTraining, reward: Window) -> bool:
    """Say whether the reward model can read the texts once a longest response stands in them."""
    longest = max(map(len, reward_tokens(reward.tokenizer, texts)), default=0)
    return reward.context is None or longest + recipe.max_tokens <= reward.context
