"""What PPO promises, on a random model of two layers."""

import json
import math
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfalign.core.errors import CollapsedError, TrainingError
from selfalign.core.protocols import PolicyPrompt, PolicyTraining, Sampled, Scorer
from selfalign.core.records import Checkpoint
from selfalign.trainers.policy_account import read_steps
from selfalign.trainers.ppo import PpoTrainer
from selfalign.trainers.ppo_account import PpoStep
from selfalign.trainers.ppo_update import mini_batches
from selfalign.trainers.trl_kit_test import (
    PROMPTS,
    Probing,
    Worth,
    adapter,
    base,
)
from selfalign.trainers.trl_kit_test import RECIPE as TRL_RECIPE

RECIPE = TRL_RECIPE.model_copy(
    update={
        "algorithm": "ppo",
        "steps": 3,
        "update_epochs": 2,
        "reward_scale": 1.0,
        "lam": 0.95,
        "warmup_steps": 1,
        "save_every": 1,
    }
)


def train(
    checkpoints: tuple[Checkpoint, Checkpoint],
    folder: Path,
    recipe: PolicyTraining = RECIPE,
    *,
    rewards: object = None,
    prompts: Sequence[PolicyPrompt] = PROMPTS,
    **settings: object,
) -> Path:
    trainer = PpoTrainer(device="cpu", **({"report_to": (), "rounded_factors": False} | settings))
    trainer(
        prompts,
        policy=checkpoints[0],
        reward_model=checkpoints[1],
        rewards=rewards or Worth(),
        recipe=recipe,
        folder=folder,
    )
    return folder


def facts(folder: Path) -> list[dict[str, object]]:
    """The steps, without what the clock said."""
    clocks = {"seconds", "generation_seconds"}
    return [step.model_dump(exclude=clocks) for step in read_steps(folder, PpoStep)]


