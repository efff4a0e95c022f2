"""What stands where a model will be while a plan is only looked at.

plan + library  ->  stages made with NoModel  ->  Preview: a stage, its counts, its first texts
"""

from collections.abc import Sequence
from typing import NamedTuple

from selfalign.core.errors import ModelError
from selfalign.core.protocols import Completion, Sampling


class Preview(NamedTuple):
    """One stage of a plan, before it runs."""

    stage: str
    expected: str
    """How much it will ask, in a sentence."""
    prompts: tuple[str, ...]
    """The first texts it shows a model or a trainer."""


class NoModel:
    """Stands where a model will be, so that stages can render; refuses to answer."""

    fingerprint = "not opened"
    context_length = 0

    def generate(self, prompts: Sequence[str], sampling: Sequence[Sampling]) -> list[Completion]:
        """Refuse."""
        raise self._refusal(len(prompts) + len(sampling))

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[float]:
        """Refuse."""
        raise self._refusal(len(requests))

    def next_token_logprobs(
        self, contexts: Sequence[str], choices: Sequence[str]
    ) -> list[list[float]]:
        """Refuse."""
        raise self._refusal(len(contexts) * len(choices))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Refuse."""
        raise self._refusal(len(texts))

    @staticmethod
    def _refusal(asked: int) -> ModelError:
        return ModelError(
            f"a preview opens no model, and it was asked {asked} things. Run the plan."
        )
