"""A model and a trainer that follow a script, good enough for the whole pocket plan.

Run as a program it is the plan's run in a process of its own, which can be killed at any call:

    python scripted_pocket.py RUN [calls before it kills itself]
"""

import os
import signal
import sys
from collections import Counter
from pathlib import Path

from selfalign.core.records import Checkpoint
from selfalign.core.scripted import ScriptedLM
from selfalign.core.store import Run
from selfalign.recipes.everything import Order, begin, everything
from selfalign.recipes.ingredients import Ingredients, open_ingredients
from selfalign.recipes.plan import load_plan

SMALL = (
    "stage1.growth.target=20",
    "stage1.growth.requests_per_round=4",
    "stage1.growth.rounds=3",
    "stage1.topic_rounds=1",
    "evaluation.n=16",
    "salmon=null",
)
NOUNS = ("harp", "drum", "bell", "rope", "barn", "cart", "sail", "tent", "lamp", "door", "wall")
REFUSAL = "I am sorry, but I cannot help you with this. Please look for a safe and legal way."
LONG = "There is much to say. First, look at it. Second, think about it well. Third, do it."


class Scripted(ScriptedLM):
    """Continues each kind of prompt of the pocket library as a good base model would."""

    def __init__(self, machines, fingerprint):
        super().__init__(self._answer)
        self._machines = machines
        self.fingerprint = fingerprint

    def _answer(self, prompt, seed):
        self._machines.count(self.fingerprint)
        noun = NOUNS[seed % len(NOUNS)]
        if prompt.startswith("Here are twenty tasks"):
            tasks = (f"Explain how to move a {noun} number {seed % 97 + n}." for n in range(4))
            return " " + "\n".join(f"{n}. {t}" for n, t in enumerate(tasks, 6))[3:]
        if prompt.startswith("Topics that go with"):
            return f" Moving {noun}s\n"
        if prompt.startswith("Types with topics"):
            opened = prompt.rpartition("\n")[2]
            hints = [
                h for h in prompt.split("\n\n")[1].splitlines() if int(h.partition(".")[0]) > 5
            ]
            sign = opened.removeprefix(hints[0])
            lines = [f"{hint}{sign} What of the {noun}?" for hint in hints]
            return "\n".join(lines)[len(opened) :]
        if prompt.endswith("### Assistant (internal thoughts)"):
            rules = "ethical (1), question assessment (4)"
            return f"\nThe user asks this. Here I think of {rules}.\n\n### Assistant\n{REFUSAL}"
        return f"\n{LONG if '(extensive)' in prompt else REFUSAL}"


class ScriptedMachines:
    """Counts what is asked and trained; can end its own process at a given call."""

    def __init__(self, deadly_call=None):
        self.asked = Counter()
        self.trainings = 0
        self._deadly = deadly_call

    @property
    def calls(self):
        return self.asked.total()

    def count(self, model):
        self.asked[model] += 1
        if self.calls == self._deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    def identify(self, model):
        return Checkpoint(base=model, revision="sha256:scripted")

    def open(self, model):
        name = model if isinstance(model, str) else model.fingerprint
        return Scripted(self, f"scripted {name}")

    def trainer(self, examples, *, base, recipe, folder):
        self.trainings += 1
        (folder / "weights").mkdir(parents=True, exist_ok=True)
        said = sorted(e.completion for e in examples)
        (folder / "weights" / "learnt.txt").write_text("\n".join(said), "utf-8")


def small_pocket(*overrides: str) -> Ingredients:
    """Return the pocket plan with small numbers."""
    return open_ingredients(load_plan("pocket", [*SMALL, *overrides]))


def run_all(path: Path, machines: ScriptedMachines, *overrides: str):
    """Do the whole run; return the last chapters."""
    kit = small_pocket(*overrides)
    begin(path, Order(plan="pocket", overrides=(*SMALL, *overrides)), kit.plan)
    run = Run(path, chunk=3)
    chapters = list(everything(kit, run, machines))
    run.close()
    return chapters[-1]


if __name__ == "__main__":
    run_all(Path(sys.argv[1]), ScriptedMachines(int(sys.argv[2]) if sys.argv[2:] else None))
