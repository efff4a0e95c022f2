"""TRL's RLOO and GRPO trainers, with three things of ours: where responses end, prompts, schedule.

    prompts of a step --sample until a stop text--> tokens --TRL: rewards, advantages, updates-->
    prompts of a probe --the likeliest tokens until a stop text--> tokens

TRL ends responses at end tokens only, and a base model's end of turn is a text; so tokens are
drawn here and cut by endings.py, stop included. The learning rate moves once per batch of
rollouts. The order of the prompts comes with the data (prompt_order.py), not from TRL's sampler.
"""

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)

from selfalign.core.protocols import PolicyPrompt, PolicyTraining
from selfalign.trainers.endings import StopTexts, decoder, end_of
from selfalign.trainers.no_number import NoNumber, broken_policy, broken_update, tail
from selfalign.trainers.products import folded
from selfalign.trainers.rl_losses import learning_rate_share
from selfalign.trainers.roomy_cache import roomy_cache
from selfalign.trainers.trl_settings import updates_per_batch
from selfalign.trainers.untyped import encode, ints

if TYPE_CHECKING:  # TRL exports lazily, which hides its names from the type checker
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer
    from trl.trainer.rloo_config import RLOOConfig
    from trl.trainer.rloo_trainer import RLOOTrainer
else:
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

CONFIGS = {"rloo": RLOOConfig, "grpo": GRPOConfig}


@dataclass(frozen=True)
class Rollouts:
    """How responses are drawn, and how the learning rate moves from batch to batch of them."""

    tokenizer: PreTrainedTokenizerBase
    stop: tuple[str, ...]
    at_once: int
    """Responses drawn together."""
    recipe: PolicyTraining

    def schedule(self, optimizer: Any, updates: int) -> LambdaLR:
        """Return how the learning rate moves over `updates`: once per batch of rollouts."""
        each = updates_per_batch(self.recipe)
        steps = updates // each
        return LambdaLR(
            optimizer, lambda update: learning_rate_share(update // each, steps, self.recipe)
        )

    def draw(
        self, model: torch.nn.Module, prompts: list[list[int]], options: Any
    ) -> list[list[int]]:
        """Return each prompt's response, in tokens, cut where it ends; the stop included.

        Raises:
            NoNumber: a token's logits are NaN; there is nothing to draw from.
        """
        training = model.training
        model.eval()
        drawn: list[list[int]] = []
        with torch.no_grad(), folded(model):
            for start in range(0, len(prompts), self.at_once):
                chosen = prompts[start : start + self.at_once]
                drawn += self._draw(model, chosen, options, Finite(start))
        model.train(training)
        return drawn

    def _draw(
        self, model: torch.nn.Module, prompts: list[list[int]], options: Any, finite: "Finite"
    ) -> list[list[int]]:
        device = next(model.parameters()).device
        width = max(map(len, prompts))
        ids = [[options.pad_token_id] * (width - len(row)) + row for row in prompts]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in prompts]
        decode = decoder(self.tokenizer)
        found = cast(Any, model).generate(
            input_ids=torch.tensor(ids, device=device),
            attention_mask=torch.tensor(mask, device=device),
            generation_config=options,
            past_key_values=roomy_cache(cast(Any, model).config),
            logits_processor=LogitsProcessorList([finite]),
            stopping_criteria=StoppingCriteriaList([StopTexts(decode, self.stop, width)]),
        )
        ends = set(cast("list[int]", options.eos_token_id or []))
        return [end_of(ints(row), self.stop, ends, decode).ids for row in found[:, width:]]


@dataclass(frozen=True)
class Finite(LogitsProcessor):
    """Stops where there is nothing to draw from; the first response's place is `first`."""

    first: int

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002  their signature
        """Return the scores (B, V) as they are.

        Raises:
            NoNumber: in a row, one is NaN or all are minus infinity.
        """
        best = scores.max(-1).values  # NaN, if one is
        if not bool(torch.isfinite(best).all()):
            broken = torch.isfinite(best).logical_not().nonzero()[:, 0]
            raise NoNumber("a token's probability", self.first + int(broken[0]))
        return scores


