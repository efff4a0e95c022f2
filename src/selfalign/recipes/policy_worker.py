"""Trains one policy of a run, beside others, for the process that writes the run.

    an order, one line on standard input  ->  Run.train  ->  lines of `Told` on standard output

Started by policy_workers.py and by nothing else. Standard input is a pipe from the owner of the
run: when it closes, the owner is done or dead, even by SIGKILL, and so is this process at once. The
training then stands where any killed one does.
"""

import os
import sys
import threading
import warnings
from typing import IO

from selfalign.core.errors import SelfAlignError, StoreError
from selfalign.core.funnel import Funnel
from selfalign.core.lock import share_of_parent
from selfalign.core.records import Instruction
from selfalign.core.store import Run, folder_of
from selfalign.recipes.chapters import kept
from selfalign.recipes.everything import reopen
from selfalign.recipes.ingredients_salmon import SalmonIngredients
from selfalign.recipes.machines import RealMachines
from selfalign.recipes.policy_workers import PolicyOrder, Told
from selfalign.trainers.side_by_side import take_one_core


class Telling:
    """Progress as lines for the parent, which says itself what came of it."""

    def __init__(self, out: IO[str]) -> None:
        """Write to `out`."""
        self._out = out

    def start(self, stage: str, total: int, done: int) -> None:  # noqa: ARG002
        """Tell how many batches of rollouts there are, and how many are done."""
        self._tell(Told(what="start", total=total, n=done))

    def advance(self, n: int) -> None:
        """Tell of `n` more batches."""
        self._tell(Told(what="advance", n=n))

    def note(self, text: str) -> None:
        """Tell a sentence."""
        self._tell(Told(what="note", text=text))

    def finish(self, funnel: Funnel) -> None:
        """Leave it to the parent, who shows what is finished when all are."""

    def _tell(self, told: Told) -> None:
        self._out.write(told.model_dump_json() + "\n")
        self._out.flush()


def train(order: PolicyOrder, progress: Telling) -> None:
    """Train what was ordered, in the folder of the run where the recipe would.

    Raises:
        StoreError: from the run's files, this process comes to another training; or its parent
            does not hold the run.
        SelfAlignError: as the training itself.
    """
    share_of_parent(order.run)
    kit, machines = reopen(order.run), RealMachines(progress)
    if kit.plan.salmon is None:
        raise StoreError(f"the plan of {order.run} has no policies. Run its command again.")
    ours = SalmonIngredients(kit, kit.plan.salmon)
    oversight = ours.oversight(order.run, progress.note, order.reward)
    policies = ours.policies(order.start, order.reward, machines.policy_trainer, oversight)
    instructions = sorted(kept(order.run, order.instructions, Instruction), key=lambda i: i.id)
    found = folder_of(policies[order.policy], instructions)
    if found != order.made_of:
        raise StoreError(
            f"{order.policy} is {found} by the files of {order.run}, and {order.made_of} was "
            f"ordered: its plan or its library was edited since. Run its command again."
        )
    Run(order.run, progress=progress).train(policies[order.policy], instructions)


def main() -> None:
    """Be the worker; what goes wrong is told on standard error."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is nothing the parent could read
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    with open(0, "rb", buffering=0, closefd=False) as words:
        order = PolicyOrder.model_validate_json(words.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    take_one_core()
    try:
        train(order, Telling(told))
    except SelfAlignError as error:
        sys.exit(f"error: {error}")


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
