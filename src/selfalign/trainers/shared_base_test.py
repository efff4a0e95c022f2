"""Four models on one base: each is what it would be alone, and the base is there once."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from selfalign.core.errors import ModelError, TrainingError, UnfitError
from selfalign.core.protocols import PolicyTraining
from selfalign.core.records import Checkpoint
from selfalign.trainers.rl_rows import lay_out, passes
from selfalign.trainers.shared_base import SharedBase
from selfalign.trainers.shared_files import find_stand
from selfalign.trainers.trl_kit_test import base, policy_on, reward_model_on

PROMPTS = [[5, 6, 7, 8, 9], [40, 41], [12, 13, 14]]
RESPONSES = [[20, 21], [30, 31, 32, 33], [50]]
CPU = torch.device("cpu")
RECIPE = PolicyTraining(rank=4, alpha=8)


@pytest.fixture(scope="module")
def policy(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return policy_on(tiny_model, tmp_path_factory.mktemp("adapters") / "policy", rank=3)


@pytest.fixture(scope="module")
def reward(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return reward_model_on(tiny_model, tmp_path_factory.mktemp("adapters") / "reward")


def opened(policy: Checkpoint, reward: Checkpoint, **settings: object) -> SharedBase:
    return SharedBase(find_stand(policy, reward), RECIPE, device=CPU, **settings)


@pytest.fixture
def shared(policy: Checkpoint, reward: Checkpoint) -> SharedBase:
    return opened(policy, reward)


def rows(base: SharedBase, chosen: tuple[int, ...] = (0, 1, 2)):
    return lay_out(
        [PROMPTS[n] for n in chosen],
        [RESPONSES[n] for n in chosen],
        padding=base.padding,
        device=base.device,
    )


def alone(model: torch.nn.Module, n: int, temperature: float) -> torch.Tensor:
    """Log-probabilities of one response, computed without padding or batch."""
    ids = torch.tensor([PROMPTS[n] + RESPONSES[n]])
    with torch.no_grad():
        logp = torch.log_softmax(model(input_ids=ids).logits[0] / temperature, -1)
    first = len(PROMPTS[n])
    return logp[torch.arange(first - 1, ids.shape[1] - 1), ids[0, first:]]


def test_policy_and_reference_give_the_logprobs_of_the_adapter_loaded_by_peft_alone(
    shared: SharedBase, tiny_model: Path, policy: Checkpoint
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, policy.adapter).eval()
    batch = rows(shared)
    for name in ("policy", "reference"):
        with torch.no_grad():
            found = shared.logprobs(name, batch, 0.7)
        for n in range(3):
            size = len(RESPONSES[n])
            torch.testing.assert_close(found[n, :size], alone(model, n, 0.7), atol=1e-5, rtol=1e-5)
            assert not found[n, size:].any()


def test_a_bare_policy_starts_as_the_base_and_so_does_its_reference(
    tiny_model: Path, reward: Checkpoint
) -> None:
    shared = opened(base(tiny_model), reward)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    with torch.no_grad():
        found = {name: shared.logprobs(name, rows(shared), 1.0) for name in ("policy", "reference")}
    assert torch.equal(found["policy"], found["reference"])
    for n in range(3):
        expected = alone(model, n, 1.0)
        torch.testing.assert_close(
            found["policy"][n, : len(expected)], expected, atol=1e-5, rtol=1e-5
        )
    assert shared.peft.peft_config["policy"].r == RECIPE.rank


def test_scores_are_those_of_the_sequence_classifier(
    shared: SharedBase, tiny_model: Path, reward: Checkpoint
) -> None:
    texts = ["The king of Fetestan asked.", "A loaf", "I do not know what the weather will be."]
    model = AutoModelForSequenceClassification.from_pretrained(
        tiny_model, num_labels=1, dtype=torch.float32
    )
    model = PeftModel.from_pretrained(model, reward.adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    with torch.no_grad():
        expected = [
            float(model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).logits)
            for text in texts
        ]
    assert shared.score(texts) == pytest.approx(expected, abs=1e-5)
    assert len({round(score, 3) for score in expected}) == 3


def test_the_value_model_is_the_reward_model_with_a_head_of_zeros(shared: SharedBase) -> None:
    batch = rows(shared)
    assert not shared.values(batch).any()
    shared.value_head.load_state_dict(
        {"weight": shared.reward_head.weight.clone(), "bias": torch.zeros(1)}
    )
    with torch.no_grad():
        values = shared.values(batch)
    # The worth expected before the response's second token is read at its first.
    for n in (0, 1):
        shared.use("reward")
        score = shared._scores([[*PROMPTS[n], RESPONSES[n][0]]])[0]
        assert float(values[n, 1]) == pytest.approx(score, abs=1e-5)


def test_the_base_weights_exist_once(shared: SharedBase, tiny_model: Path) -> None:
    bare = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    once = _bytes(bare.parameters())
    tensors = [*shared.peft.parameters(), *shared.value_head.parameters()]
    tensors += list(shared.reward_head.parameters())
    adapters = sum(
        sum(t.numel() * 4 for t in shared.weights_of(name).values())
        for name in ("policy", "reference", "value", "reward")
    )
    heads = 4 * (48 + 48 + 1)
    assert _bytes(tensors) == once + adapters + heads
    assert len({p.data_ptr() for p in shared.weights_of("policy").values()}) == len(
        shared.weights_of("policy")
    )
    trained = {id(p) for name in ("policy", "value") for p in shared.trained(name)}
    shared.use("policy")
    free = {id(p) for p in tensors if p.requires_grad}
    shared.use("value")
    free |= {id(p) for p in tensors if p.requires_grad}
    assert free == trained


def _bytes(tensors) -> int:
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def test_a_gradient_reaches_the_named_model_and_no_other(shared: SharedBase) -> None:
    batch = rows(shared)
    shared.logprobs("policy", batch, 1.0).sum().backward()
    policy = {n: p.grad.clone() for n, p in enumerate(shared.trained("policy"))}
    assert all(p.grad is None for p in shared.trained("value"))
    with torch.no_grad():
        shared.value_head.weight.fill_(1.0)
    shared.values(batch).sum().backward()
    assert all(p.grad is not None for p in shared.trained("value"))
    assert all(torch.equal(p.grad, policy[n]) for n, p in enumerate(shared.trained("policy")))
    shared.use("reference")
    given = {id(p) for name in ("policy", "value") for p in shared.trained(name)}
    assert {id(p) for p in shared.peft.parameters() if p.grad is not None} <= given


def test_training_the_policy_leaves_the_reference_where_it_was(shared: SharedBase) -> None:
    batch = rows(shared)
    with torch.no_grad():
        before = shared.logprobs("reference", batch, 1.0)
        for parameter in shared.trained("policy"):
            parameter += 0.1
        after = shared.logprobs("reference", batch, 1.0)
        moved = shared.logprobs("policy", batch, 1.0)
    assert torch.equal(before, after)
    assert not torch.allclose(before, moved)


def test_gradient_checkpointing_changes_no_gradient(policy: Checkpoint, reward: Checkpoint) -> None:
    found = []
    for checkpointing in (False, True):
        shared = opened(policy, reward, gradient_checkpointing=checkpointing)
        with shared.learning():
            assert shared.causal.training is checkpointing
            shared.logprobs("policy", rows(shared), 1.0).sum().backward()
        found.append([p.grad for p in shared.trained("policy")])
        assert not shared.causal.training
    for plain, checkpointed in zip(*found, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_no_dropout_is_left_in_the_base_or_the_adapters(make_tiny_model, tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "wet", attention_dropout=0.5)
    policy, reward = policy_on(model, tmp_path / "p"), reward_model_on(model, tmp_path / "r")
    config = tmp_path / "p/adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_dropout": 0.5}))
    shared = opened(policy, reward, gradient_checkpointing=True)
    with shared.learning(), torch.no_grad():
        first, second = (shared.logprobs("policy", rows(shared), 1.0) for _ in range(2))
    assert torch.equal(first, second)


def test_bfloat16_halves_the_base_and_leaves_adapters_and_heads_whole(
    policy: Checkpoint, reward: Checkpoint
) -> None:
    whole, half = opened(policy, reward), opened(policy, reward, dtype=torch.bfloat16)
    kinds = {n: p.dtype for n, p in half.peft.named_parameters()}
    assert {kind for n, kind in kinds.items() if "lora_" in n} == {torch.float32}
    assert {kind for n, kind in kinds.items() if "lora_" not in n} == {torch.bfloat16}
    with torch.no_grad():
        first = whole.logprobs("policy", rows(whole), 1.0)
        second = half.logprobs("policy", rows(half), 1.0)
    torch.testing.assert_close(first, second, atol=0.5, rtol=0.1)


def test_a_saved_policy_is_a_plain_adapter_and_a_saved_value_model_comes_back(
    shared: SharedBase, tiny_model: Path, tmp_path: Path, policy: Checkpoint, reward: Checkpoint
) -> None:
    with torch.no_grad():
        for parameter in [*shared.trained("policy"), *shared.trained("value")]:
            parameter += 0.05
        expected = shared.logprobs("policy", rows(shared), 1.0)
        values = shared.values(rows(shared))
    for name in ("policy", "value"):
        shared.save(name, tmp_path / name, str(tiny_model), None)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, tmp_path / "policy").eval()
    for n in range(3):
        size = len(RESPONSES[n])
        torch.testing.assert_close(alone(model, n, 1.0), expected[n, :size], atol=1e-5, rtol=1e-5)
    config = json.loads((tmp_path / "policy/adapter_config.json").read_text())
    assert (config["task_type"], config["base_model_name_or_path"]) == (
        "CAUSAL_LM",
        str(tiny_model),
    )
    assert not config["modules_to_save"]
    fresh = opened(policy, reward)
    for name in ("policy", "value"):
        fresh.restore(name, tmp_path / name)
    with torch.no_grad():
        assert torch.equal(fresh.logprobs("policy", rows(fresh), 1.0), expected)
        assert torch.equal(fresh.values(rows(fresh)), values)


# --- what does not fit together ------------------------------------------------------------------


def test_policy_and_reward_model_on_different_bases_are_refused(
    make_tiny_model, tmp_path: Path, policy: Checkpoint
) -> None:
    other = make_tiny_model(tmp_path / "other", seed=5)
    elsewhere = reward_model_on(other, tmp_path / "reward")
    with pytest.raises(TrainingError, match="have to share one base") as caught:
        find_stand(policy, elsewhere)
    assert caught.value.field == "policy"


def test_the_same_base_in_two_places_is_one_base(
    tiny_model: Path, tmp_path: Path, policy: Checkpoint
) -> None:
    import shutil

    moved = shutil.copytree(tiny_model, tmp_path / "moved")
    stand = find_stand(policy, reward_model_on(moved, tmp_path / "reward"))
    assert stand.base.base == str(tiny_model)


def test_a_reward_model_without_a_head_is_refused(tiny_model: Path, policy: Checkpoint) -> None:
    with pytest.raises(ModelError, match="is no reward model: its weights hold no head"):
        opened(policy, policy)


def test_a_bare_base_is_no_reward_model(tiny_model: Path, policy: Checkpoint) -> None:
    with pytest.raises(TrainingError, match="is no adapter"):
        find_stand(policy, base(tiny_model))


def test_different_tokenizers_are_refused(
    tiny_model: Path, tmp_path: Path, reward: Checkpoint
) -> None:
    other = policy_on(tiny_model, tmp_path / "policy")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_tokens(["Zyx"])
    tokenizer.save_pretrained(tmp_path / "policy")
    with pytest.raises(
        UnfitError,
        match=rf"the policy in {other.adapter} \(\d+ tokens\) and the reward model in "
        rf"{reward.adapter} \(\d+ tokens\) have different tokenizers.*'Zyx' is \d+ in the first "
        r"and no token in the second\. Train the reward model again",
    ) as refused:
        opened(other, reward)
    assert (refused.value.exit_code, refused.value.field) == (2, "reward_model")


def test_unknown_targets_are_named_with_those_there_are(
    tiny_model: Path, reward: Checkpoint
) -> None:
    recipe = RECIPE.model_copy(update={"targets": ("elbow",)})
    with pytest.raises(TrainingError, match=r"linear layers are .*q_proj"):
        SharedBase(find_stand(base(tiny_model), reward), recipe, device=CPU)


def test_a_text_longer_than_the_model_reads_is_an_error_and_never_cut(shared: SharedBase) -> None:
    with pytest.raises(TrainingError, match="reads 1 to 512"):
        shared.score(["bread " * 600])


# --- rows ----------------------------------------------------------------------------------------


def test_prompts_end_and_responses_begin_in_one_column() -> None:
    laid = lay_out(PROMPTS, RESPONSES, padding=0, device=CPU)
    assert laid.ids.tolist() == [
        [5, 6, 7, 8, 9, 20, 21, 0, 0],
        [0, 0, 0, 40, 41, 30, 31, 32, 33],
        [0, 0, 12, 13, 14, 50, 0, 0, 0],
    ]
    assert laid.mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
    assert laid.positions[1].tolist() == [0, 0, 0, 0, 1, 2, 3, 4, 5]
    assert lay_out(PROMPTS, RESPONSES, padding=0, device=CPU, width=7).responses.shape == (3, 7)


def test_passes_hold_every_row_once_within_the_budget() -> None:
    assert passes([5, 2, 9, 2, 30], 10) == [[1, 3], [0], [2], [4]]
    assert passes([1, 1, 1], 100) == [[0, 1, 2]]
