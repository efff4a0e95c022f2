"""What a rollout is worth: the reward model's score and a few items a rule can see. Pure.

Paper: arXiv:2310.05910v2, "RL Training with the Instructable Reward Model" (symbolic rewards), and
the authors' code.

    score (reward model)  +  unfinished  +  too_short  +  length  +  language  =  Reward.total

The judge behind the reward model is merely a fine-tuned base model; what it misses is added here.

Differences. `too_short` is ours: an empty answer ends properly, so the unfinished penalty does not
stop a policy that has learnt to be brief from saying nothing. The language bonus is in the paper
and not in the released code, and its size is not known: ours is 1. The paper gives reasoning a
length bonus of -2; that is what -0.4 of 5 comes to at full length.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from statistics import fmean, pstdev
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from selfalign.core.errors import TrainingError
from selfalign.core.novelty_tokens import unicode_words
from selfalign.core.records import Settings
from selfalign.core.text import collapse_spaces
from selfalign.salmon.records import PromptType, Reward


class LengthMultipliers(Settings):
    """How much length is welcome, by type of request; negative: it is not."""

    general: float = 1.0
    """The authors' code."""
    reasoning: float = -0.4
    """The authors' code."""
    red_teaming: float = 0.0
    """The authors' code, which has no such prompts."""

    def of(self, prompt_type: PromptType) -> float:
        """Return the multiplier for one type."""
        if prompt_type == "reasoning":
            return self.reasoning
        return self.red_teaming if prompt_type == "red_teaming" else self.general


class RewardConfig(Settings):
    """Sizes of the items; each default says whose it is. Units are the reward model's."""

    unfinished: float = Field(default=-6.0, le=0)
    """The authors' launch script: added when the answer does not end its turn."""
    length_bonus: float = 5.0
    """The paper: at full length, before the cap."""
    length_multipliers: LengthMultipliers = LengthMultipliers()
    length_cap: float = 0.8
    """The authors' code: the multiplied share of the full length counts up to this, on top only."""
    full_length: int = Field(default=1024, ge=1)
    """The authors' launch script: tokens an answer may have at most."""
    language_bonus: float = Field(default=1.0, ge=0)
    """Ours; the paper has one of unknown size, the released code has none (0)."""
    too_short: float = Field(default=-6.0, le=0)
    """Ours: added when an answer has fewer than `min_words` different words."""
    min_words: int = Field(default=2, ge=0)
    """Ours: "", "." and one word over and over are no answers. 0: the rule is off."""
    standardise: bool = False
    """The authors: False. True: the reward model's scores, less the mean of the first batch and
    over its standard deviation, so that the other items weigh the same beside any reward model.
    Where requests are answered several times under the same principles, the deviation is the one
    within requests: what differs between them no answer can change."""


AUTHORS_REWARDS = RewardConfig(language_bonus=0.0, too_short=0.0, min_words=0)
"""The authors' released code."""


class ScoreScale(BaseModel):
    """What scores are standardised by; fixed for a training, whatever is steered."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    mean: float = 0.0
    sd: float = 1.0

    def __call__(self, score: float) -> float:
        """Return the score in standard deviations from the mean; a broken score stays broken."""
        return (score - self.mean) / self.sd


def score_scale(
    scores: Sequence[float], config: RewardConfig, groups: Sequence[Hashable] = ()
) -> ScoreScale:
    """Return what the scores of a training are standardised by, from those of its first batch.

    `groups` says which scores are of the same request under the same principles; () or every one
    another: the deviation is that of all.
    """
    if not config.standardise or not all(map(math.isfinite, scores)):
        return ScoreScale()
    return ScoreScale(mean=fmean(scores), sd=_within(scores, groups) or pstdev(scores) or 1.0)


def _within(scores: Sequence[float], groups: Sequence[Hashable]) -> float:
    """Return the pooled deviation of scores from the mean of their group; 0: no group has two."""
    by_group: dict[Hashable, list[float]] = {}
    for score, group in zip(scores, groups or range(len(scores)), strict=True):
        by_group.setdefault(group, []).append(score)
    several = [found for found in by_group.values() if len(found) > 1]
    free = sum(len(found) - 1 for found in several)
    squares = sum((score - fmean(found)) ** 2 for found in several for score in found)
    return math.sqrt(squares / free) if free else 0.0


class Answer(NamedTuple):
    """What the items are worked out from."""

    instruction: str
    prompt_type: PromptType
    response: str
    """Without the header that ends it."""
    tokens: int
    """Of the response."""
    finished: bool
    """Whether the policy ended its turn."""


def reward(
    answer: Answer,
    score: float,
    config: RewardConfig,
    language_of: Callable[[str], str] | None = None,
) -> Reward:
    """Itemise what an answer with this score of the reward model is worth.

    Without `language_of` there is no language bonus.

    Raises:
        TrainingError: the score is not a finite number.
    """
    if not math.isfinite(score):
        raise broken_score(score, answer.instruction, answer.response)
    return Reward(
        score=score,
        unfinished=0.0 if answer.finished else config.unfinished,
        too_short=config.too_short if too_short(answer.response, config.min_words) else 0.0,
        length=length_bonus(answer.tokens, answer.prompt_type, config),
        language=language_bonus(answer, config, language_of) if language_of else 0.0,
    )


def broken_score(score: float, instruction: str, response: str) -> TrainingError:
    """Say that a score is no number, and what to do; the caller says at which step."""
    return TrainingError(
        f"the reward model scored {score} for {response[:60]!r}, the response to "
        f"{instruction[:60]!r}, and no policy can be trained on that. The run so far is intact. "
        f"Score this response with `selfalign score RUN:reward`; if that is no number either, the "
        f"reward model is broken: train it again with a lower learning rate. If it is one, run the "
        f"same command again: it goes on from the last checkpoint."
    )


def length_bonus(tokens: int, prompt_type: PromptType, config: RewardConfig) -> float:
    """Return the bonus for an answer of so many tokens; the cap is on top only."""
    share = config.length_multipliers.of(prompt_type) * tokens / config.full_length
    return config.length_bonus * min(share, config.length_cap)


def too_short(response: str, min_words: int) -> bool:
    """Say whether an answer has fewer different words than that, in any script."""
    return len(set(unicode_words(response))) < min_words


def language_bonus(
    answer: Answer, config: RewardConfig, language_of: Callable[[str], str]
) -> float:
    """Return the bonus if request and answer are in the same language; nothing is in none."""
    if not unicode_words(answer.response):
        return 0.0
    asked, answered = (
        language_of(collapse_spaces(text)) for text in (answer.instruction, answer.response)
    )
    return config.language_bonus if asked == answered else 0.0
