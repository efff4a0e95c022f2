"""The kinds of stage and training a run can hold, by name.

run folder  ->  manifests  ->  which were written by code that has changed since
"""

from selfalign.core.funnel import Funnel
from selfalign.core.stage import Made
from selfalign.core.store import Run
from selfalign.evaluation.answering import Answering
from selfalign.recipes.in_context import AnsweringInContext
from selfalign.recipes.trainings import TRAINING_FILE, funnel_of_training
from selfalign.salmon.direct_preferences import DirectPreferences
from selfalign.salmon.stage1_synthetic_preferences import PairSampling, SyntheticPreferences
from selfalign.salmon.stage2_aggregation import Aggregation
from selfalign.salmon.stage2_reward_model import RewardModelling
from selfalign.salmon.stage3_reinforcement_learning import ReinforcementLearning
from selfalign.salmon.varied_start import VariedStart
from selfalign.self_align.stage1_merge import InstructionSelection
from selfalign.self_align.stage1_self_instruct import SelfInstruct, TaskSelection
from selfalign.self_align.stage1_topic_guided_red_teaming import RedTeaming, RedTeamingSelection
from selfalign.self_align.stage1_topics import TopicBrainstorming, TopicSelection
from selfalign.self_align.stage2_self_alignment import SelfAlignment
from selfalign.self_align.stage3_principle_engraving import PrincipleEngraving
from selfalign.self_align.stage4_verbose_cloning import FinalFineTuning, VerboseCloning

KINDS: tuple[type[Made], ...] = (
    SelfInstruct,
    TaskSelection,
    TopicBrainstorming,
    TopicSelection,
    RedTeaming,
    RedTeamingSelection,
    InstructionSelection,
    SelfAlignment,
    PrincipleEngraving,
    VerboseCloning,
    FinalFineTuning,
    PairSampling,
    SyntheticPreferences,
    Aggregation,
    RewardModelling,
    VariedStart,
    ReinforcementLearning,
    DirectPreferences,
    Answering,
    AnsweringInContext,
)
"""Everything the recipes fill and train, in the order of the paper."""


def all_funnels(run: Run) -> list[Funnel]:
    """Return what became of all inputs and training examples, in the paper's order.

    Rounds of one stage keep the order in which they were begun.
    """
    order = {kind.name: n for n, kind in enumerate(KINDS)}
    trained = sorted(path.parent for path in run.path.glob(f"*/{TRAINING_FILE}"))
    funnels = [*run.funnels(), *(funnel_of_training(folder) for folder in trained)]
    return sorted(funnels, key=lambda funnel: order.get(funnel.stage, len(order)))


def changed_code(run: Run) -> list[str]:
    """Say which stages of a run were written by other code than today's, one sentence each."""
    today = {kind.name: object.__new__(kind).source_digest for kind in KINDS}
    sentences: list[str] = []
    for funnel in run.funnels():
        written = run.manifest(funnel.key).source_digest
        if today.get(funnel.stage, written) != written:
            sentences.append(
                f"the code of {funnel.stage} changed since {funnel.inputs:,} of its outcomes were "
                f"written in {funnel.key}; if it could alter them, raise `version`."
            )
    return sentences
