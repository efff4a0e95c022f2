"""Run store: outcomes written and read back, against plain JSON lines through pydantic.

    python benchmarks/store.py                          1,000,000 outcomes
    python benchmarks/store.py --outcomes 20000 --rounds 1         a quick look

Reference: one file, opened once, one `model_dump_json` per line; read with one
`model_validate_json` per line. It has no index, survives no crash in the middle of a line, and is
on disk when the system pleases. The store hands every chunk to the system, waits for the disk once
a second, and reads each outcome by the id of its input. Every task runs in a process of its own,
so that memory is its own; wall seconds, because waiting for the disk is part of it.
"""

# ruff: noqa: T201  (a benchmark speaks by its table)

import argparse
import json
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pydantic import TypeAdapter

from selfalign.core.records import Dropped, Instruction, Kept, digest
from selfalign.core.shelf import Shelf
from selfalign.core.store import CHUNK

DROPPED = 5
"""One outcome in so many is dropped."""
TASKS = ("made", "plain write", "store write", "plain read", "store read")
WORDS = [f"word{n}" for n in range(2000)]


Outcome = Kept[Instruction] | Dropped


def outcomes(count: int) -> Iterator[Outcome]:
    """Yield outcomes like stage 1's: an instruction each, or a reason."""
    rng = random.Random(0)
    for number in range(count):
        source = digest(number)
        if number % DROPPED == 0:
            yield Dropped(source=source, reason="too_similar", detail=" ".join(WORDS[:8]))
            continue
        text = " ".join(rng.choices(WORDS, k=rng.randint(8, 24)))
        made = Instruction(text=text, origin="self_instruct")
        yield Kept[Instruction](source=source, records=(made,))


def plainly(folder: Path, count: int, *, read: bool) -> int:
    """Write or read one line per outcome; return how many."""
    path = folder / "plain.jsonl"
    if not read:
        with path.open("w", encoding="utf-8") as out:
            for outcome in outcomes(count):
                out.write(outcome.model_dump_json() + "\n")
        return count
    known: TypeAdapter[Outcome] = TypeAdapter(Outcome)
    with path.open("rb") as lines:
        return sum(1 for line in lines if known.validate_json(line))


def stored(folder: Path, count: int, *, read: bool) -> int:
    """Do the same through the store; reading, the index comes first."""
    shelf = Shelf(folder, Instruction)
    if read:
        return sum(1 for _ in shelf)
    for chunk in batched(outcomes(count), CHUNK):
        shelf.append(chunk)
    shelf.sync()
    return len(shelf)


def made(count: int) -> int:
    """Make the outcomes and keep none: what both ways of writing pay for nothing."""
    return sum(1 for _ in outcomes(count))


def batched(items: Iterator[Outcome], size: int) -> Iterator[list[Outcome]]:
    """Yield lists of so many."""
    while chunk := list(islice(items, size)):
        yield chunk


def work(task: str, folder: Path, count: int) -> None:
    """Do one task in this process and print its seconds and its growth of memory as JSON."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    way, _, what = task.partition(" ")
    if way == "made":
        done = made(count)
    else:
        done = {"plain": plainly, "store": stored}[way](folder, count, read=what == "read")
    took = time.perf_counter() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    print(json.dumps({"done": done, "wall_s": took, "grown_mb": grown}))


def in_a_process(task: str, folder: Path, count: int) -> dict[str, float]:
    """Run `work` in a fresh process."""
    command = [sys.executable, __file__, "--task", task, "--outcomes", str(count)]
    command += ["--folder", str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def measure(count: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Do every task so many times, in turn."""
    results: dict[str, list[dict[str, float]]] = {task: [] for task in TASKS}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for task in TASKS:
                results[task].append(in_a_process(task, Path(folder), count))
    return results


def show(count: int, results: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Print a row per task; return the median seconds of each, making them taken off."""
    middle = {task: statistics.median(r["wall_s"] for r in rows) for task, rows in results.items()}
    for task, rows in results.items():
        walls = [r["wall_s"] for r in rows]
        net = middle[task] - (middle["made"] if task.endswith("write") else 0.0)
        plain = middle[f"plain {task.split()[-1]}"] if task != "made" else middle[task]
        ratio = "" if task == "made" else f"{plain / middle[task]:6.2f}x"
        print(
            f"{count:>10,} {task:12s} {middle[task]:8.2f} {min(walls):8.2f}-{max(walls):.2f}"
            f" {net / count * 1e6:9.1f} {ratio:>8s} {max(r['grown_mb'] for r in rows):9.0f}",
            flush=True,
        )
    both = [
        middle[f"{way} write"] - middle["made"] + middle[f"{way} read"]
        for way in ("plain", "store")
    ]
    print(
        f"{count:>10,} write and read: {both[0]:.2f} s plain, {both[1]:.2f} s stored, "
        f"{both[0] / both[1]:.2f}x"
    )
    return middle


def main() -> None:
    """Measure ever more outcomes, print the tables and how time grows, write JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--outcomes", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--task", choices=TASKS, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        work(arguments.task, arguments.folder, arguments.outcomes)
        return
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"load of the machine {load} on {os.cpu_count()} cores; {arguments.rounds} rounds")
    print("`made` makes the outcomes and stores none; us each is without it; plain is 1x")
    print(
        f"{'outcomes':>10s} {'task':12s} {'wall s':>8s} {'least-most':>14s} {'us each':>9s}"
        f" {'plain/it':>8s} {'MB grown':>9s}"
    )
    facts: dict[int, dict[str, list[dict[str, float]]]] = {}
    before: tuple[int, dict[str, float]] | None = None
    for count in (arguments.outcomes // 10, arguments.outcomes):
        facts[count] = measure(count, arguments.rounds)
        middle = show(count, facts[count])
        if before:
            grown = math.log(count / before[0])
            for task in TASKS:
                law = math.log(middle[task] / before[1][task]) / grown
                print(f"{task:12s} grows as N^{law:.2f}")
        before = (count, middle)
    if arguments.json:
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
