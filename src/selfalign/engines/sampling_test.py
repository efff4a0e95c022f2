"""A draw depends on the record's seed and step alone, and follows the stated distribution."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfalign.core.protocols import Sampling
from selfalign.engines.sampling import Draw, NgramPenalty, invert, nucleus, uniforms

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5])


def drawn(sampling: Sampling, count: int = 4000, banned: tuple[int, ...] = ()) -> Counter[int]:
    choices = [sampling.model_copy(update={"seed": n}) for n in range(count)]
    draw = Draw(choices, [banned] * count)
    return Counter(draw.tokens(LOGITS.repeat(count, 1), [3] * count, []))


def test_uniform_numbers_are_a_function_of_seed_and_step() -> None:
    seeds, steps = np.arange(20_000, dtype=np.uint64), np.zeros(20_000, dtype=np.uint64)
    found = uniforms(seeds, steps)
    assert (found == uniforms(seeds, steps)).all()
    assert found.min() >= 0
    assert found.max() < 1
    histogram = np.histogram(found, 20, (0, 1))[0]
    assert abs(histogram - 1000).max() < 150  # five standard deviations
    by_step = uniforms(np.full(20_000, 7, dtype=np.uint64), seeds)
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.03
    assert abs(np.corrcoef(found, by_step)[0, 1]) < 0.03


def test_uniform_numbers_stay_what_they_were() -> None:
    """Another hash would change every text ever sampled."""
    found = uniforms(np.array([0, 1], np.uint64), np.array([0, 5], np.uint64))
    assert found.tolist() == [0.28176129772258496, 0.2191151301314187]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_follow_the_tempered_distribution(temperature: float) -> None:
    counts = drawn(Sampling(temperature=temperature))
    expected = torch.softmax(LOGITS / temperature, -1)
    for token, p in enumerate(expected.tolist()):
        assert counts[token] / 4000 == pytest.approx(p, abs=0.035)


def test_the_nucleus_excludes_the_tail() -> None:
    counts = drawn(Sampling(temperature=1.0, top_p=0.75))
    assert set(counts) == {0, 1}  # .61 + .22 >= .75


def test_a_banned_token_is_never_drawn_and_the_rest_keep_their_odds() -> None:
    counts = drawn(Sampling(temperature=1.0), banned=(0,))
    expected = torch.softmax(LOGITS[1:], -1)
    assert counts[0] == 0
    assert counts[1] / 4000 == pytest.approx(float(expected[0]), abs=0.03)


def test_greedy_and_sampled_rows_share_a_batch() -> None:
    choices = [Sampling(temperature=0), *[Sampling(temperature=5.0, seed=n) for n in range(50)]]
    tokens = Draw(choices, [()] * 51).tokens(LOGITS.repeat(51, 1), [0] * 51, [])
    assert tokens[0] == 0
    assert len(set(tokens[1:])) > 1
    alone = [Draw([c], [()]).tokens(LOGITS[None].clone(), [0], [])[0] for c in choices]
    assert alone == tokens


def test_a_deduction_lowers_a_logit() -> None:
    draw = Draw([Sampling(temperature=0)] * 2, [(), ()])
    assert draw.tokens(LOGITS.repeat(2, 1), [0, 0], [(1, 0, 5.0)]) == [0, 1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 200), st.floats(0.05, 0.99), st.floats(0.01, 4.0))
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(
    seed: int, vocabulary: int, top_p: float, spread: float
) -> None:
    torch.manual_seed(seed)
    p = torch.softmax(torch.randn(vocabulary) * spread, -1)
    kept = nucleus(p[None], torch.tensor([top_p]))[0]
    chosen = kept > 0
    assert torch.equal(kept[chosen], p[chosen])
    mass = float(kept.double().sum())
    assert mass >= top_p - 1e-6
    assert mass - float(kept[chosen].min()) < top_p + 1e-6
    assert float(kept[chosen].min()) >= float(p.masked_fill(chosen, 0).max())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 200), st.floats(0.02, 0.99))
def test_every_draw_is_in_its_nucleus(seed: int, vocabulary: int, top_p: float) -> None:
    torch.manual_seed(seed)
    logits = torch.randn(40, vocabulary) * 2
    choices = [Sampling(temperature=1.0, top_p=top_p, seed=n) for n in range(40)]
    tokens = Draw(choices, [()] * 40).tokens(logits.clone(), [0] * 40, [])
    kept = nucleus(torch.softmax(logits, -1), torch.full((40,), top_p))
    assert all(float(kept[row, token]) > 0 for row, token in enumerate(tokens))


def test_draws_follow_the_renormalised_nucleus_even_where_attempts_run_out() -> None:
    """150 nearly equal tokens and top_p .03: most attempts fail."""
    torch.manual_seed(0)
    logits = torch.cat([torch.linspace(0.05, 0.01, 5), torch.zeros(145)])
    count = 4000
    choices = [Sampling(temperature=1.0, top_p=0.03, seed=n) for n in range(count)]
    found = Counter(Draw(choices, [()] * count).tokens(logits.repeat(count, 1), [1] * count, []))
    kept = nucleus(torch.softmax(logits, -1)[None], torch.tensor([0.03]))[0]
    assert set(found) == set(torch.nonzero(kept)[:, 0].tolist())
    expected = kept / kept.sum()
    for token, times in found.items():
        assert times / count == pytest.approx(float(expected[token]), abs=0.04)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 300), st.floats(0, 1, exclude_max=True))
def test_inversion_finds_the_token_where_the_target_is_passed(
    seed: int, vocabulary: int, target: float
) -> None:
    torch.manual_seed(seed)
    p = torch.rand(vocabulary) * (torch.rand(vocabulary) < 0.5)
    p[seed % vocabulary] = 0.5
    token = int(invert(p[None], torch.tensor([target], dtype=torch.float64)))
    passed = p.double().cumsum(-1)
    assert p[token] > 0
    assert float(passed[token]) >= target * float(passed[-1]) - 1e-5
    assert float(passed[token] - p[token]) <= target * float(passed[-1]) + 1e-5


def test_the_penalty_counts_what_followed_the_same_words() -> None:
    """The example of the definition: after "a b", "c" followed twice and "d" once."""
    a, b, c, d = range(4)
    tokens: list[int] = []
    penalty = NgramPenalty((0.0, 0.0, 1.0, 2.0))
    for token in (a, b, c, a, b, c, a, b, d, a, b):
        tokens.append(token)
        penalty.add(tokens)
    # Order 3: context (a, b). Order 4: context (x, a, b) with x the token before: (d, a, b) is new.
    assert penalty.deductions(tokens) == {c: 2.0, d: 1.0}
    longer = NgramPenalty((0.0, 0.0, 0.0, 2.0))
    for end in range(1, len(tokens)):
        longer.add(tokens[:end])
    assert longer.deductions([*tokens[:-3], c, a, b]) == {c: 2.0, d: 2.0}


def test_a_penalty_on_single_words_counts_every_use() -> None:
    penalty = NgramPenalty((0.5,))
    penalty.add([7])
    penalty.add([7, 8])
    penalty.add([7, 8, 7])
    assert penalty.deductions([7, 8, 7]) == {7: 1.0, 8: 0.5}
