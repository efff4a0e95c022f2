"""What the server engine promises of a server that misbehaves on purpose: no answer is lost."""

import asyncio
import time

import pytest

from selfalign.core.errors import EngineError
from selfalign.engines.conftest import FakeServer
from selfalign.engines.server_kit_test import QUICK, changed, engine, sending, texts


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


# --- order and pace -------------------------------------------------------------------------------


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
