"""The scale law of every step: how time and memory grow with the work, printed and plotted.

    python benchmarks/scale.py                      every step at three sizes, about ten minutes
    python benchmarks/scale.py --only novelty,store --times 3        more sizes, fewer steps
    python benchmarks/scale.py --plot laws.html --json laws.json

Every point is a process of its own, so that its peak of memory is its own; CPU seconds of the work
itself, loading and compiling left out. An exponent of 1 is linear; the last column is the exponent
between the two largest sizes, where fixed costs weigh least.
"""

# ruff: noqa: T201  (a benchmark speaks by its table)

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

Point = dict[str, float]
Work = Callable[[], object]


def novelty(size: int) -> Work:
    """Texts through the exact filter, in plain Python."""
    from novelty import Instructions, by_us

    texts = Instructions().make(size)
    return lambda: by_us(texts, "ge", accelerate=False)


def store(size: int) -> Work:
    """Outcomes written to a run's folder, indexed and read back."""
    from store import stored

    folder = Path(tempfile.mkdtemp())

    def work() -> int:
        stored(folder, size, read=False)
        return stored(folder, size, read=True)

    return work


def generation(size: int) -> Work:
    """Requests behind 1,700 shared tokens, 50 of their own, 32 new ones each."""
    import torch
    from generation import FIRST_WORD, VOCABULARY, by_us, model

    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(FIRST_WORD, VOCABULARY, (size, 1750), generator=generator)
    ids[:, :1700] = ids[0, :1700]
    lm = model(torch.float32)
    return by_us(lm, ids, 64, 32)


def scoring(size: int) -> Work:
    """Pairs under 10 principles in 2 orders."""
    import torch
    from generation import model
    from scoring import ours, prompts

    return ours(model(torch.float32), prompts(size))


def fine_tuning(size: int) -> Work:
    """Examples of one epoch of supervised fine-tuning."""
    from training import LONGEST, examples, ours

    from selfalign.core.protocols import FineTuning

    recipe = FineTuning(
        method="full", batch_size=16, held_out=0, warmup_steps=1, max_tokens=LONGEST
    )
    return ours(examples(size), recipe, False, 2048).train


def ppo(size: int) -> Work:
    """Rollouts of two batches of PPO on one shared base, 32 tokens each."""
    from rl import Clock, checkpoints, our_ppo

    made = checkpoints(Path(tempfile.mkdtemp()), hidden=320, layers=7, rank=16)
    asked = argparse.Namespace(rollouts=size // 2, new=32, steps=2)
    return lambda: our_ppo(made, asked, Clock())


STEPS: dict[str, tuple[Callable[[int], Work], int]] = {
    "novelty": (novelty, 10_000),
    "store": (store, 20_000),
    "generation": (generation, 16),
    "scoring": (scoring, 2),
    "fine_tuning": (fine_tuning, 64),
    "ppo": (ppo, 32),
}
"""Each step, and its smallest size."""


def here(step: str, size: int) -> Point:
    """Do one step in this process."""
    if step not in ("novelty", "store"):
        import torch

        torch.set_num_threads(1)
    work = STEPS[step][0](size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    work()
    took = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"size": size, "cpu_s": took, "grown_mb": (peak - before) / 1e3, "peak_mb": peak / 1e3}


def in_a_process(step: str, size: int) -> Point:
    """Run `here` in a fresh process."""
    command = [sys.executable, __file__, "--step", step, "--size", str(size)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(run.stdout.splitlines()[-1])


def exponent(points: list[Point], key: str) -> float:
    """Return b of a*size^b between the two largest sizes."""
    one, two = points[-2:]
    if min(one[key], two[key]) <= 0:
        return 0.0
    return math.log(two[key] / one[key]) / math.log(two["size"] / one["size"])


def plot(laws: dict[str, list[Point]], path: Path) -> None:
    """Draw time and memory of every step against its smallest size, on logarithmic axes."""
    from plotly.graph_objects import Figure
    from plotly.subplots import make_subplots

    figure: Figure = make_subplots(cols=2, subplot_titles=("CPU seconds", "peak memory, MB"))
    for step, points in laws.items():
        times = [p["size"] / points[0]["size"] for p in points]
        for column, key in ((1, "cpu_s"), (2, "peak_mb")):
            figure.add_scatter(
                x=times,
                y=[p[key] for p in points],
                name=step,
                mode="lines+markers",
                legendgroup=step,
                showlegend=column == 1,
                row=1,
                col=column,
            )
    figure.update_xaxes(type="log", title="times the smallest size")
    figure.update_yaxes(type="log")
    figure.write_html(path, include_plotlyjs=True)


def main() -> None:
    """Measure, print the laws, plot and write them where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default=",".join(STEPS))
    parser.add_argument("--times", type=int, default=2, help="doublings of the smallest size")
    parser.add_argument("--plot", type=Path, default=None, help="an HTML file")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(here(arguments.step, arguments.size)))
        return
    laws: dict[str, list[Point]] = {}
    print(f"{'step':12s} {'size':>8s} {'CPU s':>9s} {'peak MB':>9s} {'grown MB':>9s}")
    for step in arguments.only.split(","):
        smallest = STEPS[step][1]
        laws[step] = []
        for doubling in range(arguments.times + 1):
            point = in_a_process(step, smallest * 2**doubling)
            laws[step].append(point)
            print(
                f"{step:12s} {point['size']:8,.0f} {point['cpu_s']:9.2f} {point['peak_mb']:9.0f} "
                f"{point['grown_mb']:9.0f}",
                flush=True,
            )
    print(f"\n{'step':12s} {'time':>8s} {'peak memory':>12s}")
    for step, points in laws.items():
        time_law, memory_law = exponent(points, "cpu_s"), exponent(points, "peak_mb")
        print(f"{step:12s} {f'N^{time_law:.2f}':>8s} {f'N^{memory_law:.2f}':>12s}")
    if arguments.plot:
        plot(laws, arguments.plot)
        print(f"drawn in {arguments.plot}")
    if arguments.json:
        arguments.json.write_text(json.dumps(laws, indent=2) + "\n")


if __name__ == "__main__":
    main()
