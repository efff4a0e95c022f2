"""From the SALMON part of a plan to the values its stages are made of.

    plan.salmon + library folder  ->  SalmonIngredients  ->  one method per stage of the paper

Reading a file or a wrong name fails here, before any model is opened. Nothing here asks a model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from selfalign.core.constitution import Constitution
from selfalign.core.errors import InputError, PlanError
from selfalign.core.protocols import (
    DpoTrainer,
    LanguageModel,
    PolicyTrainer,
    RewardTrainer,
    SupervisedTrainer,
)
from selfalign.core.records import (
    Checkpoint,
    JudgedPair,
    ResponsePair,
    SelfAlignedResponse,
    TrainingExample,
)
from selfalign.engines.reading import reading_of
from selfalign.recipes.ingredients import Ingredients
from selfalign.recipes.plan_salmon import Salmon
from selfalign.salmon.degenerate_negatives import degenerate_negatives
from selfalign.salmon.direct_preferences import DirectPreferences
from selfalign.salmon.label_rules import LanguageIdentifier
from selfalign.salmon.oversight import Oversight, Watch
from selfalign.salmon.preference_pretraining import (
    PRETRAINING,
    PreferencePretraining,
    Preferences,
    read_preferences,
)
from selfalign.salmon.probes import Probes
from selfalign.salmon.records import LabelledPair
from selfalign.salmon.reward_prompt import RewardPrompt
from selfalign.salmon.rewarding import Rewarding
from selfalign.salmon.schedule import PrinciplePlan, Schedule, principle_plan
from selfalign.salmon.stage1_synthetic_preferences import PairSampling, SyntheticPreferences
from selfalign.salmon.stage2_aggregation import Aggregation, aggregate_over
from selfalign.salmon.stage2_reward_model import RewardModelling
from selfalign.salmon.stage3_reinforcement_learning import ReinforcementLearning
from selfalign.salmon.steering import STEERING, Steering
from selfalign.salmon.stray_answers import StrayAnswers
from selfalign.salmon.varied_start import VariedStart, varied_examples


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
        return SyntheticPreferences(lm, self.preferences.without_rewordings, prompt)

    def aggregation(self, judged: Sequence[JudgedPair]) -> Aggregation:
        """SALMON 2, labels; made of all judgements, whose spread scales them."""
        ours = self.settings.reward_model
        return aggregate_over(
            judged,
            self.preferences.without_rewordings,
            ours.aggregation,
            language_of=_languages() if ours.language_rule else None,
            seed=self.kit.plan.seed,
        )

    def with_degenerate(
        self,
        labels: Sequence[LabelledPair],
        aligned: Sequence[SelfAlignedResponse],
        pairs: Sequence[ResponsePair],
    ) -> list[LabelledPair]:
        """SALMON 2, what the reward model learns from: labels, and pairs with a bad answer."""
        ours, seed = self.settings.reward_model, self.kit.plan.seed
        made = degenerate_negatives(labels, stubs=ours.stubs, strays=ours.strays, seed=seed)
        stray = StrayAnswers(aligned, pairs, self.preferences.names, seed)
        return [*labels, *made, *stray.labels(ours.stray_answers)]

    @cached_property
    def first_lesson(self) -> Preferences | None:
        """SALMON 2, people's preferences; None: the plan names no file of them.

        Raises:
            InputError: the file or one of its rows cannot be read, or no row is a preference.
        """
        lesson = self.settings.reward_model.pretraining
        if lesson is None:
            return None
        found = read_preferences(Path(lesson.file))
        if not found.kept:
            lost = ", ".join(f"{reason} {n:,}" for reason, n in found.dropped.items()) or "no rows"
            raise InputError(
                f"salmon.reward_model.pretraining.file: {lesson.file} holds no preference "
                f"({lost}). Give rows with two different answers to one prompt, or set "
                f"salmon.reward_model.pretraining=null."
            )
        return found

    def reward_pretraining(self, base: Checkpoint, trainer: RewardTrainer) -> PreferencePretraining:
        """SALMON 2, the training before principles; its weights are the next one's base."""
        ours = self.settings.reward_model
        lesson = PRETRAINING if ours.pretraining is None else ours.pretraining.training
        same = ("rank", "alpha", "dropout", "targets", "verdicts")
        recipe = lesson.model_copy(update={name: getattr(ours.training, name) for name in same})
        prompt = self.kit.library.prompt("salmon/reward_model_pretraining")
        return PreferencePretraining(base, recipe, prompt, trainer=trainer)

    def reward_modelling(self, base: Checkpoint, trainer: RewardTrainer) -> RewardModelling:
        """SALMON 2, the training."""
        recipe = self.settings.reward_model.training
        return RewardModelling(base, recipe, self.preferences, self.reward_prompt, trainer=trainer)

    def varied_examples(
        self, aligned: Sequence[SelfAlignedResponse], pairs: Sequence[ResponsePair]
    ) -> list[TrainingExample]:
        """SALMON 3, what a varied start learns: what was engraved, and all answers of the pairs."""
        plan, chat = self.kit.plan, self.kit.chat(self.settings.policy.chat)
        told = varied_examples(pairs, chat=chat, assistant=plan.assistant, maker=plan.maker)
        return [*self.kit.engraving_examples(aligned), *told]

    def varied_start(self, base: Checkpoint, trainer: SupervisedTrainer) -> VariedStart:
        """SALMON 3, the training of a varied start."""
        return VariedStart(base, self.settings.policy.variety, trainer=trainer)

    def principle_plans(self) -> dict[str, PrinciplePlan]:
        """SALMON 3, the principles of every policy, by its name: the plan's, then the controls'.

        Raises:
            SelfAlignError: a constitution cannot be read, or a schedule does not fit it.
        """
        ours = self.settings.policy
        k = ours.principles.k
        plans = {"policy": self._principles(ours.constitution, (), ours.schedule, k)}
        for number, one in enumerate(ours.controls):
            name, drawn = one.constitution or ours.constitution, k if one.k is None else one.k
            try:
                plans[f"policy-{one.name}"] = self._principles(name, one.always, Schedule(), drawn)
            except PlanError as error:
                field = f"salmon.policy.controls.{number}"
                raise PlanError(f"`{field}` ({one.name}): {error}", field=field) from None
        return plans

    def policies(
        self, policy: Checkpoint, reward_model: Checkpoint, trainer: PolicyTrainer, hand: Oversight
    ) -> dict[str, ReinforcementLearning]:
        """SALMON 3, a training per policy; people steer and watch that of the plan alone."""
        return {
            name: self._learning(
                policy, reward_model, principles, trainer, hand if name == "policy" else Oversight()
            )
            for name, principles in self.principle_plans().items()
        }

    def direct_preferences(
        self, policy: Checkpoint, aggregation: Aggregation, trainer: DpoTrainer
    ) -> DirectPreferences | None:
        """The baseline without a reward model; None: the plan has none."""
        plan, ours = self.kit.plan, self.settings.policy
        if ours.dpo is None:
            return None
        chat = self.kit.chat(ours.chat)
        return DirectPreferences(
            policy, chat, plan.assistant, plan.maker, aggregation.scales, ours.dpo, trainer=trainer
        )

    def oversight(
        self, run: Path, note: Callable[[str], None], reward_model: Checkpoint | None = None
    ) -> Oversight:
        """SALMON 3, who looks on and who may edit; edits must leave the reward model room."""
        ours = self.settings.policy
        probes, watch = None, None
        if ours.probes is not None:
            probes = Probes(self.preferences.without_rewordings, ours.probes)
        if ours.watch is not None:
            watch = Watch(self.kit.library.constitution(ours.remedies), ours.watch)
        reading = reading_of(reward_model) if reward_model else None
        return Oversight(Steering(run / STEERING), probes, watch, note, reading)

    def _principles(
        self, constitution: str, always: Sequence[str], schedule: Schedule, k: int
    ) -> PrinciplePlan:
        ours, library = self.settings.policy, self.kit.library
        return principle_plan(
            schedule,
            pool=library.constitution(constitution),
            interventions=library.constitution(ours.interventions) if ours.interventions else None,
            always=always,
            k=k,
            library=library,
        )

    def _learning(
        self,
        policy: Checkpoint,
        reward_model: Checkpoint,
        principles: PrinciplePlan,
        trainer: PolicyTrainer,
        hand: Oversight,
    ) -> ReinforcementLearning:
        plan, ours = self.kit.plan, self.settings.policy
        rewarding = Rewarding(
            principles,
            ours.principles.model_copy(update={"k": principles.k}),
            self.reward_prompt,
            ours.rewards,
            ours.prompt_types,
            _languages() if ours.language_bonus else None,
            plan.seed,
        )
        return ReinforcementLearning(
            policy,
            reward_model,
            self.kit.chat(ours.chat),
            plan.assistant,
            plan.maker,
            rewarding,
            ours.training,
            hand,
            trainer=trainer,
        )


def _languages() -> LanguageIdentifier:
    try:
        from selfalign.salmon.languages import PyLangId  # an optional package
    except ModuleNotFoundError as error:
        raise InputError(
            "telling languages apart needs the package py3langid. Install selfalign[language], or "
            "set salmon.reward_model.language_rule=false and salmon.policy.language_bonus=false."
        ) from error
    return PyLangId()
