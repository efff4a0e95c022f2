"""What policies through TRL promise, on a random model of two layers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfalign.core.errors import TrainingError
from selfalign.core.protocols import PolicyPrompt, Sampled, Scorer
from selfalign.core.records import Checkpoint
from selfalign.trainers.kept import Kept
from selfalign.trainers.policy_account import PolicyStep, read_steps
from selfalign.trainers.trl_kit_test import (
    PROMPTS,
    RECIPE,
    Probing,
    Worth,
    adapter,
    base,
    policy_on,
    reward_model_on,
)
from selfalign.trainers.trl_policy import TrlPolicyTrainer

GRPO = {"algorithm": "grpo", "kl_estimator": "k3"}
MANY = {
    "steps": 10,
    "rollout_batch": 32,
    "update_batch": 32,
    "group": 8,
    "schedule": "constant",
    "max_tokens": 8,
    "learning_rate": 5e-2,
}


def vowels(one: Sampled) -> float:
    return float(sum(letter in "aeiou" for letter in one.response))


@pytest.fixture(scope="module")
def policy(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return policy_on(tiny_model, tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def reward(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return reward_model_on(tiny_model, tmp_path_factory.mktemp("reward"))


@pytest.fixture
def train(policy: Checkpoint, reward: Checkpoint) -> Callable[..., Worth]:
    """Train in a folder; return the rewards that were given."""

    def run(
        folder: Path,
        *,
        worth: object = None,
        rewards: Worth | None = None,
        start: Checkpoint = policy,
        prompts: list[PolicyPrompt] = PROMPTS,
        machine: dict[str, object] | None = None,
        **changes: object,
    ) -> Worth:
        rewards = rewards or Worth(worth)
        TrlPolicyTrainer(device="cpu", **(machine or {}))(
            prompts,
            policy=start,
            reward_model=reward,
            rewards=rewards,
            recipe=RECIPE.model_copy(update=changes),
            folder=folder,
        )
        return rewards

    return run


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, GRPO], ids=["rloo", "grpo"])
def test_rewards_rise(train: Callable[..., Worth], tmp_path: Path, changes: dict) -> None:
    train(tmp_path, worth=vowels, **(MANY | changes))
    rewards = [step.reward for step in read_steps(tmp_path, PolicyStep)]
    assert sum(rewards[-3:]) > 1.5 * sum(rewards[:3])


def test_the_reward_function_sees_whole_batches_whose_groups_share_a_turn(
    train: Callable[..., Worth], tmp_path: Path
) -> None:
    rewards = train(tmp_path)
    assert [step for step, _ in rewards.batches] == [0, 1, 2, 3]
    groups = [
        [(one.query, one.turn) for one in batch[at : at + 2]]
        for _, batch in rewards.batches
        for at in range(0, 8, 2)
    ]
    assert all(first == second for first, second in groups)
    assert len({first for first, _ in groups}) == len(groups)
    assert {query for (query, turn), _ in groups if turn == 0} == {p.query for p in PROMPTS}
    assert all(one.kl is None for _, batch in rewards.batches for one in batch)
    assert all(
        one.response == one.response.strip() for _, batch in rewards.batches for one in batch
    )
    assert all(len(scores) == 8 for scores in rewards.scores)


@pytest.mark.parametrize("changes", [{}, GRPO], ids=["rloo", "grpo"])
def test_responses_end_at_the_stop_text(
    train: Callable[..., Worth], tmp_path: Path, changes: dict
) -> None:
    prompts = [p.model_copy(update={"stop": ("a", "e")}) for p in PROMPTS]
    rewards = train(tmp_path, prompts=prompts, max_tokens=5, steps=2, **changes)
    sampled = [one for _, batch in rewards.batches for one in batch]
    assert not any("a" in one.response or "e" in one.response for one in sampled)
    assert {one.finished for one in sampled} == {True, False}
    assert all(one.tokens == 5 for one in sampled if not one.finished)
    assert all(one.tokens < 5 for one in sampled if one.finished)
    shares = [step.finished for step in read_steps(tmp_path, PolicyStep)]
    assert shares == [sum(one.finished for one in batch) / 8 for _, batch in rewards.batches]


@pytest.mark.slow
def test_the_policy_is_trained_on_the_stop_it_drew(
    train: Callable[..., Worth], tmp_path: Path
) -> None:
    """Rewarded for ending, it ends more: only the tokens of the stop can have taught it."""
    prompts = [p.model_copy(update={"stop": ("e",)}) for p in PROMPTS]
    train(tmp_path, prompts=prompts, worth=lambda one: float(one.finished), **MANY)
    shares = [step.finished for step in read_steps(tmp_path, PolicyStep)]
    assert sum(shares[-3:]) > sum(shares[:3]) + 0.6


@pytest.mark.parametrize("changes", [{}, GRPO], ids=["rloo", "grpo"])
def test_the_reference_is_the_policy_it_starts_from(
    train: Callable[..., Worth], tmp_path: Path, changes: dict
) -> None:
    train(tmp_path, **changes)
    kl = [step.kl for step in read_steps(tmp_path, PolicyStep)]
    assert kl[0] == pytest.approx(0, abs=1e-4)
    assert abs(kl[-1]) > 1e-3


def test_the_adapter_of_the_policy_is_continued_in_its_own_shape(
    train: Callable[..., Worth], tmp_path: Path, policy: Checkpoint
) -> None:
    train(tmp_path, steps=1, rank=16, learning_rate=1e-9)
    before = load_file(Path(policy.adapter) / "adapter_model.safetensors")
    after = adapter(tmp_path)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, atol=1e-6, rtol=0)


def test_a_bare_base_gets_an_adapter_of_the_recipes_shape(
    train: Callable[..., Worth], tmp_path: Path, tiny_model: Path
) -> None:
    recipe = {"rank": 3, "alpha": 5, "targets": ("q_proj", "v_proj")}
    train(tmp_path, start=base(tiny_model), **recipe)
    config = json.loads((tmp_path / "weights/adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (3, 5)
    assert sorted(config["target_modules"]) == ["q_proj", "v_proj"]
    assert config["base_model_name_or_path"] == str(tiny_model)
    assert read_steps(tmp_path, PolicyStep)[0].kl == pytest.approx(0, abs=1e-4)


def test_what_is_left_is_a_plain_adapter_with_its_account(
    train: Callable[..., Worth], tmp_path: Path, tiny_model: Path
) -> None:
    rewards = train(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "weights")
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model = PeftModel.from_pretrained(model, tmp_path / "weights")
    assert model(**tokenizer("The king", return_tensors="pt")).logits.isfinite().all()
    left = ["steps.jsonl", "tensorboard", "training.json", "weights"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    assert not (tmp_path / "weights/ref").exists()
    facts = json.loads((tmp_path / "training.json").read_text())
    assert (facts["steps"], facts["rollouts"], facts["prompts"]) == (4, 32, 6)
    given = [[one.response.count("e") for one in batch] for _, batch in rewards.batches]
    assert facts["reward_first"] == pytest.approx(sum(given[0]) / 8)
    assert facts["reward_last"] == pytest.approx(sum(given[-1]) / 8)
    assert "RLOO" in (tmp_path / "weights/README.md").read_text()


class Killed(Exception):
    """Stands for kill -9: nothing of the trainer's own runs after it."""


