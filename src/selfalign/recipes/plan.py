"""A plan: everything a run is told, as one frozen value with the papers' numbers as defaults.

    shipped name | file  +  key.sub=value …  ->  Plan

Three plans ship: `pocket` (the embedded model on a laptop), `one_gpu`, and `papers`, which spells
out the numbers of arXiv:2305.03047v2. A model name is a value in a plan, never a plan of its own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

import selfalign
from selfalign.core.errors import PlanError
from selfalign.core.novelty import NoveltySettings
from selfalign.core.protocols import FineTuning
from selfalign.core.ranges import AtLeastOne, NotNegative
from selfalign.core.records import Settings
from selfalign.evaluation.answering import AnsweringConfig
from selfalign.recipes.plan_file import read_settings
from selfalign.recipes.plan_salmon import Salmon
from selfalign.self_align.stage1_self_instruct import Growth, SelfInstructConfig, TaskFilters
from selfalign.self_align.stage1_topic_guided_red_teaming import RedTeamingConfig
from selfalign.self_align.stage1_topics import ROUNDS, TopicConfig, TopicFilters
from selfalign.self_align.stage2_self_alignment import SelfAlignmentConfig
from selfalign.self_align.stage3_principle_engraving import PAPER_ENGRAVING
from selfalign.self_align.stage4_verbose_cloning import PAPER_VERBOSE, VerboseConfig

SHIPPED = Path(selfalign.__file__).parent / "configs"
"""Where the plans that come with the package lie."""

StageName = Literal[
    "stage1", "stage2", "stage3", "stage4", "salmon1", "salmon2", "salmon3", "evaluation"
]
"""Where a run can be stopped, in order."""


class Stage1(Settings):
    """Where instructions come from: self-instruct, topics, red-teaming, and their union."""

    self_instruct: SelfInstructConfig = SelfInstructConfig()
    task_filters: TaskFilters = TaskFilters()
    growth: Growth = Growth()
    topics: TopicConfig = TopicConfig()
    topic_filters: TopicFilters = TopicFilters()
    topic_rounds: NotNegative = ROUNDS
    """The authors' launch script; 0: only the topics a person wrote."""
    red_teaming: RedTeamingConfig = RedTeamingConfig()
    merge_novelty: NoveltySettings | None = None
    """The authors: None, the two halves are joined as they are, but for exact repetitions."""


class Stage3(Settings):
    """How the principles are engraved."""

    chat: str = "chat/standard"
    """The paper: the standard prompt alone."""
    identity: bool = True
    """The paper: the identity questions and answers are added."""
    fine_tuning: FineTuning = PAPER_ENGRAVING


class Stage4(Settings):
    """How the engraved model answers at length, and how the final model learns it."""

    verbose: VerboseConfig = VerboseConfig()
    chats: Annotated[tuple[str, ...], Field(min_length=1)] = ("chat/standard", "chat/concise")
    """The paper: standard and concise prompts take turns."""
    identity: bool = True
    """The paper: the identity questions are asked as well."""
    fine_tuning: FineTuning = PAPER_VERBOSE


class Evaluation(Settings):
    """How the models of a run are compared; each default says whose it is."""

    task: Literal["calf"] | None = None
    """Ours: the exam to sit; None: no exam fits an arbitrary model, so nothing is evaluated."""
    n: AtLeastOne = 400
    """Ours: questions, the kinds in turn."""
    seed: int = 1
    """Ours: draws the questions."""
    chat: str = "chat/standard"
    """The authors, for measured numbers: the standard prompt."""
    answering: AnsweringConfig = AnsweringConfig()


class Plan(Settings):
    """A run of SELF-ALIGN (arXiv:2305.03047v2), and of SALMON (arXiv:2310.05910v2) if asked for."""

    base: str
    """The base model: "calf", a directory, or a Hub name."""
    library: str | None = None
    """A shipped overlay of the library, such as "pocket"; None: the default library."""
    constitution: str = "self_align"
    """Name of a file in the library's constitutions/."""
    exemplars: str = "self_align"
    """Name of a file in the library's exemplars/."""
    assistant: str = "Calf"
    """Ours: what the assistant calls itself."""
    maker: str = "the selfalign project"
    """Ours: who the assistant says made it."""
    seed: int = 0
    """Ours: every random draw of the run derives from it."""
    limit: AtLeastOne | None = None
    """Ours: at most so many instructions go on from stage 1; None: all."""
    batch_size: AtLeastOne | None = None
    """Ours: rows generated at once; None: the engine decides. Changes speed, no outcome."""
    stage1: Stage1 = Stage1()
    stage2: SelfAlignmentConfig = SelfAlignmentConfig()
    stage3: Stage3 = Stage3()
    stage4: Stage4 = Stage4()
    salmon: Salmon | None = None
    """How the final model goes on to reinforcement learning; None: it does not."""
    evaluation: Evaluation = Evaluation()


def load_plan(name: str, overrides: Sequence[str] = ()) -> Plan:
    """Read a shipped plan by name, or a plan file by path, and apply overrides.

    Raises:
        PlanError: there is no such plan, or something in it or in an override is wrong.
    """
    return read_settings(Plan, plan_path(name), overrides)


def plan_path(name: str) -> Path:
    """Return where a plan lies.

    Raises:
        PlanError: it is neither shipped nor a file; the shipped ones follow.
    """
    shipped = SHIPPED / f"{name}.yaml"
    if name in shipped_plans():
        return shipped
    path = Path(name).expanduser()
    if not path.exists():
        raise PlanError(
            f"there is no plan {name!r}: the shipped ones are {', '.join(shipped_plans())}, and "
            f"there is no file of that name. Correct the name, or write the file.",
            field="PLAN",
        )
    return path


def shipped_plans() -> list[str]:
    """Return the names of the plans that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))
