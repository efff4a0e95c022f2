"""Preference scoring: 10 principles x 2 orders of a pair behind what they share.

    python benchmarks/scoring.py              8 pairs, 160 prompts
    python benchmarks/scoring.py --pairs 2 --rounds 1         a quick look

The prompts of one pair and order share 400-800 tokens and end in 50-70 tokens of their own, as
SALMON's judge prompts do. References: full prompts padded in batches of 8, one at a time, and as
the authors' code does: every prompt padded to 1,536 tokens, logits at every position, batches of 8.
All in float32, in one process, methods in turn; the log-probabilities of two choices must agree.
The bound: the products of every distinct token once, weights and attention, at the rate of a large
product on this machine.
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
AUTHORS_WIDTH = 1536


def prompts(pairs: int) -> list[list[int]]:
    """Return token lists in the authors' order: by pair, principle, order."""
    rng = random.Random(0)

    def draw(low: int, high: int) -> list[int]:
        return [rng.randrange(FIRST_WORD, VOCABULARY) for _ in range(rng.randint(low, high))]

    endings = [draw(50, 70) for _ in range(PRINCIPLES)]
    shared = [(draw(400, 800), draw(400, 800)) for _ in range(pairs)]
    return [both[order] + end for both in shared for end in endings for order in (0, 1)]


def padded(
    lm: torch.nn.Module, rows: list[list[int]], batch: int, *, width: int = 0, kept: int = 1
) -> list[list[float]]:
    """Score full prompts, left-padded to the longest of each batch, or to `width`.

    `kept`: at how many last positions logits are computed; 0: at all of them.
    """
    scores: list[list[float]] = []
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        longest = max(width, *map(len, part))
        ids = torch.tensor([[0] * (longest - len(r)) + r for r in part])
        mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in part])
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        extra = {} if batch == 1 else {"attention_mask": mask}
        logits = lm(
            input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=kept, **extra
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


def bound_flops(lm: torch.nn.Module, rows: list[list[int]]) -> float:
    """Count the operations of every distinct prefix once, and of a head per prompt."""
    config = lm.config
    dense = sum(p.numel() for p in lm.parameters()) - config.vocab_size * config.hidden_size
    per_key = 4 * config.hidden_size * config.num_hidden_layers
    seen = {tuple(row[: n + 1]) for row in rows for n in range(len(row))}
    attention = per_key * sum(map(len, seen))
    heads = 2 * len(rows) * config.vocab_size * config.hidden_size
    return 2 * dense * len(seen) + attention + heads


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="padded,one,authors,ours", help="comma-separated")
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lm = model(torch.float32)
    rows = prompts(arguments.pairs)
    runs: dict[str, Callable[[], list[list[float]]]] = {
        "padded, 8": lambda: padded(lm, rows, 8),
        "one each": lambda: padded(lm, rows, 1),
        "authors'": lambda: padded(lm, rows, 8, width=AUTHORS_WIDTH, kept=0),
        "ours": ours(lm, rows),
    }
    chosen = tuple(arguments.only.split(","))
    runs = {name: run for name, run in runs.items() if name.startswith(chosen)}
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
    reference = next(iter(margin.values()))
    print(
        f"\n{'method':10s} {'CPU s':>8s} {'prompts/CPU s':>14s} {'ours is':>8s}"
        f" {'difference':>11s} {'same sign':>10s}"
    )
    middle = {name: statistics.median(t) for name, t in times.items()}
    for name in runs:
        error = float((margin[name] - reference).abs().max())
        same = float(((margin[name] > 0) == (reference > 0)).float().mean())
        print(
            f"{name:10s} {middle[name]:8.2f} {len(rows) / middle[name]:14.1f} "
            f"{middle[name] / middle['ours']:7.1f}x {error:11.1e} {same:10.1%}"
        )
    flops = gemm_flops(torch.float32)
    bound = bound_flops(lm, rows) / flops
    print(
        f"bound: {bound:.2f} CPU s of products at {flops / 1e9:.0f} GFLOP/s; "
        f"ours reaches {bound / middle['ours']:.0%} of it"
    )
    if arguments.json:
        facts = {"pairs": arguments.pairs, "cpu_s": times, "bound_cpu_s": bound}
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
