"""Reinforcement learning: PPO on one shared base and RLOO through TRL, against TRL's own RLOO.

    python benchmarks/rl.py                      samples per CPU second, then memory
    python benchmarks/rl.py --rollouts 8 --new 8 --steps 2 --memory-hidden 64       a quick look
    python benchmarks/rl.py --only memory

Speed: the same random model, adapters, prompts and reward model, each way in turn in one process;
the first batch of rollouts is not counted. Responses are as long as they may be, for a random model
hardly ever ends. Memory: processes of their own, on a random model of 104M parameters; policy and
value are trained on one batch, reference and reward are run. "Storage" is what parameters and
gradients occupy; "resident" is the peak the system counted after loading, less what was there
before any model.
"""

# ruff: noqa: T201  (a benchmark speaks by its table)

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PrinterCallback,
    TrainerCallback,
)
from trl import RLOOConfig, RLOOTrainer

sys.path.insert(0, str(Path(__file__).parent))
from generation import FIRST_WORD, VOCABULARY, words

from selfalign.core.protocols import PolicyPrompt, PolicyTraining, Sampled, Scorer
from selfalign.core.records import Checkpoint
from selfalign.trainers.scorer import open_scorer
from selfalign.trainers.trl_policy import TrlPolicyTrainer

PROMPT_TOKENS = 32
END = VOCABULARY - 1
"""The end token; no other word begins with its name."""
CPU = torch.device("cpu")


# --- the same checkpoints for everybody ----------------------------------------------------------


@dataclass(frozen=True)
class Checkpoints:
    """A random base, a policy's adapter and a reward model's adapter on it."""

    base: Path
    policy: Path
    reward: Path

    def named(self, adapter: Path) -> Checkpoint:
        """Name an adapter as the trainers want it."""
        return Checkpoint(base=str(self.base), revision="", adapter=str(adapter))


def checkpoints(folder: Path, hidden: int, layers: int, rank: int) -> Checkpoints:
    """Write the random checkpoints."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 16,
        num_key_value_heads=hidden // 16,
        intermediate_size=hidden * 27 // 10 // 16 * 16,
        max_position_embeddings=1024,
        bos_token_id=None,
        eos_token_id=END,
        pad_token_id=0,
        tie_word_embeddings=True,
    )
    made = Checkpoints(folder / "base", folder / "policy", folder / "reward")
    LlamaForCausalLM(config).save_pretrained(made.base)
    tokenizer = words()
    tokenizer.eos_token = f"t{END}"
    tokenizer.save_pretrained(made.base)
    lora = {"r": rank, "target_modules": "all-linear"}
    policy = AutoModelForCausalLM.from_pretrained(made.base)
    get_peft_model(policy, LoraConfig(task_type="CAUSAL_LM", **lora)).save_pretrained(made.policy)
    reward = AutoModelForSequenceClassification.from_pretrained(made.base, num_labels=1)
    headed = LoraConfig(task_type="SEQ_CLS", modules_to_save=["score"], **lora)
    get_peft_model(reward, headed).save_pretrained(made.reward)
    return made


def prompts(count: int) -> list[PolicyPrompt]:
    """Draw prompts of random words."""
    rng = random.Random(0)
    texts = (
        " ".join(f"t{rng.randrange(FIRST_WORD, END)}" for _ in range(PROMPT_TOKENS))
        for _ in range(count)
    )
    return [PolicyPrompt(query=f"q{n}", text=t, stop=("### User",)) for n, t in enumerate(texts)]


# --- samples per second --------------------------------------------------------------------------


@dataclass
class Clock:
    """CPU and wall seconds at the end of each batch of rollouts."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def tick(self, *_: object) -> None:
        """Take the time."""
        self.cpu.append(time.process_time())
        self.wall.append(time.perf_counter())

    def rates(self, rollouts: int) -> tuple[float, float]:
        """Return samples per CPU second and per second, the first batch left out."""
        counted = rollouts * (len(self.cpu) - 1)
        return counted / (self.cpu[-1] - self.cpu[0]), counted / (self.wall[-1] - self.wall[0])


