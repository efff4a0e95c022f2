"""The scripted model keeps the promises of a language model."""

import pytest

from selfalign.core.protocols import Completion, LanguageModel, Sampling
from selfalign.core.scripted import ScriptedLM, cut_at_stop


def test_a_reply_ends_before_the_first_stop_string():
    assert cut_at_stop("one.two;three", (";", ".")).text == "one"


def test_a_reply_may_say_that_the_limit_cut_it_unless_a_stop_string_came_first():
    cut = Completion(text="one. two", finish="length")
    assert cut_at_stop(cut, ()) == cut
    assert cut_at_stop(cut, (".",)) == Completion(text="one", finish="stop")


def test_it_answers_scores_and_counts_as_a_language_model():
    lm: LanguageModel = ScriptedLM(lambda p, seed: f"{p}{seed}", lambda c, t: -float(len(c + t)))
    assert [c.text for c in lm.generate(["a", "b"], [Sampling(seed=1), Sampling(seed=2)])] == [
        "a1",
        "b2",
    ]
    assert lm.next_token_logprobs(["x", "xy"], ["a", "bc"]) == [[-2.0, -3.0], [-3.0, -4.0]]
    assert lm.count_tokens(["", "one two"]) == [0, 2]


def test_a_script_that_was_not_given_is_named():
    with pytest.raises(TypeError, match="no `reply`"):
        ScriptedLM().generate(["a"], [Sampling()])
    with pytest.raises(TypeError, match="no `logp`"):
        ScriptedLM().loglikelihood([("a", "b")])