@pytest.mark.parametrize("changes", [{}, GRPO], ids=["rloo", "grpo"])
def test_a_killed_training_resumes_to_the_same_weights(
    train: Callable[..., Worth], tmp_path: Path, changes: dict
) -> None:
    recipe = {"steps": 6, "update_epochs": 2, "save_every": 2, "warmup_steps": 2, **changes}
    whole = train(tmp_path / "whole", **recipe)
    calls = 0

    def die(one: Sampled) -> float:
        nonlocal calls
        calls += 1
        if calls > 5 * 8:  # in the sixth batch: the last checkpoint is after the fourth
            raise Killed
        return float(one.response.count("e"))

    with pytest.raises(Killed):
        train(tmp_path / "torn", worth=die, **recipe)
    assert not (tmp_path / "torn/weights").exists()
    rest = train(tmp_path / "torn", **recipe)
    assert [step for step, _ in rest.batches] == [4, 5]
    assert rest.batches == whole.batches[4:]
    steps = [read_steps(tmp_path / name, PolicyStep) for name in ("whole", "torn")]
    assert [one.step for one in steps[1]] == list(range(6))
    assert [one.learning_rate for one in steps[0]] == [one.learning_rate for one in steps[1]]
    assert json.loads((tmp_path / "torn/training.json").read_text())["resumed_at"] == 4
    expected, resumed = adapter(tmp_path / "whole"), adapter(tmp_path / "torn")
    for name, tensor in expected.items():
        torch.testing.assert_close(resumed[name], tensor, atol=1e-6, rtol=1e-5)


# --- probes --------------------------------------------------------------------------------------


