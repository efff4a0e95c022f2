"""From the SALMON part of a plan to the values its stages are made of.

    plan.salmon + library folder  ->  SalmonIngredients  ->  one method per stage of the paper

Reading a file or a wrong name fails here, before any model is opened. Nothing here asks a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from selfalign.core.constitution import Constitution
from selfalign.core.errors import InputError
from selfalign.core.protocols import LanguageModel, RewardTrainer
from selfalign.core.records import Checkpoint, JudgedPair
from selfalign.recipes.ingredients import Ingredients
from selfalign.recipes.plan_salmon import Salmon
from selfalign.salmon.degenerate_negatives import degenerate_negatives
from selfalign.salmon.label_rules import LanguageIdentifier
from selfalign.salmon.records import LabelledPair
from selfalign.salmon.reward_prompt import RewardPrompt
from selfalign.salmon.stage1_synthetic_preferences import PairSampling, SyntheticPreferences
from selfalign.salmon.stage2_aggregation import Aggregation, aggregate_over
from selfalign.salmon.stage2_reward_model import RewardModelling


@dataclass(frozen=True)
class SalmonIngredients:
    """The SALMON part of a plan and the texts it names."""

    kit: Ingredients
    settings: Salmon

    @cached_property
    def preferences(self) -> Constitution:
        """The principles pairs are judged by, each with its opposite."""
        return self.kit.library.constitution(self.settings.preferences.constitution)

    @cached_property
    def reward_prompt(self) -> RewardPrompt:
        """What the reward model reads."""
        prompt = self.kit.library.prompt
        return RewardPrompt(prompt("salmon/reward_model"), prompt("salmon/reward_model_rl"))

    def pair_sampling(self, lm: LanguageModel) -> PairSampling:
        """SALMON 1, two answers to every instruction."""
        plan, ours = self.kit.plan, self.settings.preferences
        return PairSampling(
            lm,
            self.kit.chat(ours.chat),
            plan.assistant,
            plan.maker,
            config=ours.pairs,
            seed=plan.seed,
        )

    def judging(self, lm: LanguageModel) -> SyntheticPreferences:
        """SALMON 1, every pair under every principle."""
        prompt = self.kit.library.prompt("salmon/judge_principle")
        return SyntheticPreferences(lm, self.preferences, prompt)

    def aggregation(self, judged: Sequence[JudgedPair]) -> Aggregation:
        """SALMON 2, labels; made of all judgements, whose spread scales them."""
        ours = self.settings.reward_model
        return aggregate_over(
            judged,
            self.preferences,
            ours.aggregation,
            language_of=_languages() if ours.language_rule else None,
            seed=self.kit.plan.seed,
        )

    def with_stubs(self, labels: Sequence[LabelledPair]) -> list[LabelledPair]:
        """SALMON 2, what the reward model learns from: labels, and some against a stub."""
        share = self.settings.reward_model.stubs
        return [*labels, *degenerate_negatives(labels, share=share, seed=self.kit.plan.seed)]

    def reward_modelling(self, base: Checkpoint, trainer: RewardTrainer) -> RewardModelling:
        """SALMON 2, the training."""
        recipe = self.settings.reward_model.training
        return RewardModelling(base, recipe, self.preferences, self.reward_prompt, trainer=trainer)


def _languages() -> LanguageIdentifier:
    try:
        from selfalign.salmon.languages import PyLangId  # an optional package
    except ModuleNotFoundError as error:
        raise InputError(
            "telling languages apart needs the package py3langid. Install selfalign[language], or "
            "set salmon.reward_model.language_rule=false and salmon.policy.language_bonus=false."
        ) from error
    return PyLangId()
