"""Generation behind a long shared prompt: this engine against transformers' own `generate`.

    python benchmarks/generation.py             the stated case: 1,700 shared tokens, batch 16
    python benchmarks/generation.py --new 20 --prefix 400 --rounds 1      a quick look
    python benchmarks/generation.py --only ours --batch 64 --requests 256 --dtype bfloat16

Same random weights, same prompts, same process, greedy, methods in turn; CPU seconds, so that
another job on the machine disturbs the ratios less. In float32 the tokens must be identical.
"""

# ruff: noqa: T201  (a benchmark speaks by its table)

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from selfalign.core.protocols import Sampling
from selfalign.engines.hf import TransformersLM
from selfalign.engines.settings import EngineSettings

VOCABULARY = 2048
FIRST_WORD = 3
"""Ids below are special."""


@dataclass(frozen=True)
class Result:
    """One method in one round."""

    method: str
    cpu_s: float
    wall_s: float
    tokens: int
    identical: float
    """Share of tokens equal to the first method's."""


def model(dtype: torch.dtype) -> LlamaForCausalLM:
    """Return the random 9.3M-parameter Llama of perf.md, section 2."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=320,
        num_hidden_layers=7,
        num_attention_heads=5,
        num_key_value_heads=5,
        intermediate_size=864,
        max_position_embeddings=4096,
        initializer_range=0.08,
        bos_token_id=1,
        eos_token_id=None,
        pad_token_id=0,
        tie_word_embeddings=True,
    )
    made = LlamaForCausalLM(config).eval().to(dtype)
    made.generation_config.eos_token_id = None
    made.generation_config.pad_token_id = 0
    return made


def words() -> PreTrainedTokenizerFast:
    """Return a tokenizer whose words are the token ids themselves: "t17" is token 17."""
    vocabulary = {f"t{i}": i for i in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="t0")


def by_transformers(
    lm: LlamaForCausalLM, ids: torch.Tensor, batch: int, new: int, cache: str | None
) -> list[list[int]]:
    """Generate in batches of full prompts."""
    extra = {} if cache is None else {"cache_implementation": cache}
    out: list[list[int]] = []
    for start in range(0, len(ids), batch):
        rows = ids[start : start + batch]
        made = lm.generate(rows, max_new_tokens=new, min_new_tokens=new, do_sample=False, **extra)
        out += made[:, ids.shape[1] :].tolist()
    return out


def by_us(
    lm: LlamaForCausalLM, ids: torch.Tensor, batch: int, new: int
) -> Callable[[], list[list[int]]]:
    """Return a run on a fresh engine: nothing is left from an earlier round."""
    prompts = [" ".join(f"t{i}" for i in row) for row in ids.tolist()]
    choices = [Sampling(temperature=0, max_tokens=new)] * len(prompts)

    def run() -> list[list[int]]:
        settings = EngineSettings(device="cpu", batch_size=batch)
        engine = TransformersLM(lm, words(), fingerprint="benchmark", settings=settings)
        texts = [completion.text for completion in engine.generate(prompts, choices)]
        engine._backbone.use_attention(shared=False)
        return [[int(word[1:]) for word in text.split()] for text in texts]

    return run


def measure(name: str, run: Callable[[], list[list[int]]], first: list[list[int]] | None) -> tuple:
    """Return the result of one run and its tokens."""
    cpu, wall = time.process_time(), time.perf_counter()
    out = run()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    pairs = [
        a == b
        for mine, other in zip(out, first or out, strict=True)
        for a, b in zip(mine, other, strict=True)
    ]
    return Result(name, cpu, wall, len(pairs), sum(pairs) / len(pairs)), out


def bound_s(arguments: argparse.Namespace, parameters: int, flops: float) -> float:
    """Return the CPU seconds the multiplications alone would take at the measured GEMM rate."""
    width, layers = 320, 7
    total = arguments.prefix + arguments.requests * (arguments.own + arguments.new)
    dense = 2 * parameters * total
    per_query = 4 * width * layers
    own = arguments.own + arguments.new
    shared = arguments.requests * own * arguments.prefix + arguments.prefix**2 / 2
    return (dense + per_query * (shared + arguments.requests * own**2 / 2)) / flops


def gemm_flops(dtype: torch.dtype) -> float:
    """Measure the machine's matrix rate with one thread's product of the model's own shapes."""
    x, w = torch.randn(1024, 320, dtype=dtype), torch.randn(864, 320, dtype=dtype)
    torch.nn.functional.linear(x, w)
    began = time.process_time()
    for _ in range(20):
        torch.nn.functional.linear(x, w)
    return 20 * 2 * 1024 * 320 * 864 / (time.process_time() - began)


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name, default in (
        ("prefix", 1700),
        ("own", 50),
        ("new", 100),
        ("batch", 16),
        ("requests", 64),
        ("rounds", 3),
        ("threads", 1),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--only", default="", help="comma-separated: default, static, ours")
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lm = model(getattr(torch, arguments.dtype))
    generator = torch.Generator().manual_seed(1)
    shared = torch.randint(FIRST_WORD, VOCABULARY, (arguments.prefix,), generator=generator)
    own = torch.randint(
        FIRST_WORD, VOCABULARY, (arguments.requests, arguments.own), generator=generator
    )
    ids = torch.cat([shared.expand(arguments.requests, -1), own], dim=1)
    batch, new = arguments.batch, arguments.new
    runs = {
        "default": lambda: by_transformers(lm, ids, batch, new, None),
        "static": lambda: by_transformers(lm, ids, batch, new, "static"),
        "ours": by_us(lm, ids, batch, new),
    }
    chosen = [name for name in arguments.only.split(",") if name] or list(runs)
    results: list[Result] = []
    first = None
    with torch.inference_mode():
        lm.generate(ids[:1, :20], max_new_tokens=2)
        for _ in range(arguments.rounds):
            for name in chosen:
                result, out = measure(name, runs[name], first)
                first = first or out
                results.append(result)
                print(
                    f"  {name:8s} {result.cpu_s:7.2f} CPU s {result.wall_s:7.2f} s  "
                    f"{result.tokens / result.cpu_s:7.0f} tokens / CPU s  "
                    f"{result.identical:.2%} identical",
                    flush=True,
                )
    flops = gemm_flops(lm.dtype)
    bound = bound_s(arguments, sum(p.numel() for p in lm.parameters()), flops)
    median = {
        name: statistics.median(r.cpu_s for r in results if r.method == name) for name in chosen
    }
    print(f"\n{'method':10s} {'CPU s':>8s} {'spread':>15s} {'ours is':>9s} {'of bound':>9s}")
    for name in chosen:
        times = [r.cpu_s for r in results if r.method == name]
        ratio = f"{median[name] / median['ours']:.1f}x" if "ours" in median else "-"
        print(
            f"{name:10s} {median[name]:8.2f} {min(times):7.2f}-{max(times):7.2f} {ratio:>9s} "
            f"{median[name] / bound:8.1f}x"
        )
    print(f"bound: {bound:.2f} CPU s of multiplications at {flops / 1e9:.0f} GFLOP/s, one thread")
    if arguments.json:
        facts = {
            "settings": {k: str(v) for k, v in vars(arguments).items()},
            "results": [asdict(r) for r in results],
            "bound_cpu_s": bound,
            "gemm_gflops": flops / 1e9,
        }
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
