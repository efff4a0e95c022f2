"""What a report says of SALMON: labels, reward model, policies and what their principles did.

Paper: arXiv:2310.05910v2, its stages in order and the controllability experiments.

    judged pairs + the run's aggregation      ->  consistency, what decided, rules, skips
    evaluation/pairs_*.json, training.json    ->  how well judge and reward model follow a principle
    the folders of the policies' trainings    ->  curves, marks, samples (policy_contents.py)
    evaluation/control_matrix.json            ->  one row per policy, from checkers

Whatever a run does not have is absent; a run without any of it has no SALMON part.
"""

from collections.abc import Iterator

from selfalign.core.errors import InputError, SelfAlignError, StoreError
from selfalign.core.records import JudgedPair
from selfalign.core.shelf import Shelf
from selfalign.core.store import Run
from selfalign.evaluation.control_matrix import ControlRow
from selfalign.evaluation.pairs import PairsResult, PairTable, Reader
from selfalign.evaluation.statistics import Interval, wilson
from selfalign.recipes.chapters import Chapters, kept
from selfalign.recipes.evaluate_salmon import read_controls, read_pairs
from selfalign.recipes.ingredients import Ingredients
from selfalign.recipes.ingredients_salmon import SalmonIngredients
from selfalign.recipes.json_file import read_json
from selfalign.recipes.trainings import TRAINING_FILE
from selfalign.reports.part import Part
from selfalign.reports.policy_contents import PolicyPart, policy_part
from selfalign.salmon.aggregation_report import AggregationReport
from selfalign.salmon.aggregation_report import report as aggregation_report
from selfalign.salmon.records import LabelledPair
from selfalign.salmon.schedule import Schedule
from selfalign.salmon.steering import STEERING, Steering
from selfalign.trainers.reward_account import RewardReport

POLICY = "policy"
"""Name of the plan's own policy; all others are controls."""


class Labels(Part):
    """How the labels came about."""

    counts: AggregationReport
    consistent: dict[str, Interval]
    """Per principle, the share of pairs on which the judge's two orders agree."""
    first_shown: dict[str, Interval]
    """Per principle, the share of pairs on which it preferred whatever it read first."""
    recounted: str | None
    """Why the labels are not those the reward model learnt from; None: they are."""


class Following(Part):
    """How well a judge or a reward model follows the principle it is shown, on held-out pairs."""

    model: str
    reader: Reader
    seed: int
    n: int
    rates: PairTable
    traits: dict[str, PairTable]
    """The same for each trait a principle is about."""


class SalmonReport(Part):
    """What `report.json` says of SALMON."""

    labels: Labels | None
    unlabelled: str | None
    """Why there is nothing about labels though there are some."""
    following: dict[str, Following]
    """By reader: "judge" and "reward"."""
    reward_training: RewardReport | None
    policies: tuple[PolicyPart, ...]
    """The plan's own first."""
    controls: tuple[ControlRow, ...]
    """The start, then every policy."""


def gather_salmon(run: Run, chapters: Chapters, kit: Ingredients) -> SalmonReport | None:
    """Collect what a run has of SALMON; None: nothing.

    Raises:
        StoreError, InputError: a file of the run was damaged.
    """
    if kit.plan.salmon is None:
        return None
    labels, unlabelled = _labels(run, chapters, SalmonIngredients(kit, kit.plan.salmon))
    controls = read_controls(run.path)
    found = SalmonReport(
        labels=labels,
        unlabelled=unlabelled,
        following={reader: following(result) for reader, result in read_pairs(run.path).items()},
        reward_training=_reward_training(run, chapters),
        policies=tuple(_policies(run, chapters, kit.plan.salmon.policy.schedule)),
        controls=controls.root if controls else (),
    )
    nothing = SalmonReport(
        labels=None, unlabelled=None, following={}, reward_training=None, policies=(), controls=()
    )
    return None if found == nothing else found


def following(result: PairsResult) -> Following:
    """Return the rates of a result; its rows stay in the file of the evaluation."""
    return Following(
        model=result.model,
        reader=result.reader,
        seed=result.seed,
        n=result.n,
        rates=result.rates,
        traits=result.traits,
    )


def rates_of_labels(counts: AggregationReport, recounted: str | None = None) -> Labels:
    """Give the judge's rates their intervals; principles that judged nothing have none."""
    judged = [one for one in counts.consistency if one.judged]
    return Labels(
        counts=counts,
        consistent={one.principle: wilson(one.consistent, one.judged) for one in judged},
        first_shown={one.principle: wilson(one.first_shown, one.judged) for one in judged},
        recounted=recounted,
    )


def _labels(
    run: Run, chapters: Chapters, ours: SalmonIngredients
) -> tuple[Labels | None, str | None]:
    """Work the labels out once more, of the pairs that were labelled; or say why that fails."""
    if chapters.judged is None or chapters.labels is None:
        return None, None
    labelled = Shelf(run.path / chapters.labels, LabelledPair)
    judged = [j for j in kept(run.path, chapters.judged, JudgedPair) if j.id in labelled]
    if not judged:
        return None, None
    try:
        aggregation = ours.aggregation(judged)
    except SelfAlignError as error:  # a package or a principle that was there is gone
        return None, str(error)
    changed = None
    if aggregation.key != chapters.labels:
        changed = (
            f"principles or settings have changed since the labels of {chapters.labels} were "
            f"written: these are the labels that today's would give."
        )
    return rates_of_labels(aggregation_report(aggregation, judged), changed), None


def _reward_training(run: Run, chapters: Chapters) -> RewardReport | None:
    if chapters.reward is None:
        return None
    path = run.path / chapters.reward / TRAINING_FILE
    return read_json(RewardReport, path) if path.is_file() else None


def _policies(run: Run, chapters: Chapters, schedule: Schedule) -> Iterator[PolicyPart]:
    folders = {**_in_training(run, chapters), **chapters.policies}
    for name in sorted(folders, key=lambda name: name != POLICY):
        entries = schedule if name == POLICY else Schedule()
        part = policy_part(name, run.path / folders[name], entries)
        if part is not None:
            yield part


def _in_training(run: Run, chapters: Chapters) -> dict[str, str]:
    """Return the plan's policy if it is still in training, or stopped: no chapter names it yet."""
    if chapters.reward is None or POLICY in chapters.policies:
        return {}
    try:
        training = Steering(run.path / STEERING).steerable().training
    except (InputError, StoreError):
        return {}
    return {POLICY: training}
