"""How a judge is asked: its prompt, its reasoning if the prompt has room for any, then two letters.

    values of the gaps  ->  prompt, up to its verdict  ->  log p("a"), log p("b")
    a prompt with the gap `reasoning`  ->  what stands before it is continued, greedily, by one line
                                       ->  the whole prompt with that line in it  ->  the letters

Paper: arXiv:2310.05910v2 reads the letters at once, and so do prompts without the gap, ours for
large models among them. Ours: a small model that can say of each output what it is like, but not
silently compare two, judges well after it has said so. The line is text of a model: quoted where
it looks like a marker, like every other value.
"""

from collections.abc import Mapping, Sequence

from selfalign.core.prompts import Prompt
from selfalign.core.protocols import LanguageModel, Sampling

OPTIONS = ("a", "b")
"""The letters of the judge's prompt, first output and second output."""

REASONING = "reasoning"
"""The gap that a judge fills itself."""

REASONING_TOKENS = 64
"""Ours: a line of reasoning is at most this long."""

_ONE_LINE = Sampling(temperature=0.0, max_tokens=REASONING_TOKENS, stop=("\n",))

Values = Mapping[str, str]
"""What fills the gaps of a judge's prompt, its reasoning excepted."""


def question(prompt: Prompt, values: Values) -> str:
    """Render the prompt as the letters are read behind it, without any reasoning in it."""
    empty = {REASONING: ""} if REASONING in prompt.gaps else {}
    return prompt.render(**values, **empty)


def longest_tokens(lm: LanguageModel, prompt: Prompt, asked: Sequence[Values]) -> list[int]:
    """Count the tokens of every question, with the reasoning it may get."""
    more = REASONING_TOKENS if REASONING in prompt.gaps else 0
    return [n + more for n in lm.count_tokens([question(prompt, values) for values in asked])]


def letters(
    lm: LanguageModel, prompt: Prompt, asked: Sequence[Values]
) -> Sequence[Sequence[float]]:
    """Return log p("a") and log p("b"), in nats, for each of the questions, in order."""
    if not asked:
        return []
    if REASONING not in prompt.gaps:
        return lm.next_token_logprobs([prompt.render(**values) for values in asked], OPTIONS)
    begun = [prompt.before(REASONING, **values) for values in asked]
    lines = lm.generate(begun, [_ONE_LINE] * len(begun))
    whole = [
        prompt.render(**values, **{REASONING: line.text.rstrip()})
        for values, line in zip(asked, lines, strict=True)
    ]
    return lm.next_token_logprobs(whole, OPTIONS)