class Collapses(Probing):
    """Stops the training at the probe of a step."""

    def __init__(self, step: int, worth: object = None) -> None:
        super().__init__(worth)
        self._step = step

    def probe(self, step: int, sampled: Sequence[Sampled], score: Scorer) -> None:
        super().probe(step, sampled, score)
        if step == self._step:
            raise TrainingError("the probes have collapsed")


def facts(folder: Path) -> list[dict[str, object]]:
    """The steps, without what the clock said."""
    return [step.model_dump(exclude={"seconds"}) for step in read_steps(folder, PolicyStep)]


def same(one: Path, other: Path) -> bool:
    """Whether two trainings came to the same weights, bit for bit."""
    weights = adapter(other)
    return all(torch.equal(weights[name], tensor) for name, tensor in adapter(one).items())


@pytest.mark.parametrize("changes", [{}, GRPO], ids=["rloo", "grpo"])
def test_probing_changes_no_response_and_no_weight(
    train: Callable[..., Worth], tmp_path: Path, changes: dict
) -> None:
    plain = train(tmp_path / "plain", **changes)
    probing = train(tmp_path / "probed", rewards=Probing(), **changes)
    assert sorted(probing.probed) == [0, 2]
    for probed in probing.probed.values():
        assert [one.query for one in probed] == [one.query for one in probing.probe_prompts]
    assert probing.batches == plain.batches
    assert facts(tmp_path / "probed") == facts(tmp_path / "plain")
    assert same(tmp_path / "probed", tmp_path / "plain")


@pytest.mark.parametrize("changes", [{}, GRPO], ids=["rloo", "grpo"])
def test_a_killed_training_repeats_the_probes_of_the_steps_it_repeats(
    train: Callable[..., Worth], tmp_path: Path, changes: dict
) -> None:
    recipe = {"steps": 6, "update_epochs": 2, "save_every": 2, **changes}
    whole = train(tmp_path / "whole", rewards=Probing(), **recipe)
    calls = 0

    def die(one: Sampled) -> float:
        nonlocal calls
        calls += 1
        if calls > 5 * 8:  # in the sixth batch: the last checkpoint is after the fourth
            raise Killed
        return float(one.response.count("e"))

    torn = Probing(die)
    with pytest.raises(Killed):
        train(tmp_path / "torn", rewards=torn, **recipe)
    rest = train(tmp_path / "torn", rewards=Probing(), **recipe)
    assert (sorted(torn.probed), sorted(rest.probed)) == ([0, 2, 4], [4])
    assert torn.probed == whole.probed
    assert rest.probed[4] == whole.probed[4]
    assert rest.batches == whole.batches[4:]
    assert same(tmp_path / "torn", tmp_path / "whole")


@pytest.mark.parametrize("changes", [{}, GRPO], ids=["rloo", "grpo"])
def test_probes_are_what_the_policy_of_the_step_finds_likeliest(
    train: Callable[..., Worth], tmp_path: Path, tiny_model: Path, policy: Checkpoint, changes: dict
) -> None:
    """Compared with tokens chosen one by one; the newest checkpoint has the step's weights."""
    stop = ("e",)
    rewards = Collapses(2, vowels)
    rewards.probe_prompts = [p.model_copy(update={"stop": stop}) for p in rewards.probe_prompts]
    prompts = [p.model_copy(update={"stop": stop}) for p in PROMPTS]
    with pytest.raises(TrainingError, match="probes have collapsed"):
        train(tmp_path, rewards=rewards, prompts=prompts, learning_rate=5e-2, **changes)
    kept = Kept(tmp_path / "checkpoints", "checkpoint-").newest
    for step, weights in ((0, policy.adapter), (2, kept)):
        found = [(one.response, one.finished) for one in rewards.probed[step]]
        texts = [one.text for one in rewards.probe_prompts]
        assert found == [likeliest(tiny_model, weights, text, stop) for text in texts]
    everything = [one for probed in rewards.probed.values() for one in probed]
    assert {one.finished for one in everything} == {True, False}
    assert all(one.tokens == RECIPE.max_tokens for one in everything if not one.finished)
    assert rewards.probed[0] != rewards.probed[2]