@dataclass
class Judged:
    """A reward function that scores the prompt with the response, as TRL's own does."""

    texts: dict[str, str]

    def __call__(self, _: int, sampled: Sequence[Sampled], score: Scorer) -> list[float]:
        """Return the reward model's scores."""
        return score([f"{self.texts[one.query]} {one.response}" for one in sampled])


def recipe_of(arguments: argparse.Namespace, algorithm: str) -> PolicyTraining:
    """Return the same work for every way: one update epoch, one update batch per rollout batch."""
    estimator = {"ppo": "k1_clamped", "rloo": "k1"}[algorithm]
    return PolicyTraining(
        algorithm=algorithm,
        kl_estimator=estimator,
        steps=arguments.steps,
        rollout_batch=arguments.rollouts,
        update_batch=arguments.rollouts,
        update_epochs=1,
        group=4,
        warmup_steps=0,
        temperature=1.0,
        max_prompt_tokens=PROMPT_TOKENS,
        max_tokens=arguments.new,
        save_every=10**6,
    )


def our_ppo(
    made: Checkpoints, arguments: argparse.Namespace, clock: Clock, **changes: object
) -> None:
    """Run our PPO, with a value model or, as the pocket plan does, with groups in its place."""
    from selfalign.trainers.ppo import PpoTrainer

    asked = prompts(arguments.rollouts)
    PpoTrainer(device="cpu", drawn_at_once=arguments.rollouts, report_to=(), on_step=clock.tick)(
        asked,
        policy=made.named(made.policy),
        reward_model=made.named(made.reward),
        rewards=Judged({p.query: p.text for p in asked}),
        recipe=recipe_of(arguments, "ppo").model_copy(update=changes),
        folder=Path(tempfile.mkdtemp()),
    )


def our_ppo_in_groups(made: Checkpoints, arguments: argparse.Namespace, clock: Clock) -> None:
    """Run our PPO without a value model: what RLOO does, with clipping."""
    our_ppo(made, arguments, clock, baseline="group", value_weight=0.0)


def our_rloo(made: Checkpoints, arguments: argparse.Namespace, clock: Clock) -> None:
    """Run RLOO through TRL with our sampling and rewards."""
    asked = prompts(arguments.rollouts)
    trainer = TrlPolicyTrainer(
        device="cpu", drawn_at_once=arguments.rollouts, report_to=(), on_step=clock.tick
    )
    trainer(
        asked,
        policy=made.named(made.policy),
        reward_model=made.named(made.reward),
        rewards=Judged({p.query: p.text for p in asked}),
        recipe=recipe_of(arguments, "rloo"),
        folder=Path(tempfile.mkdtemp()),
    )


