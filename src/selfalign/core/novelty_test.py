"""The exact novelty filter against its reference, rouge_score, one pair at a time."""

import random
import string
from collections import Counter
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import LCSseq
from rouge_score import rouge_scorer

from selfalign.core import novelty, novelty_bound, novelty_index
from selfalign.core.errors import InputError
from selfalign.core.novelty import (
    NoveltyFilter,
    NoveltySettings,
    Place,
    merge_novel,
    select_novel,
)
from selfalign.core.novelty_bound import Bound, DropAt, rouge_l_f1
from selfalign.core.novelty_tokens import TokenizerName, Vocabulary, rouge_words, unicode_words

RULES: tuple[DropAt, ...] = ("ge", "gt")
BOTH_RULES = pytest.mark.parametrize("drop_at", RULES)
NUMBA = pytest.mark.skipif(find_spec("numba") is None, reason="the extra `fast` is not installed")
ENGINES = [pytest.param(False, id="python"), pytest.param(True, id="numba", marks=NUMBA)]
BOTH_ENGINES = pytest.mark.parametrize("accelerate", ENGINES)


def reference_decisions(
    texts: list[str], threshold: float, drop_at: DropAt, words: Any = None
) -> list[bool]:
    """Compare each text with every kept one by rouge_score's own code."""
    tokenize = words or rouge_scorer.RougeScorer(["rougeL"])._tokenizer.tokenize
    kept: list[list[str]] = []
    decisions: list[bool] = []
    for tokens in map(tokenize, texts):
        scores = [rouge_scorer._score_lcs(old, tokens).fmeasure for old in kept]
        top = max(scores, default=0.0)
        decisions.append(not (top >= threshold if drop_at == "ge" else top > threshold))
        if decisions[-1]:
            kept.append(tokens)
    return decisions


def stream(seed: int, count: int, vocabulary: int = 60, longest: int = 24) -> list[str]:
    """Make texts of skewed words, half of them by a few edits of earlier ones."""
    rng = random.Random(seed)
    words = [rng.choice(string.ascii_lowercase) + str(n) for n in range(vocabulary)]
    texts: list[list[str]] = []
    for _ in range(count):
        if texts and rng.random() < 0.5:
            text = list(rng.choice(texts))
            for _ in range(rng.randint(1, 7)):
                place = rng.randrange(len(text) + 1)
                text[place : place + rng.randint(0, 1)] = rng.choices(words, k=rng.randint(0, 2))
        else:
            text = [
                words[int(vocabulary * rng.random() ** 3)] for _ in range(rng.randint(0, longest))
            ]
        texts.append(text)
    return [" ".join(text) for text in texts]


def one_by_one(texts: list[str], **options: Any) -> list[bool]:
    novel = NoveltyFilter(**options)
    return [novel.admit(text) for text in texts]


EDGES = ["", "", "¿?", "你好", "你好", "the " * 11, "the " * 12] + [
    " ".join(str(i % 7) for i in range(n)) for n in (3, 20, 40, 64, 65, 100, 128, 130)
]


@BOTH_ENGINES
@BOTH_RULES
def test_decisions_are_those_of_rouge_score(drop_at: DropAt, accelerate: bool) -> None:
    texts = stream(0, 120) + EDGES
    expected = reference_decisions(texts, 0.7, drop_at)
    options = {"tokenizer": "rouge", "drop_at": drop_at, "accelerate": accelerate}
    assert one_by_one(texts, **options) == expected
    novel = NoveltyFilter(**options)
    assert novel.admit_all(texts) == expected
    assert 0 < sum(expected) < len(texts)
    assert len(novel) == sum(expected)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(alphabet="abc AB1é你.", max_size=30), max_size=12),
    st.sampled_from(RULES),
    st.sampled_from([0.05, 0.3, 0.5, 0.7, 0.9, 1.0]),
)
def test_any_texts_and_thresholds_agree_with_rouge_score(
    texts: list[str], drop_at: DropAt, threshold: float
) -> None:
    expected = reference_decisions(texts, threshold, drop_at)
    options = {"threshold": threshold, "drop_at": drop_at, "tokenizer": "rouge"}
    assert one_by_one(texts, **options) == expected


