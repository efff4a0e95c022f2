"""A small model's passes side by side, one core each, in place of one after another on all cores.

    parts --a thread each--> outputs  --whatever is made of them-->  loss
    gradients of the outputs --a thread each--> gradients of the weights, added up in order

The layers of a small model are too small to share: on Calf, two cores run one pass 1.2 times as
fast as one core does, and two passes nearly twice as fast. Sums are taken in the order of the
parts, so the same parts always give the same gradients, bit for bit. Whole trainings side by side,
a process and a core each, are faster still: nothing waits for a slower part, nor for Python.

A step with a broken part raises what the first broken part, in order, has raised.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import safe_open
from torch import Tensor

_SMALL = 1 << 24
"""Weights of a model whose layers are too small for several cores."""
_MOST = 4
"""Passes at once: each holds its activations, and Python runs one thread at a time."""

T = TypeVar("T")
R = TypeVar("R")


def parts_for(model: torch.nn.Module) -> int:
    """Say how many passes of a model to run at once: one per thread of torch, 4 at most; or one.

    One, if the model is not on the CPU, is large, or has dropout: its draws would come in another
    order every time.
    """
    weights = list(model.parameters())
    on_cpu = all(one.device.type == "cpu" for one in weights)
    small = sum(one.numel() for one in weights) <= _SMALL
    drops = any(isinstance(one, torch.nn.Dropout) and one.p > 0 for one in model.modules())
    return min(_MOST, torch.get_num_threads()) if on_cpu and small and not drops else 1


def trainings_for(base: Path) -> int:
    """Say how many trainings on a base to run at once, one per thread of torch, 4 at most; or one.

    One, if there is a GPU, or the base is large, or has no files that say how large it is.
    """
    small = 0 < _weights_in(base) <= _SMALL
    return min(_MOST, torch.get_num_threads()) if small and not torch.cuda.is_available() else 1


def take_one_core() -> None:
    """Leave the other cores to processes beside this one."""
    torch.set_num_threads(1)


def _weights_in(base: Path) -> int:
    """Count a model's weights by what its files say of them; 0: none says anything."""
    count = 0
    for path in base.glob("*.safetensors"):
        with cast(Any, safe_open)(path, framework="pt") as file:  # Any: untyped
            count += sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return count


def batched(parts: Sequence[T], at_once: int) -> list[Sequence[T]]:
    """Put what runs at once together; the last may be fewer."""
    return [parts[start : start + at_once] for start in range(0, len(parts), at_once)]


def each_alone(run: Callable[[T], R], parts: Sequence[T]) -> list[R]:
    """Run all parts at once, each in a thread with its share of the cores, at least one.

    Within `torch.no_grad()` no part records gradients, as if it ran in the caller's thread.
    """
    if len(parts) < 2:
        return [run(part) for part in parts]
    threads, recorded = torch.get_num_threads(), torch.is_grad_enabled()

    share = max(1, threads // len(parts))

    def alone(part: T) -> R:
        if torch.get_num_threads() != share:
            torch.set_num_threads(share)  # of this thread
        with torch.set_grad_enabled(recorded):
            return run(part)

    try:
        return list(_pool(len(parts)).map(alone, parts))
    finally:
        torch.set_num_threads(threads)  # what threads that begin later take


def side_by_side(
    run: Callable[[T], Tensor], parts: Sequence[T], weights: Sequence[Tensor]
) -> list[Tensor]:
    """Return the output of each part, through which gradients reach `weights` and nothing else."""
    if len(parts) < 2 or not torch.is_grad_enabled():
        return each_alone(run, parts)
    trained = [one for one in weights if one.requires_grad]
    return list(cast(Any, _Parts).apply(run, parts, *trained))


class _Parts(torch.autograd.Function):
    """Outputs of several parts, each with a graph of its own that its thread walks back."""

    @staticmethod
    def forward(ctx: Any, run: Any, parts: Any, *weights: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            ctx.outputs, ctx.trained = each_alone(run, parts), weights
        return tuple(output.detach() for output in ctx.outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        outputs, weights = cast(list[Tensor], ctx.outputs), cast(tuple[Tensor, ...], ctx.trained)

        def walked(number: int) -> tuple[Tensor | None, ...]:
            return torch.autograd.grad(
                outputs[number], weights, gradients[number], allow_unused=True
            )

        found = each_alone(walked, range(len(outputs)))
        ctx.outputs = None  # its graphs are used up
        return (None, None, *(_sum(column) for column in zip(*found, strict=True)))


def _sum(gradients: Sequence[Tensor | None]) -> Tensor | None:
    known = [one for one in gradients if one is not None]
    return sum(known[1:], known[0]) if known else None


@cache
def _pool(size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix="pass")
