"""Supervised fine-tuning: our flattened batches against TRL's own ways of batching.

    python benchmarks/training.py                        full fine-tuning, Alpaca-like lengths
    python benchmarks/training.py --method lora --dtype bfloat16
    python benchmarks/training.py --examples 128 --only padded,ours         a quick look

Same model, same examples, same optimiser, same process, methods in turn; useful (unpadded) tokens
per CPU second of `trainer.train()`. Padded: TRL's default. Grouped: examples of like length
together. Packed: TRL's best-fit packing, one row per pass, the fastest of TRL's on a CPU.
"""

# ruff: noqa: T201  (a benchmark speaks by its table)

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

sys.path.insert(0, str(Path(__file__).parent))
from generation import FIRST_WORD, VOCABULARY, gemm_flops, model, words

from selfalign.core.protocols import FineTuning
from selfalign.trainers import lora_sft
from selfalign.trainers.packing import IGNORED, isolates
from selfalign.trainers.tokenised import Split, Tokenised

LONGEST = 512
PROMPT_SHARE = 0.25


def examples(count: int) -> list[Tokenised]:
    """Draw random tokens with lengths like Alpaca's: mean 85, a long tail, at most 512."""
    rng = random.Random(0)
    made: list[Tokenised] = []
    for _ in range(count):
        length = int(min(LONGEST, max(12, rng.lognormvariate(4.2, 0.68))))
        ids = [rng.randrange(FIRST_WORD, VOCABULARY) for _ in range(length)]
        prompt = int(length * PROMPT_SHARE)
        made.append(Tokenised(ids, [IGNORED] * prompt + ids[prompt:], prompt, truncated=False))
    return made


def trl(data: list[Tokenised], recipe: FineTuning, bf16: bool, **changes: object) -> SFTTrainer:
    """Build TRL's trainer as its user would, on a fresh model."""
    settings = SFTConfig(
        **{
            "output_dir": tempfile.mkdtemp(),
            "per_device_train_batch_size": recipe.batch_size,
            "learning_rate": recipe.learning_rate,
            "num_train_epochs": 1,
            "use_cpu": True,
            "bf16": bf16,
            "gradient_checkpointing": False,
            "max_length": LONGEST,
            "save_strategy": "no",
            "logging_steps": 50,
            "report_to": "none",
            "disable_tqdm": True,
            **changes,
        }
    )
    made = SFTTrainer(
        model=model(torch.float32),
        args=settings,
        train_dataset=Dataset.from_list([e.columns() for e in data]),
        processing_class=words(),
        peft_config=lora_sft._lora(recipe) if recipe.method == "lora" else None,
    )
    made.remove_callback(PrinterCallback)
    return made


def ours(data: list[Tokenised], recipe: FineTuning, bf16: bool, tokens_per_pass: int) -> SFTTrainer:
    """Build our trainer on a fresh model."""
    trainer = lora_sft.TrlSupervisedTrainer(
        device="cpu", bf16=bf16, tokens_per_pass=tokens_per_pass
    )
    lm = model(torch.float32)
    assert isolates(lm) is None
    split = Split(data, [], 0, 0)
    folder = Path(tempfile.mkdtemp())
    at_once = trainer._at_once(split, recipe)
    return trainer._trainer(lm, words(), split, recipe, folder, at_once)


def arguments_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens-per-pass", type=int, nargs="+", default=[2048])
    parser.add_argument("--method", choices=["full", "lora"], default="full")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--only", default="padded,grouped,packed,ours")
    parser.add_argument("--json", type=Path, default=None)
    return parser.parse_args()


def ways(
    data: list[Tokenised], recipe: FineTuning, arguments: argparse.Namespace
) -> dict[str, Callable[[], SFTTrainer]]:
    """Return how to build each trainer that is to be compared."""
    bf16 = arguments.dtype == "bfloat16"
    mean = sum(len(e.ids) for e in data) / len(data)
    packed = {
        "packing": True,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": max(1, int(arguments.batch * mean / LONGEST)),
    }
    found: dict[str, Callable[[], SFTTrainer]] = {
        "padded": lambda: trl(data, recipe, bf16),
        "grouped": lambda: trl(data, recipe, bf16, train_sampling_strategy="group_by_length"),
        "packed": lambda: trl(data, recipe, bf16, **packed),
    }
    for budget in arguments.tokens_per_pass:
        found[f"ours {budget}"] = lambda budget=budget: ours(data, recipe, bf16, budget)
    return {name: way for name, way in found.items() if name.split()[0] in arguments.only}


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    arguments = arguments_of(
        argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    )
    torch.set_num_threads(arguments.threads)
    data = examples(arguments.examples)
    useful = sum(len(e.ids) for e in data)
    recipe = FineTuning(
        method=arguments.method,
        batch_size=arguments.batch,
        held_out=0,
        warmup_steps=1,
        learning_rate=1e-4,
        max_tokens=LONGEST,
    )
    runs = ways(data, recipe, arguments)
    rates: dict[str, list[float]] = {name: [] for name in runs}
    print(f"{len(data)} examples, {useful} tokens, mean {useful / len(data):.0f}", flush=True)
    for _ in range(arguments.rounds):
        for name, way in runs.items():
            trainer = way()
            began = time.process_time()
            trainer.train()
            rates[name].append(useful / (time.process_time() - began))
            print(f"  {name:12s} {rates[name][-1]:7.0f} useful tokens / CPU s", flush=True)
    flops = gemm_flops(getattr(torch, arguments.dtype))
    parameters = sum(p.numel() for p in model(torch.float32).parameters())
    per_token = (6 if arguments.method == "full" else 4) * parameters
    print(f"\n{'method':12s} {'tokens/CPU s':>12s} {'spread':>13s} {'ratio':>7s} {'of bound':>9s}")
    first = statistics.median(next(iter(rates.values())))
    for name, found in rates.items():
        middle = statistics.median(found)
        spread = f"{min(found):.0f}-{max(found):.0f}"
        share = middle * per_token / flops
        print(f"{name:12s} {middle:12.0f} {spread:>13s} {middle / first:6.2f}x {share:9.0%}")
    print(f"bound: {flops / per_token:.0f} tokens / CPU s at {flops / 1e9:.0f} GFLOP/s")
    if arguments.json:
        facts = {
            "settings": {k: str(v) for k, v in vars(arguments).items()},
            "rates": rates,
            "recipe": recipe.model_dump(mode="json"),
            "gemm_gflops": flops / 1e9,
        }
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
