"""What a managed server promises: it starts, says why if it does not, and never outlives us."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import httpx
import pytest

from selfalign.core.errors import EngineError, ModelError
from selfalign.core.protocols import END_OF_TEXT, Sampling
from selfalign.core.records import Checkpoint
from selfalign.core.weights import identify, locate
from selfalign.engines.open import open_model
from selfalign.engines.server_process import command
from selfalign.engines.server_vllm import open_vllm, pinned

SERVER = """
    import json, os, sys, time
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    print("starting", *sys.argv[1:], flush=True)
    print("key", os.environ["VLLM_API_KEY"], flush=True)
    if os.environ.get("FAKE") == "breaks":
        sys.exit("ValueError: this model is too large")
    if os.environ.get("FAKE") == "stuck":
        print("loading", flush=True)
        time.sleep(600)
    option = lambda name: sys.argv[sys.argv.index(name) + 1]
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_): pass
        def send(self, body, status=200):
            self.send_response(status); self.end_headers()
            self.wfile.write(json.dumps(body).encode())
        def do_GET(self):
            self.send({"data": [{"id": option("--served-model-name"), "max_model_len": 64}]})
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/completions":
                return self.send({}, 404)
            if self.headers["Authorization"] != "Bearer " + os.environ["VLLM_API_KEY"]:
                return self.send({}, 401)
            if body["prompt"] == "die":
                print("Fatal: out of memory", flush=True); os._exit(3)
            told = os.environ.get("OPENAI_API_KEY", "no key of ours")
            self.send({"choices": [{"index": 0, "text": told, "finish_reason": "stop"}]})
    ThreadingHTTPServer((option("--host"), int(option("--port"))), Handler).serve_forever()
