"""From responses and the principles in force to rollouts with their rewards. Pure but for scores.

Paper: arXiv:2310.05910v2, "RL Training with the Instructable Reward Model".

    response, request -> type of request -> principles drawn -> what the reward model reads
        -> score -> items -> Rollout

Which principles are drawn for a query depends on that query, its turn and the state alone, never on
the other responses of the batch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from selfalign.core.errors import InputError, TrainingError
from selfalign.core.protocols import Sampled
from selfalign.core.records import Instruction, RecordId, digest
from selfalign.salmon.label_rules import LanguageIdentifier
from selfalign.salmon.principle_sampling import (
    Guidelines,
    PrincipleSampling,
    PrincipleSamplingConfig,
)
from selfalign.salmon.principle_state import PrincipleState
from selfalign.salmon.prompt_types import PromptTypes, prompt_type
from selfalign.salmon.records import PromptType, Rollout
from selfalign.salmon.reward_prompt import RewardPrompt
from selfalign.salmon.rewards import Answer, RewardConfig, ScoreScale, reward
from selfalign.salmon.schedule import PrinciplePlan


class Guided(NamedTuple):
    """A response and the principles it is going to be rewarded by."""

    sampled: Sampled
    instruction: Instruction
    prompt_type: PromptType
    guidelines: Guidelines


@dataclass(frozen=True)
class Rewarding:
    """All that decides what a response is worth, but for the reward model and live edits."""

    principles: PrinciplePlan
    sampling: PrincipleSamplingConfig
    prompt: RewardPrompt
    rewards: RewardConfig = field(default_factory=RewardConfig)
    types: PromptTypes = field(default_factory=PromptTypes)
    language_of: LanguageIdentifier | None = None
    """None: there is no language bonus."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a plan that was checked for another number of principles per query."""
        if self.principles.k != self.sampling.k:
            raise InputError(
                f"the plan of principles was made for k={self.principles.k}, but "
                f"k={self.sampling.k} are to be drawn. Make both from the same settings."
            )

    @cached_property
    def fingerprint(self) -> str:
        """Digest of all it is made of."""
        language = self.language_of.fingerprint if self.language_of else ""
        parts = (self.principles, self.sampling, self.prompt, self.rewards, self.types)
        return digest([*(part.fingerprint for part in parts), language, self.seed])

    def guided(
        self,
        sampled: Sequence[Sampled],
        instructions: Mapping[RecordId, Instruction],
        state: PrincipleState,
    ) -> list[Guided]:
        """Draw the principles of every response.

        Raises:
            TrainingError: a response is to an instruction that is not there.
        """
        drawing = PrincipleSampling(state.drawable, state.interventions, self.sampling, self.seed)
        found: list[Guided] = []
        for one in sampled:
            instruction = instruction_of(one, instructions)
            kind = prompt_type(instruction, self.types)
            drawn = drawing.guidelines(one.query, kind, one.turn)
            found.append(Guided(one, instruction, kind, drawn))
        return found

    def text(self, one: Guided) -> str:
        """Render what the reward model reads."""
        return self.prompt.render(
            one.instruction.text,
            one.sampled.response,
            [principle.text for principle in one.guidelines.drawn],
            [principle.text for principle in one.guidelines.always],
        )

    def rollouts(
        self, step: int, batch: Sequence[Guided], scores: Sequence[float], scale: ScoreScale
    ) -> list[Rollout]:
        """Turn the scores of a batch into rollouts, in order.

        Raises:
            TrainingError: a score or a KL is not a finite number.
        """
        return [
            self._rollout(step, number, one, score, scale)
            for number, (one, score) in enumerate(zip(batch, scores, strict=True))
        ]

    def _rollout(
        self, step: int, number: int, one: Guided, score: float, scale: ScoreScale
    ) -> Rollout:
        sampled = one.sampled
        if sampled.kl is not None and not math.isfinite(sampled.kl):
            raise TrainingError(
                f"step {step}: the KL of {sampled.response[:60]!r}, the response to "
                f"{one.instruction.text[:60]!r}, is {sampled.kl}, so the policy is broken. The run "
                f"so far is intact; train again with a lower learning rate."
            )
        answer = Answer(
            one.instruction.text,
            one.prompt_type,
            sampled.response,
            sampled.tokens,
            sampled.finished,
        )
        try:
            items = reward(answer, scale(score), self.rewards, self.language_of)
        except TrainingError as error:
            raise TrainingError(f"step {step}: {error}", field=error.field) from None
        return Rollout(
            step=step,
            number=number,
            query=sampled.query,
            turn=sampled.turn,
            prompt_type=one.prompt_type,
            instruction=one.instruction.text,
            response=sampled.response,
            clauses=one.guidelines.clauses,
            always=tuple(principle.text for principle in one.guidelines.always),
            raw_score=score,
            reward=items,
            tokens=sampled.tokens,
            finished=sampled.finished,
            kl=sampled.kl,
        )


def instruction_of(one: Sampled, instructions: Mapping[RecordId, Instruction]) -> Instruction:
    """Return the instruction a response is to.

    Raises:
        TrainingError: there is none of that id.
    """
    if one.query not in instructions:
        raise TrainingError(
            f"the trainer returned a response to query {one.query}, which is none of the "
            f"{len(instructions)} instructions it was given. Look at the trainer, not at the data."
        )
    return instructions[one.query]
