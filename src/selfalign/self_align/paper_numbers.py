"""What the paper counted, for reports that put a run's own numbers beside it.

Source: arXiv:2305.03047v2, "Data Statistics and Results" in the main text, and the appendix. The
sums and rates are properties, so a test can hold them against each other.
"""

from typing import NamedTuple


class Kept(NamedTuple):
    """How many of a set passed."""

    asked: int
    kept: int

    @property
    def rate(self) -> float:
        """Share that passed."""
        return self.kept / self.asked


SELF_INSTRUCT = Kept(asked=267_597, kept=191_628)
"""Prompts of the first half of stage 1, and their answers that passed stage 2."""

RED_TEAMING = Kept(asked=99_121, kept=67_250)
"""The same of the second half."""

SELF_ALIGNMENT = Kept(
    asked=SELF_INSTRUCT.asked + RED_TEAMING.asked, kept=SELF_INSTRUCT.kept + RED_TEAMING.kept
)
"""Stage 2 as a whole."""

IDENTITY_PAIRS = 910
"""Added in stage 3: 84 distinct questions, 24 distinct answers, 816 pairs of them denials."""

VERBOSE_CLONING = Kept(asked=SELF_ALIGNMENT.asked + IDENTITY_PAIRS, kept=358_777)
"""Stage 4: every prompt before stage 2's filters, and the identity questions."""

ENGRAVING_STEPS = 335
"""Optimiser steps of stage 3."""

VERBOSE_STEPS = 465
"""Optimiser steps of stage 4, approximately."""
