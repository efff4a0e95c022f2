"""The trainers a recipe works with, started when they are first needed, and what they report.

examples | pairs | prompts  ->  Lazy…Trainer  ->  TRL or PPO in memory, at the first training
training.json               ->  Funnel: what became of every example

Showing the steps of a training on a run's progress is all that is added here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from selfalign.core.funnel import Drops, Funnel
from selfalign.core.progress import Progress
from selfalign.core.protocols import (
    DpoTraining,
    FineTuning,
    PolicyPrompt,
    PolicyTrainer,
    PolicyTraining,
    PreferredText,
    RewardFunction,
    RewardPair,
    RewardTraining,
)
from selfalign.core.records import Checkpoint, TrainingExample
from selfalign.recipes.json_file import read_json

TRAINING_FILE = "training.json"
"""Where a trainer leaves its report, in the folder of the training."""


class LazyTrainer:
    """The supervised trainer, whose libraries are imported at the first training."""

    def __init__(self, progress: Progress, make_room: Callable[[], None]) -> None:
        """Show steps on `progress`; `make_room` is called before a training."""
        self._progress, self._make_room = progress, make_room

    def __call__(
        self,
        examples: Sequence[TrainingExample],
        *,
        base: Checkpoint,
        recipe: FineTuning,
        folder: Path,
    ) -> None:
        """Train and leave the weights in `folder / "weights"`; say what became of the examples."""
        from selfalign.trainers.lora_sft import TrlSupervisedTrainer  # TRL and torch take seconds

        self._make_room()
        name = folder.name.partition("-")[0]
        steps = _Steps(self._progress, f"{name} training steps")
        train = TrlSupervisedTrainer(on_step=lambda at: steps.reached(at.step, at.steps))
        train(examples, base=base, recipe=recipe, folder=folder)
        self._progress.finish(funnel_of_training(folder))


class LazyRewardTrainer:
    """The reward model's trainer, whose libraries are imported at the first training."""

    def __init__(self, progress: Progress, make_room: Callable[[], None]) -> None:
        """Show steps on `progress`; `make_room` is called before a training."""
        self._progress, self._make_room = progress, make_room

    def __call__(
        self,
        pairs: Sequence[RewardPair],
        *,
        base: Checkpoint,
        recipe: RewardTraining,
        folder: Path,
    ) -> None:
        """Train and leave the weights in `folder / "weights"`; say what became of the pairs."""
        from selfalign.trainers.reward_model import TrlRewardTrainer  # TRL and torch take seconds

        self._make_room()
        name = folder.name.partition("-")[0]
        steps = _Steps(self._progress, f"{name} training steps")
        train = TrlRewardTrainer(on_step=lambda at: steps.reached(at.step, at.steps))
        train(pairs, base=base, recipe=recipe, folder=folder)
        self._progress.finish(funnel_of_training(folder))


class LazyPolicyTrainer:
    """The policy trainers, PPO or TRL's, whose libraries are imported at the first training."""

    def __init__(self, progress: Progress, make_room: Callable[[], None]) -> None:
        """Show steps on `progress`; `make_room` is called before a training."""
        self._progress, self._make_room = progress, make_room

    def __call__(
        self,
        prompts: Sequence[PolicyPrompt],
        *,
        policy: Checkpoint,
        reward_model: Checkpoint,
        rewards: RewardFunction,
        recipe: PolicyTraining,
        folder: Path,
    ) -> None:
        """Train and leave the weights in `folder / "weights"`; say what became of the prompts."""
        self._make_room()
        name = folder.name.partition("-")[0]
        steps = _Steps(self._progress, f"{name} batches of rollouts")
        train = _policy_trainer(recipe, lambda at, of: steps.reached(at + 1, of))
        train(
            prompts,
            policy=policy,
            reward_model=reward_model,
            rewards=rewards,
            recipe=recipe,
            folder=folder,
        )
        self._progress.finish(funnel_of_training(folder))


def _policy_trainer(recipe: PolicyTraining, reached: Callable[[int, int], None]) -> PolicyTrainer:
    """Return the trainer of an algorithm; TRL and torch take seconds to import."""
    if recipe.algorithm == "ppo":
        from selfalign.trainers.ppo import PpoTrainer

        return PpoTrainer(on_step=lambda at, of: reached(at.step, of))
    from selfalign.trainers.trl_policy import TrlPolicyTrainer

    return TrlPolicyTrainer(on_step=lambda at, of: reached(at.step, of))


class LazyDpoTrainer:
    """The trainer without a reward model, whose libraries are imported at the first training."""

    def __init__(self, progress: Progress, make_room: Callable[[], None]) -> None:
        """Show steps on `progress`; `make_room` in memory before a training."""
        self._progress, self._make_room = progress, make_room

    def __call__(
        self,
        pairs: Sequence[PreferredText],
        *,
        policy: Checkpoint,
        recipe: DpoTraining,
        folder: Path,
    ) -> None:
        """Train and leave the weights in `folder / "weights"`; say what became of the pairs."""
        from selfalign.trainers.dpo import TrlDpoTrainer  # TRL and torch take seconds

        self._make_room()
        name = folder.name.partition("-")[0]
        steps = _Steps(self._progress, f"{name} training steps")
        train = TrlDpoTrainer(on_step=lambda at: steps.reached(at.step, at.steps))
        train(pairs, policy=policy, recipe=recipe, folder=folder)
        self._progress.finish(funnel_of_training(folder))


@dataclass
class _Steps:
    """Turns "this is step n of m" into the beginning and advancing of a stage."""

    progress: Progress
    name: str
    at: int | None = None

    def reached(self, step: int, steps: int) -> None:
        if self.at is None:
            self.at = step - 1
            self.progress.start(self.name, steps, self.at)
        self.progress.advance(step - self.at)
        self.at = step


class _Account(BaseModel):
    """What all trainers report; examples are prompts in RL and pairs in DPO."""

    model_config = ConfigDict(extra="ignore")

    examples: int = Field(validation_alias=AliasChoices("examples", "prompts", "pairs"))
    held_out: int = Field(default=0, validation_alias=AliasChoices("held_out", "probes"))
    dropped: int = 0
    probes_dropped: int = 0
    seconds: float


def funnel_of_training(folder: Path) -> Funnel:
    """Say of a finished training what a funnel says of a stage: what became of every example."""
    report = read_json(_Account, folder / TRAINING_FILE)
    drops = (
        ("held_out", report.held_out),
        ("too_long", report.dropped),
        ("probe_too_long", report.probes_dropped),
    )
    return Funnel(
        stage=folder.name.partition("-")[0],
        key=folder.name,
        inputs=report.examples + sum(n for _, n in drops),
        kept=report.examples,
        records=report.examples,
        dropped=tuple(Drops(reason=r, count=n, examples=()) for r, n in drops if n),
        seconds=report.seconds,
    )
