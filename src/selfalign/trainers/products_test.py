"""Fast products: within the block only, and the same numbers where that is promised."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from selfalign.trainers import products
from selfalign.trainers.products import fast_products, folded, has_units
from selfalign.trainers.untyped import attention_name


@pytest.fixture
def model() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            attn_implementation="sdpa",
        )
    )


def _error_of_a_product() -> float:
    """Return how far a float32 product is from the same in float64, relative to its size."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    return float(((a @ b).double() - exact).norm() / exact.norm())


@pytest.mark.skipif(not has_units(), reason="this CPU has no bfloat16 units")
def test_factors_are_rounded_within_the_block_only(model: LlamaForCausalLM) -> None:
    with fast_products(model, wanted=True, longest=512):
        assert 1e-4 < _error_of_a_product() < 1e-2  # bfloat16 has 8 bits: about 2e-3
        assert attention_name(model) == "eager"
    assert _error_of_a_product() < 1e-5
    assert attention_name(model) == "sdpa"


def test_who_does_not_want_it_changes_nothing(model: LlamaForCausalLM) -> None:
    with fast_products(model, wanted=False, longest=512):
        assert _error_of_a_product() < 1e-5
        assert attention_name(model) == "sdpa"


def test_a_cpu_without_units_changes_nothing(
    model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "has_units", lambda: False)
    with fast_products(model, wanted=True, longest=512):
        assert _error_of_a_product() < 1e-5
        assert attention_name(model) == "sdpa"


def test_long_texts_change_nothing(model: LlamaForCausalLM) -> None:
    with fast_products(model, wanted=True, longest=513):
        assert _error_of_a_product() < 1e-5
        assert attention_name(model) == "sdpa"


def test_an_error_within_leaves_exact_products_behind(model: LlamaForCausalLM) -> None:
    with pytest.raises(KeyError), fast_products(model, wanted=True, longest=512):
        raise KeyError
    assert torch.get_float32_matmul_precision() == "highest"
    assert attention_name(model) == "sdpa"
    assert _error_of_a_product() < 1e-5


@pytest.mark.parametrize("kind", ["plain", "dora", "rslora"])
def test_a_folded_adapter_answers_as_it_did(model: LlamaForCausalLM, kind: str) -> None:
    torch.manual_seed(0)
    config = LoraConfig(
        r=4,
        target_modules="all-linear",
        init_lora_weights=False,  # else B is 0, and the adapter nothing
        use_dora=kind == "dora",
        use_rslora=kind == "rslora",
    )
    adapted = get_peft_model(model, config).eval()
    tokens = torch.arange(12)[None]
    with torch.no_grad():
        before = adapted(tokens).logits
        with folded(model):
            within = adapted(tokens).logits
            with adapted.disable_adapter():  # too late: the sum has been made
                assert kind == "dora" or torch.equal(adapted(tokens).logits, within)
        after = adapted(tokens).logits
        with adapted.disable_adapter():
            bare = adapted(tokens).logits
    torch.testing.assert_close(within, before, atol=1e-5, rtol=1e-5)
    assert torch.equal(after, before)
    assert float((bare - before).abs().max()) > 1e-2


@pytest.mark.parametrize("config", [{}, {"use_dora": True}, {"lora_dropout": 0.3}])
def test_an_adapter_that_learns_folded_gets_the_gradients_it_got(
    model: LlamaForCausalLM, config: dict[str, float]
) -> None:
    """One that cannot be folded, or that drops inputs, runs as it did."""
    torch.manual_seed(0)
    lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, **config)
    adapted = get_peft_model(model, lora).train()
    tokens = torch.arange(12)[None]

    def gradients() -> list[torch.Tensor]:
        torch.manual_seed(1)
        adapted.zero_grad()
        adapted(tokens).logits.square().mean().backward()
        return [p.grad.clone() for p in adapted.parameters() if p.grad is not None]

    before = gradients()
    with folded(model, learning=True):
        within = gradients()
        with folded(model):
            pass
        assert all(torch.equal(a, b) for a, b in zip(within, gradients(), strict=True))
    assert len(before) > 10
    for mine, theirs in zip(within, before, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(before, gradients(), strict=True))


def test_what_is_folded_while_it_learns_has_one_product_a_layer(model: LlamaForCausalLM) -> None:
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    layer = adapted.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    ran: list[str] = []
    layer.lora_A["default"].register_forward_hook(lambda *_: ran.append("A"))
    adapted(torch.arange(5)[None])
    assert ran == ["A"]
    with folded(model, learning=True):
        adapted(torch.arange(5)[None])
    assert ran == ["A"]


def test_a_model_without_adapters_is_left_alone(model: LlamaForCausalLM) -> None:
    before = model(torch.arange(5)[None]).logits
    with folded(model):
        assert torch.equal(model(torch.arange(5)[None]).logits, before)


def test_a_large_model_is_not_held_twice(
    model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    layer = adapted.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    with folded(model):
        assert "forward" in vars(layer)
    monkeypatch.setattr(products, "_FOLDED_AT_MOST", 1000)
    with folded(model):
        assert "forward" not in vars(layer)
