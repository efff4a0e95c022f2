"""Policies trained side by side, a process and a core each, before the recipe asks for them.

    waiting policies --an order each--> policy_worker.py --checkpoint.json--> the recipe finds them
                     <-how far it is---

It is speed and nothing else: a worker trains in the folder the recipe would, from whatever it
finds there. What no worker brings to its end, the recipe trains in its own process afterwards, and
meets there whatever kept the worker from it.
"""

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Literal, cast

from selfalign.core.errors import ModelError
from selfalign.core.lock import hold
from selfalign.core.progress import Progress
from selfalign.core.records import Checkpoint, Instruction, Settings
from selfalign.core.store import FINISHED, folder_of
from selfalign.core.weights import locate
from selfalign.recipes.trainings import funnel_of_training
from selfalign.salmon.stage3_reinforcement_learning import ReinforcementLearning

_WORKER = (sys.executable, "-P", "-m", "selfalign.recipes.policy_worker")
_ONE_CORE = {"OMP_NUM_THREADS": "1"}


class PolicyOrder(Settings):
    """What a worker is told, in one line: which policy of which run to train, and from what."""

    run: Path
    policy: str
    made_of: str
    """The folder the recipe would train it in; a worker that comes to another refuses."""
    start: Checkpoint
    reward: Checkpoint
    instructions: str
    """Folder of the run's instructions."""

    @property
    def folder(self) -> Path:
        """Where the policy is trained."""
        return self.run / self.made_of

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return (self.folder / FINISHED).exists()


class Told(Settings):
    """What a worker tells, a line each."""

    what: Literal["start", "advance", "note"]
    total: int = 0
    """Batches of rollouts the training has."""
    n: int = 0
    """Batches that are done: of an earlier process ("start"), or more of them ("advance")."""
    text: str = ""


def waiting_policies(
    run: Path,
    policies: Mapping[str, ReinforcementLearning],
    instructions: Sequence[Instruction],
    folder: str,
) -> list[PolicyOrder]:
    """Return an order for each policy a run has not finished; `folder` holds its instructions.

    Policies of other names that are the same training are one order.
    """
    orders: dict[str, PolicyOrder] = {}
    for name, one in policies.items():
        order = PolicyOrder(
            run=run,
            policy=name,
            made_of=folder_of(one, instructions),
            start=one.policy,
            reward=one.reward_model,
            instructions=folder,
        )
        orders.setdefault(order.made_of, order)
    return [order for order in orders.values() if not order.finished]


def trainings_for(start: Checkpoint) -> int:
    """Say how many policies to train at once from a start, a core each; one, if that is no gain."""
    from selfalign.trainers import side_by_side  # torch takes seconds

    try:
        base = locate(start).directory
    except ModelError:
        return 1  # the training itself says what is wrong
    return 1 if base is None else side_by_side.trainings_for(base)


def train_side_by_side(orders: Sequence[PolicyOrder], at_once: int, progress: Progress) -> None:
    """Train policies of one run in processes, `at_once` of them at a time, in their order.

    A policy whose worker fails is left unfinished, and a sentence says so. No worker outlives this
    call, however it ends; nor this process, should it be killed.

    Raises:
        StoreError: another process writes to the run.
    """
    at_once = min(at_once, len(orders))
    if at_once > 1 and hold(orders[0].run):
        _Shift(at_once, progress).train(orders)


