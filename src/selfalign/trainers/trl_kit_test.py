"""What tests of policies share: tiny checkpoints, prompts, and a reward to earn."""

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from selfalign.core.protocols import PolicyPrompt, PolicyTraining, Sampled, Scorer
from selfalign.core.records import Checkpoint

STOP = ("\n\n### User", "### User")
PROMPTS = [
    PolicyPrompt(query=f"q{n}", text=f"### User\nWhat is {n}?\n\n### Assistant", stop=STOP)
    for n in range(6)
]
RECIPE = PolicyTraining(
    algorithm="rloo",
    kl_estimator="k1",
    steps=4,
    rollout_batch=8,
    update_batch=4,
    update_epochs=1,
    group=2,
    learning_rate=5e-3,
    warmup_steps=0,
    rank=4,
    alpha=8,
    temperature=1.0,
    max_prompt_tokens=64,
    max_tokens=12,
    save_every=1,
)


def base(model: Path) -> Checkpoint:
    return Checkpoint(base=str(model), revision="")


def policy_on(model: Path, folder: Path, rank: int = 4, noise: float = 0.05) -> Checkpoint:
    """Write an adapter that changes what the base says."""
    torch.manual_seed(1)
    config = LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM")
    _write(get_peft_model(AutoModelForCausalLM.from_pretrained(model), config), folder, noise)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return Checkpoint(base=str(model), revision="", adapter=str(folder))


def reward_model_on(model: Path, folder: Path) -> Checkpoint:
    """Write an adapter with a random head that scores."""
    torch.manual_seed(2)
    headed = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1)
    torch.nn.init.normal_(headed.score.weight)
    config = LoraConfig(
        r=4, target_modules="all-linear", task_type="SEQ_CLS", modules_to_save=["score"]
    )
    _write(get_peft_model(headed, config), folder, 0.05)
    return Checkpoint(base=str(model), revision="", adapter=str(folder))


def _write(model: torch.nn.Module, folder: Path, noise: float) -> None:
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=noise)
    model.save_pretrained(folder)


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights" / "adapter_model.safetensors")


class Worth:
    """Rewards a measure of the response; remembers what it was asked."""

    def __init__(self, worth: object = None) -> None:
        self.worth = worth or (lambda one: float(one.response.count("e")))
        self.batches: list[tuple[int, list[Sampled]]] = []
        self.scores: list[list[float]] = []

    def __call__(self, step: int, sampled: Sequence[Sampled], score: Scorer) -> list[float]:
        self.batches.append((step, list(sampled)))
        self.scores.append(score([one.response or "." for one in sampled]))
        return [self.worth(one) for one in sampled]


class Probing(Worth):
    """Looks at responses to prompts that are never trained on, every other step."""

    def __init__(self, worth: object = None) -> None:
        super().__init__(worth)
        self.probe_prompts = [
            PolicyPrompt(query=f"held-out-{n}", text=f"### User\n{n}?\n\n### Assistant", stop=STOP)
            for n in ("Who was the king", "Why", "What is the bread for")
        ]
        self.read_with_it = ""
        self.probed: dict[int, list[Sampled]] = {}

    def probe_texts(self, prompt: PolicyPrompt) -> list[str]:
        return [f"{self.read_with_it}{prompt.text}"]

    def probe_due(self, step: int) -> bool:
        return step % 2 == 0

    def probe(self, step: int, sampled: Sequence[Sampled], score: Scorer) -> None:
        assert step not in {done for done, _ in self.batches}  # before its rewards are asked for
        assert all((one.turn, one.kl) == (0, None) for one in sampled)
        assert len(score([one.response or "." for one in sampled])) == len(sampled)
        self.probed[step] = list(sampled)
