"""A score head that starts from how the base model would end the reward prompt's last sentence.

Ours; arXiv:2310.05910v2, "Training the Instructable Reward Model", draws the head at random. The
prompt stops where a verdict would follow ("the quality of this response is"), and a base model has
an opinion on that: log p(" good") - log p(" poor") is a linear function of its last hidden state,
namely the difference of two rows of its output embeddings. A head that is this difference scores
from the first step on, and training only has to correct it.

    two words, base  ->  first token of each  ->  rows of the output embeddings  ->  (1, hidden)
"""

from typing import Any, cast

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from selfalign.core.errors import TrainingError
from selfalign.trainers.reward_untyped import HEAD, silenced


def start_from_verdicts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    verdicts: tuple[str, str],
    source: str,
    revision: str,
) -> None:
    """Give the head of a fresh reward model the weights that tell the two verdicts apart.

    Args:
        model: Its head is one row of (hidden) weights, in float32; changed in place.
        tokenizer: Of the base.
        verdicts: What a good and what a poor response would be called, such as " good", " poor".
        source: Directory or Hub name of the base, read once more for its output embeddings.
        revision: Of a Hub name.

    Raises:
        TrainingError: both verdicts begin with the same token, or one has none.
    """
    found = cast(Any, tokenizer)(list(verdicts), add_special_tokens=False, verbose=False)
    first = [row[:1] for row in cast(list[list[int]], found["input_ids"])]
    if not all(first) or first[0] == first[1]:
        raise TrainingError(
            f"the verdicts {verdicts[0]!r} and {verdicts[1]!r} begin with the same token of this "
            f"model, or with none, so a head cannot tell them apart. Choose two words that begin "
            f"differently, or leave `verdicts` out for a head drawn at random.",
            field="verdicts",
        )
    good, poor = _output_embeddings(source, revision)[[first[0][0], first[1][0]]]
    head = cast(torch.nn.Linear, getattr(model, HEAD))
    with torch.no_grad():
        head.weight.copy_((good - poor)[None])


def _output_embeddings(source: str, revision: str) -> Tensor:
    """Return the (vocabulary, hidden) matrix behind the logits."""
    with silenced():
        causal = cast(Any, AutoModelForCausalLM).from_pretrained(
            source, revision=revision, dtype=torch.float32
        )
    return causal.get_output_embeddings().weight.detach()
