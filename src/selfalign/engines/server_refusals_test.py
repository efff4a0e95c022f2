"""What the server engine says when it cannot go on, and what it never says: a key."""

import logging
import socket

import pytest
from pydantic import SecretStr

from selfalign.core.errors import EngineError, InputError, ModelError
from selfalign.engines.conftest import FakeServer, answers
from selfalign.engines.open import open_model
from selfalign.engines.server import ServerLM, open_server
from selfalign.engines.server_kit_test import QUICK, SAMPLING, engine, sending, texts
from selfalign.engines.server_settings import ServerSettings, key_for, parse_address

SECRET = "sk-not-for-logs-7d1f"


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


def test_a_server_that_never_says_what_it_serves_is_not_waited_for_as_for_an_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = parse_address(f"http://127.0.0.1:{mute.getsockname()[1]}")
        quick = {"attempts": 1, "connect_timeout_s": 0.5, "fact_timeout_s": 0.2}
        settings = ServerSettings(**{**vars(QUICK), **quick, "answer_timeout_s": 600.0})
        with pytest.raises(EngineError, match=r"gave no answer to /v1/models within 0\.2 s"):
            texts(ServerLM(address, key=None, settings=settings), ["x"])


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
