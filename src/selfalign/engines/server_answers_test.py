"""What the server engine asks, and what it makes of the answers."""

import pytest

from selfalign.core.errors import EngineError
from selfalign.core.protocols import END_OF_TEXT, Sampling
from selfalign.engines.conftest import FakeServer, tokens
from selfalign.engines.server_kit_test import SAMPLING, changed, engine, texts


def test_every_setting_of_the_sampling_is_sent_and_the_servers_own_are_switched_off(
    fake: FakeServer,
) -> None:
    sampling = Sampling(temperature=0.5, top_p=0.8, max_tokens=9, stop=("\n", "##"), seed=2**31 + 3)
    texts(engine(fake), ["x"], sampling)
    assert fake.seen == [
        {
            "model": "tiny",
            "prompt": "x",
            "max_tokens": 9,
            "temperature": 0.5,
            "top_p": 0.8,
            "seed": 3,
            "n": 1,
            "stop": ["\n", "##"],
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
        }
    ]


def test_a_text_ends_before_a_stop_string_whether_or_not_the_server_cut_it(
    fake: FakeServer,
) -> None:
    sampling = SAMPLING.model_copy(update={"stop": ("##",)})
    (cut,) = engine(fake).generate(["one ## two"], [sampling])
    assert (cut.text, cut.finish) == ("<one ", "stop")


def test_the_limit_is_told_from_the_end(fake: FakeServer) -> None:
    short = SAMPLING.model_copy(update={"max_tokens": 3})
    long, cut = engine(fake).generate(["12345", "12345"], [SAMPLING, short])
    assert (long.text, long.finish) == ("<12345>", "stop")
    assert (cut.text, cut.finish) == ("<12", "length")


def test_a_ban_is_sent_as_the_token_it_begins_with(fake: FakeServer) -> None:
    texts(engine(fake), ["x"], SAMPLING.model_copy(update={"ban": ("Sorry", END_OF_TEXT)}))
    assert fake.seen[0]["logit_bias"] == {str(ord("S")): -100, str(ord("$")): -100}


def test_a_ban_without_a_tokenizer_is_refused_and_so_is_an_ngram_penalty(fake: FakeServer) -> None:
    fake.tokenizes = False
    with pytest.raises(EngineError, match=r"'Sorry' is banned.*`ban: \[\]`"):
        texts(engine(fake), ["x"], SAMPLING.model_copy(update={"ban": ("Sorry",)}))
    penalty = SAMPLING.model_copy(update={"ngram_penalty": (0.0, 1.0)})
    with pytest.raises(EngineError, match=r"ngram_penalty \[0.0, 1.0\] .* cannot subtract"):
        texts(engine(fake), ["x"], penalty)
    none = SAMPLING.model_copy(update={"ngram_penalty": (0.0, 0.0)})
    assert texts(engine(fake), ["x"], none) == ["<x>"]


def test_choices_are_scored_by_their_exact_token_where_the_server_tokenizes(
    fake: FakeServer,
) -> None:
    assert engine(fake).next_token_logprobs(["x", "y"], ["c", "a"]) == [[-3.0, -1.0]] * 2
    (body,) = fake.seen
    assert body["prompt"] == [tokens("x"), tokens("y")]
    assert (body["max_tokens"], body["logprobs"]) == (1, 20)
    assert body["return_tokens_as_token_ids"] is True


def test_choices_are_found_by_their_text_where_it_does_not(fake: FakeServer) -> None:
    fake.tokenizes = False
    assert engine(fake).next_token_logprobs(["x"], ["bread", "a"]) == [[-2.0, -1.0]]
    assert fake.seen[0]["prompt"] == "x"


def test_llama_cpps_spelling_of_alternatives_is_understood(fake: FakeServer) -> None:
    fake.tokenizes = False
    top = [{"token": "a", "logprob": -0.5, "id": 1}, {"token": "b", "logprob": -1.5, "id": 2}]
    told = {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": top}]}
    fake.faults.append(changed(lambda choices: [{**choices[0], "logprobs": told}]))
    assert engine(fake).next_token_logprobs(["x"], ["a", "b"]) == [[-0.5, -1.5]]


@pytest.mark.parametrize("exact", [True, False])
def test_a_choice_that_is_not_listed_is_an_error_and_not_a_number(
    fake: FakeServer, exact: bool
) -> None:
    fake.tokenizes = exact
    with pytest.raises(EngineError, match="the choice 'z' is not among the 20 likeliest tokens"):
        engine(fake).next_token_logprobs(["which?"], ["a", "z"])


@pytest.mark.parametrize("exact", [True, False])
def test_choices_that_begin_alike_are_refused(fake: FakeServer, exact: bool) -> None:
    fake.tokenizes = exact
    with pytest.raises(EngineError, match="begin with the same token"):
        engine(fake).next_token_logprobs(["which?"], ["apple", "arrow"])


def test_a_server_without_logprobs_is_a_sentence(fake: FakeServer) -> None:
    fake.echoes = False
    with pytest.raises(EngineError, match="lists no alternatives"):
        engine(fake).next_token_logprobs(["x"], ["a", "b"])
    with pytest.raises(EngineError, match="does not tell the log-probabilities of a given text"):
        engine(fake).loglikelihood([("x", "y")])


@pytest.mark.parametrize("exact", [True, False])
def test_a_likelihood_adds_up_the_continuation_alone(fake: FakeServer, exact: bool) -> None:
    fake.tokenizes = exact
    found = engine(fake).loglikelihood([("xyz", "ab"), ("q", "d"), ("q", "")])
    assert found == [-3 / 8, -4 / 8, 0.0]


def test_tokens_are_counted_by_the_server_or_estimated(fake: FakeServer) -> None:
    assert engine(fake).count_tokens(["hello", "", "hello"]) == [5, 0, 5]
    fake.tokenizes = False
    assert engine(fake).count_tokens(["hello!", "", "你好", "a"]) == [2, 0, 2, 1]


def test_the_context_length_is_the_servers_or_a_stated_guess(fake: FakeServer) -> None:
    assert engine(fake).context_length == 200
    fake.models = [{"id": "tiny"}]
    assert engine(fake).context_length == 32_768
