"""Is this instruction new? The exact ROUGE-L filter of SELF-INSTRUCT, fast enough for the paper.

Source: Sun et al., SELF-ALIGN (arXiv:2305.03047v2), section "Topic-Guided Red-Teaming
Self-Instruct", which takes the rule from Wang et al., SELF-INSTRUCT (arXiv:2212.10560v2): a new
instruction is kept if its ROUGE-L with every instruction kept before is below 0.7.

    text -> words -> rare words -> look-alikes -> exact ROUGE-L F1 -> kept | dropped

Decisions are identical to comparing each text with every kept one using rouge_score; only the
pairs that cannot reach the threshold are skipped. Differences from the paper, all by choice:
  * the default tokenizer reads every script (the reference's knows a-z and 0-9 only);
  * the paper keeps below 0.7 ("ge", the default), the released code drops above 0.7 ("gt");
  * replicas can be merged (`merge_novel`); the authors' replicas never saw each other's.

A text without a word ("", "?!", an emoji) has ROUGE-L 0 with everything. Under "unicode" it is
still dropped as an exact copy (spacing and case aside) of a kept one; under "rouge" it is always
kept, as the reference does, which includes every Chinese text.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from typing import NamedTuple, TypeVar

from pydantic import Field

from selfalign.core.errors import InputError
from selfalign.core.novelty_bound import Bound, DropAt
from selfalign.core.novelty_index import Index, Nearest, PythonIndex
from selfalign.core.novelty_tokens import WORDS, TokenizerName, Vocabulary, copy_key
from selfalign.core.records import Settings

_CHUNK = 8_192
"""Ours: texts encoded at a time by the batch functions; bounds their memory."""
_WORTH_COMPILING = 50_000
"""Ours: from this many texts on, loading (or first compiling) machine code pays for itself."""

T = TypeVar("T")


class NoveltySettings(Settings):
    """What decides who is kept; the whole identity of the filter."""

    threshold: float = Field(default=0.7, gt=0, le=1)
    """The paper's."""
    drop_at: DropAt = "ge"
    """The paper's: keep below the threshold. "gt" is the authors' released code."""
    tokenizer: TokenizerName = "unicode"
    """Ours; "rouge" is the authors'."""