"""
ONE = Sampling(temperature=0, max_tokens=4)


@pytest.fixture
def environ(tmp_path: Path, monkeypatch) -> pytest.MonkeyPatch:
    """An environment whose python finds a module called vllm that is a small server."""
    package = tmp_path / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    (package / "api_server.py").write_text(textwrap.dedent(SERVER))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SELFALIGN_VLLM_PYTHON", sys.executable)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ours")
    return monkeypatch


def answers(root: str) -> bool:
    try:
        return httpx.get(f"{root}/health", trust_env=False).is_success
    except httpx.TransportError:
        return False


def soon(claim) -> bool:
    end = time.monotonic() + 20
    while not claim() and time.monotonic() < end:
        time.sleep(0.05)
    return claim()


def test_a_managed_server_answers_under_the_models_own_name_and_stops_with_it(
    environ, tiny_model: Path
) -> None:
    lm = open_vllm(f"vllm:{tiny_model}", start_s=120)
    with lm:
        root = lm._owner.root
        assert root.startswith("http://127.0.0.1:")
        assert lm.fingerprint == identify(str(tiny_model)).fingerprint
        assert lm.context_length == 64
        assert [c.text for c in lm.generate(["x"], [ONE])] == ["no key of ours"]
        log = lm._owner.log
        assert answers(root)
    assert not answers(root)
    assert not log.exists()


def test_a_server_goes_with_the_last_reference_to_its_model(environ, tiny_model: Path) -> None:
    lm = open_model(f"vllm:{tiny_model}")
    root = lm._owner.root
    assert answers(root)
    del lm
    assert soon(lambda: not answers(root))


@pytest.mark.parametrize("end", ["os._exit(1)", "os.kill(os.getpid(), 9)", "pass"])
def test_a_server_does_not_outlive_its_owner_however_that_ends(
    environ, tiny_model: Path, end: str
) -> None:
    script = (
        "import os; from selfalign.core.weights import locate; "
        "from selfalign.engines.server_process import ManagedServer, command; "
        f"model = locate('{tiny_model}'); "
        "server = ManagedServer(command(model, 'm', 'auto', os.environ), model); "
        f"print(server.root, flush=True); {end}"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    root = done.stdout.strip()
    assert root.startswith("http://127.0.0.1:"), done.stderr
    assert soon(lambda: not answers(root))


def test_a_server_that_does_not_start_shows_the_end_of_its_log_and_no_key(
    environ, tiny_model: Path
) -> None:
    environ.setenv("FAKE", "breaks")
    with pytest.raises(EngineError, match="ValueError: this model is too large") as caught:
        open_vllm(f"vllm:{tiny_model}", start_s=120)
    assert "key [key]" in str(caught.value)
    assert "SELFALIGN_VLLM_ARGS" in str(caught.value)


def test_a_server_that_never_gets_ready_is_stopped_at_the_deadline(
    environ, tiny_model: Path
) -> None:
    environ.setenv("FAKE", "stuck")
    begun = time.monotonic()
    with pytest.raises(EngineError, match=r"not ready after 3 s[\s\S]*loading|\(nothing\)"):
        open_vllm(f"vllm:{tiny_model}", start_s=3)
    assert time.monotonic() - begun < 15


def test_a_server_that_dies_while_it_works_is_a_sentence_with_its_last_words(
    environ, tiny_model: Path
) -> None:
    with (
        open_vllm(f"vllm:{tiny_model}", start_s=120) as lm,
        pytest.raises(EngineError, match=r"has ended[\s\S]*Fatal: out of memory"),
    ):
        lm.generate(["die"], [ONE])


def test_an_owner_that_is_killed_slowly_takes_stubborn_servers_along(tmp_path: Path) -> None:
    """The keeper alone: its command ignores SIGTERM and has a child that does so too."""
    stubborn = "trap '' TERM; sleep 100 & echo $!; while true; do sleep 1; done"
    keeper = Path(__file__).with_name("server_keeper.py")
    held = subprocess.Popen(
        [sys.executable, str(keeper), "0.3", "bash", "-c", stubborn],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    grandchild = int(held.stdout.readline())
    os.kill(grandchild, 0)
    held.stdin.close()
    assert held.wait(20) == 128 + signal.SIGKILL
    assert soon(lambda: not _runs(grandchild))


def _runs(process: int) -> bool:
    state = Path(f"/proc/{process}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_the_command_is_what_is_on_the_path_or_in_the_named_environment(
    tiny_model: Path, tmp_path: Path
) -> None:
    located = locate(str(tiny_model))
    vllm = tmp_path / "vllm"
    vllm.write_text("#!/bin/sh\n")
    vllm.chmod(0o755)
    path = {"PATH": str(tmp_path), "SELFALIGN_VLLM_ARGS": "--max-model-len 64"}
    assert command(located, "m", "auto", path) == [
        *(str(vllm), "serve", str(tiny_model), "--served-model-name", "m", "--dtype", "auto"),
        *("--enable-tokenizer-info-endpoint", "--max-model-len", "64"),
    ]
    named = {"SELFALIGN_VLLM_PYTHON": sys.executable, **path}
    module = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model"]
    assert command(located, "m", "auto", named)[:4] == module
    with pytest.raises(ModelError, match="no vllm on PATH"):
        command(located, "m", "auto", {"PATH": str(tmp_path / "empty")})
    with pytest.raises(ModelError, match="'/no/python', which cannot be run"):
        command(located, "m", "auto", {"SELFALIGN_VLLM_PYTHON": "/no/python"})


def test_a_hub_name_is_pinned_to_the_commit_in_the_cache(tmp_path: Path) -> None:
    named = Checkpoint(base="org/m", revision="")
    with pytest.raises(ModelError, match="@REVISION"):
        pinned(named, tmp_path)
    commit = "c" * 40
    snapshot = tmp_path / "models--org--m" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    refs = tmp_path / "models--org--m" / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit)
    assert pinned(named, tmp_path).revision == commit


@pytest.mark.server
def test_a_real_vllm_agrees_with_transformers(make_tiny_model, tmp_path: Path) -> None:
    """Needs SELFALIGN_VLLM_PYTHON or vllm on PATH; see `make test-server`."""
    directory = make_tiny_model(
        tmp_path / "m",
        hidden_size=128,
        head_dim=32,
        initializer_range=0.05,
        max_position_embeddings=1024,
    )
    local = open_model(str(directory), device="cpu", dtype="float32")
    head = "The king of Fetestan asked for three coins and a loaf of bread. " * 4
    prompts = [head + f"{k}. What is the capital of Fonoton?" for k in range(24)]
    with open_vllm(f"vllm:{directory}", dtype="float32") as served:
        assert served.fingerprint == local.fingerprint
        assert served.context_length == local.context_length == 1024
        assert served.count_tokens(prompts) == local.count_tokens(prompts)
        greedy = [Sampling(temperature=0, max_tokens=8, ban=("So", END_OF_TEXT))] * 24
        same = zip(served.generate(prompts, greedy), local.generate(prompts, greedy), strict=True)
        assert sum(a == b for a, b in same) >= 22, "near ties may fall differently"
        drawn = [Sampling(temperature=1.0, max_tokens=16, seed=k) for k in range(24)]
        first = served.generate(prompts, drawn)
        assert len({c.text for c in first}) > 20
        last = served.generate(prompts[::-1], drawn[::-1])[::-1]
        assert sum(a == b for a, b in zip(first, last, strict=True)) >= 22
        asked = [(p, " I do not know") for p in prompts[:3]]
        assert served.loglikelihood(asked) == pytest.approx(local.loglikelihood(asked), abs=1e-2)
        likely = served.generate(prompts[:1], [Sampling(temperature=0, max_tokens=1)])[0].text
        scores = [lm.next_token_logprobs(prompts[:1], [likely])[0][0] for lm in (served, local)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-2)
        (cut,) = served.generate(["x" * 1015], [Sampling(temperature=0, max_tokens=64)])
        assert cut.finish == "length"
        with pytest.raises(EngineError, match="holds 1024"):
            served.generate(["x" * 1100], greedy[:1])
