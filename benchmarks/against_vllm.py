"""Generation behind a long shared prompt: the in-process engine against a vLLM server.

    SELFALIGN_VLLM_PYTHON=/path/to/its/python python benchmarks/against_vllm.py
    ... --requests 16 --new 20 --prefix 400 --rounds 1 --dtypes bfloat16        a quick look

Same random weights from the same folder, same prompts, greedy, the two in turn on the same idle
cores; wall seconds, because vLLM works in processes of its own. Starting up and one warm-up batch
are excluded on both sides. vLLM is asked by this project's own client, all requests at once, with
its prefix cache on. On a CPU give VLLM_CPU_KVCACHE_SPACE=1 and
SELFALIGN_VLLM_ARGS="--enforce-eager --gpu-memory-utilization 0.2".
"""

# ruff: noqa: T201  (a benchmark speaks by its table)

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from generation import FIRST_WORD, VOCABULARY, model, words

from selfalign.core.protocols import LanguageModel, Sampling
from selfalign.engines.open import open_model
from selfalign.engines.server_vllm import open_vllm


def prompts(arguments: argparse.Namespace) -> list[str]:
    """Return prompts of a shared part and an own one, in words that are token ids."""
    generator = torch.Generator().manual_seed(1)

    def draw(count: int) -> list[int]:
        return torch.randint(FIRST_WORD, VOCABULARY, (count,), generator=generator).tolist()

    shared = draw(arguments.prefix)
    rows = [shared + draw(arguments.own) for _ in range(arguments.requests)]
    return [" ".join(f"t{i}" for i in row) for row in rows]


def timed(lm: LanguageModel, texts: list[str], new: int) -> tuple[float, list[list[str]]]:
    """Return new tokens per second of one run, and the tokens."""
    choices = [Sampling(temperature=0, max_tokens=new)] * len(texts)
    began = time.perf_counter()
    found = [one.text.split() for one in lm.generate(texts, choices)]
    return sum(map(len, found)) / (time.perf_counter() - began), found


def same(one: list[list[str]], other: list[list[str]]) -> float:
    """Return the share of equal tokens; one that differs makes all after it differ."""
    pairs = [
        a == b
        for mine, yours in zip(one, other, strict=True)
        for a, b in zip(mine, yours, strict=False)
    ]
    return sum(pairs) / max(1, len(pairs))


def compare(dtype: str, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Measure both at one dtype, in turn, and print a line per run."""
    rates: dict[str, list[float]] = {"ours": [], "vLLM": []}
    with tempfile.TemporaryDirectory() as folder:
        made = model(torch.float32)
        made.generation_config.max_length = None
        made.save_pretrained(folder)
        words().save_pretrained(folder)
        os.environ["SELFALIGN_VLLM_ARGS"] = f"{arguments.vllm_args} --dtype {dtype}"
        texts = prompts(arguments)
        with open_vllm(f"vllm:{folder}") as theirs:
            timed(theirs, texts[:4], 4)
            for _ in range(arguments.rounds):
                ours = open_model(folder, device="cpu", dtype=dtype, batch_size=arguments.batch)
                timed(ours, ["t5 t6"], 2)
                rate, mine = timed(ours, texts, arguments.new)
                rates["ours"].append(rate)
                rate, yours = timed(theirs, texts, arguments.new)
                rates["vLLM"].append(rate)
                print(
                    f"  {dtype:9s} ours {rates['ours'][-1]:8.0f} tokens/s   vLLM {rate:8.0f}"
                    f"   {same(mine, yours):.1%} equal tokens",
                    flush=True,
                )
    return rates


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name, default in (
        ("prefix", 1700),
        ("own", 50),
        ("new", 100),
        ("batch", 64),
        ("requests", 256),
        ("rounds", 3),
        ("threads", os.cpu_count() or 1),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--vllm-args", default=os.environ.get("SELFALIGN_VLLM_ARGS", ""))
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"load of the machine {load} on {os.cpu_count()} cores")
    facts = {dtype: compare(dtype, arguments) for dtype in arguments.dtypes.split(",")}
    print(f"\n{'dtype':9s} {'ours':>8s} {'spread':>14s} {'vLLM':>8s} {'spread':>14s} {'ratio':>7s}")
    for dtype, rates in facts.items():
        middle = {name: statistics.median(found) for name, found in rates.items()}
        spread = {name: f"{min(found):.0f}-{max(found):.0f}" for name, found in rates.items()}
        print(
            f"{dtype:9s} {middle['ours']:8.0f} {spread['ours']:>14s} {middle['vLLM']:8.0f} "
            f"{spread['vLLM']:>14s} {middle['ours'] / middle['vLLM']:6.2f}x"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