def likeliest(model: Path, weights: object, prompt: str, stop: tuple[str]) -> tuple[str, bool]:
    """What a policy answers if every token is the likeliest one, and whether it comes to an end."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    policy = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), weights).eval()
    ids, text = tokenizer(prompt)["input_ids"], ""
    start = len(ids)
    while stop[0] not in text and len(ids) < start + RECIPE.max_tokens:
        with torch.no_grad():
            ids.append(int(policy(torch.tensor([ids])).logits[0, -1].argmax()))
        text = tokenizer.decode(ids[start:])
    return text.split(stop[0])[0].strip(), stop[0] in text


def test_a_stop_by_a_probe_keeps_what_there_is_and_can_be_gone_on_from(
    train: Callable[..., Worth], tmp_path: Path
) -> None:
    whole = train(tmp_path / "whole", rewards=Probing())
    stopped = Collapses(2)
    with pytest.raises(TrainingError, match="probes have collapsed"):
        train(tmp_path / "run", rewards=stopped)
    assert stopped.batches == whole.batches[:2]
    assert facts(tmp_path / "run") == facts(tmp_path / "whole")[:2]
    assert not (tmp_path / "run/weights").exists()
    rest = train(tmp_path / "run", rewards=Probing())
    assert rest.batches == whole.batches[2:]
    assert rest.probed == {2: whole.probed[2]}
    assert facts(tmp_path / "run") == facts(tmp_path / "whole")
    assert same(tmp_path / "run", tmp_path / "whole")


def test_probes_that_are_too_long_are_never_asked_and_counted(
    train: Callable[..., Worth], tmp_path: Path
) -> None:
    rewards = Probing()
    long = PolicyPrompt(query="long", text="Why? " * 200, stop=PROMPTS[0].stop)
    rewards.probe_prompts.append(long)
    train(tmp_path, rewards=rewards, steps=1)
    assert [one.query for one in rewards.probed[0]] == [p.query for p in rewards.probe_prompts[:3]]
    left = json.loads((tmp_path / "training.json").read_text())
    assert (left["probes"], left["probes_dropped"]) == (3, 1)


def test_probes_that_end_otherwise_than_the_prompts_are_refused(
    train: Callable[..., Worth], tmp_path: Path
) -> None:
    rewards = Probing()
    rewards.probe_prompts[1] = rewards.probe_prompts[1].model_copy(update={"stop": ("###",)})
    with pytest.raises(TrainingError, match="different stop texts"):
        train(tmp_path / "run", rewards=rewards)
    assert not (tmp_path / "run").exists()


def test_the_learning_rate_moves_once_per_batch(
    train: Callable[..., Worth], tmp_path: Path
) -> None:
    train(tmp_path, update_epochs=2, warmup_steps=2, schedule="linear")
    rates = [step.learning_rate for step in read_steps(tmp_path, PolicyStep)]
    assert rates == pytest.approx([2.5e-3, 5e-3, 5e-3, 2.5e-3])


def test_a_finished_training_is_not_repeated(train: Callable[..., Worth], tmp_path: Path) -> None:
    train(tmp_path)
    assert train(tmp_path).batches == []


def test_a_policy_too_far_away_stops_the_training_and_keeps_what_there_is(
    train: Callable[..., Worth], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"nats per response .* max_kl is 1e-06") as stopped:
        train(tmp_path, max_kl=1e-6)
    assert stopped.value.field == "max_kl"
    assert not (tmp_path / "weights").exists()
    assert list((tmp_path / "checkpoints").glob("checkpoint-*"))
    assert read_steps(tmp_path, PolicyStep)


@pytest.mark.parametrize("changes", [{}, GRPO], ids=["rloo", "grpo"])
def test_beyond_max_kl_the_same_command_says_so_again_and_trains_nothing(
    train: Callable[..., Worth], tmp_path: Path, changes: dict
) -> None:
    recipe = {"save_every": 10, "update_epochs": 2, **changes}
    whole = train(tmp_path / "whole", **recipe)
    kl = [step.kl for step in read_steps(tmp_path / "whole", PolicyStep)]
    most, run = max(kl[0], 0.0) + 1e-6, tmp_path / "run"
    done = next(n for n, one in enumerate(kl, start=1) if one > most)
    stopped, again = Worth(), Worth()
    for rewards in (stopped, again):
        with pytest.raises(TrainingError, match=rf"^step {done - 1}: the policy is .* max_kl is "):
            train(run, rewards=rewards, max_kl=most, **recipe)
        assert [one.step for one in read_steps(run, PolicyStep)] == list(range(done))
    assert (stopped.batches, again.batches) == (whole.batches[:done], [])
    assert not (run / "weights").exists()
    rest = train(run, max_kl=None, **recipe)
    assert rest.batches == whole.batches[done:]
    assert facts(run) == facts(tmp_path / "whole")
    assert same(run, tmp_path / "whole")


def test_each_batch_is_told(train: Callable[..., Worth], tmp_path: Path) -> None:
    told: list[tuple[PolicyStep, int]] = []
    train(tmp_path, machine={"on_step": lambda step, steps: told.append((step, steps))})
    assert [(step.step, steps) for step, steps in told] == [(n, 4) for n in range(4)]
    assert [step for step, _ in told] == read_steps(tmp_path, PolicyStep)
    assert all(step.entropy > 0 and step.seconds > 0 for step, _ in told)


def test_epochs_decide_the_steps_where_none_are_given(
    train: Callable[..., Worth], tmp_path: Path
) -> None:
    rewards = train(tmp_path, steps=None, epochs=1.0)  # 6 prompts, 4 a step
    assert [step for step, _ in rewards.batches] == [0, 1]


def test_how_many_share_a_pass_does_not_change_the_training(
    train: Callable[..., Worth], tmp_path: Path
) -> None:
    train(tmp_path / "a", steps=1, update_batch=8)
    train(tmp_path / "b", steps=1, update_batch=8, machine={"trained_at_once": 2})
    one, other = adapter(tmp_path / "a"), adapter(tmp_path / "b")
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=1e-4, rtol=1e-3)


def test_long_prompts_are_left_out_and_counted(train: Callable[..., Worth], tmp_path: Path) -> None:
    long = PolicyPrompt(query="long", text="Why? " * 80, stop=PROMPTS[0].stop)
    rewards = train(tmp_path, prompts=[*PROMPTS, long], steps=2)
    assert json.loads((tmp_path / "training.json").read_text())["dropped"] == 1
    assert "long" not in {one.query for _, batch in rewards.batches for one in batch}


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"faithful": True}, "faithful", "not what the authors ran"),
        ({"max_prompt_tokens": 1}, "max_prompt_tokens", "of 6 prompts none"),
        ({"max_tokens": 600}, "max_tokens", "context of 512"),
    ],
)
def test_recipes_that_cannot_be_are_refused_before_anything_is_written(
    train: Callable[..., Worth], tmp_path: Path, changes: dict, field: str, says: str
) -> None:
    with pytest.raises(TrainingError, match=says) as refused:
        train(tmp_path / "run", **changes)
    assert refused.value.field == field
    assert not (tmp_path / "run").exists()


def test_prompts_that_end_differently_are_refused(
    train: Callable[..., Worth], tmp_path: Path
) -> None:
    other = PROMPTS[0].model_copy(update={"stop": ("###",)})
    with pytest.raises(TrainingError, match="different stop texts"):
        train(tmp_path, prompts=[*PROMPTS, other])


def test_unknown_targets_are_refused_with_the_known_ones(
    train: Callable[..., Worth], tmp_path: Path, tiny_model: Path
) -> None:
    with pytest.raises(TrainingError, match=r"no_such_proj.*down_proj.*q_proj") as refused:
        train(tmp_path, start=base(tiny_model), targets=("no_such_proj",))
    assert refused.value.field == "targets"


def test_rewards_that_are_no_numbers_stop_the_training(
    train: Callable[..., Worth], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"^step 0: the reward of .* \(q\d\), is nan") as stop:
        train(tmp_path, worth=lambda one: float("nan"))
    assert stop.value.exit_code == 1


def test_a_policy_and_a_reward_model_on_different_bases_are_refused(
    make_tiny_model: Callable[..., Path], tmp_path: Path, policy: Checkpoint
) -> None:
    other = make_tiny_model(tmp_path / "other", seed=3)
    foreign = reward_model_on(other, tmp_path / "reward")
    with pytest.raises(TrainingError, match="share one base"):
        TrlPolicyTrainer(device="cpu")(
            PROMPTS,
            policy=policy,
            reward_model=foreign,
            rewards=Worth(),
            recipe=RECIPE,
            folder=tmp_path / "run",
        )


def test_the_seed_decides_what_is_drawn(train: Callable[..., Worth], tmp_path: Path) -> None:
    first, again, other = (
        train(tmp_path / name, steps=1, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first.batches == again.batches
    assert first.batches != other.batches


class Foretold(Worth):
    """Is told how many steps there will be, before the first one."""

    def foretell(self, steps: int) -> None:
        assert self.batches == []
        self.steps = steps


def test_how_many_steps_there_will_be_is_told_before_the_first(
    train: Callable[..., Worth], tmp_path: Path
) -> None:
    rewards = Foretold()
    train(tmp_path, rewards=rewards, steps=None, epochs=1.0)
    assert rewards.steps == len(rewards.batches) == 2
