"""What the server engine promises, against a real HTTP server that misbehaves on purpose."""

import asyncio
import logging
import time

import pytest
from pydantic import SecretStr

from selfalign.core.errors import EngineError, InputError, ModelError
from selfalign.core.protocols import END_OF_TEXT, Sampling
from selfalign.engines.conftest import FakeServer, answers, tokens
from selfalign.engines.open import open_model
from selfalign.engines.server import ServerLM, open_server
from selfalign.engines.server_settings import ServerSettings, key_for, parse_address

QUICK = ServerSettings(
    attempts=4,
    connect_timeout_s=1.0,
    answer_timeout_s=2.0,
    first_backoff_s=0.005,
    most_backoff_s=0.01,
    in_flight=8,
)
SECRET = "sk-not-for-logs-7d1f"
SAMPLING = Sampling(temperature=1.0, top_p=0.9, max_tokens=40, seed=5)


def engine(fake: FakeServer, model: str = "", key: str | None = None, **changes) -> ServerLM:
    settings = ServerSettings(**{**vars(QUICK), **changes})
    address = parse_address(f"{fake.root}/v1{model and '#' + model}")
    return ServerLM(address, key=SecretStr(key) if key else None, settings=settings)


def texts(lm: ServerLM, prompts: list[str], sampling: Sampling = SAMPLING) -> list[str]:
    return [c.text for c in lm.generate(prompts, [sampling] * len(prompts))]


# --- faults --------------------------------------------------------------------------------------


def failing(status: int, **headers: str):
    def fault(handler, body) -> None:
        handler.send({"error": {"message": "no"}}, status, **headers)

    return fault


def hang(handler, body) -> None:
    time.sleep(3)


def hang_up(handler, body) -> None:
    handler.connection.close()