@BOTH_ENGINES
@BOTH_RULES
def test_many_candidates_and_a_reordered_index_change_no_decision(
    drop_at: DropAt, accelerate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(novelty_index, "_FIRST_FREEZE", 20)
    monkeypatch.setattr(novelty_index, "_NEXT_FREEZE", 2)
    texts = stream(9, 250, vocabulary=40, longest=9)
    expected = reference_decisions(texts, 0.7, drop_at)
    options = {"tokenizer": "rouge", "drop_at": drop_at, "accelerate": accelerate}
    assert NoveltyFilter(**options).admit_all(texts) == expected
    assert one_by_one(texts, **options) == expected


def brute_force(texts: list[str], threshold: float, drop_at: DropAt) -> list[bool]:
    """Compare each text with every kept one, as `reference_decisions`, by a faster LCS."""
    kept: list[list[str]] = []
    decisions: list[bool] = []
    for words in map(unicode_words, texts):
        common = [LCSseq.similarity(old, words) for old in kept]
        scores = [rouge_l_f1(c, len(o), len(words)) for c, o in zip(common, kept, strict=True)]
        top = max(scores, default=0.0)
        decisions.append(not (top >= threshold if drop_at == "ge" else top > threshold))
        if decisions[-1]:
            kept.append(words)
    return decisions


@BOTH_ENGINES
@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@example(262144, "ge", 0.125, 300, 60)
@given(
    st.integers(0, 10**6),
    st.sampled_from(RULES),
    st.floats(0.05, 1.0),
    st.sampled_from([1, 6, 20, 90, 300]),
    st.sampled_from([12, 60, 900]),
)
def test_decisions_and_nearest_texts_are_those_of_brute_force(
    accelerate: bool, seed: int, drop_at: DropAt, threshold: float, longest: int, vocabulary: int
) -> None:
    texts = [t for t in stream(seed, 150, vocabulary, longest) + EDGES if unicode_words(t)]
    novel = NoveltyFilter(threshold, drop_at, accelerate=accelerate)
    expected = brute_force(texts, threshold, drop_at)
    assert novel.admit_all(texts) == expected
    kept = [unicode_words(text) for text, k in zip(texts, expected, strict=True) if k]
    for words in map(unicode_words, texts[::40]):
        scores = [rouge_l_f1(LCSseq.similarity(k, words), len(k), len(words)) for k in kept]
        nearest = (scores.index(max(scores)), max(scores)) if any(scores) else None
        assert novel.nearest(" ".join(words)) == nearest


@NUMBA
def test_a_set_that_grows_large_moves_to_machine_code_unnoticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = stream(3, 300) + EDGES
    expected = NoveltyFilter(accelerate=False).admit_all(texts)
    monkeypatch.setattr(novelty, "_CHUNK", 50)
    monkeypatch.setattr(novelty, "_WORTH_COMPILING", 120)
    assert NoveltyFilter().admit_all(texts) == expected
    assert NoveltyFilter().admit_all(iter(texts)) == expected
    moved = NoveltyFilter()
    assert [moved.admit(text) for text in texts] == expected
    assert type(moved._index).__name__ == "CompiledIndex"


def test_acceleration_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"selfalign\[fast\]"):
        NoveltyFilter(accelerate=True)
    assert NoveltyFilter().admit("a b c")


@BOTH_RULES
@pytest.mark.parametrize("long", [20, 1023])
@pytest.mark.parametrize("few", [2, 24])
def test_long_texts_among_many_candidates_are_decided_as_the_reference_does(
    long: int, few: int, drop_at: DropAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(novelty_bound, "LONG", long)
    monkeypatch.setattr(novelty_index, "LONG", long)
    monkeypatch.setattr(novelty_index, "_FEW", few)
    rng = random.Random(1)
    texts: list[str] = []
    for _ in range(40):
        text = [f"w{i}" for i in range(rng.randint(12, 50))]
        for i in rng.sample(range(len(text)), int(len(text) * rng.uniform(0.1, 0.5))):
            text[i] = f"n{rng.randrange(10**9)}"
        texts.append(" ".join(text))
    texts += ["b " * 40 + "a", "a"] * 3
    expected = reference_decisions(texts, 0.7, drop_at)
    assert one_by_one(texts, tokenizer="rouge", drop_at=drop_at) == expected
    assert 3 < sum(expected) < len(texts) - 3


def test_the_boundary_is_decided_by_the_floats_of_the_reference() -> None:
    assert rouge_l_f1(7, 10, 10) == 0.7
    assert rouge_l_f1(7, 8, 12) > 0.7
    assert Bound(0.7, "ge").need(10, 10) == 7
    assert Bound(0.7, "gt").need(10, 10) == 8
    assert Bound(0.7, "gt").need(8, 12) == 7


@BOTH_ENGINES
@BOTH_RULES
@pytest.mark.parametrize(("m", "n"), [(10, 10), (8, 12), (64, 64), (64, 65), (65, 65), (128, 130)])
def test_texts_exactly_on_the_boundary_are_decided_as_the_reference_does(
    m: int, n: int, drop_at: DropAt, accelerate: bool
) -> None:
    need = round(0.35 * (m + n))
    for common in {*range(need - 2, min(m, n, need + 2) + 1), min(m, n), 1}:
        first = [f"s{i}" for i in range(common)] + [f"a{i}" for i in range(m - common)]
        second = [f"b{i}" for i in range(n - common)] + [f"s{i}" for i in range(common)]
        texts = [" ".join(first), " ".join(second)]
        expected = reference_decisions(texts, 0.7, drop_at)
        options = {"tokenizer": "rouge", "drop_at": drop_at, "accelerate": accelerate}
        assert one_by_one(texts, **options) == expected


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(RULES), st.floats(0.01, 1.0))
def test_need_is_the_least_count_that_passes(
    m: int, n: int, drop_at: DropAt, threshold: float
) -> None:
    bound = Bound(threshold, drop_at)
    passing = [c for c in range(1, min(m, n) + 1) if bound.too_alike(rouge_l_f1(c, m, n))]
    assert bound.need(m, n) == min(passing, default=min(m, n) + 1)
    assert bound.need(m, n) <= bound.need(m, n + 1)