class RlooTrainer(RLOOTrainer):
    """TRL's RLOO with our way of drawing responses."""

    def __init__(self, *, rollouts: Rollouts, **settings: Any) -> None:
        """Take how to draw, and TRL's own arguments."""
        cast(Any, super()).__init__(**settings)
        self._rollouts = rollouts

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *_: object, **__: object
    ) -> list[list[int]]:
        return _draw_for(self, self._rollouts, prompt_ids)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *given: Any, **more: Any) -> Tensor:
        """Return TRL's loss of some responses, if it is a number."""
        loss_of = functools.partial(cast(Any, super()).compute_loss, model)
        return _finite(self, self._rollouts, loss_of(inputs, *given, **more), inputs, loss_of)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the schedule over batches of rollouts."""
        schedule = self._rollouts.schedule(
            optimizer or cast(Any, self).optimizer, num_training_steps
        )
        self.lr_scheduler = schedule
        return schedule


class GrpoTrainer(GRPOTrainer):
    """TRL's GRPO with our way of drawing responses."""

    def __init__(self, *, rollouts: Rollouts, **settings: Any) -> None:
        """Take how to draw, and TRL's own arguments."""
        cast(Any, super()).__init__(**settings)
        self._rollouts = rollouts

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *_: object, **__: object
    ) -> tuple[list[list[int]], None]:
        return _draw_for(self, self._rollouts, prompt_ids), None

    def compute_loss(self, model: Any, inputs: dict[str, Any], *given: Any, **more: Any) -> Tensor:
        """Return TRL's loss of some responses, if it is a number."""
        loss_of = functools.partial(cast(Any, super()).compute_loss, model)
        return _finite(self, self._rollouts, loss_of(inputs, *given, **more), inputs, loss_of)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the schedule over batches of rollouts."""
        schedule = self._rollouts.schedule(
            optimizer or cast(Any, self).optimizer, num_training_steps
        )
        self.lr_scheduler = schedule
        return schedule


TRAINERS = {"rloo": RlooTrainer, "grpo": GrpoTrainer}


def greedily(trainer: Any, rollouts: Rollouts, prompts: Sequence[PolicyPrompt]) -> list[list[int]]:
    """Return what the policy in training answers now, in tokens; no random number is drawn."""
    options = copy.deepcopy(trainer.generation_config)
    options.update(do_sample=False, temperature=None, top_p=None, top_k=None, min_p=None)
    ids = encode(rollouts.tokenizer, [prompt.text for prompt in prompts])
    return _drawn(trainer, rollouts, ids, options)


def _draw_for(trainer: Any, rollouts: Rollouts, prompts: Sequence[list[int]]) -> list[list[int]]:
    return _drawn(trainer, rollouts, list(prompts), trainer.generation_config)


def _drawn(
    trainer: Any, rollouts: Rollouts, prompts: list[list[int]], options: Any
) -> list[list[int]]:
    policy: torch.nn.Module = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    try:
        return rollouts.draw(policy, prompts, options)
    except NoNumber as error:
        ids = [] if error.place is None else prompts[error.place]
        about = tail(decoder(rollouts.tokenizer)(ids))
        raise broken_policy(_step(trainer, rollouts), error.what, about) from None


def _step(trainer: Any, rollouts: Rollouts) -> int:
    return trainer.state.global_step // updates_per_batch(rollouts.recipe)


def _finite(
    trainer: Any,
    rollouts: Rollouts,
    loss: Tensor,
    inputs: dict[str, Any],
    loss_of: Callable[[dict[str, Any]], Tensor],
) -> Tensor:
    """Return a loss if it is a finite number; else find out whose fault it is.

    Raises:
        TrainingError: it is none; names the first response that is none by itself.
    """
    if bool(torch.isfinite(loss.detach())):
        return loss
    count = len(inputs["prompt_ids"])
    with torch.no_grad():
        alone = [loss_of(_row(inputs, row, count)) for row in range(count)]
    place = next((n for n, one in enumerate(alone) if not bool(torch.isfinite(one))), None)
    about = None
    if place is not None:
        shown = inputs["prompt_mask"][place].bool()
        about = tail(decoder(rollouts.tokenizer)(ints(inputs["prompt_ids"][place][shown])))
    raise broken_update(
        _step(trainer, rollouts), "the policy's loss", about, Path(trainer.args.output_dir).parent
    )


def _row(inputs: dict[str, Any], row: int, count: int) -> dict[str, Any]:
    """Return TRL's inputs of one response of `count`."""
    return {
        name: value[row : row + 1]
        if isinstance(value, Tensor) and value.ndim > 0 and len(value) == count
        else value
        for name, value in inputs.items()
    }