@pytest.fixture(scope="module")
def whole(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An uninterrupted training, to compare others with."""
    return train(checkpoints, tmp_path_factory.mktemp("whole"))


# --- probes -------------------------------------------------------------------------------------


def test_prompts_that_are_never_trained_on_are_answered_greedily_and_change_no_weight(
    checkpoints: tuple[Checkpoint, Checkpoint], whole: Path, tmp_path: Path
) -> None:
    twice = [Probing(), Probing()]
    for number, probing in enumerate(twice):
        train(checkpoints, tmp_path / str(number), rewards=probing)
    first, again = (probing.probed for probing in twice)
    assert first == again
    assert sorted(first) == [
        step for step in range(len(read_steps(whole, PpoStep))) if step % 2 == 0
    ]
    assert all(one.query.startswith("held-out-") for probed in first.values() for one in probed)
    assert facts(tmp_path / "0") == facts(whole)


def test_probes_that_are_too_long_are_never_asked_and_counted(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    rewards = Probing()
    rewards.probe_prompts.append(PolicyPrompt(query="long", text="Why? " * 200, stop=("###",)))
    train(checkpoints, tmp_path, RECIPE.model_copy(update={"steps": 1}), rewards=rewards)
    assert [one.query for one in rewards.probed[0]] == [p.query for p in rewards.probe_prompts[:3]]
    left = json.loads((tmp_path / "training.json").read_text())
    assert (left["probes"], left["probes_dropped"]) == (3, 1)


def test_probes_of_which_none_can_be_scored_are_refused_before_anything_is_drawn(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    rewards = Probing()
    rewards.read_with_it = "so " * 600
    with pytest.raises(TrainingError, match="none of the 3 requests kept out for probes fits"):
        train(checkpoints, tmp_path / "run", rewards=rewards)
    assert not (tmp_path / "run").exists()


# --- it learns -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("rounded", [False, True])
def test_a_policy_rewarded_for_a_letter_learns_to_write_it(
    tiny_model: Path, checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path, rounded: bool
) -> None:
    update = {"steps": 20, "rollout_batch": 24, "update_batch": 12, "learning_rate": 2e-2}
    recipe = RECIPE.model_copy(update={**update, "save_every": 100})
    worth = Worth(lambda one: min(4.0, one.response.count("e")))
    train(
        (base(tiny_model), checkpoints[1]), tmp_path, recipe, rewards=worth, rounded_factors=rounded
    )
    steps = read_steps(tmp_path, PpoStep)
    spread = steps[0].reward_std
    assert steps[-1].reward > steps[0].reward + spread
    assert steps[-1].kl > steps[0].kl


def test_the_weights_are_a_plain_adapter_with_a_card(whole: Path, tiny_model: Path) -> None:
    config = json.loads((whole / "weights/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_model)
    assert (config["task_type"], config["r"]) == ("CAUSAL_LM", 4)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert PeftModel.from_pretrained(model, whole / "weights").eval()
    assert AutoTokenizer.from_pretrained(whole / "weights").get_vocab()
    card = (whole / "weights/README.md").read_text()
    assert "3 batches, 24 responses to 6 prompts" in card
    report = json.loads((whole / "training.json").read_text())
    assert (report["steps"], report["rollouts"], report["resumed_at"]) == (3, 24, 0)
    assert (report["policy_rank"], report["value_rank"]) == (4, 4)
    assert not (whole / "checkpoints").exists()


def test_training_moves_the_policy_away_from_where_it_started(
    whole: Path, checkpoints: tuple[Checkpoint, Checkpoint]
) -> None:
    from safetensors.torch import load_file

    before = load_file(Path(checkpoints[0].adapter) / "adapter_model.safetensors")
    after = adapter(whole)
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    first, *later = read_steps(whole, PpoStep)
    assert first.kl == pytest.approx(0.0, abs=1e-5)
    assert all(abs(step.kl) > 1e-4 for step in later)
    assert first.explained_variance == pytest.approx(0.0, abs=1e-6)


def test_every_step_is_written_down(whole: Path) -> None:
    steps = read_steps(whole, PpoStep)
    assert [step.step for step in steps] == [0, 1, 2]
    assert [step.learning_rate for step in steps] == pytest.approx([5e-3, 5e-3, 2.5e-3])
    for step in steps:
        assert 0 < step.entropy < math.log(400)
        assert 0 <= step.finished <= 1
        assert 0 < step.tokens <= RECIPE.max_tokens
        assert 0 <= step.clip_fraction <= 1
        assert step.seconds >= step.generation_seconds > 0


def test_the_reward_function_gets_every_rollout_with_its_kl_and_a_scorer(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    worth = Worth()
    train(checkpoints, tmp_path, RECIPE.model_copy(update={"steps": 2}), rewards=worth)
    assert [step for step, _ in worth.batches] == [0, 1]
    assert all(len(sampled) == 8 for _, sampled in worth.batches)
    everything = [one for _, sampled in worth.batches for one in sampled]
    assert len({(one.query, one.turn) for one in everything}) == 16
    assert {one.query for one in everything[:6]} == {p.query for p in PROMPTS}
    assert all(one.kl is not None and math.isfinite(one.kl) for one in everything)
    assert len({round(score, 4) for scores in worth.scores for score in scores}) > 4
    logged = read_steps(tmp_path, PpoStep)
    for line, (_, sampled) in zip(logged, worth.batches, strict=True):
        assert line.kl == pytest.approx(sum(one.kl for one in sampled) / 8, abs=1e-6)
        assert line.tokens == pytest.approx(sum(one.tokens for one in sampled) / 8)


# --- killed and resumed --------------------------------------------------------------------------


class Killed(Exception):
    """Stands for kill -9: nothing of the trainer's own runs after it."""


class DiesAt(Worth):
    """A reward function during which the process is killed."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def __call__(self, step: int, sampled: Sequence[Sampled], score: Scorer) -> list[float]:
        found = super().__call__(step, sampled, score)
        if step == self._step:
            raise Killed
        return found


@pytest.mark.parametrize("save_every", [1, 2, 10])
def test_a_killed_training_resumes_to_the_same_weights_bit_for_bit(
    whole: Path, checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path, save_every: int
) -> None:
    recipe = RECIPE.model_copy(update={"save_every": save_every})
    for step in (1, 2):
        with pytest.raises(Killed):
            train(checkpoints, tmp_path, recipe, rewards=DiesAt(step))
        assert not (tmp_path / "weights").exists()
    worth = Worth()
    train(checkpoints, tmp_path, recipe, rewards=worth)
    resumed_at = {1: 2, 2: 2, 10: 0}[save_every]
    assert [step for step, _ in worth.batches] == list(range(resumed_at, 3))
    assert json.loads((tmp_path / "training.json").read_text())["resumed_at"] == resumed_at
    assert facts(tmp_path) == facts(whole)
    first, second = adapter(whole), adapter(tmp_path)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_training_killed_between_two_steps_goes_on(
    whole: Path, checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    def die(line: PpoStep, steps: int) -> None:
        assert steps == 3
        if line.step == 1:
            raise Killed

    with pytest.raises(Killed):
        train(checkpoints, tmp_path, on_step=die)
    with (tmp_path / "steps.jsonl").open("a") as file:
        file.write('{"step": 2, "rew')  # a torn line
    seen: list[int] = []
    train(checkpoints, tmp_path, on_step=lambda line, steps: seen.append(line.step))
    assert seen == [2]
    assert facts(tmp_path) == facts(whole)


def test_a_finished_training_is_not_done_again(
    whole: Path, checkpoints: tuple[Checkpoint, Checkpoint]
) -> None:
    worth = Worth()
    train(checkpoints, whole, rewards=worth)
    assert worth.batches == []


def test_a_checkpoint_of_another_training_is_not_gone_on_with(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        train(checkpoints, tmp_path, rewards=DiesAt(1))
    other = RECIPE.model_copy(update={"kl_weight": 0.5})
    with pytest.raises(TrainingError, match="other checkpoints, prompts or settings"):
        train(checkpoints, tmp_path, other)


# --- no setting is ignored -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("faithful", True),
        ("update_batch", 8),
        ("update_epochs", 1),
        ("learning_rate", 1e-3),
        ("warmup_steps", 2),
        ("schedule", "constant"),
        ("weight_decay", 0.5),
        ("max_grad_norm", 1e-3),
        ("temperature", 0.8),
        ("top_p", 0.5),
        ("max_tokens", 6),
        ("clip", 1e-4),
        ("value_clip", 1e-4),
        ("value_weight", 0.0),
        ("gamma", 0.5),
        ("lam", 0.5),
        ("kl_weight", 1.0),
        ("reward_scale", 5.0),
        ("whiten_rewards", True),
        ("seed", 7),
    ],
)
def test_no_setting_of_a_recipe_is_ignored(
    whole: Path,
    checkpoints: tuple[Checkpoint, Checkpoint],
    tmp_path: Path,
    field: str,
    value: object,
) -> None:
    train(checkpoints, tmp_path, RECIPE.model_copy(update={field: value}))
    first, second = adapter(whole), adapter(tmp_path)
    assert not all(torch.equal(first[name], second[name]) for name in first)


def test_the_kl_estimators_train_different_policies(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    found = []
    for kind in ("k1", "k3", "k1_clamped"):
        recipe = RECIPE.model_copy(update={"kl_estimator": kind, "kl_weight": 1.0, "steps": 2})
        found.append(adapter(train(checkpoints, tmp_path / kind, recipe)))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert any(not torch.equal(found[one][n], found[other][n]) for n in found[0])


def test_rank_and_targets_shape_the_adapter_of_a_bare_policy(
    tiny_model: Path, checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    recipe = RECIPE.model_copy(update={"steps": 1, "rank": 2, "targets": ("q_proj", "v_proj")})
    weights = adapter(train((base(tiny_model), checkpoints[1]), tmp_path, recipe))
    assert {name.split(".")[-3] for name in weights} == {"q_proj", "v_proj"}
    assert {w.shape[0] for n, w in weights.items() if "lora_A" in n} == {2}


def test_epochs_count_steps_where_none_are_given(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    recipe = RECIPE.model_copy(update={"steps": None, "epochs": 2.5})
    train(checkpoints, tmp_path, recipe)
    assert len(read_steps(tmp_path, PpoStep)) == math.ceil(
        2.5 * len(PROMPTS) / RECIPE.rollout_batch
    )


def test_how_the_work_is_cut_into_passes_hardly_changes_the_weights(
    whole: Path, checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    settings = {"tokens_per_pass": 40, "drawn_at_once": 3, "gradient_checkpointing": True}
    train(checkpoints, tmp_path, RECIPE, **settings)
    other = adapter(tmp_path)
    for name, tensor in adapter(whole).items():
        torch.testing.assert_close(other[name], tensor, atol=2e-3, rtol=1e-2)


# --- stopping and refusing -----------------------------------------------------------------------


def test_a_policy_beyond_max_kl_is_stopped_and_kept(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path, tiny_model: Path
) -> None:
    recipe = RECIPE.model_copy(update={"max_kl": 1e-4, "learning_rate": 5e-2, "save_every": 10})
    with pytest.raises(TrainingError, match=r"max_kl is 0\.0001") as caught:
        train(checkpoints, tmp_path, recipe)
    assert caught.value.field == "max_kl"
    assert not (tmp_path / "weights").exists()
    kept = next((tmp_path / "checkpoints").glob("step-*"))
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert PeftModel.from_pretrained(model, kept / "policy")
    done = len(read_steps(tmp_path, PpoStep))
    assert kept.name == f"step-{done:06d}"
    worth = Worth()
    train(checkpoints, tmp_path, recipe.model_copy(update={"max_kl": None}), rewards=worth)
    assert [step for step, _ in worth.batches] == list(range(done, 3))


@pytest.mark.parametrize("bad", [lambda _: math.nan, lambda _: math.inf])
def test_rewards_that_are_no_numbers_stop_the_training_and_keep_it(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path, bad: Callable[[Sampled], float]
) -> None:
    class Breaks(Worth):
        def __call__(self, step: int, sampled: Sequence[Sampled], score: Scorer) -> list[float]:
            found = super().__call__(step, sampled, score)
            return [bad(one) for one in sampled] if step == 1 else found

    recipe = RECIPE.model_copy(update={"save_every": 10})
    with pytest.raises(
        TrainingError, match=r"^step 1: the reward of .* What is \d\? .* \(q\d\), is"
    ) as e:
        train(checkpoints, tmp_path, recipe, rewards=Breaks())
    assert (e.value.exit_code, "run the same command again" in str(e.value)) == (1, True)
    worth = Worth()
    train(checkpoints, tmp_path, recipe, rewards=worth)
    assert [step for step, _ in worth.batches] == [1, 2]


def test_of_a_collapsed_policy_the_checkpoint_before_is_kept(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    class Collapses(Worth):
        def __call__(self, step: int, sampled: Sequence[Sampled], score: Scorer) -> list[float]:
            if step == 2:
                raise CollapsedError("the probes have collapsed")
            return super().__call__(step, sampled, score)

    recipe = RECIPE.model_copy(update={"steps": 4})
    for save_every, kept in ((1, ["step-000001"]), (10, [])):
        folder = tmp_path / str(save_every)
        recipe = recipe.model_copy(update={"save_every": save_every})
        with pytest.raises(CollapsedError, match="probes have collapsed"):
            train(checkpoints, folder, recipe, rewards=Collapses())
        assert [path.name for path in (folder / "checkpoints").iterdir()] == kept


def test_a_stop_by_the_reward_function_is_passed_on(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    def collapsed(step: int, sampled: Sequence[Sampled], score: Scorer) -> list[float]:
        raise TrainingError("the probes have collapsed")

    with pytest.raises(TrainingError, match="probes have collapsed"):
        train(checkpoints, tmp_path, rewards=collapsed)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("algorithm", "rloo"),
        ("temperature", 0.0),
        ("top_p", 0.0),
        ("update_batch", 9),
        ("rollout_batch", 1),
        ("steps", 0),
        ("epochs", 0.0),
        ("max_tokens", 0),
        ("max_prompt_tokens", 3),
        ("save_every", 0),
        ("update_epochs", 0),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused_by_name(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path, field: str, value: object
) -> None:
    with pytest.raises(TrainingError, match=field) as caught:
        train(checkpoints, tmp_path, RECIPE.model_copy(update={field: value}))
    assert caught.value.field == field


def test_responses_longer_than_the_model_are_refused_before_anything_is_drawn(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    worth = Worth()
    with pytest.raises(TrainingError, match="context of 512"):
        train(
            checkpoints,
            tmp_path,
            RECIPE.model_copy(update={"max_tokens": 508}),
            rewards=worth,
        )
    assert worth.batches == []


def test_prompts_that_are_too_long_are_left_out_and_counted(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    long = PolicyPrompt(query="long", text="bread " * 100, stop=("### User",))
    worth = Worth()
    recipe = RECIPE.model_copy(update={"steps": 1})
    train(checkpoints, tmp_path, recipe, prompts=[*PROMPTS, long], rewards=worth)
    assert json.loads((tmp_path / "training.json").read_text())["dropped"] == 1
    assert all(one.query != "long" for one in worth.batches[0][1])


# --- curves --------------------------------------------------------------------------------------


def test_tensorboard_has_the_curves(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    recipe = RECIPE.model_copy(update={"steps": 2})
    train(checkpoints, tmp_path, recipe, report_to=("tensorboard",))
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    drawn = [event.value for event in events.Scalars("ppo/reward")]
    assert drawn == pytest.approx([step.reward for step in read_steps(tmp_path, PpoStep)])


def test_other_trackers_get_the_same_points(
    checkpoints: tuple[Checkpoint, Checkpoint],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Trackio and W&B are not installed here: their shared interface is stood in for."""
    seen: list[tuple[int, dict[str, float]]] = []
    tracker = types.ModuleType("trackio")
    tracker.__spec__ = types.SimpleNamespace(name="trackio")
    tracker.init = lambda project, name: seen.append((-1, {}))
    tracker.log = lambda figures, step: seen.append((step, figures))
    monkeypatch.setitem(sys.modules, "trackio", tracker)
    train(checkpoints, tmp_path, RECIPE.model_copy(update={"steps": 2}), report_to=("trackio",))
    assert [step for step, _ in seen] == [-1, 0, 1]
    assert seen[1][1]["ppo/reward"] == read_steps(tmp_path, PpoStep)[0].reward


def test_a_tracker_that_is_not_installed_is_named(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(TrainingError, match="'wandb', and it is not installed"):
        train(checkpoints, tmp_path, report_to=("wandb",))


# --- mini-batches --------------------------------------------------------------------------------


def test_each_epoch_deals_every_response_once_in_another_order() -> None:
    """The authors: 576 responses, 288 at a time, twice over: four optimiser steps."""
    dealt = mini_batches(576, 0, PolicyTraining())
    assert [len(batch) for batch in dealt] == [288] * 4
    assert sorted(dealt[0] + dealt[1]) == sorted(dealt[2] + dealt[3]) == list(range(576))
    assert dealt[:2] != dealt[2:]
    assert mini_batches(576, 1, PolicyTraining()) != dealt
    assert [len(b) for b in mini_batches(5, 0, RECIPE.model_copy(update={"update_batch": 2}))] == [
        2,
        2,
        1,
    ] * 2


class Foretold(Worth):
    """Is told how many steps there will be, before the first one."""

    def foretell(self, steps: int) -> None:
        assert self.batches == []
        self.steps = steps


def test_how_many_steps_there_will_be_is_told_before_the_first(
    checkpoints: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    rewards = Foretold()
    train(
        checkpoints,
        tmp_path,
        RECIPE.model_copy(update={"steps": None, "epochs": 2.5}),
        rewards=rewards,
    )
    assert (
        rewards.steps
        == len(rewards.batches)
        == math.ceil(2.5 * len(PROMPTS) / RECIPE.rollout_batch)
    )
