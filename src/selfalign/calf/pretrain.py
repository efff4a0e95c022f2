# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch and transformers annotate only part of what is used here.
"""Calf's pretraining: corpus, tokenizer and weights from one seed, on a laptop's CPU.

    seed -> documents -> byte-level BPE -> packs of 8,192 tokens -> next-token loss -> weights

Nothing is read but the two word files of this room, and nothing is stored but what training
needs: the corpus is written while it is learnt from, and no document is seen twice. Documents are
packed without padding, and attention and positions begin anew with each of them. A killed run
continues from its last checkpoint when the same command is given again, to the same weights but
for the last bits that depend on how many threads sum.
"""

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.masking_utils import AttentionMaskInterface

from selfalign.calf.card import write_card
from selfalign.calf.corpus import END, document, documents
from selfalign.calf.tokenizer import PAD, VOCABULARY, save_tokenizer, train_tokenizer
from selfalign.core.errors import TrainingError
from selfalign.core.records import Settings

TOKENIZER_DOCUMENTS = 20_000
CHECKPOINT = "pretraining.pt"
CURVE = "loss_curve.jsonl"
WEIGHTS = "model.safetensors"
_ROUND = "round-{}.safetensors"
_MEAN = _ROUND.format("mean")
LONGEST = 1280
"""Tokens of a document that are learnt from; hardly any has more."""


