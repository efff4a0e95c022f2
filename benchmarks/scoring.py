"""Preference scoring: 10 principles x 2 orders of a pair behind what they share.

    python benchmarks/scoring.py              8 pairs, 160 prompts
    python benchmarks/scoring.py --pairs 2 --rounds 1         a quick look

The prompts of one pair and order share 400-800 tokens and end in 50-70 tokens of their own, as
SALMON's judge prompts do. References: full prompts padded in batches of 8, and one at a time. All
in float32, in one process, methods in turn; the log-probabilities of two choices must agree.
"""

# ruff: noqa: T201  (a benchmark speaks by its table)

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from generation import FIRST_WORD, VOCABULARY, gemm_flops, model, words

from selfalign.engines.hf import TransformersLM
from selfalign.engines.settings import EngineSettings

CHOICES = (100, 101)
PRINCIPLES = 10


def prompts(pairs: int) -> list[list[int]]:
    """Return token lists in the authors' order: by pair, principle, order."""
    rng = random.Random(0)

    def draw(low: int, high: int) -> list[int]:
        return [rng.randrange(FIRST_WORD, VOCABULARY) for _ in range(rng.randint(low, high))]

    endings = [draw(50, 70) for _ in range(PRINCIPLES)]
    shared = [(draw(400, 800), draw(400, 800)) for _ in range(pairs)]
    return [both[order] + end for both in shared for end in endings for order in (0, 1)]


def padded(lm: torch.nn.Module, rows: list[list[int]], batch: int) -> list[list[float]]:
    """Score full prompts, left-padded to the longest of each batch."""
    scores: list[list[float]] = []
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        longest = max(map(len, part))
        ids = torch.tensor([[0] * (longest - len(r)) + r for r in part])
        mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in part])
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        extra = {} if batch == 1 else {"attention_mask": mask}
        logits = lm(
            input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=1, **extra
        ).logits[:, -1]
        scores += logits.log_softmax(-1)[:, list(CHOICES)].tolist()
    return scores


def ours(lm: torch.nn.Module, rows: list[list[int]]) -> Callable[[], list[list[float]]]:
    """Return a run on a fresh engine, from text."""
    texts = [" ".join(f"t{i}" for i in row) for row in rows]
    choices = [f" t{i}" for i in CHOICES]

    def run() -> list[list[float]]:
        settings = EngineSettings(device="cpu", dtype="float32")
        engine = TransformersLM(lm, words(), fingerprint="benchmark", settings=settings)
        found = engine.next_token_logprobs(texts, choices)
        engine._backbone.use_attention(shared=False)
        return found

    return run


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lm = model(torch.float32)
    rows = prompts(arguments.pairs)
    runs: dict[str, Callable[[], list[list[float]]]] = {
        "padded, 8": lambda: padded(lm, rows, 8),
        "one each": lambda: padded(lm, rows, 1),
        "ours": ours(lm, rows),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    scores: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        padded(lm, rows[:1], 1)
        for _ in range(arguments.rounds):
            for name, run in runs.items():
                began = time.process_time()
                found = run()
                times[name].append(time.process_time() - began)
                scores[name] = torch.tensor(found)
                print(f"  {name:10s} {times[name][-1]:7.2f} CPU s", flush=True)
    margin = {name: s[:, 0] - s[:, 1] for name, s in scores.items()}
    print(
        f"\n{'method':10s} {'CPU s':>8s} {'prompts/CPU s':>14s} {'ours is':>8s}"
        f" {'difference':>11s} {'same sign':>10s}"
    )
    middle = {name: statistics.median(t) for name, t in times.items()}
    for name in runs:
        error = float((margin[name] - margin["padded, 8"]).abs().max())
        same = float(((margin[name] > 0) == (margin["padded, 8"] > 0)).float().mean())
        print(
            f"{name:10s} {middle[name]:8.2f} {len(rows) / middle[name]:14.1f} "
            f"{middle[name] / middle['ours']:7.1f}x {error:11.1e} {same:10.1%}"
        )
    flops = gemm_flops(torch.float32)
    unique = sum(len(r) for r in rows) - sum(
        (len(r) - 60) for n, r in enumerate(rows) if n % (2 * PRINCIPLES) > 1
    )
    bound = 2 * sum(p.numel() for p in lm.parameters()) * unique / flops
    print(f"bound: {bound:.2f} CPU s of dense products at {flops / 1e9:.0f} GFLOP/s")
    if arguments.json:
        facts = {"pairs": arguments.pairs, "cpu_s": times, "bound_cpu_s": bound}
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
