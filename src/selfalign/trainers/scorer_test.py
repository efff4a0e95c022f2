"""What the scorer of policy trainers promises, on a random reward model."""

import math
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from selfalign.core.errors import TrainingError
from selfalign.core.records import Checkpoint
from selfalign.trainers.scorer import RewardScorer, open_scorer
from selfalign.trainers.trl_kit_test import base, policy_on, reward_model_on

TEXTS = ["The king.", "What is the capital of Fonoton? I do not know.", "A", "coins and bread " * 9]


@pytest.fixture(scope="module")
def checkpoint(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return reward_model_on(tiny_model, tmp_path_factory.mktemp("reward"))


@pytest.fixture(scope="module")
def scorer(checkpoint: Checkpoint) -> RewardScorer:
    return open_scorer(checkpoint, "cpu", at_once=3)


def test_a_text_scores_alike_alone_and_in_a_batch(scorer: RewardScorer) -> None:
    alone = [scorer.score([text])[0] for text in TEXTS]
    assert scorer.score(TEXTS) == pytest.approx(alone, abs=1e-5)
    assert len(set(alone)) == len(TEXTS)


def test_scores_are_those_of_transformers_and_peft_alone(
    scorer: RewardScorer, checkpoint: Checkpoint, tiny_model: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)
    model = PeftModel.from_pretrained(model, checkpoint.adapter).eval()
    with torch.no_grad():
        expected = [
            float(model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).logits[0, 0])
            for text in TEXTS
        ]
    assert scorer.score(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_no_texts_have_no_scores(scorer: RewardScorer) -> None:
    assert scorer.score([]) == []


def test_a_text_that_does_not_fit_the_model_is_an_error(scorer: RewardScorer) -> None:
    with pytest.raises(TrainingError, match=r"text 2 .* reads 1 to 512. Lower `max_tokens`"):
        scorer.score(["short", "too long " * 300])


def test_weights_without_a_head_are_no_reward_model(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is no reward model: it is LlamaForCausalLM") as bare:
        open_scorer(base(tiny_model), "cpu")
    assert bare.value.field == "reward_model"
    with pytest.raises(TrainingError, match="adapter for CAUSAL_LM, without a head"):
        open_scorer(policy_on(tiny_model, tmp_path), "cpu")


def test_scores_that_are_no_numbers_are_handed_on_to_who_knows_the_request(
    checkpoint: Checkpoint,
) -> None:
    broken = open_scorer(checkpoint, "cpu")
    with torch.no_grad():
        for weight in broken.model.parameters():
            weight.fill_(float("nan"))
    assert all(map(math.isnan, broken.score(TEXTS)))