class Ticks(TrainerCallback):
    """Takes the time after each of TRL's steps."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def on_step_end(self, *_: object, **__: object) -> None:
        """Take the time."""
        self._clock.tick()


def their_rloo(made: Checkpoints, arguments: argparse.Namespace, clock: Clock) -> None:
    """Run TRL's RLOO as its user would: a loaded adapter, a reward function."""
    scorer = open_scorer(made.named(made.reward), "cpu")

    def rewards(prompts: list[str], completions: list[str], **_: object) -> list[float]:
        return scorer.score([f"{p} {c}" for p, c in zip(prompts, completions, strict=True)])

    at_once = min(16, arguments.rollouts)
    settings = RLOOConfig(
        output_dir=tempfile.mkdtemp(),
        max_steps=arguments.steps,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=arguments.rollouts // at_once,
        num_generations=4,
        max_completion_length=arguments.new,
        beta=0.01,
        learning_rate=2e-5,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_dropout=True,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
    )
    base = AutoModelForCausalLM.from_pretrained(made.base)
    trainer = RLOOTrainer(
        model=PeftModel.from_pretrained(base, made.policy, is_trainable=True),
        reward_funcs=rewards,
        args=settings,
        train_dataset=Dataset.from_list([{"prompt": p.text} for p in prompts(arguments.rollouts)]),
        processing_class=AutoTokenizer.from_pretrained(made.base),
        callbacks=[Ticks(clock)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


SPEED: dict[str, Callable[[Checkpoints, argparse.Namespace, Clock], None]] = {
    "TRL RLOO": their_rloo,
    "our RLOO": our_rloo,
    "our PPO": our_ppo,
    "in groups": our_ppo_in_groups,
}


def speed(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Measure every way, print a table, and return samples per CPU second."""
    found: dict[str, list[float]] = {name: [] for name in SPEED}
    walls: dict[str, list[float]] = {name: [] for name in SPEED}
    with tempfile.TemporaryDirectory() as folder:
        made = checkpoints(Path(folder), arguments.hidden, arguments.layers, arguments.rank)
        for _ in range(arguments.rounds):
            for name, way in SPEED.items():
                clock = Clock()
                way(made, arguments, clock)
                cpu, wall = clock.rates(arguments.rollouts)
                found[name].append(cpu)
                walls[name].append(wall)
                print(f"  {name:10s} {cpu:8.2f} samples / CPU s", flush=True)
    first = statistics.median(found["TRL RLOO"])
    print(f"\n{'way':10s} {'samples/CPU s':>14s} {'samples/s':>10s} {'spread':>15s} {'ratio':>7s}")
    for name, rates in found.items():
        middle, wall = statistics.median(rates), statistics.median(walls[name])
        spread = f"{min(rates):.2f}-{max(rates):.2f}"
        print(f"{name:10s} {middle:14.2f} {wall:10.2f} {spread:>15s} {middle / first:6.2f}x")
    return found


# --- memory --------------------------------------------------------------------------------------


def status(key: str) -> float:
    """Return a figure of /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def forget_peak() -> None:
    """Count the peak from here on: while weights are read, they are held twice."""
    Path("/proc/self/clear_refs").write_text("5")


def occupied(models: Sequence[torch.nn.Module]) -> float:
    """Return what parameters and their gradients occupy, in MiB; shared ones once."""
    sizes: dict[int, int] = {}
    for model in models:
        for weight in model.parameters():
            for tensor in (weight, weight.grad):
                if tensor is not None:
                    store = tensor.untyped_storage()
                    sizes[store.data_ptr()] = store.nbytes()
    return sum(sizes.values()) / 2**20


def run_alone(model: torch.nn.Module, rows: torch.Tensor, trained: bool) -> None:
    """Run a model of its own on a batch, forward and, if it is trained, backward."""
    if not trained:
        with torch.no_grad():
            model(input_ids=rows)
        return
    model(input_ids=rows).logits.sum().backward()


def hold(what: str, made: Checkpoints, arguments: argparse.Namespace) -> list[torch.nn.Module]:
    """Load and run one model, four models, or four adapters on one base; return what is held."""
    rng = random.Random(0)
    count, length = arguments.memory_batch, PROMPT_TOKENS + arguments.new
    ids = [[rng.randrange(FIRST_WORD, END) for _ in range(length)] for _ in range(count)]
    rows = torch.tensor(ids)
    if what == "shared":
        return shared(made, arguments, ids)
    policy = (AutoModelForCausalLM, made.policy, True)
    four = [
        policy,
        (AutoModelForCausalLM, made.policy, False),
        (AutoModelForSequenceClassification, made.reward, True),
        (AutoModelForSequenceClassification, made.reward, False),
    ]
    held: list[torch.nn.Module] = []
    loaded = four if what == "copies" else [policy]
    for kind, adapter, trained in loaded:
        one_score = {} if kind is AutoModelForCausalLM else {"num_labels": 1}
        model = kind.from_pretrained(made.base, dtype=torch.float32, **one_score)
        for weight in model.parameters():  # as if read into memory, not mapped from one file
            weight.data = weight.data.clone()
        held.append(PeftModel.from_pretrained(model, adapter, is_trainable=trained))
    forget_peak()
    for model, (_, _, trained) in zip(held, loaded, strict=True):
        run_alone(model, rows, trained)
    return held


def shared(
    made: Checkpoints, arguments: argparse.Namespace, ids: list[list[int]]
) -> list[torch.nn.Module]:
    """Run all four on our shared base."""
    from selfalign.trainers.rl_rows import lay_out
    from selfalign.trainers.shared_base import SharedBase
    from selfalign.trainers.shared_files import find_stand

    stand = find_stand(made.named(made.policy), made.named(made.reward))
    base = SharedBase(stand, recipe_of(arguments, "ppo"), device=CPU)
    for weight in base.peft.parameters():
        weight.data = weight.data.clone()
    forget_peak()
    before, behind = [row[:PROMPT_TOKENS] for row in ids], [row[PROMPT_TOKENS:] for row in ids]
    rows = lay_out(before, behind, padding=base.padding, device=CPU)
    base.logprobs("policy", rows, 1.0).sum().backward()
    base.values(rows).sum().backward()
    with torch.no_grad():
        base.logprobs("reference", rows, 1.0)
    base.score([" ".join(f"t{i}" for i in row) for row in ids])
    return [base.peft, base.value_head, base.reward_head]


def memory_of(what: str, arguments: argparse.Namespace) -> None:
    """Measure in this process, and print one line of JSON."""
    torch.set_num_threads(arguments.threads)
    before = status("VmRSS")
    root = Path(arguments.checkpoints)
    held = hold(what, Checkpoints(root / "base", root / "policy", root / "reward"), arguments)
    print(json.dumps({"storage": occupied(held), "resident": status("VmHWM") - before}))


def memory(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measure in processes of their own, print a table, and return MiB."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        checkpoints(Path(folder), arguments.memory_hidden, arguments.memory_layers, arguments.rank)
        for what in ("one", "shared", "copies"):
            command = [sys.executable, __file__, "--memory-of", what, "--checkpoints", folder]
            for name in ("memory_batch", "new", "threads", "rank"):
                command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            found[what] = json.loads(run.stdout.splitlines()[-1])
    print(f"\n{'held':26s} {'storage MiB':>12s} {'':>7s} {'resident MiB':>13s}")
    names = {"one": "one model, its adapter", "shared": "four on one base", "copies": "four models"}
    for what, label in names.items():
        parts = [
            f"{found[what][key]:{width}.0f} {found[what][key] / found['one'][key]:6.2f}x"
            for key, width in (("storage", 12), ("resident", 13))
        ]
        print(f"{label:26s} {' '.join(parts)}")
    return found


def main() -> None:
    """Measure, print tables, and write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rollouts", type=int, default=64, help="responses per batch")
    parser.add_argument("--new", type=int, default=64, help="tokens of a response")
    parser.add_argument("--steps", type=int, default=3, help="batches; the first is not counted")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=320)
    parser.add_argument("--layers", type=int, default=7)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--memory-hidden", type=int, default=1024)
    parser.add_argument("--memory-layers", type=int, default=8)
    parser.add_argument("--memory-batch", type=int, default=4)
    parser.add_argument("--only", choices=["speed", "memory"], default=None)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--memory-of", choices=["one", "shared", "copies"], help=argparse.SUPPRESS)
    parser.add_argument("--checkpoints", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        memory_of(arguments.memory_of, arguments)
        return
    torch.set_num_threads(arguments.threads)
    facts: dict[str, object] = {"settings": {k: str(v) for k, v in vars(arguments).items()}}
    if arguments.only != "memory":
        facts["samples_per_cpu_s"] = speed(arguments)
    if arguments.only != "speed":
        facts["memory_mib"] = memory(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
