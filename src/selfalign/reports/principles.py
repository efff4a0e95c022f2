"""Which principles the internal thoughts cited, for whose instructions.

Paper: arXiv:2305.03047v2, the figure on the statistics of synthetic prompts (panels two to four):
rules per adversarial type, and rule usage for self-instruct and for red-teaming prompts.

    SelfAlignedResponse.cited  ->  rule x origin,  type x rule

Difference from the paper: counted over the answers that were kept. Their released data no longer
has origin and type, so their exact counts cannot be compared.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from selfalign.core.records import SelfAlignedResponse

Counts = dict[str, dict[str, int]]


class RuleUsage(BaseModel):
    """How often each rule was cited."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rules: tuple[str, ...]
    """The constitution's rules as readers see them, in order: "1 ethical"."""
    by_origin: Counts
    """Rule, then origin of the instruction, then citations; every rule is there, cited or not."""
    by_type: Counts
    """Adversarial type, then rule, then citations; the most frequent type first."""


def rule_usage(names: Sequence[str], responses: Iterable[SelfAlignedResponse]) -> RuleUsage:
    """Count the citations of each rule; `names` are those of the constitution, in order."""
    rules = tuple(f"{n} {name}" for n, name in enumerate(names, start=1))
    origins: dict[str, Counter[str]] = {rule: Counter() for rule in rules}
    types: dict[str, Counter[str]] = {}
    for response in responses:
        question_type = response.instruction.question_type
        for number in response.cited:
            origins[rules[number - 1]][response.instruction.origin] += 1
            if question_type is not None:
                types.setdefault(question_type, Counter())[rules[number - 1]] += 1
    ordered = sorted(types.items(), key=lambda item: (-item[1].total(), item[0]))
    return RuleUsage(
        rules=rules,
        by_origin={rule: _by_name(counts) for rule, counts in origins.items()},
        by_type={question_type: _by_name(counts) for question_type, counts in ordered},
    )


def _by_name(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))
