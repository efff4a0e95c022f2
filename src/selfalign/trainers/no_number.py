"""A model that gives NaN or infinity: found where it happens, told with step and request.

    NoNumber (what, which response)  --step, its prompt-->  one sentence with the way out

A broken number goes on to break the weights at the next update, silently; so it is looked for
before anything is done with it.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from selfalign.core.errors import CollapsedError, TrainingError
from selfalign.core.protocols import PolicyPrompt, Sampled

_SHOWN = 60


class NoNumber(Exception):
    """What is no finite number, and the place in the batch of the response it belongs to.

    Caught on the way: who knows step and prompts says the rest.
    """

    def __init__(self, what: str, place: int | None) -> None:
        """Take a subject, such as "the loss"; place None: it belongs to no one response."""
        super().__init__(what)
        self.what, self.place = what, place


def request(prompt: PolicyPrompt) -> str:
    """Name a request for a reader: the end of its prompt, where the request stands, and its id."""
    return f"{tail(prompt.text)} ({prompt.query})"


def tail(text: str) -> str:
    """Return the end of a text, on one line and quoted."""
    said = " ".join(text.split())
    return repr(said if len(said) <= _SHOWN else f"…{said[-_SHOWN:]}")


def broken_policy(step: int, what: str, about: str | None) -> CollapsedError:
    """Say that the weights are broken, so that no checkpoint of this policy is worth keeping."""
    return CollapsedError(
        f"step {step}: {_subject(what, about)}, so the policy is broken and the training stops. "
        "The run so far is intact. Lower `learning_rate` (which trains anew), or run the same "
        "command again.",
        field="learning_rate",
    )


def broken_update(step: int, what: str, about: str | None, folder: Path) -> TrainingError:
    """Say that an update would break the weights; it was not made."""
    return TrainingError(
        f"step {step}: {_subject(what, about)}, so the update was not made and the training stops. "
        f"The run so far is intact in {folder}, and the same command goes on from the last "
        "checkpoint. If it stops there again, lower `learning_rate`, or `reward_scale` if rewards "
        "are large.",
        field="learning_rate",
    )


def check_rewards(
    step: int,
    found: Sequence[float],
    asked: Sequence[tuple[PolicyPrompt, Sampled]],
    folder: Path,
) -> None:
    """Make sure that there is a finite reward per response.

    Raises:
        TrainingError: names the step, and the first response whose reward is no number.
    """
    broken = next((n for n, reward in enumerate(found) if not math.isfinite(reward)), None)
    if broken is None and len(found) == len(asked):
        return
    if len(found) != len(asked) or broken is None:
        wrong = f"the reward function gave {len(found)} rewards for {len(asked)} responses"
    else:
        prompt, one = asked[broken]
        wrong = (
            f"the reward of {one.response[:_SHOWN]!r}, the response to {request(prompt)}, is "
            f"{found[broken]} and no finite number"
        )
    raise TrainingError(
        f"step {step}: {wrong}, so the training stops. The run so far is intact in {folder}; see "
        "to the reward model, then run the same command again: it goes on from there."
    )


def _subject(what: str, about: str | None) -> str:
    of = f" of the response to {about}" if about else ""
    return f"{what}{of} is no finite number"
