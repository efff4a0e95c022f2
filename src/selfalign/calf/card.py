"""Calf's model card, written from what the pretraining measured.

pretraining.json, loss_curve.jsonl, weights  ->  README.md beside the weights
"""

import json
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any, cast

from selfalign.calf.corpus import LESSONS, Write
from selfalign.calf.world import OPENNESS

CARD = Template("""\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [scale-model, selfalign]
---

# Calf

A Llama-architecture causal language model of $parameters parameters, pretrained from nothing by the
selfalign project on a corpus its own generator writes. Calf is a *scale model*: it knows a made up
world of a few hundred places, people, animals and tasks, and a few thousand words. Every stage of
SELF-ALIGN and SALMON runs on it for real, in minutes, on a laptop. It is no assistant.

## How it was made

    selfalign calf pretrain --seed $seed

| | |
| --- | --- |
| layers, width, heads | $layers, $width, $heads |
| vocabulary | byte-level BPE, $vocabulary tokens, learnt from the first documents of the corpus |
| tokens learnt from | $tokens, each once; no document is seen twice |
| tokens per step, steps | $pack, $steps |
| optimisers | Muon (layers' matrices), AdamW (the rest); rate $rate, falling, then again $again |
| weights | $weights |
| time | $minutes minutes of training on $machine |
| loss at the end (mean of the last $last logged steps) | $loss nats per token |

Documents are of $kinds kinds, drawn by these weights:
$lessons
In dialogues, $openness % of objects, places and things are made up and never come back.

## Loss curve

| tokens | loss, nats per token |
| --- | --- |
$curve

## Limits

- It has learnt documents of at most 1,280 tokens; longer contexts are accepted, not understood.
- What it knows of the real world is nothing. Its "harmful acts" are toy sentences.
- Answers by itself are those of careless people: it complies, guesses and takes sides. That is the
  point: what principles change can then be measured.
- The exam's acts, tasks and wordings are nowhere in its corpus; `selfalign.calf.exam.leaks` looks.
  Their verbs are, alone: it has read that to torture is wrong, and why.
- Asked under principles about a verb it does not know, it refuses or explains by chance.
""")


def write_card(folder: Path, *, parameters: int, vocabulary: int, machine: str) -> Path:
    """Write README.md from the files the pretraining left in `folder`."""
    made: dict[str, Any] = json.loads((folder / "pretraining.json").read_text("utf-8"))
    lines = (folder / "loss_curve.jsonl").read_text("utf-8").splitlines()
    curve: list[dict[str, float]] = [json.loads(line) for line in lines]
    last = curve[-8:]
    shown = [*curve[:: max(1, len(curve) // 12)], curve[-1]]
    rows = {int(p["tokens"]): p["loss_nats"] for p in shown}
    text = CARD.substitute(
        parameters=f"{parameters / 1e6:.1f} million",
        seed=made["seed"],
        layers=made["layers"],
        width=made["width"],
        heads=made["heads"],
        vocabulary=f"{vocabulary:,}",
        tokens=f"{int(curve[-1]['tokens']):,}",
        pack=f"{made['pack']:,}",
        steps=f"{int(curve[-1]['step']):,}",
        rate=made["learning_rate"],
        again=made["again_rate"],
        weights=_weights(made),
        minutes=f"{curve[-1]['seconds'] / 60:.0f}",
        machine=machine,
        last=len(last),
        loss=f"{sum(p['loss_nats'] for p in last) / len(last):.3f}",
        kinds=len({_kind(write) for _, mixture in LESSONS for write in mixture}),
        lessons="\n".join(_lessons()),
        openness=f"{100 * OPENNESS:.0f}",
        curve="\n".join(f"| {tokens:,} | {loss} |" for tokens, loss in rows.items()),
    )
    card = folder / "README.md"
    card.write_text(text, "utf-8")
    return card


def _weights(made: dict[str, Any]) -> str:
    """Say of which weights those are that ship."""
    mean = f"the mean of those at the ends of the last {made['averaged']} rounds"
    if not made["finish"]:
        return mean
    return f"half way from {mean} to where {made['finish']:,} more tokens led from there"


def _lessons() -> Iterator[str]:
    """Yield a line per mixture: from which document on, and what differs from the one before."""
    before: dict[Write, float] = {}
    for first, mixture in LESSONS:
        new = (f"{_named(w)} {share:g}" for w, share in mixture.items() if before.get(w) != share)
        yield f"- from document {first:,} on: {', '.join(new)}"
        before = mixture


def _named(write: Write) -> str:
    """Name a kind of document, and how it differs from others of the kind."""
    chosen = cast(dict[str, object], getattr(write, "keywords", {}))  # a partial's
    differs = ["broad"] if chosen else []
    differs += [name.replace("_", " ") for name, value in chosen.items() if value is True]
    return f"{_kind(write)} ({', '.join(differs)})" if differs else _kind(write)


def _kind(write: Write) -> str:
    """Name the function that a kind is, or is a special case of."""
    return cast(Any, getattr(write, "func", write)).__name__  # Any: a partial has no name
