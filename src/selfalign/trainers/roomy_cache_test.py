"""A cache with room holds what a cache without holds, whatever is asked of it."""

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, MistralConfig

from selfalign.trainers.roomy_cache import RoomyLayer, roomy_cache

CONFIG = LlamaConfig(
    vocab_size=50,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
)


def logits_of(cache: DynamicCache, picked: list[list[int] | None]) -> list[torch.Tensor]:
    """Feed 3 rows of 5 tokens, then one token each; `picked[n]`: rows kept after token n."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(CONFIG).eval()
    tokens, found = torch.randint(0, 50, (3, 5)), list[torch.Tensor]()
    for rows in picked:
        with torch.no_grad():
            found.append(model(tokens, past_key_values=cache).logits[:, -1])
        tokens = found[-1].argmax(-1)[:, None]
        if rows is not None:
            kept = torch.tensor(rows)
            cache.batch_select_indices(kept)
            tokens = tokens[kept]
    return found


def test_the_same_logits_to_the_last_bit_beyond_the_first_room_and_when_rows_come_and_go() -> None:
    picked: list[list[int] | None] = [[0, 0, 1, 2, 2], *[None] * 80, [4, 1], *[None] * 80, [1]]
    roomy = logits_of(roomy_cache(CONFIG), [*picked, None])
    plain = logits_of(DynamicCache(config=CONFIG), [*picked, None])
    assert [len(one) for one in roomy[::81]] == [3, 5, 2]
    for mine, theirs in zip(roomy, plain, strict=True):
        assert torch.equal(mine, theirs)


def test_keys_are_written_behind_the_others_and_not_copied() -> None:
    layer = RoomyLayer()
    token = torch.ones(2, 1, 1, 4)
    layer.update(token, token)
    place = layer.keys.data_ptr() if layer.keys is not None else None
    for _ in range(60):
        keys, _ = layer.update(token, token)
    assert keys.shape == (2, 1, 61, 4)
    assert keys.data_ptr() == place


def test_what_the_base_class_does_to_the_rows_is_not_undone() -> None:
    layer, states = RoomyLayer(), torch.randn(2, 1, 3, 4)
    layer.update(states, states)
    layer.reorder_cache(torch.tensor([1, 1]))
    layer.batch_repeat_interleave(2)
    more = torch.randn(4, 1, 1, 4)
    keys, _ = layer.update(more, more)
    assert torch.equal(keys, torch.cat([states[[1, 1, 1, 1]], more], dim=2))


def test_a_window_stays_a_window() -> None:
    """Its layers forget, and are left to transformers."""
    windowed = MistralConfig(num_hidden_layers=2, sliding_window=8)
    assert not any(isinstance(one, RoomyLayer) for one in roomy_cache(windowed).layers)
    assert all(isinstance(one, RoomyLayer) for one in roomy_cache(CONFIG).layers)


@pytest.mark.parametrize("tokens", [1, 64, 65, 200])
def test_any_length_at_once(tokens: int) -> None:
    layer, states = RoomyLayer(), torch.randn(2, 3, tokens, 4)
    keys, values = layer.update(states, -states)
    assert torch.equal(keys, states)
    assert torch.equal(values, -states)
    assert layer.get_seq_length() == tokens