class NoveltyFilter:
    """A growing set of texts no two of which are too alike (texts given to `add` aside).

    Appendable: a new text is compared with all kept ones, nothing is scanned again. Resumable:
    `add_all` of the kept texts, in order, rebuilds it without a comparison.

    `accelerate` changes no decision: True uses numba (the extra `fast`), False never does, None
    does for sets from 50,000 texts on if it is installed.
    """

    def __init__(
        self,
        threshold: float = 0.7,
        drop_at: DropAt = "ge",
        tokenizer: TokenizerName = "unicode",
        *,
        accelerate: bool | None = None,
    ) -> None:
        self.settings = NoveltySettings(threshold=threshold, drop_at=drop_at, tokenizer=tokenizer)
        self._words = WORDS[tokenizer]
        self._vocabulary = Vocabulary()
        self._bound = Bound(threshold, drop_at)
        self._index: Index = PythonIndex(self._bound, self._vocabulary)
        self._may_compile = accelerate is None and find_spec("numba") is not None
        if accelerate:
            self._compile()
        self._wordless: dict[str, int] = {}

    def __len__(self) -> int:
        """How many texts are kept."""
        return len(self._index)

    @property
    def fingerprint(self) -> str:
        """Digest of the settings: what may change a decision."""
        return self.settings.fingerprint

    def add(self, text: str) -> None:
        """Keep a text without comparing it, as the seed tasks are kept."""
        self.add_all([text])

    def add_all(self, texts: Iterable[str]) -> None:
        """Keep texts without comparing them; also how a filter is rebuilt from what it kept."""
        for chunk in self._chunks(texts):
            encoded = [self._vocabulary.encode(self._words(text)) for text in chunk]
            for number, (text, tokens) in enumerate(zip(chunk, encoded, strict=True), len(self)):
                if not tokens:
                    self._wordless.setdefault(copy_key(text), number)
            self._index.insert(encoded)

    def admit(self, text: str) -> bool:
        """Keep the text if no kept one is too alike, and say whether it was."""
        return self.admit_all([text])[0]

    def admit_all(self, texts: Iterable[str]) -> list[bool]:
        """Do what `admit` does with each text in order, faster."""
        admitted: list[bool] = []
        for chunk in self._chunks(texts):
            admitted += self._admit_chunk(chunk)
        return admitted

    def nearest(self, text: str) -> Nearest | None:
        """Return the kept text most alike as (number in order of keeping, ROUGE-L F1).

        The first of equals; None if none shares a word. Reads every kept text: some 10 ns each.
        """
        if tokens := self._vocabulary.encode(self._words(text)):
            return self._index.nearest(tokens)
        number = self._wordless.get(copy_key(text))
        return None if number is None or self._reference_keeps_copies else (number, 1.0)

    @property
    def _reference_keeps_copies(self) -> bool:
        return self.settings.tokenizer == "rouge"

    def _chunks(self, texts: Iterable[str]) -> Iterator[list[str]]:
        expected = len(self) + (len(texts) if isinstance(texts, Sized) else 0)
        for chunk in _chunks(texts):
            if self._may_compile and max(expected, len(self) + len(chunk)) >= _WORTH_COMPILING:
                self._compile()
            yield chunk

    def _compile(self) -> None:
        """Move what is kept into the compiled index."""
        compiled = _compiled_index()(self._bound, self._vocabulary)
        for chunk in _chunks(self._index.kept()):
            compiled.insert(chunk)
        self._index = compiled
        self._may_compile = False

    def _admit_chunk(self, texts: list[str]) -> list[bool]:
        encoded = [self._vocabulary.encode(self._words(text)) for text in texts]
        if all(encoded):
            return self._index.admit(encoded)
        copies = self._copies(texts, encoded)
        number = len(self)
        judged = iter(
            self._index.admit([t for t, copy in zip(encoded, copies, strict=True) if not copy])
        )
        admitted = [not copy and next(judged) for copy in copies]
        for text, tokens, kept in zip(texts, encoded, admitted, strict=True):
            if kept and not tokens:
                self._wordless.setdefault(copy_key(text), number)
            number += kept
        return admitted

    def _copies(self, texts: list[str], encoded: list[list[int]]) -> list[bool]:
        """Say which texts are wordless copies of a kept text or of an earlier one of these."""
        if self._reference_keeps_copies or not self._bound.too_alike(1.0):
            return [False] * len(texts)
        seen = set(self._wordless)
        copies: list[bool] = []
        for text, tokens in zip(texts, encoded, strict=True):
            key = "" if tokens else copy_key(text)
            copies.append(not tokens and key in seen)
            if not tokens:
                seen.add(key)
        return copies


class Place(NamedTuple):
    """Where a text came from when shards are merged."""

    shard: int
    position: int


def select_novel(
    texts: Sequence[str],
    *,
    settings: NoveltySettings | None = None,
    against: Iterable[str] = (),
    accelerate: bool | None = None,
) -> list[int]:
    """Return the positions of the texts to keep, in order; `against` is kept beforehand."""
    novel = _open(settings or NoveltySettings(), accelerate)
    novel.add_all(against)
    return [position for position, kept in enumerate(novel.admit_all(texts)) if kept]


def merge_novel(
    shards: Sequence[Sequence[str]],
    *,
    settings: NoveltySettings | None = None,
    against: Iterable[str] = (),
    accelerate: bool | None = None,
) -> list[Place]:
    """Return which texts of which shards to keep so that no two kept ones are too alike.

    Earlier shards win, so the result depends on the order of the shards and on nothing else. The
    authors' merge compared exact texts, and near-duplicates of different replicas survived it.
    """
    novel = _open(settings or NoveltySettings(), accelerate)
    novel.add_all(against)
    return [
        Place(shard, position)
        for shard, texts in enumerate(shards)
        for position, kept in enumerate(novel.admit_all(texts))
        if kept
    ]


def _open(settings: NoveltySettings, accelerate: bool | None) -> NoveltyFilter:
    return NoveltyFilter(
        settings.threshold, settings.drop_at, settings.tokenizer, accelerate=accelerate
    )


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, _CHUNK)):
        yield chunk


def _compiled_index() -> Callable[[Bound, Vocabulary], Index]:
    """Import the compiled index; late, because importing numba takes longer than most runs."""
    if find_spec("numba") is None:
        raise InputError(
            "accelerate=True needs numba, which is not installed. Install it with "
            "`pip install 'selfalign[fast]'`, or leave `accelerate` out: it changes no decision."
        )
    return import_module("selfalign.core.novelty_compiled").CompiledIndex
