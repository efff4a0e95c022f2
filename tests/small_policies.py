"""SALMON's policies on a tiny model, as the recipe trains them, without all that comes before.

Run as a program it trains them side by side in a process of its own, which can be stopped:

    python small_policies.py RUN
"""

import sys
from collections.abc import Callable
from pathlib import Path

from selfalign.cli.outcome import catch_signals, exit_code_of
from selfalign.core.progress import Progress, Silent
from selfalign.core.records import Checkpoint, Instruction, Kept
from selfalign.core.shelf import Shelf
from selfalign.core.store import Run
from selfalign.recipes.chapters import kept
from selfalign.recipes.everything import Order, begin, reopen
from selfalign.recipes.ingredients import open_ingredients
from selfalign.recipes.ingredients_salmon import SalmonIngredients
from selfalign.recipes.machines import RealMachines
from selfalign.recipes.plan import load_plan
from selfalign.recipes.policy_workers import waiting_policies

INSTRUCTIONS = "instructions"
SMALL = (
    "salmon.policy.training.steps=10",
    "salmon.policy.training.rollout_batch=8",
    "salmon.policy.training.update_batch=8",
    "salmon.policy.training.max_tokens=8",
    "salmon.policy.training.max_prompt_tokens=1024",
    "salmon.policy.training.save_every=1",
    "salmon.policy.training.rank=4",
    "salmon.policy.probes={every: 5, held_out: 2, responses: 2, max_fall: null}",
    "salmon.policy.watch=null",
    "salmon.policy.controls=[{name: brief, always: [The response must be short.]},"
    " {name: short, always: [The response must be short.]}]",
)
"""Three policies, of which two are the same training."""


def begun(folder: Path, model: Path, *changes: str) -> Path:
    """Write a run that has come to its policies, on a model; return its folder."""
    run, overrides = folder / "run", (f"base={model}", *SMALL, *changes)
    kit = open_ingredients(load_plan("pocket", overrides))
    begin(run, Order(plan="pocket", overrides=overrides), kit.plan)
    asked = [
        Instruction(text=f"What is the capital of Fonoton {n}?", origin="user") for n in range(8)
    ]
    (run / INSTRUCTIONS).mkdir()
    shelf = Shelf(run / INSTRUCTIONS, Instruction)
    shelf.append([Kept(source=one.id, records=(one,)) for one in asked])
    Run(run).close()
    from selfalign.trainers.trl_kit_test import policy_on, reward_model_on  # torch takes seconds

    policy_on(model, folder / "start")
    reward_model_on(model, folder / "reward")
    return run


def train(
    run: Path, at_once: int | None, progress: Progress, edit: Callable[[], object] = lambda: None
) -> dict[str, Path]:
    """Do what the recipe does with policies; `edit` is called when the run's files are read."""
    kit = reopen(run)
    start, reward = (
        Checkpoint(base=kit.plan.base, revision="", adapter=str(run.parent / name))
        for name in ("start", "reward")
    )
    ours, machines = SalmonIngredients(kit, kit.plan.salmon), RealMachines(progress)
    instructions = sorted(kept(run, INSTRUCTIONS, Instruction), key=lambda one: one.id)
    oversight = ours.oversight(run, machines.note, reward)
    policies = ours.policies(start, reward, machines.policy_trainer, oversight)
    edit()
    orders = waiting_policies(run, policies, instructions, INSTRUCTIONS)
    machines.train_ahead(orders, at_once)
    made, store = {}, Run(run, progress=progress)
    try:
        for name, one in policies.items():
            made[name] = Path(store.train(one, instructions).adapter).parent
    finally:
        store.close()
    return made


if __name__ == "__main__":
    catch_signals()
    sys.exit(exit_code_of(lambda: train(Path(sys.argv[1]), 2, Silent()), sys.argv[1:]))
