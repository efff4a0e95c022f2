"""The transformers engine: any causal language model of a directory or the Hub, in this process.

    prompts --tokens--> tree of shared stretches --> rows --Decoder--> texts in the prompts' order
    (context, continuation) --tokens--> Wanted --score--> log-likelihoods

Room for an answer: a prompt and its answer share the model's context. `max_tokens` is shortened to
what is left beside the prompt (the completion then says "length"); a prompt that leaves no room
for a single token is refused, never cut.
"""

import logging
from collections.abc import Sequence
from functools import cached_property

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfalign.core.errors import EngineError
from selfalign.core.protocols import END_OF_TEXT, Completion, Sampling
from selfalign.engines.backbone import Backbone
from selfalign.engines.decoding import Decoder
from selfalign.engines.plain import PlainDecoder, plain_score
from selfalign.engines.prefix import (
    PrefixStore,
    common_prefix_length,
    plan_sharing,
    share_nothing,
)
from selfalign.engines.rows import Row, Writer
from selfalign.engines.sampling import NgramPenalty
from selfalign.engines.scoring import Wanted, score
from selfalign.engines.settings import EngineSettings
from selfalign.engines.texts import TextReader
from selfalign.engines.untyped import encode, stated

logger = logging.getLogger(__name__)

_UNSTATED_CONTEXT = 32_768
"""For models whose config names no limit (recurrent ones)."""
_ENDING = 80
"""Characters at the end of a context that decide how a choice is tokenised after it."""
_SHOWN = 60