class _Shift:
    """The workers of one call, and what is shown of them."""

    def __init__(self, at_once: int, progress: Progress) -> None:
        self._at_once, self._progress = at_once, progress
        self._heard: SimpleQueue[tuple[str, Told | None]] = SimpleQueue()
        self._working: dict[str, _Worker] = {}

    def train(self, orders: Sequence[PolicyOrder]) -> None:
        name = f"salmon.stage3 batches of rollouts, {self._at_once} at a time"
        shown, waiting = _Joint(self._progress, name, len(orders)), deque(orders)
        try:
            while waiting or self._working:
                while waiting and len(self._working) < self._at_once:
                    self._begin(waiting.popleft())
                if not self._working:
                    break  # none of the last ones could be started
                policy, told = self._heard.get()
                if told is None:
                    self._end(self._working.pop(policy))
                else:
                    shown.tell(policy, told)
        finally:
            for worker in self._working.values():
                worker.stop()
        for order in orders:
            if order.finished:
                self._progress.finish(funnel_of_training(order.folder))

    def _begin(self, order: PolicyOrder) -> None:
        try:
            self._working[order.policy] = _Worker(order, self._heard)
        except OSError as error:  # no more processes, memory or files
            self._left(order, f"it could not be started: {error.strerror or error}")

    def _end(self, worker: "_Worker") -> None:
        status = worker.wait()
        if status:
            log = worker.log
            why = f"{log} says why" if log.exists() else f"it ended with status {status}"
            self._left(worker.order, why)

    def _left(self, order: PolicyOrder, why: str) -> None:
        self._progress.note(
            f"{order.policy} could not be trained in a process of its own ({why}); it is trained "
            f"here instead, after the others."
        )


class _Worker:
    """A process that trains one policy."""

    def __init__(self, order: PolicyOrder, heard: "SimpleQueue[tuple[str, Told | None]]") -> None:
        self.order, self._heard = order, heard
        self.log = order.run / "logs" / f"{order.made_of}.log"
        """What it says on its way down; gone if it says nothing."""
        self.log.parent.mkdir(exist_ok=True)
        with self.log.open("wb") as errors:
            self._process = subprocess.Popen(
                _WORKER,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **_ONE_CORE},
                start_new_session=True,  # Ctrl-C is ours; the worker ends when we do
            )
        self._ear = threading.Thread(target=self._listen, daemon=True)
        self._ear.start()
        with suppress(BrokenPipeError):  # it has ended already, and its status says so
            # Standard input stays open: where it closes, we are dead.
            self._words.write(order.model_dump_json().encode() + b"\n")
            self._words.flush()

    def wait(self) -> int:
        """Return its exit status, once it has ended."""
        status = self._process.wait()
        self._ear.join()
        for pipe in (self._words, self._voice):
            with suppress(BrokenPipeError):
                pipe.close()
        if self.log.stat().st_size == 0:
            self.log.unlink()
            with suppress(OSError):  # holds other logs
                self.log.parent.rmdir()
        return status

    def stop(self) -> None:
        """End it; its last checkpoint stays."""
        self._process.kill()
        self.wait()

    def _listen(self) -> None:
        for line in self._voice:
            with suppress(ValueError):  # it was killed in the middle of a line
                self._heard.put((self.order.policy, Told.model_validate_json(line)))
        self._heard.put((self.order.policy, None))

    @property
    def _words(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdin)

    @property
    def _voice(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdout)


@dataclass
class _Joint:
    """Several trainings shown as one stage."""

    progress: Progress
    name: str
    policies: int
    totals: dict[str, int] = field(default_factory=dict[str, int])
    whole: int = 0
    done: int = 0

    def tell(self, policy: str, told: Told) -> None:
        """Show what a worker tells."""
        if told.what == "note":
            self.progress.note(told.text)
        elif told.what == "advance":
            self.done += told.n
            self.progress.advance(told.n)
        else:
            self._began(policy, told)

    def _began(self, policy: str, told: Told) -> None:
        """Begin the stage, or begin it again if more or less of it is left than was thought.

        Those that have told nothing yet are thought to be as long as this one.
        """
        self.totals[policy] = told.total
        whole = sum(self.totals.values()) + told.total * (self.policies - len(self.totals))
        if whole != self.whole or told.n:
            self.whole, self.done = whole, self.done + told.n
            self.progress.start(self.name, self.whole, self.done)
