"""Which prompts fit, counted in the tokens of a tiny model."""

import logging
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from selfalign.core.errors import TrainingError
from selfalign.core.protocols import PolicyPrompt
from selfalign.trainers.prompt_fit import Window, fit
from selfalign.trainers.trl_kit_test import PROMPTS, RECIPE, STOP, Probing, Worth

LONG = PolicyPrompt(query="long", text="Why? " * 80, stop=STOP)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> object:
    return AutoTokenizer.from_pretrained(tiny_model)


def probing(*more: PolicyPrompt) -> Probing:
    rewards = Probing()
    rewards.probe_prompts += more
    return rewards


def test_a_probe_that_is_too_long_is_left_out_counted_and_named(
    tokenizer: object, caplog: pytest.LogCaptureFixture
) -> None:
    window, rewards = Window(tokenizer, 512), probing(LONG)
    with caplog.at_level(logging.WARNING):
        fitting = fit(PROMPTS, rewards, RECIPE, policy=window, reward=window)
    assert fitting.trained == PROMPTS
    assert fitting.probes == rewards.probe_prompts[:3]
    assert (fitting.dropped, fitting.probes_dropped) == (0, 1)
    assert "1 of 4 requests kept out for probes are too long and left out: long" in caplog.text


def test_a_probe_has_to_fit_the_policys_context_together_with_its_response(
    tokenizer: object,
) -> None:
    recipe = RECIPE.model_copy(update={"max_prompt_tokens": 10_000})
    wide, rewards = Window(tokenizer, None), probing(LONG)
    size = len(tokenizer(LONG.text)["input_ids"]) + recipe.max_tokens
    for context, dropped in ((size, 0), (size - 1, 1)):
        policy = Window(tokenizer, context)
        assert fit(PROMPTS, rewards, recipe, policy=policy, reward=wide).probes_dropped == dropped


def test_a_probe_has_to_fit_what_the_reward_model_reads_together_with_its_response(
    tokenizer: object,
) -> None:
    wide, rewards = Window(tokenizer, None), Probing()
    sizes = [
        len(tokenizer(prompt.text)["input_ids"]) + RECIPE.max_tokens
        for prompt in rewards.probe_prompts
    ]
    reward = Window(tokenizer, max(sizes) - 1)
    fitting = fit(PROMPTS, rewards, RECIPE, policy=wide, reward=reward)
    assert fitting.probes_dropped == sizes.count(max(sizes)) < len(sizes)


def test_a_training_none_of_whose_probes_fits_is_refused_with_the_way_out(
    tokenizer: object,
) -> None:
    rewards = Probing()
    rewards.read_with_it = "so " * 600
    window = Window(tokenizer, 512)
    with pytest.raises(TrainingError, match=r"none of the 3 requests .* 512 .* `held_out` to 0"):
        fit(PROMPTS, rewards, RECIPE, policy=window, reward=window)


def test_a_reward_function_that_looks_at_nothing_has_no_probes(tokenizer: object) -> None:
    window = Window(tokenizer, 512)
    fitting = fit([*PROMPTS, LONG], Worth(), RECIPE, policy=window, reward=window)
    assert (fitting.dropped, fitting.probes, fitting.probes_dropped) == (1, [], 0)
