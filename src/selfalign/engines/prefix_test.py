"""What prompts share is found, computed once, cut and continued, and forgotten in good order."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfalign.engines.attention import PrefixNode
from selfalign.engines.prefix import (
    PrefixStore,
    common_prefix_length,
    plan_sharing,
    share_nothing,
)

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=12)


@given(st.lists(st.integers(0, 1), max_size=20), st.lists(st.integers(0, 1), max_size=20))
def test_the_common_prefix_is_the_longest(first: list[int], second: list[int]) -> None:
    length = common_prefix_length(first, second)
    assert first[:length] == second[:length]
    assert first[length : length + 1] != second[length : length + 1] or length == min(
        len(first), len(second)
    )


@settings(max_examples=200)
@given(PROMPTS, st.integers(1, 3), st.integers(1, 6))
def test_prompts_under_a_stretch_share_its_tokens_and_keep_one_of_their_own(
    prompts: list[list[int]], min_length: int, min_saved: int
) -> None:
    plan = plan_sharing(prompts, min_length, min_saved)
    assert sorted(plan.order) == list(range(len(prompts)))
    members: dict[tuple[int, int, tuple[int, ...]], int] = {}
    for number, prompt in enumerate(prompts):
        stretch = plan.deepest[number]
        assert plan.shared(number) < len(prompt)
        while stretch is not None:
            assert (stretch.parent.end if stretch.parent else 0) == stretch.start < stretch.end
            key = (stretch.start, stretch.end, tuple(prompt[: stretch.end]))
            members[key] = members.get(key, 0) + 1
            stretch = stretch.parent
    if len(prompts) == 1:
        return
    for (start, end, _), count in members.items():
        assert end - start >= min_length
        assert (end - start) * (count - 1) >= min_saved


def test_two_levels_are_found() -> None:
    system, left, right = [1] * 10, [2] * 10, [3] * 10
    prompts = [[*system, *middle, n] for middle in (left, right) for n in range(3)]
    plan = plan_sharing([*prompts, [9, 9]], min_length=10, min_saved=10)
    assert [plan.shared(n) for n in range(7)] == [20] * 6 + [0]
    assert len({id(plan.deepest[n]) for n in range(6)}) == 2
    assert plan.deepest[0].parent is plan.deepest[5].parent
    assert plan.deepest[0].parent.end == 10


def test_equal_prompts_share_all_but_their_last_token() -> None:
    assert plan_sharing([[1, 2, 3]] * 4, 1, 1).shared(2) == 2


def test_a_conversation_is_not_computed_from_its_beginning_at_every_turn() -> None:
    fill = Filled()
    store = PrefixStore(fill, 10**9)
    for length in (300, 350, 420):
        prompt = list(range(length))
        store.node(plan_sharing([prompt]).deepest[0], prompt)
    assert [len(tokens) for tokens in fill.computed] == [299, 50, 70]
    assert plan_sharing([list(range(40))]).deepest == [None]


def test_sharing_nothing_orders_by_length() -> None:
    plan = share_nothing([[1, 1, 1], [1], [1, 1]])
    assert plan.order == [1, 2, 0]
    assert plan.deepest == [None] * 3


class Filled:
    """Fills nodes with the tokens themselves as keys, and remembers what was computed."""

    def __init__(self) -> None:
        self.computed: list[tuple[int, ...]] = []

    def __call__(self, node: PrefixNode) -> None:
        self.computed.append(node.tokens)
        node.keys.append(torch.tensor(node.tokens, dtype=torch.float32)[None, :, None])
        node.values.append(node.keys[0] + 0.5)


def spelled(node: PrefixNode) -> list[int]:
    """The tokens whose keys a row below the node attends to."""
    return [int(t) for part in node.path for t in part.keys[0][0, :, 0].tolist()]


def test_a_shorter_or_longer_prefix_reuses_what_is_there() -> None:
    fill = Filled()
    store = PrefixStore(fill, 10**9)
    text = list(range(300))
    ask = [plan_sharing([text[:n]] * 5).deepest[0] for n in (201, 151, 300)]
    for stretch, length in zip(ask, (200, 150, 299), strict=True):
        node = store.node(stretch, text)
        assert spelled(node) == text[:length]
    assert [len(tokens) for tokens in fill.computed] == [200, 99]
    assert store.computed_tokens == 299


def test_a_different_prefix_is_not_mistaken_for_a_known_one() -> None:
    fill = Filled()
    store = PrefixStore(fill, 10**9)
    for first in (1, 2):
        prompt = [first, *range(100)]
        node = store.node(plan_sharing([prompt] * 5).deepest[0], prompt)
        assert spelled(node) == prompt[:-1]
    assert len(fill.computed) == 2


def test_the_least_recently_used_is_forgotten_first() -> None:
    fill = Filled()
    store = PrefixStore(fill, 2 * 100 * 8)  # two nodes of 100 tokens, 4 bytes of key and of value
    prompts = [[n, *range(100)] for n in range(3)]

    def ask(n: int) -> None:
        store.node(plan_sharing([prompts[n]] * 5).deepest[0], prompts[n])

    for n in (0, 1, 0, 2, 0):
        ask(n)
    assert [tokens[0] for tokens in fill.computed] == [0, 1, 2]
    ask(1)
    assert [tokens[0] for tokens in fill.computed] == [0, 1, 2, 1]


@settings(max_examples=100, deadline=None)
@given(st.lists(PROMPTS, min_size=1, max_size=4), st.integers(1, 4))
def test_whatever_was_asked_before_a_node_holds_its_prompts_tokens(
    batches: list[list[list[int]]], min_saved: int
) -> None:
    store = PrefixStore(Filled(), 500)
    for prompts in batches:
        plan = plan_sharing(prompts, 1, min_saved)
        for number, prompt in enumerate(prompts):
            node = store.node(plan.deepest[number], prompt)
            if node is not None:
                assert spelled(node) == prompt[: plan.shared(number)]
                assert node.end == plan.shared(number)