class Pretraining(Settings):
    """The shape of Calf and the length of its schooling; all values ours (lab log)."""

    tokens: int = 21_000_000
    """How many tokens are learnt from, each once, while the rate rises, holds and falls."""
    again: tuple[int, ...] = (
        7_000_000,
        3_000_000,
        8_000_000,
        7_000_000,
        7_000_000,
        7_000_000,
        7_000_000,
    )
    """How many more after that, in rounds; in each the rate falls from `again_rate` to nothing."""
    width: int = 256
    layers: int = 6
    heads: int = 4
    context: int = 2048
    """Positions the model accepts; documents are learnt from up to `LONGEST` tokens."""
    pack: int = 8192
    """Tokens per step."""
    learning_rate: float = 3e-3
    """Peak; Muon for matrices of the layers, AdamW for the rest."""
    warmup: int = 60
    decay_from: float = 0.4
    """Share of the steps after which the rate falls linearly to nothing."""
    again_rate: float = 1.5e-3
    """What the learning rate begins every later round with."""
    averaged: int = Field(default=3, ge=1)
    """Of so many rounds, the last ones, the weights at their ends are averaged: a round forgets
    some of what those before had taught, and the mean forgets less (lab log)."""
    finish: int = Field(default=5_000_000, ge=0)
    """How many tokens are learnt from after that, beginning at the mean with fresh optimisers; the
    rate falls from `again_rate` to nothing once more. What ships is half way between that mean
    and where this ends, for the same reason."""
    save_every: int = 150
    """Steps between checkpoints."""

    @property
    def rounds(self) -> list[int]:
        """After how many steps each round ends, the first one included."""
        return list(accumulate(tokens // self.pack for tokens in (self.tokens, *self.again)))

    @property
    def steps(self) -> int:
        """All steps."""
        return self.rounds[-1] + self.finish // self.pack

    @property
    def averaged_steps(self) -> list[int]:
        """After how many steps the weights are set aside for the mean."""
        return self.rounds[-self.averaged :]


class Pack(NamedTuple):
    """Documents laid end to end, those of similar length side by side; what a step learns from."""

    tokens: Tensor
    """(1, T) token ids; each document is filled up to the longest of its group."""
    positions: Tensor
    """(1, T), counted anew in each document."""
    targets: Tensor
    """(T,), the next token of the document; -100 where there is none."""
    groups: list[tuple[int, int]]
    """How many documents of how many tokens, in order; their products sum to T."""


@dataclass
class _State:
    model: LlamaForCausalLM
    optimisers: list[torch.optim.Optimizer]
    step: int = 0
    documents: int = 0
    """Documents written so far; the next one has this index."""
    seconds: float = 0.0


def pretrain(
    seed: int,
    out: Path,
    settings: Pretraining | None = None,
    report: Callable[[str], None] = print,
) -> Path:
    """Rebuild corpus, tokenizer and weights in `out`; return `out`, a directory transformers loads.

    Raises:
        TrainingError: `out` holds a pretraining of another seed or of other settings.
    """
    settings = settings or Pretraining()
    out.mkdir(parents=True, exist_ok=True)
    _claim(seed, out, settings)
    tokenizer = _tokenizer(seed, out, settings)
    torch.manual_seed(seed)
    state = _resume(out, _fresh(settings, tokenizer))
    steps = settings.steps
    _compile(state.model)
    while state.step < steps:
        if state.step == settings.rounds[-1]:
            _begin_at_the_mean(out, state, settings)
        start = time.perf_counter()
        pack = _next_pack(seed, state, tokenizer, settings.pack)
        loss = _learn(state, pack, learning_rate(state.step, settings))
        state.step += 1
        state.seconds += time.perf_counter() - start
        if state.step % 25 == 0 or state.step == steps:
            _log(out, state, loss, settings, steps, report)
        if state.step % settings.save_every == 0 or state.step in (*settings.rounds, steps):
            _save(out, state, settings)
    last = _ends(out, settings)
    if steps > settings.rounds[-1]:
        last = [out / _MEAN, out / _ROUND.format(steps)]
    average(last, out / WEIGHTS)
    write_card(
        out,
        parameters=state.model.num_parameters(),
        vocabulary=VOCABULARY,
        machine=f"{os.cpu_count()} CPU cores",
    )
    for file in {out / CHECKPOINT, *last, *_ends(out, settings)}:
        file.unlink(missing_ok=True)
    return out


def _ends(out: Path, settings: Pretraining) -> list[Path]:
    """Say where the weights at the ends of the rounds that are averaged lie."""
    return [out / _ROUND.format(step) for step in settings.averaged_steps]


def _begin_at_the_mean(out: Path, state: _State, settings: Pretraining) -> None:
    """Give the model the mean of its last rounds, as it would ship, and forget all momentum."""
    average(_ends(out, settings), out / _MEAN)
    mean = {name: tensor.float() for name, tensor in load_file(out / _MEAN).items()}
    state.model.load_state_dict(mean, strict=False)  # the head is the embedding
    state.optimisers = _optimisers(state.model)


def average(files: Sequence[Path], target: Path) -> None:
    """Write the mean of the tensors of several safetensors files, each of the type it had."""
    read = [load_file(file) for file in files]
    means = {
        name: torch.stack([one[name].float() for one in read]).mean(0).to(tensor.dtype)
        for name, tensor in read[0].items()
    }
    partial = target.with_suffix(".partial")
    save_file(means, partial, metadata={"format": "pt"})
    partial.replace(target)


def learning_rate(step: int, settings: Pretraining) -> float:
    """Warm up linearly, hold, fall linearly to a fiftieth of the peak; then fall in every round."""
    first = settings.rounds[0]
    for began, ended in pairwise((*settings.rounds, settings.steps)):
        if began <= step < ended:
            return settings.again_rate * (ended - step) / (ended - began)
    rise = min(1.0, (step + 1) / settings.warmup)
    past = max(0.0, step / first - settings.decay_from) / (1 - settings.decay_from)
    return settings.learning_rate * rise * max(0.02, 1.0 - past)


def next_token_loss(logits: Tensor, pack: Pack) -> Tensor:
    """Mean cross-entropy (nats) of every next token; a document does not predict the next one.

    Shapes: logits (1, T, V).
    """
    return functional.cross_entropy(logits[0].float(), pack.targets, ignore_index=-100)


_GROUPS: list[tuple[int, int]] = []
"""Of the pack in hand; attention functions of transformers take no arguments of ours."""


@torch.compiler.disable
def _per_document(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float = 1.0,
    **_: object,
) -> tuple[Tensor, None]:
    """Attend causally within each document of a pack. Shapes: (1, H, T, D) in, (1, T, H, D) out.

    Plain matrix products: on CPUs with bf16 units they are several times faster than the fused
    kernel, whose backward pass took half of all training time.
    """
    del module, attention_mask
    sizes = [count * length for count, length in _GROUPS]
    split = zip(*(x[0].split(sizes, dim=1) for x in (query * scaling, key, value)), strict=True)
    attended: list[Tensor] = []
    for (count, length), (q, k, v) in zip(_GROUPS, split, strict=True):
        apart = (q.shape[0], count, length, q.shape[2])
        scores = q.reshape(apart) @ k.reshape(apart).transpose(2, 3)
        scores = scores + _causal(length).to(scores.dtype)
        attended.append((scores.softmax(-1) @ v.reshape(apart)).flatten(1, 2))
    return torch.cat(attended, dim=1).transpose(0, 1)[None], None


@lru_cache(maxsize=1024)
def _causal(length: int) -> Tensor:
    return torch.full((length, length), -1e4).triu(1)


def _no_mask(*_: object, **__: object) -> None:
    return None


ATTENTION = "selfalign_calf_documents"
AttentionInterface.register(ATTENTION, _per_document)
AttentionMaskInterface.register(ATTENTION, _no_mask)


def _compile(model: LlamaForCausalLM) -> None:
    """Compile each layer where a C compiler is found; SELFALIGN_COMPILE=0 keeps plain PyTorch."""
    model.set_attn_implementation(ATTENTION)
    if os.environ.get("SELFALIGN_COMPILE") != "0" and shutil.which("cc"):
        for layer in model.model.layers:
            layer.compile()


def _learn(state: _State, pack: Pack, rate: float) -> float:
    for optimiser in state.optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate
    _GROUPS[:] = pack.groups
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=_has_bf16_units()):
        logits = state.model(
            input_ids=pack.tokens, position_ids=pack.positions, use_cache=False
        ).logits
    loss = next_token_loss(logits, pack)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
    for optimiser in state.optimisers:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return float(loss.detach())


@cache
def _has_bf16_units() -> bool:
    """Say whether the CPU multiplies bfloat16 itself; one that does not is faster in float32."""
    asked = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # torch.cpu has no public way
    return any(bool(getattr(torch.cpu, name, bool)()) for name in asked)


def _next_pack(seed: int, state: _State, tokenizer: PreTrainedTokenizerFast, size: int) -> Pack:
    """Write documents until there are enough tokens, and lay them out."""
    end = _id_of(END, tokenizer)
    written: list[list[int]] = []
    while sum(map(len, written)) < size:
        text = document(seed, state.documents)
        state.documents += 1
        written.append([*tokenizer.encode(text, add_special_tokens=False), end][:LONGEST])
    return pack_documents(written, end)


def pack_documents(written: Sequence[list[int]], filler: int) -> Pack:
    """Put documents of similar length into groups and fill them up, at most a fifth each."""
    groups: list[tuple[int, int]] = []
    tokens: list[int] = []
    targets: list[int] = []
    for ids in sorted(written, key=len, reverse=True):
        count, length = groups[-1] if groups else (0, 0)
        if len(ids) >= 0.8 * length > 0:
            groups[-1] = (count + 1, length)
        else:
            length = -(-len(ids) // 8) * 8
            groups.append((1, length))
        missing = length - len(ids)
        tokens += ids + [filler] * missing
        targets += ids[1:] + [-100] * (missing + 1)
    positions = torch.cat([torch.arange(length).repeat(count) for count, length in groups])
    return Pack(torch.tensor([tokens]), positions[None], torch.tensor(targets), groups)


def _fresh(settings: Pretraining, tokenizer: PreTrainedTokenizerFast) -> _State:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=settings.width,
        intermediate_size=int(settings.width * 8 / 3) // 32 * 32,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=settings.context,
        tie_word_embeddings=True,
        bos_token_id=_id_of(END, tokenizer),
        eos_token_id=_id_of(END, tokenizer),
        pad_token_id=_id_of(PAD, tokenizer),
    )
    model = LlamaForCausalLM(config)
    return _State(model, _optimisers(model))


def _optimisers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and ".layers." in name]
    others = [p for name, p in named if not (p.ndim == 2 and ".layers." in name)]
    return [
        torch.optim.Muon(matrices, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def _id_of(token: str, tokenizer: PreTrainedTokenizerFast) -> int:
    return int(str(tokenizer.convert_tokens_to_ids(token)))


def _tokenizer(seed: int, out: Path, settings: Pretraining) -> PreTrainedTokenizerFast:
    if not (out / "tokenizer.json").exists():
        learnt = train_tokenizer(documents(seed, TOKENIZER_DOCUMENTS))
        save_tokenizer(learnt, out, settings.context)
    return PreTrainedTokenizerFast.from_pretrained(out)


def _claim(seed: int, out: Path, settings: Pretraining) -> None:
    """Write what is being made into the folder, or refuse a folder of something else."""
    wanted = {"seed": seed, **settings.model_dump(mode="json")}
    file = out / "pretraining.json"
    if not file.exists():
        file.write_text(json.dumps(wanted, indent=2) + "\n", "utf-8")
    elif (found := json.loads(file.read_text("utf-8"))) != wanted:
        other = sorted(k for k in wanted if found.get(k) != wanted[k])
        raise TrainingError(
            f"{out} holds a pretraining with other {', '.join(other)}; give another --out, or "
            f"remove the folder to start again."
        )


def _resume(out: Path, state: _State) -> _State:
    file = out / CHECKPOINT
    if not file.exists():
        return state
    saved = torch.load(file, weights_only=True)
    state.model.load_state_dict(saved["model"])
    for optimiser, values in zip(state.optimisers, saved["optimisers"], strict=True):
        optimiser.load_state_dict(values)
    state.step, state.documents, state.seconds = saved["step"], saved["documents"], saved["seconds"]
    _forget_later(out / CURVE, state.step)
    return state


def _forget_later(curve: Path, step: int) -> None:
    """Take the steps after a checkpoint from the curve: they are learnt, and logged, again."""
    if curve.exists():
        lines = curve.read_text("utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        partial = curve.with_suffix(".partial")
        partial.write_text("".join(kept), "utf-8")
        partial.replace(curve)


def _save(out: Path, state: _State, settings: Pretraining) -> None:
    """Write the weights for readers, then atomically what a killed run continues from."""
    weights = out / "weights.partial"
    copy = LlamaForCausalLM(state.model.config)
    copy.load_state_dict(state.model.state_dict())
    copy.bfloat16()
    copy.save_pretrained(weights)
    for file in weights.iterdir():
        file.replace(out / file.name)
    shutil.rmtree(weights)
    if state.step in (*settings.averaged_steps, settings.steps):
        shutil.copyfile(out / WEIGHTS, out / _ROUND.format(state.step))
    partial = out / f"{CHECKPOINT}.partial"
    torch.save(
        {
            "model": state.model.state_dict(),
            "optimisers": [o.state_dict() for o in state.optimisers],
            "step": state.step,
            "documents": state.documents,
            "seconds": state.seconds,
        },
        partial,
    )
    partial.replace(out / CHECKPOINT)


def _log(
    out: Path,
    state: _State,
    loss: float,
    settings: Pretraining,
    steps: int,
    report: Callable[[str], None],
) -> None:
    tokens = state.step * settings.pack
    line = {
        "step": state.step,
        "tokens": tokens,
        "loss_nats": round(loss, 4),
        "seconds": round(state.seconds, 1),
    }
    with (out / CURVE).open("a", encoding="utf-8") as curve:
        curve.write(json.dumps(line) + "\n")
    left = state.seconds / state.step * (steps - state.step)
    report(
        f"step {state.step}/{steps}  loss {loss:.3f} nats  "
        f"{tokens / max(state.seconds, 1e-9):,.0f} tokens/s  {left / 60:.0f} min left"
    )


def example_documents(seed: int, count: int) -> list[str]:
    """Return documents drawn at random places of a corpus, for readers and tests."""
    rng = random.Random(f"examples/{seed}")
    return [document(seed, rng.randrange(10_000_000)) for _ in range(count)]
