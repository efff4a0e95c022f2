"""Putting Calf's pairs to a judge or to a reward model.

    language model:  pair x two orders x (principle | negation)       ->  log p("a"), log p("b")
    reward model:    answer x (principles | the same, one negated)    ->  score
    either           ->  margins  ->  PairsResult

The judge reads SALMON's prompt for one principle at a time, in both orders, so it is shown no
distractors. The reward model reads each answer by itself under all principles of the pair. Both
read the prompts of the library they were made with.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from selfalign.calf.pairs_exam import Pair, pairs
from selfalign.core.errors import EngineError, ModelError
from selfalign.core.library import Library
from selfalign.core.prompts import Prompt
from selfalign.core.protocols import LanguageModel, RewardModel
from selfalign.core.records import Checkpoint, Dropped, Kept, Record
from selfalign.core.stage import Stage
from selfalign.core.store import Run
from selfalign.core.weights import identify, locate
from selfalign.engines.reward import open_reward_model, refuse_other_models
from selfalign.evaluation.pairs import PairRow, PairsResult, Reader, favourite, summarise_pairs
from selfalign.recipes.ingredients import Ingredients
from selfalign.recipes.machines import SERVERS, LazyModel
from selfalign.recipes.models import Found
from selfalign.salmon.judging import letters, question
from selfalign.salmon.reward_prompt import RewardPrompt
from selfalign.salmon.stage1_synthetic_preferences import read_margin

CONSTITUTION = "salmon_preferences"
"""Whose sentences are a wording of their own, where no plan says what pairs are judged by."""


class Reading(Record):
    """What a model made of one pair: margins for the first answer, one per order it saw."""

    margins: tuple[float, ...]
    negated_margins: tuple[float, ...]


@dataclass(frozen=True)
class JudgingPairs(Stage[Pair, Reading]):
    """Ask a language model which answer has more of a quality, in both orders."""

    name = "evaluation.judging_pairs"
    version = 1
    writes = Reading

    lm: LanguageModel
    prompt: Prompt

    def __call__(self, batch: Sequence[Pair]) -> list[Kept[Reading] | Dropped]:
        """Return one reading per pair; the only lines of this class that call a model."""
        _check_lengths(self.lm, [context for pair in batch for context in self.render(pair)])
        asked = [values for pair in batch for values in self.questions(pair)]
        rows = letters(self.lm, self.prompt, asked)
        return [self.read(pair, rows[4 * n : 4 * n + 4]) for n, pair in enumerate(batch)]

    def questions(self, pair: Pair) -> list[dict[str, str]]:
        """Return what fills the prompt: the principle in both orders, its negation in both."""
        quality = {False: (pair.trait, pair.principle), True: (f"not {pair.trait}", pair.negation)}
        return [
            {
                "instruction": pair.question,
                "first": first,
                "second": second,
                "name": name,
                "definition": definition,
            }
            for name, definition in quality.values()
            for first, second in ((pair.first, pair.second), (pair.second, pair.first))
        ]

    def render(self, pair: Pair) -> list[str]:
        """Return four contexts in the order of `questions`, without any reasoning."""
        return [question(self.prompt, values) for values in self.questions(pair)]

    def read(self, pair: Pair, rows: Sequence[Sequence[float]]) -> Kept[Reading]:
        """Turn log p("a") and log p("b") of the four contexts into signed margins."""
        plain, negated = (read_margin(pair.trait, *two) for two in (rows[:2], rows[2:]))
        return _kept(pair, (plain.forward, plain.backward), (negated.forward, negated.backward))


@dataclass(frozen=True)
class ScoringPairs(Stage[Pair, Reading]):
    """Let a reward model score both answers of a pair under its principles."""

    name = "evaluation.scoring_pairs"
    version = 1
    writes = Reading

    model: RewardModel
    prompt: RewardPrompt

    def __call__(self, batch: Sequence[Pair]) -> list[Kept[Reading] | Dropped]:
        """Return one reading per pair; the only lines of this class that call a model."""
        texts = [text for pair in batch for text in self.render(pair)]
        _check_lengths(self.model, texts)
        scores = self.model.score(texts)
        return [self.read(pair, scores[4 * n : 4 * n + 4]) for n, pair in enumerate(batch)]

    def render(self, pair: Pair) -> list[str]:
        """Return four texts: both answers under the principle, then both under its negation."""
        return [
            self.prompt.render(pair.question, answer, pair.shown(negated=negated))
            for negated in (False, True)
            for answer in (pair.first, pair.second)
        ]

    def read(self, pair: Pair, scores: Sequence[float]) -> Kept[Reading]:
        """Turn the four scores into differences."""
        return _kept(pair, (scores[0] - scores[1],), (scores[2] - scores[3],))


def compare_pairs(kit: Ingredients, run: Run, found: Found, seed: int, n: int) -> PairsResult:
    """Put fresh held-out pairs to a model, each under a principle and under its negation.

    The kit brings the prompts, and the constitution whose sentences are one of the wordings.

    Raises:
        ModelError: there is no such model, or a pair does not fit its context.
        EngineError: it answered with something that is no number.
    """
    salmon = kit.plan.salmon
    judged_by = salmon.preferences.constitution if salmon else CONSTITUTION
    drawn = pairs(seed, n, kit.library.constitution(judged_by))
    reader: Reader = "reward model" if is_reward_model(found.model) else "judge"
    read = read_by_scores if reader == "reward model" else read_by_letters
    readings = run.fill(read(kit.library, found.model), drawn)
    rows = [row_of(p, r, reader) for p, r in zip(drawn, readings, strict=True)]
    return summarise_pairs(found.typed, reader, seed, rows)


def read_by_letters(library: Library, model: str | Checkpoint) -> Stage[Pair, Reading]:
    """Return the stage that asks a language model as a judge."""
    return JudgingPairs(LazyModel(model), library.prompt("salmon/judge_principle"))


def read_by_scores(library: Library, model: str | Checkpoint) -> Stage[Pair, Reading]:
    """Return the stage that asks a reward model."""
    prompts = (library.prompt(f"salmon/{name}") for name in ("reward_model", "reward_model_rl"))
    return ScoringPairs(LazyRewardModel(model), RewardPrompt(*prompts))


class LazyRewardModel:
    """A `RewardModel` whose weights are loaded when the first text is to be scored."""

    def __init__(self, model: str | Checkpoint) -> None:
        """Take the name.

        Raises:
            ModelError: there is no such model.
        """
        self._model = model
        self._named = model if isinstance(model, Checkpoint) else identify(model)

    @property
    def fingerprint(self) -> str:
        """Names the weights; a Hub name without a revision has to be opened to be pinned."""
        named = self._named.revision or self._named.made_of
        return self._named.fingerprint if named else self._opened.fingerprint

    @property
    def context_length(self) -> int:
        """Tokens the model can attend to."""
        return self._opened.context_length

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return a finite score per text; higher is better."""
        return self._opened.score(texts) if texts else []

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, special tokens not counted."""
        return self._opened.count_tokens(texts) if texts else []

    @cached_property
    def _opened(self) -> RewardModel:
        return open_reward_model(self._model)


def row_of(pair: Pair, reading: Reading, reader: Reader) -> PairRow:
    """Join a pair with its reading; a judge has seen no distractors."""
    other = "second" if pair.better == "first" else "first"
    return PairRow(
        trait=pair.trait,
        kind=pair.kind,
        wording=pair.wording,
        question=pair.question,
        first=pair.first,
        second=pair.second,
        better=pair.better,
        longer=pair.longer,
        principle=pair.principle,
        negation=pair.negation,
        distractors=() if reader == "judge" else pair.distractors,
        margins=reading.margins,
        negated_margins=reading.negated_margins,
        right=favourite(reading.margins) == pair.better,
        right_negated=favourite(reading.negated_margins) == other,
    )


def is_reward_model(model: str | Checkpoint) -> bool:
    """Say whether weights have a head for scores, by what their directory says of itself.

    A model behind a server or on the Hub is taken for a language model.

    Raises:
        ModelError: there is no such model.
    """
    if isinstance(model, str) and model.startswith(SERVERS):
        return False
    located = locate(model)
    if located.adapter is None and located.directory is None:
        return False
    try:
        refuse_other_models(located)
    except ModelError:
        return False
    return True


def _check_lengths(model: LanguageModel | RewardModel, texts: Sequence[str]) -> None:
    longest = max(model.count_tokens(texts))
    if longest > model.context_length:
        raise ModelError(
            f"a pair takes {longest} tokens with its prompt, and the model attends to "
            f"{model.context_length}. Name a model with a longer context, or pass a library with "
            f"shorter prompts as --library."
        )


def _kept(pair: Pair, margins: tuple[float, ...], negated: tuple[float, ...]) -> Kept[Reading]:
    """Keep a reading of numbers.

    Raises:
        EngineError: a margin is not finite, so there is no verdict.
    """
    if not all(map(math.isfinite, (*margins, *negated))):
        raise EngineError(
            f"the pair {pair.question!r} got the margins {margins} and, negated, {negated}, which "
            f"are no preference. The weights or the precision are broken; load them in float32, or "
            f"train the model again."
        )
    return Kept(source=pair.id, records=(Reading(margins=margins, negated_margins=negated),))
