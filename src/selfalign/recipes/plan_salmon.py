"""The part of a plan that SALMON reads, with the paper's numbers as defaults.

Paper: arXiv:2310.05910v2, one class per step: preferences, reward model, reinforcement learning.
"""

from typing import Literal

from pydantic import Field

from selfalign.core.protocols import DpoTraining, FineTuning, PolicyTraining, RewardTraining
from selfalign.core.ranges import AtLeastOne, NotNegative
from selfalign.core.records import Settings
from selfalign.salmon.preference_pretraining import PRETRAINING
from selfalign.salmon.principle_sampling import PrincipleSamplingConfig
from selfalign.salmon.probes import ProbeConfig
from selfalign.salmon.prompt_types import PromptTypes
from selfalign.salmon.reward_hacking import WatchConfig
from selfalign.salmon.rewards import RewardConfig
from selfalign.salmon.schedule import Schedule
from selfalign.salmon.stage1_synthetic_preferences import PairConfig
from selfalign.salmon.stage2_aggregation import AggregationConfig


class Preferences(Settings):
    """SALMON 1: pairs of the policy's answers, judged one principle at a time."""

    constitution: str = "salmon_preferences"
    """Name of a file in the library's constitutions/: what pairs are judged by."""
    chat: str = "chat/concise"
    """The authors' launch script: how the policy is asked."""
    sampled_from: Literal["final", "engraved", "base"] = "final"
    """The paper: the model that SELF-ALIGN has trained answers."""
    pairs: PairConfig = PairConfig()
    judge: Literal["final", "engraved", "base"] = "final"
    """The paper: the model that answers also judges."""
    limit: AtLeastOne | None = None
    """Ours: pairs of at most so many instructions; None: of all."""


class FirstLesson(Settings):
    """SALMON 2, before principles: which of two answers people liked better."""

    file: str
    """JSON lines of preferences, each with a prompt, a chosen and a rejected answer."""
    training: RewardTraining = PRETRAINING
    """The adapter's shape and the head's start are taken from the training that follows."""


class RewardModelling(Settings):
    """SALMON 2: labels from the judgements, and a reward model from the labels."""

    aggregation: AggregationConfig = AggregationConfig()
    language_rule: bool = True
    """The authors' code: an answer in another language than its instruction loses."""
    stubs: float = Field(default=0.1, ge=0, le=1)
    """Ours: for this share of the labels, the better answer is also shown against a stub."""
    strays: float = Field(default=0.1, ge=0, le=1)
    """Ours: for this share of the labels without a negated clause, the better answer is also shown
    against one that another request was given; every other time against the likest of them."""
    stray_answers: float = Field(default=0.1, ge=0, le=1)
    """Ours: this share of what SELF-ALIGN answered is shown, under any principles, against an
    answer to another request, every other time against one that would fit anything."""
    pretraining: FirstLesson | None = None
    """The paper has it; None: human preferences are not used at all."""
    training: RewardTraining = RewardTraining()


class Control(Settings):
    """One policy of the control matrix: the same start, trained under other principles."""

    name: str
    """Of the policy in the run's models.json, behind "policy-"."""
    constitution: str | None = None
    """In place of the plan's; None: the plan's."""
    always: tuple[str, ...] = ()
    """Always on, beside the plan's interventions."""
    k: NotNegative | None = None
    """Principles drawn per query; None: as many as the plan says. 0: what is always on alone."""


class Reinforcement(Settings):
    """SALMON 3: the policy is rewarded under principles that can change while it runs."""

    constitution: str = "salmon_rl"
    """Name of a file in the library's constitutions/: what principles are drawn from."""
    interventions: str | None = "salmon_interventions"
    """The same: what is always on; None: nothing."""
    start: Literal["final", "engraved", "varied"] = "final"
    """The paper: RL continues the model that SELF-ALIGN has trained. "varied": one trained as the
    engraved model was, and on both answers of every pair besides, so that its answers differ."""
    variety: FineTuning = FineTuning()
    """Ours: how a varied start is trained."""
    chat: str = "chat/standard"
    """The authors: how the policy is asked."""
    principles: PrincipleSamplingConfig = PrincipleSamplingConfig()
    rewards: RewardConfig = RewardConfig()
    language_bonus: bool = True
    """The paper: answers in the language of the request are worth more."""
    prompt_types: PromptTypes = PromptTypes()
    """Ours: how requests are sorted into general, reasoning and red-teaming."""
    schedule: Schedule = Schedule()
    """Which principles hold from which step on; the default: always the same."""
    probes: ProbeConfig | None = ProbeConfig()
    """Ours: how the policy is watched under single principles, those it is judged by; None: not."""
    watch: WatchConfig | None = WatchConfig()
    """Ours: when rollouts look like cheating; None: nobody looks."""
    remedies: str = "salmon_remedies"
    """Ours: name of a file in the library's constitutions/ with a principle against each hack."""
    training: PolicyTraining = PolicyTraining()
    controls: tuple[Control, ...] = ()
    """Ours: more policies from the same start, for the control matrix."""
    at_once: AtLeastOne | None = None
    """Ours: policies trained at once, each in a process with one core; None: as many as there are
    cores, four at most, where the base is small and on the CPU, else one. Changes speed alone."""
    dpo: DpoTraining | None = None
    """Ours: the baseline, trained on the same preferences directly; None: there is none."""


class Salmon(Settings):
    """What becomes of SELF-ALIGN's final model."""

    preferences: Preferences = Preferences()
    reward_model: RewardModelling = RewardModelling()
    policy: Reinforcement = Reinforcement()