@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.7, 1.0])
@BOTH_RULES
def test_the_prefix_leaves_fewer_words_than_any_partner_needs(
    threshold: float, drop_at: DropAt
) -> None:
    bound = Bound(threshold, drop_at)
    for m in range(1, 40):
        needs = [bound.need(m, n) for n in range(1, 40 * 40) if bound.need(m, n) <= min(m, n)]
        assert bound.prefix(m) == (m - min(needs) + 1 if needs else 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.sampled_from(RULES), st.floats(0.02, 1.0))
def test_no_pair_that_may_be_too_alike_misses_more_words_than_is_spared(
    m: int, drop_at: DropAt, threshold: float
) -> None:
    bound = Bound(threshold, drop_at)
    spare = bound.spare(m)
    for n in (*range(1, 60), m, 2 * m, 254, 255, 256, 300, 900, 50 * m):
        need, column = bound.need(m, n), min(n, novelty_bound.LONG)
        if need <= min(m, n):
            bits = 4 * (64 - novelty_bound.CHARGES)  # no more words can be seen to be missing
            assert min(m - need, bits) <= spare.mine[column]
            assert min(n - need, bits) <= spare.theirs[column]
            assert min(m - need, 64 - novelty_bound.CHARGES) + bound.charge(n) <= spare.charged


def test_pairs_of_unlike_length_are_spared_less() -> None:
    spare = Bound(0.7, "ge").spare(10)
    assert spare.mine[:20].tolist() == [-1] * 6 + [4, 4, 3, 3, 3, 2, 2, 1, 1, 1, 0, 0, 0, -1]
    assert spare.theirs[6:19].tolist() == [0, 1, 1, 2, 3, 3, 4, 4, 5, 6, 6, 7, 8]
    assert spare.charged == 6


@BOTH_ENGINES
def test_words_common_in_another_order_do_not_count_twice_in_long_texts(accelerate: bool) -> None:
    first, middle, last = ([f"{part}{n}" for n in range(64)] for part in "abc")
    turned, whole = " ".join(last + first), " ".join(first + middle + last)
    for kept, asked in ((turned, whole), (whole, turned)):
        novel = NoveltyFilter(accelerate=accelerate)
        novel.add(kept)
        assert novel.nearest(asked) == (0, rouge_l_f1(64, 192, 128))
        assert novel.nearest(" ".join(first)) == (0, rouge_l_f1(64, 64, len(kept.split())))
        assert novel.admit(asked)


@given(st.lists(st.lists(st.sampled_from("abcdefg"), max_size=9), max_size=6))
def test_shared_elements_count_shared_words(texts: list[list[str]]) -> None:
    vocabulary = Vocabulary()
    elements = [vocabulary.elements(vocabulary.encode(words)) for words in texts]
    for words, mine in zip(texts, elements, strict=True):
        assert len(set(mine)) == len(mine) == len(words)
        for other, theirs in zip(texts, elements, strict=True):
            shared = (Counter(words) & Counter(other)).total()
            assert len({*mine} & {*theirs}) == shared
    assert all(element < len(vocabulary) for text in elements for element in text)


