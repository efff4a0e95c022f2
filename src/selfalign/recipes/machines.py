"""The machines a recipe works with: engines and trainers, started when they are first needed.

    name | Checkpoint  ->  LazyModel  ->  weights in memory, at the first text
    examples           ->  LazyTrainer  ->  TRL in memory, at the first training

A finished run names its stages by fingerprints alone, so running it again, or only looking at its
plan, loads no weights and imports no GPU library.
"""

import contextlib
import ctypes
import gc
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

from selfalign.core.progress import Progress, Silent
from selfalign.core.protocols import (
    Completion,
    DpoTrainer,
    LanguageModel,
    PolicyTrainer,
    RewardTrainer,
    Sampling,
    SupervisedTrainer,
)
from selfalign.core.records import Checkpoint
from selfalign.core.weights import identify
from selfalign.engines.open import open_model
from selfalign.recipes.policy_workers import PolicyOrder, train_side_by_side, trainings_for
from selfalign.recipes.trainings import (
    LazyDpoTrainer,
    LazyPolicyTrainer,
    LazyRewardTrainer,
    LazyTrainer,
)

SERVERS = ("http://", "https://", "vllm:")
"""How names of models behind a server begin; only the server knows what they are."""


class Machines(Protocol):
    """What a recipe needs to turn names into work; tests bring their own."""

    @property
    def trainer(self) -> SupervisedTrainer:
        """What changes weights by examples."""
        ...

    @property
    def reward_trainer(self) -> RewardTrainer:
        """What makes a reward model out of pairs."""
        ...

    @property
    def policy_trainer(self) -> PolicyTrainer:
        """What improves a policy by rewards."""
        ...

    @property
    def dpo_trainer(self) -> DpoTrainer:
        """What teaches a policy preferences directly."""
        ...

    def note(self, text: str) -> None:
        """Tell whoever watches the run something at once."""
        ...

    def identify(self, model: str) -> Checkpoint:
        """Name a base model as a checkpoint."""
        ...

    def open(self, model: str | Checkpoint) -> LanguageModel:
        """Return a model ready to generate."""
        ...

    def train_ahead(self, orders: Sequence[PolicyOrder], at_once: int | None) -> None:
        """Train several policies at once where that is faster; the recipe trains what is left."""
        ...


class RealMachines:
    """The transformers engine and the TRL trainer, with one model in memory at a time."""

    def __init__(self, progress: Progress | None = None, batch_size: int | None = None) -> None:
        """Show training steps on `progress`; `batch_size` None: the engine decides."""
        self._batch_size = batch_size
        self._slot = Slot()
        progress = progress or Silent()
        self.trainer: SupervisedTrainer = LazyTrainer(progress, self._slot.empty)
        self.reward_trainer: RewardTrainer = LazyRewardTrainer(progress, self._slot.empty)
        self.policy_trainer: PolicyTrainer = LazyPolicyTrainer(progress, self._slot.empty)
        self.dpo_trainer: DpoTrainer = LazyDpoTrainer(progress, self._slot.empty)
        self.note = progress.note
        self._progress = progress

    def identify(self, model: str) -> Checkpoint:
        """Name a base model as a checkpoint; a Hub name without a revision is opened for it."""
        return self._lazy(model).checkpoint

    def open(self, model: str | Checkpoint) -> LanguageModel:
        """Return a model whose weights load when they are needed."""
        return self._lazy(model)

    def train_ahead(self, orders: Sequence[PolicyOrder], at_once: int | None) -> None:
        """Train several policies at once, in processes; `at_once` None: if the base is small."""
        if len(orders) > 1:
            wanted = at_once if at_once is not None else trainings_for(orders[0].start)
            self._slot.empty()
            train_side_by_side(orders, wanted, self._progress)

    def _lazy(self, model: str | Checkpoint) -> "LazyModel":
        return LazyModel(model, self._batch_size, self._slot)


class Slot:
    """Room for the weights of one model; who loads next takes the place of who was there."""

    def __init__(self) -> None:
        """Begin empty."""
        self._key: str | None = None
        self._opened: LanguageModel | None = None

    def open(self, model: str | Checkpoint, batch_size: int | None) -> LanguageModel:
        """Return the model's engine, letting go of another model's first."""
        key = model if isinstance(model, str) else model.fingerprint
        if self._opened is None or key != self._key:
            self.empty()
            self._key, self._opened = key, open_model(model, batch_size=batch_size)
        return self._opened

    def empty(self) -> None:
        """Let go of the weights, before a training needs the memory."""
        self._key = self._opened = None
        give_memory_back()


def give_memory_back() -> None:
    """Hand what was freed back to the system, where the C library can (glibc).

    It keeps what threads have freed for those threads. A run of a dozen trainings in one process
    held 10 GB so, of which no training by itself needs half.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another system's C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


class LazyModel:
    """A `LanguageModel` whose weights are loaded when the first text is asked for."""

    def __init__(
        self, model: str | Checkpoint, batch_size: int | None = None, slot: Slot | None = None
    ) -> None:
        """Take the name.

        Raises:
            ModelError: there is no such model.
        """
        self._model, self._batch_size, self._slot = model, batch_size, slot or Slot()
        self._named = self._identified(model)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The model as a checkpoint; a training can start from one with files of its own."""
        if self._named.revision or self._named.made_of:
            return self._named
        if self._named.base.startswith(SERVERS):
            return self._named.model_copy(update={"revision": self._opened.fingerprint})
        from selfalign.engines.hf import TransformersLM  # torch takes seconds; only Hub names
        from selfalign.engines.loading import pinned_revision

        opened = self._opened
        pinned = pinned_revision(opened.model) if isinstance(opened, TransformersLM) else ""
        return self._named.model_copy(update={"revision": pinned})

    @staticmethod
    def _identified(model: str | Checkpoint) -> Checkpoint:
        if isinstance(model, Checkpoint):
            return model
        return Checkpoint(base=model, revision="") if model.startswith(SERVERS) else identify(model)

    @property
    def fingerprint(self) -> str:
        """Names the weights; a Hub name without a revision has to be opened to be pinned."""
        return self.checkpoint.fingerprint

    @property
    def context_length(self) -> int:
        """Tokens the model can attend to, prompt and completion together."""
        return self._opened.context_length

    def generate(self, prompts: Sequence[str], sampling: Sequence[Sampling]) -> list[Completion]:
        """Continue each prompt; the answers come back in the order of the prompts."""
        return self._opened.generate(prompts, sampling) if prompts else []

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[float]:
        """Return log p(continuation | context) in nats, summed over the continuation's tokens."""
        return self._opened.loglikelihood(requests) if requests else []

    def next_token_logprobs(
        self, contexts: Sequence[str], choices: Sequence[str]
    ) -> list[list[float]]:
        """Return, per context and choice, log p (nats) of the token the choice begins with."""
        return self._opened.next_token_logprobs(contexts, choices) if contexts else []

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, special tokens not counted."""
        return self._opened.count_tokens(texts) if texts else []

    @property
    def _opened(self) -> LanguageModel:
        return self._slot.open(self._model, self._batch_size)