class TransformersLM:
    """A `core.protocols.LanguageModel` on one device, CPU included."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        fingerprint: str,
        settings: EngineSettings | None = None,
    ) -> None:
        self.fingerprint = fingerprint
        self.settings = settings or EngineSettings()
        self.tokenizer = tokenizer
        self._backbone = Backbone(model, pack=self.settings.pack_weights)
        self._reader = TextReader(tokenizer, self._backbone.vocabulary)
        self._store = PrefixStore(self._backbone.fill, self.settings.cache_budget() // 2)

    @property
    def model(self) -> PreTrainedModel:
        """The loaded weights."""
        return self._backbone.model

    @property
    def context_length(self) -> int:
        """Tokens the model can attend to, prompt and completion together."""
        positions: int | None = stated(self._backbone.config, "max_position_embeddings")
        if positions is not None:
            return positions
        limit: float = stated(self.tokenizer, "model_max_length", _UNSTATED_CONTEXT)
        return int(min(limit, _UNSTATED_CONTEXT))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, special tokens not counted."""
        return [len(ids) for ids in self._encode(texts, special=False)]

    def generate(self, prompts: Sequence[str], sampling: Sequence[Sampling]) -> list[Completion]:
        """Continue each prompt; the answers come back in the order of the prompts.

        Raises:
            EngineError: a prompt leaves no room for an answer, or memory does not suffice.
        """
        tokens = self._encode(prompts)
        budgets = [
            min(choice.max_tokens, self._room(ids, prompt))
            for ids, prompt, choice in zip(tokens, prompts, sampling, strict=True)
        ]
        shared = self._shares(max(map(len, tokens), default=0) + max(budgets, default=0))
        plan = plan_sharing(tokens) if shared else share_nothing(tokens)
        rows = [
            Row(
                ids,
                plan.deepest[number],
                choice,
                budget,
                self._banned(choice),
                NgramPenalty(choice.ngram_penalty) if any(choice.ngram_penalty) else None,
            )
            for number, (ids, choice, budget) in enumerate(
                zip(tokens, sampling, budgets, strict=True)
            )
        ]
        for row in rows:
            if row.budget <= 0:
                row.text = ""
        self._run(_bucketed(rows, plan.order))
        return [row.completion() for row in rows]

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[float]:
        """Return log p(continuation | context) in nats, summed over the continuation's tokens.

        The whole text is tokenised at once; the continuation's tokens are those after the longest
        common beginning with the context's own tokens.
        """
        contexts = self._encode([context for context, _ in requests])
        wholes = self._encode([context + continuation for context, continuation in requests])
        wanted: list[Wanted] = []
        for context, whole, (text, _) in zip(contexts, wholes, requests, strict=True):
            start = max(1, common_prefix_length(context, whole))
            self._check_length(whole, text)
            scored = [(k - 1, whole[k]) for k in range(start, len(whole))]
            wanted.append(Wanted(whole[:-1], scored))
        found = iter(self._score([w for w in wanted if w.scored]))
        return [sum(next(found)) if w.scored else 0.0 for w in wanted]

    def next_token_logprobs(
        self, contexts: Sequence[str], choices: Sequence[str]
    ) -> list[list[float]]:
        """Return, per context and choice, log p (nats) of the token the choice begins with.

        Where a choice's first token begins is found by tokenising context and choice together,
        once for all contexts that end in the same words.
        """
        known: dict[str, tuple[int, list[int]]] = {}
        wanted: list[Wanted] = []
        for context, ids in zip(contexts, self._encode(contexts), strict=True):
            self._check_length(ids, context)
            ending = context[-_ENDING:]
            if ending not in known:
                known[ending] = self._first_tokens(context, ids, choices)
            replaced, firsts = known[ending]
            end = len(ids) - replaced
            wanted.append(Wanted(ids[:end], [(end - 1, token) for token in firsts]))
        return self._score(wanted)

    def _first_tokens(
        self, context: str, ids: Sequence[int], choices: Sequence[str]
    ) -> tuple[int, list[int]]:
        """Return how many of the context's last tokens the choices replace, and their tokens."""
        wholes = self._encode([context + choice for choice in choices])
        end = min(
            [min(common_prefix_length(ids, whole), len(whole) - 1) for whole in wholes],
            default=0,
        )
        firsts = [whole[end] for whole in wholes]
        if end < 1 or "" in choices or len(set(firsts)) < len(firsts):
            raise EngineError(
                f"the choices {', '.join(map(repr, choices))} begin with the same token (or none) "
                f"after {_shown(context, tail=True)}, so their scores cannot be told apart. Choose "
                "words that begin differently."
            )
        return len(ids) - end, firsts

    # --- how -------------------------------------------------------------------------------------

    @cached_property
    def _obstacle(self) -> str | None:
        """Why this model cannot run on our attention at all; None if it can."""
        reason = self._backbone.obstacle()
        if reason is not None:
            logger.warning("prompts are run whole, one cache per row: %s", reason)
        return reason

    def _shares(self, longest: int) -> bool:
        return self._ours(longest) and self.settings.share_prefixes

    def _ours(self, longest: int) -> bool:
        """Tell whether texts of up to `longest` tokens may run on our attention."""
        if not self.settings.own_attention or self._obstacle is not None:
            return False
        window = self._backbone.window
        return window is None or longest <= window

    def _run(self, rows: list[Row]) -> None:
        longest = max((len(row.prompt) + row.budget for row in rows), default=0)
        own = max((len(row.prompt) - row.shared + row.budget for row in rows), default=0)
        ours = self._ours(longest)
        places = self._places(own if ours else longest)
        writer = Writer(self._reader, self._ends)
        while rows := [row for row in rows if row.text is None]:
            decoder = (
                Decoder(self._backbone, self._store, writer)
                if ours
                else PlainDecoder(self._backbone, writer)
            )
            try:
                with torch.inference_mode():
                    decoder.run(rows, places)
            except torch.OutOfMemoryError as error:
                places //= 2
                if not places:
                    raise EngineError(
                        f"not enough memory for one text of {own} tokens on {self.model.device}. "
                        "Choose a smaller model, a shorter max_tokens, or the CPU."
                    ) from error
                logger.warning("memory ran out; going on with %d rows at a time", places)
                for row in rows:
                    row.restart()

    def _score(self, wanted: Sequence[Wanted]) -> list[list[float]]:
        longest = max((len(w.tokens) for w in wanted), default=0)
        if self._ours(longest):
            return score(self._backbone, self._store, wanted, share=self.settings.share_prefixes)
        return plain_score(self._backbone, wanted, self._places(longest))

    def _places(self, tokens: int) -> int:
        """Return how many rows of so many own tokens may live at once."""
        per_row = max(1, tokens * self._backbone.bytes_per_token)
        fitting = self.settings.cache_budget() // 2 // per_row
        return max(1, min(self.settings.batch_size, fitting))

    @cached_property
    def _ends(self) -> frozenset[int]:
        ends: int | list[int] | None = stated(self.model.generation_config, "eos_token_id")
        own: int | None = stated(self.tokenizer, "eos_token_id")
        listed = ends if isinstance(ends, list) else [ends]
        return frozenset(token for token in (*listed, own) if token is not None)

    def _banned(self, choice: Sampling) -> list[int]:
        banned: set[int] = set()
        for text in choice.ban:
            if text == END_OF_TEXT:
                banned |= self._ends
            else:
                banned |= set(self._encode([text], special=False)[0][:1])
        return sorted(banned)

    def _encode(self, texts: Sequence[str], *, special: bool = True) -> list[list[int]]:
        return encode(self.tokenizer, list(texts), special=special) if texts else []

    def _room(self, ids: Sequence[int], prompt: str) -> int:
        if not ids:
            raise EngineError(
                "a prompt is empty, and the model has no token to begin with. Give it some text."
            )
        self._check_length(ids, prompt)
        return self.context_length - len(ids)

    def _check_length(self, ids: Sequence[int], text: str) -> None:
        if len(ids) >= self.context_length:
            raise EngineError(
                f"the prompt {_shown(text)} has {len(ids)} tokens, and the model's context holds "
                f"{self.context_length}, answer included. Shorten the prompt (fewer or shorter "
                "exemplars), or choose a model with a longer context."
            )


def _bucketed(rows: Sequence[Row], order: Sequence[int]) -> list[Row]:
    """Neighbours share most; among those who share alike, the longest go first."""
    groups: dict[int, list[Row]] = {}
    for number in order:
        groups.setdefault(id(rows[number].stretch), []).append(rows[number])
    return [row for group in groups.values() for row in sorted(group, key=lambda r: -len(r.prompt))]


def _shown(text: str, *, tail: bool = False) -> str:
    if len(text) <= _SHOWN:
        return repr(text)
    return repr("…" + text[-_SHOWN:] if tail else text[:_SHOWN] + "…")