def trickle(handler, body) -> None:
    """A byte now and then: no silence is long enough for a timeout between two pieces."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        time.sleep(0.1)


def cut_short(handler, body) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"index": 0, "te')
    handler.close_connection = True


def sending(content: bytes):
    return lambda handler, body: handler.send_bytes(content)


def changed(change):
    """Answer honestly, with the list of choices changed."""
    return lambda handler, body: handler.send({"choices": change(answers(body))})


FAULTS = {
    "500": failing(500),
    "502": failing(502),
    "503": failing(503),
    "429 with Retry-After": failing(429, Retry_After="0.01"),
    "429 with a date": failing(429, Retry_After="Sat, 21 Nov 2020 12:00:30 GMT"),
    "429 with nonsense": failing(429, Retry_After="in a while"),
    "hangs": hang,
    "trickles": trickle,
    "hangs up": hang_up,
    "truncated body": cut_short,
    "truncated JSON": sending(b'{"choices": [{"index": 0, "te'),
    "malformed JSON": sending(b"<html>Bad gateway</html>"),
    "other JSON": sending(b'{"choices": "none"}'),
    "empty": sending(b""),
    "no choice": changed(lambda choices: []),
    "duplicated choice": changed(lambda choices: choices * 2),
    "wrong index": changed(lambda choices: [{**choices[0], "index": 1}]),
    "aborted": changed(lambda choices: [{**choices[0], "finish_reason": "abort"}]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_asked_again_and_changes_no_answer(fake: FakeServer, name: str) -> None:
    fake.faults.append(FAULTS[name])
    quick = 0.3 if name in ("hangs", "trickles") else 2.0
    lm = engine(fake, answer_timeout_s=quick, connect_timeout_s=0.3)
    assert texts(lm, ["b", "a"]) == ["<b>", "<a>"]
    assert len(fake.seen) == 3


@pytest.mark.parametrize("name", ["500", "429 with Retry-After", "truncated JSON", "no choice"])
def test_a_fault_that_stays_is_a_sentence_with_the_prompt_the_model_and_a_way_out(
    fake: FakeServer, name: str
) -> None:
    fake.faults.extend([FAULTS[name]] * 100)
    with pytest.raises(EngineError) as caught:
        texts(engine(fake), ["What is salt?"])
    said = str(caught.value)
    assert "'What is salt?'" in said
    assert "'tiny'" in said
    assert fake.root in said
    assert "run the same command again: what is finished is kept" in said
    assert len(fake.seen) == QUICK.attempts


def test_faults_in_many_requests_lose_and_mix_up_nothing(fake: FakeServer) -> None:
    kinds = [FAULTS[k] for k in FAULTS if k not in ("hangs", "trickles")]
    fake.faults.extend(kinds * 2)
    prompts = [f"prompt {k * 7 % 60}" for k in range(60)]
    assert texts(engine(fake, attempts=30), prompts) == [f"<{p}>" for p in prompts]


# --- order and pace ------------------------------------------------------------------------------


def test_prompts_are_sent_with_shared_beginnings_as_neighbours(fake: FakeServer) -> None:
    prompts = ["b2", "a1", "b1", "a2"]
    assert texts(engine(fake, in_flight=1, most_in_flight=1), prompts) == [
        f"<{p}>" for p in prompts
    ]
    assert [body["prompt"] for body in fake.seen] == ["a1", "a2", "b1", "b2"]


def test_requests_are_concurrent_and_bounded(fake: FakeServer) -> None:
    fake.delay_s = 0.05
    texts(engine(fake, in_flight=5, most_in_flight=5), [str(k) for k in range(20)])
    assert fake.most_at_once == 5


def test_an_overloaded_server_is_asked_less_at_once_afterwards(fake: FakeServer) -> None:
    lm = engine(fake, in_flight=8)
    fake.faults.extend([FAULTS["503"]] * 8)
    texts(lm, [str(k) for k in range(8)])
    fake.most_at_once, fake.delay_s = 0, 0.05
    texts(lm, [str(k) for k in range(8)])
    assert 1 <= fake.most_at_once <= 5


def test_choices_of_one_request_may_come_in_any_order(fake: FakeServer) -> None:
    def reversed_and_marked(choices):
        for choice in choices:
            choice["logprobs"]["top_logprobs"][0]["token_id:97"] = -10.0 - choice["index"]
        return choices[::-1]

    fake.faults.append(changed(reversed_and_marked))
    scores = engine(fake).next_token_logprobs(["1", "2", "3"], ["a", "b"])
    assert [a for a, _ in scores] == [-10.0, -11.0, -12.0]
    assert len(fake.seen) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda choices: [choices[0], choices[0], choices[2]],
        lambda choices: choices[:2],
        lambda choices: [*choices, choices[0]],
    ],
    ids=["one twice, one missing", "one missing", "one too many"],
)
def test_choices_that_do_not_add_up_are_asked_for_again(fake: FakeServer, change) -> None:
    fake.faults.append(changed(change))
    assert engine(fake).next_token_logprobs(["1", "2", "3"], ["a", "b"]) == [[-1.0, -2.0]] * 3
    assert len(fake.seen) == 2


def test_the_same_request_twice_is_one_question_with_two_answers(fake: FakeServer) -> None:
    assert texts(engine(fake), ["x", "y", "x"]) == ["<x>", "<y>", "<x>"]
    assert len(fake.seen) == 2


def test_it_works_inside_a_running_event_loop(fake: FakeServer) -> None:
    async def notebook() -> list[str]:
        return texts(engine(fake), ["x"])

    assert asyncio.run(notebook()) == ["<x>"]


def test_no_proxy_comes_between_us_and_this_machine(fake: FakeServer, monkeypatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert texts(engine(fake), ["x"]) == ["<x>"]


# --- what is asked -------------------------------------------------------------------------------


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


# --- scores and counts ---------------------------------------------------------------------------


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


# --- things a reader gets wrong ------------------------------------------------------------------


def test_a_wrong_model_name_lists_what_is_served(fake: FakeServer) -> None:
    fake.models = [{"id": "tiny"}, {"id": "org/big"}]
    with pytest.raises(ModelError, match="no model 'tony'; it serves 'tiny', 'org/big'"):
        texts(engine(fake, "tony"), ["x"])
    with pytest.raises(ModelError, match=r"serves 2 models .* the address names none"):
        texts(engine(fake), ["x"])
    assert texts(engine(fake, "org/big"), ["x"]) == ["<x>"]


def test_a_model_that_is_exchanged_during_a_run_is_noticed(fake: FakeServer) -> None:
    lm = engine(fake)
    texts(lm, ["x"])
    fake.models = [{"id": "other"}]
    with pytest.raises(ModelError, match="no longer serves model 'tiny'; it serves 'other'"):
        texts(lm, ["x"])


def test_a_prompt_longer_than_the_context_is_named_with_its_size(fake: FakeServer) -> None:
    long = "x" * 250 + " and what then?"
    for call in (
        lambda: texts(engine(fake), ["short", long]),
        lambda: engine(fake).next_token_logprobs(["short", long], ["a", "b"]),
        lambda: engine(fake).loglikelihood([(long, "y")]),
    ):
        with pytest.raises(EngineError, match=r"and what then\?.* has 26\d tokens.* holds 200"):
            call()


def test_an_answer_is_shortened_to_what_is_left_beside_the_prompt(fake: FakeServer) -> None:
    (cut,) = engine(fake).generate(["x" * 180], [SAMPLING])
    assert (cut.text, cut.finish) == ("<" + "x" * 18, "length")


def test_without_a_tokenizer_an_overflow_is_told_in_the_servers_words(fake: FakeServer) -> None:
    fake.tokenizes = False
    with pytest.raises(EngineError, match=r"x' to model 'tiny' \(400\): maximum context length"):
        texts(engine(fake), ["x" * 250])


def test_a_server_that_nobody_started_is_a_sentence(fake: FakeServer) -> None:
    lm = engine(fake)
    fake.shutdown()
    fake.server_close()
    with pytest.raises(EngineError, match=r"cannot be reached: is it running\?"):
        texts(lm, ["x"])


def test_a_server_that_dies_mid_run_costs_what_was_under_way_and_no_more(
    fake: FakeServer,
) -> None:
    def die(handler, body) -> None:
        fake.shutdown()
        fake.server_close()
        handler.connection.close()

    lm = engine(fake, in_flight=1, most_in_flight=1)
    fake.faults.extend([lambda h, b: h.send({"choices": answers(b)})] * 2 + [die])
    prompts = ["a", "b", "c", "d"]
    with pytest.raises(EngineError, match="run the same command again: what is finished is kept"):
        texts(lm, prompts)
    again = FakeServer(fake.server_port).start()
    try:
        assert texts(lm, prompts) == ["<a>", "<b>", "<c>", "<d>"]
        assert [body["prompt"] for body in again.seen] == ["c", "d"]
    finally:
        again.shutdown()
        again.server_close()


def test_addresses_are_read_or_refused_with_a_sentence() -> None:
    for text in ("http://h:8000", "http://h:8000/", "http://h:8000/v1", "http://h:8000/v1/"):
        assert (parse_address(text).root, parse_address(text).model) == ("http://h:8000", None)
    proxied = parse_address("https://h/api/v1#org/m")
    assert (proxied.root, proxied.model) == ("https://h/api", "org/m")
    for text in ("http://", "http://h:port", "http:///v1", "https://[::1"):
        with pytest.raises(ModelError, match="http://host:8000/v1"):
            parse_address(text)


def test_opening_by_name_speaks_to_nobody_yet_and_refuses_what_a_server_decides() -> None:
    assert isinstance(open_model("http://127.0.0.1:9/v1"), ServerLM)
    with pytest.raises(InputError, match="device"):
        open_model("http://127.0.0.1:9/v1", device="cuda")
    with pytest.raises(InputError, match="dtype"):
        open_model("http://127.0.0.1:9/v1", dtype="float32")
    with pytest.raises(InputError, match="batch_size 0"):
        open_server("http://127.0.0.1:9/v1", batch_size=0)


# --- names and keys ------------------------------------------------------------------------------


def test_a_model_is_named_by_its_id_and_not_by_its_address(fake: FakeServer) -> None:
    other = FakeServer().start()
    try:
        assert engine(fake).fingerprint == engine(other, "tiny", SECRET).fingerprint
        other.models = [{"id": "another"}]
        assert engine(fake).fingerprint != engine(other).fingerprint
    finally:
        other.shutdown()
        other.server_close()


def test_a_key_opens_the_server_and_shows_up_nowhere(fake: FakeServer, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    fake.key = SECRET
    lm = engine(fake, key=SECRET)
    assert texts(lm, ["x"]) == ["<x>"]

    def tells(handler, body) -> None:
        handler.send({"error": {"message": f"what is {SECRET}?"}}, 400)

    fake.faults.append(tells)
    with pytest.raises(EngineError) as refused:
        texts(lm, ["y"])
    garbled = f"what is {SECRET}?".encode()
    fake.faults.extend([sending(garbled)] * 10)
    with pytest.raises(EngineError) as failed:
        texts(lm, ["z"])
    assert "[key]" in str(refused.value)
    assert "[key]" in str(failed.value)
    shown = [str(refused.value), str(failed.value), caplog.text, repr(vars(lm)), lm.fingerprint]
    assert not any(SECRET in one for one in shown)


@pytest.mark.parametrize("key", [None, "expired-" + SECRET])
def test_a_missing_or_expired_key_is_a_sentence_at_once(fake: FakeServer, key) -> None:
    fake.key = SECRET
    with pytest.raises(EngineError, match=r"\(401\).*SELFALIGN_API_KEY") as caught:
        texts(engine(fake, key=key), ["x"])
    assert "expired" in str(caught.value) if key else "none to send" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert len(fake.headers) == 1


def test_keys_come_from_the_environment_and_a_common_one_travels_only_in_private() -> None:
    here, secure, open_wire = map(
        parse_address, ("http://127.0.0.1:8000", "https://far/v1", "http://far:8000")
    )
    common, both = {"OPENAI_API_KEY": "c"}, {"OPENAI_API_KEY": "c", "SELFALIGN_API_KEY": "o"}
    values = [key_for(a, common) for a in (here, secure, open_wire)]
    assert [v and v.get_secret_value() for v in values] == ["c", "c", None]
    assert all(key_for(a, both) == SecretStr("o") for a in (here, secure, open_wire))
    assert key_for(here, {}) is None


@pytest.mark.parametrize("text", [f"http://me:{SECRET}@h/v1", f"http://h/v1?key={SECRET}"])
def test_an_address_with_a_secret_in_it_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ModelError, match="SELFALIGN_API_KEY") as caught:
        parse_address(text)
    assert SECRET not in str(caught.value)
