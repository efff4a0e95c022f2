"""Packed examples do not see each other, and a batch stays what it is without packing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from selfalign.trainers import packing
from selfalign.trainers.packing import (
    IGNORED,
    apart,
    flatten,
    isolates,
    micro_batch,
    segment_attention,
)

LENGTHS = (5, 1, 17, 3, 40)


def rows(size: int) -> list[dict[str, list[int]]]:
    torch.manual_seed(0)
    ids = [torch.randint(0, size, (n,)).tolist() for n in LENGTHS]
    return [{"input_ids": row, "labels": row} for row in ids]


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma", "mistral", "gpt_neox"])
def test_packed_logits_are_the_logits_of_each_example_alone(
    make_tiny_model: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    window = {"sliding_window": 11} if kind == "mistral" else {}
    model = AutoModelForCausalLM.from_pretrained(make_tiny_model(tmp_path, kind=kind, **window))
    examples = rows(300)
    with torch.no_grad():
        alone = [model(torch.tensor([e["input_ids"]]), use_cache=False).logits[0] for e in examples]
        assert isolates(model) is None
        batch = flatten(examples)
        batch.pop("labels")
        packed = model(**batch, use_cache=False).logits[0]
    torch.testing.assert_close(packed, torch.cat(alone), atol=1e-4, rtol=0)


@given(st.lists(st.integers(1, 70), min_size=1, max_size=12), st.sampled_from([1, 2]))
def test_plain_products_attend_as_the_fused_kernel_does(lengths: list[int], groups: int) -> None:
    generator = torch.Generator().manual_seed(sum(lengths))
    shapes = (4, 4 // groups, 4 // groups)
    found: list[tuple[torch.Tensor, ...]] = []
    for plain in (False, True):
        generator.manual_seed(sum(lengths))
        heads = [torch.randn(1, n, sum(lengths), 8, generator=generator) for n in shapes]
        for tensor in heads:
            tensor.requires_grad_()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(packing, "_products_are_faster", lambda *_, plain=plain: plain)
            output, _ = segment_attention(
                torch.nn.Identity(), *heads, None, segments=torch.tensor(lengths)
            )
        output.pow(2).sum().backward()
        found.append((output, *(tensor.grad for tensor in heads if tensor.grad is not None)))
    assert len(found[1]) == len(heads) + 1
    for fused, plain in zip(*found, strict=True):
        torch.testing.assert_close(plain, fused, atol=1e-5, rtol=1e-5)


def test_without_the_lengths_the_examples_would_contaminate_each_other(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert isolates(model) is None
    batch = flatten(rows(300))
    batch.pop("labels")
    with torch.no_grad():
        apart = model(**batch, use_cache=False).logits[0]
        batch.pop("segments")
        mixed = model(**batch, use_cache=False).logits[0]
    assert float((apart - mixed).abs().max()) > 0.1


def test_a_model_that_mixes_packed_examples_is_noticed_and_left_as_it_was(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mixing(*args: object, segments: object = None, **options: object) -> object:
        return segment_attention(*args, **options)

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    own = model.config._attn_implementation
    monkeypatch.setattr(packing, "segment_attention", mixing)
    assert "differ" in (isolates(model) or "")
    assert model.config._attn_implementation == own


def test_flattening_never_trains_the_first_token_of_an_example() -> None:
    batch = flatten(
        [{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}, {"input_ids": [4, 5], "labels": [-100, 5]}]
    )
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5]]
    assert batch["labels"].tolist() == [[IGNORED, 2, 3, IGNORED, 5]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert batch["segments"].tolist() == [3, 2]


@given(st.integers(1, 1000), st.floats(1, 5000), st.integers(1, 20_000))
def test_a_micro_batch_divides_the_batch_and_fits_the_budget(
    batch: int, mean: float, budget: int
) -> None:
    found = micro_batch(batch, mean, budget)
    assert batch % found == 0
    assert found == 1 or found * mean <= budget


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=12), parts=st.integers(1, 5))
def test_a_row_cut_between_examples_is_the_row(lengths: list[int], parts: int) -> None:
    rows = [{"input_ids": list(range(n)), "labels": [n] * n} for n in lengths]
    whole = flatten(rows)
    made = apart(whole, parts)
    assert 1 <= len(made) <= min(parts, len(lengths))
    for name in whole:
        assert torch.equal(torch.cat([row[name] for row in made], dim=-1), whole[name])
    for row in made:
        assert int(row["segments"].sum()) == row["input_ids"].shape[1]
        assert int(row["labels"][0, 0]) == IGNORED
        # No part is much larger than its share: a cut is at most half an example off, at both ends.
        assert row["input_ids"].shape[1] <= sum(lengths) / parts + max(lengths)