@given(st.text())
def test_the_rouge_tokenizer_is_the_one_of_rouge_score(text: str) -> None:
    reference = rouge_scorer.RougeScorer(["rougeL"])._tokenizer
    assert rouge_words(text) == reference.tokenize(text)


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_both_tokenizers_agree_on_ascii(text: str) -> None:
    assert unicode_words(text) == rouge_words(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("写一首诗，about Spring!", ["写", "一", "首", "诗", "about", "spring"]),
        ("Straße ＡＢＣ", ["strasse", "abc"]),
        ("Напиши стих", ["напиши", "стих"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("ไทย", ["ไ", "ท", "ย"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("snake_case 🙂 2+2", ["snake", "case", "2", "2"]),
    ],
)
def test_every_script_is_read(text: str, words: list[str]) -> None:
    assert unicode_words(text) == words


def test_the_default_drops_a_chinese_copy_that_the_reference_keeps() -> None:
    texts = [
        "请写一首关于春天的诗",
        "请写一首关于春天的诗",
        "请写一首关于秋天的诗",
        "如何学习弹钢琴？",
    ]
    assert NoveltyFilter().admit_all(texts) == [True, False, False, True]
    assert NoveltyFilter(tokenizer="rouge").admit_all(texts) == [True] * 4


@given(st.lists(st.text(alphabet="一二三 四ab", max_size=20), max_size=10), st.sampled_from(RULES))
@settings(max_examples=50, deadline=None)
def test_unicode_words_are_compared_as_the_reference_compares_its_own(
    texts: list[str], drop_at: DropAt
) -> None:
    texts = [text for text in texts if unicode_words(text)]
    expected = reference_decisions(texts, 0.7, drop_at, unicode_words)
    assert one_by_one(texts, drop_at=drop_at) == expected


@pytest.mark.parametrize("batch", [True, False])
def test_a_text_without_a_word_is_dropped_only_as_an_exact_copy(batch: bool) -> None:
    texts = ["?!", "a b", "", "?!", " ?!\n", "", "🙂", "!?", "🙂", "a b"]
    expected = [True, True, True, False, False, False, True, True, False, False]
    novel = NoveltyFilter()
    assert (novel.admit_all(texts) if batch else list(map(novel.admit, texts))) == expected
    assert novel.nearest("🙂") == (3, 1.0)
    assert novel.nearest("a b") == (1, 1.0)
    assert novel.nearest("--") is None


def test_seeds_are_kept_without_a_comparison_and_still_count() -> None:
    novel = NoveltyFilter()
    novel.add_all(["Write a poem about spring."] * 2)
    assert len(novel) == 2
    assert not novel.admit("write a poem about SPRING")


@pytest.mark.parametrize("tokenizer", ["unicode", "rouge"])
def test_a_filter_rebuilt_from_its_kept_texts_decides_alike(tokenizer: TokenizerName) -> None:
    texts = stream(4, 400) + EDGES
    whole = NoveltyFilter(tokenizer=tokenizer)
    decisions = whole.admit_all(texts)
    before = NoveltyFilter(tokenizer=tokenizer)
    first = before.admit_all(texts[:200])
    rebuilt = NoveltyFilter(tokenizer=tokenizer)
    rebuilt.add_all(text for text, kept in zip(texts[:200], first, strict=True) if kept)
    assert first + rebuilt.admit_all(texts[200:]) == decisions
    assert len(rebuilt) == len(whole)


@BOTH_ENGINES
def test_nearest_is_the_best_score_of_all(accelerate: bool) -> None:
    texts = stream(5, 60)
    found = NoveltyFilter(tokenizer="rouge", accelerate=accelerate)
    found.add_all(texts)
    scorer = rouge_scorer.RougeScorer(["rougeL"])
    for text in stream(6, 12):
        scores = [scorer.score(old, text)["rougeL"].fmeasure for old in texts]
        expected = (scores.index(max(scores)), max(scores)) if max(scores) else None
        assert found.nearest(text) == expected


def test_a_vocabulary_larger_than_unicode_is_compared_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = stream(2, 150) + EDGES
    expected = NoveltyFilter(accelerate=False).admit_all(texts)
    monkeypatch.setattr(novelty_index, "_LARGEST_CHARACTER", 30)
    assert NoveltyFilter(accelerate=False).admit_all(texts) == expected


def test_selecting_and_merging_keep_no_two_alike() -> None:
    shards = [stream(seed, 60) for seed in (7, 7, 8)]
    places = merge_novel(shards)
    assert places == sorted(places)
    assert all(place.shard != 1 or not shards[1][place.position] for place in places)
    kept = [shards[place.shard][place.position] for place in places]
    assert select_novel(kept) == list(range(len(kept)))
    assert places[0] == Place(0, 0)
    flat = [text for shard in shards for text in shard]
    assert kept == [flat[position] for position in select_novel(flat)]


def test_only_settings_that_change_a_decision_enter_the_identity() -> None:
    assert NoveltyFilter().fingerprint == NoveltySettings().fingerprint
    assert NoveltyFilter(accelerate=False).fingerprint == NoveltyFilter().fingerprint
    assert NoveltyFilter(drop_at="gt").fingerprint != NoveltyFilter().fingerprint


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, float("nan")])
def test_a_threshold_that_means_nothing_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        NoveltyFilter(threshold=threshold)
