"""A training that is rewarded, steered, watched, killed and stopped, with a scripted policy."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from selfalign.core.constitution import Constitution, Principle
from selfalign.core.errors import (
    CollapsedError,
    ConstitutionError,
    InputError,
    TrainingError,
    UnfitError,
)
from selfalign.core.library import open_library
from selfalign.core.protocols import (
    ForetoldRewardFunction,
    PolicyPrompt,
    PolicyTraining,
    ProbedRewardFunction,
    RewardFunction,
    Sampled,
    WatchfulRewardFunction,
)
from selfalign.core.records import Checkpoint, Instruction, rng_for
from selfalign.core.store import Run
from selfalign.salmon.oversight import Oversight, Suspected, Watch
from selfalign.salmon.principle_sampling import PrincipleSampling, PrincipleSamplingConfig
from selfalign.salmon.principle_state import AlwaysOn, Removed, Reweighed
from selfalign.salmon.probes import ProbeConfig, Probes
from selfalign.salmon.prompt_types import PromptTypes
from selfalign.salmon.records import Rollout
from selfalign.salmon.reward_prompt import RewardPrompt
from selfalign.salmon.rewarding import Rewarding
from selfalign.salmon.rewards import RewardConfig
from selfalign.salmon.rollout_rewards import STOPPED, RolloutRewards
from selfalign.salmon.schedule import Schedule, ScheduleEntry, principle_plan
from selfalign.salmon.stage2_aggregation_test import Spoken
from selfalign.salmon.stage3_reinforcement_learning import ReinforcementLearning
from selfalign.salmon.steering import Steering
from selfalign.salmon.step_log import read_lines
from selfalign.salmon.step_summary import StepSummary

LIBRARY = open_library()
POOL = LIBRARY.constitution("salmon_rl")
ALWAYS = LIBRARY.constitution("salmon_interventions")
PROMPT = RewardPrompt(
    LIBRARY.prompt("salmon/reward_model"), LIBRARY.prompt("salmon/reward_model_rl")
)
TWO = Constitution(
    name="two",
    principles=(Principle(name="brief", text="Be brief."), Principle(name="kind", text="Be kind.")),
)
WATCH = Watch(LIBRARY.constitution("salmon_remedies"))
THINGS = [f"thing {n}" for n in range(40)]
INSTRUCTIONS = [
    Instruction(
        text=f"What do you know of {thing}?",
        origin="red_teaming",
        question_type="harmful acts" if n % 4 == 0 else None,
    )
    for n, thing in enumerate(THINGS)
]


def rewarding(*entries, k=3, **more):
    plan = principle_plan(
        Schedule(entries=tuple(ScheduleEntry.model_validate(e) for e in entries)),
        pool=POOL,
        interventions=ALWAYS,
        k=k,
        library=LIBRARY,
    )
    return Rewarding(plan, PrincipleSamplingConfig(k=k), PROMPT, **more)


def plainly(instruction: Instruction, step: int) -> str:
    return f"I know of {instruction.text[17:-1]} that it is number {step} of many things here."


def batch(step: int, size=16, say=plainly) -> list[Sampled]:
    """Draw queries and responses that depend on the step alone."""
    order = sorted(INSTRUCTIONS, key=lambda i: rng_for(0, f"batch/{step}", i.id).random())
    said = [(one, say(one, step)) for one in order[:size]]
    return [
        Sampled(
            query=one.id,
            turn=step,
            response=text,
            tokens=len(text.split()),
            finished=True,
            kl=0.1 * step,
        )
        for one, text in said
    ]


def by_length(texts: Sequence[str]) -> list[float]:
    """Prefer long answers, and those read under more text."""
    return [len(text) / 1000 for text in texts]


def files(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in sorted(folder.iterdir()) if p.suffix == ".jsonl"}


def lines(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


# ---- rewards


def test_every_rollout_says_under_which_clauses_it_was_rewarded(tmp_path):
    read: list[str] = []

    def score(texts):
        read.extend(texts)
        return by_length(texts)

    rewards = RolloutRewards(rewarding(), INSTRUCTIONS, tmp_path)
    sampled = batch(4)
    totals = rewards(4, sampled, score)
    rollouts = read_lines(tmp_path / "rollouts.jsonl", Rollout)
    assert [r.reward.total for r in rollouts] == totals
    drawing = PrincipleSampling(POOL, ALWAYS)
    texts = {p.name: p.text for p in (*POOL.principles, *ALWAYS.principles)}
    for one, rollout, text in zip(sampled, rollouts, read, strict=True):
        kind = rollout.prompt_type
        assert rollout.clauses == drawing.guidelines(one.query, kind, one.turn).clauses
        assert rollout.always == tuple(p.text for p in ALWAYS.principles)
        assert (rollout.query, rollout.response, rollout.kl) == (one.query, one.response, one.kl)
        shown = [texts[clause.principle] for clause in rollout.clauses]
        assert text == PROMPT.render(rollout.instruction, one.response, shown[3:], shown[:3])
        assert rollout.raw_score == rollout.reward.score == len(text) / 1000
    kinds = {r.instruction: r.prompt_type for r in rollouts}
    for instruction, kind in kinds.items():
        asked = next(i for i in INSTRUCTIONS if i.text == instruction)
        assert kind == ("red_teaming" if asked.question_type else "general")


def test_items_a_rule_can_see_are_added_and_kept_apart(tmp_path):
    said = ["", "[de] Es ist so.", "[en] It is so.", "[en] And so on"]
    sampled = [
        s.model_copy(update={"response": text, "finished": text != said[3], "tokens": 512})
        for s, text in zip(batch(0, 4), said, strict=True)
    ]
    asked = [i.model_copy(update={"text": f"[en] {i.text}"}) for i in INSTRUCTIONS]
    ids = {i.id: a.id for i, a in zip(INSTRUCTIONS, asked, strict=True)}
    sampled = [s.model_copy(update={"query": ids[s.query]}) for s in sampled]
    types = PromptTypes(question_types={"harmful acts": "general"})
    rules = rewarding(types=types, language_of=Spoken())
    rewards = RolloutRewards(rules, asked, tmp_path)
    rewards(0, sampled, lambda texts: [1.0] * len(texts))
    items = [r.reward for r in read_lines(tmp_path / "rollouts.jsonl", Rollout)]
    assert [r.too_short for r in items] == [-6, 0, 0, 0]
    assert [r.language for r in items] == [0, 0, 1, 1]
    assert [r.unfinished for r in items] == [0, 0, 0, -6]
    assert [r.length for r in items] == [2.5] * 4
    without = RolloutRewards(rewarding(types=types), asked, tmp_path / "without")
    without(0, sampled, lambda texts: [1.0] * len(texts))
    rollouts = read_lines(tmp_path / "without/rollouts.jsonl", Rollout)
    assert {r.reward.language for r in rollouts} == {0}


def test_scores_can_be_standardised_by_the_first_batch_for_good(tmp_path):
    config = RewardConfig(standardise=True, length_bonus=0)
    for _ in range(2):  # an uninterrupted training, and one that begins again
        rewards = RolloutRewards(rewarding(rewards=config), INSTRUCTIONS, tmp_path)
        first = rewards(0, batch(0), lambda texts: [10.0, 14.0] * (len(texts) // 2))
        assert first == [-1.0, 1.0] * 8
    assert rewards(1, batch(1), lambda texts: [16.0] * len(texts)) == [2.0] * 16
    raw = {r.raw_score for r in read_lines(tmp_path / "rollouts.jsonl", Rollout) if r.step == 1}
    assert raw == {16.0}


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_stops_and_leaves_everything_readable(tmp_path, broken):
    rewards = RolloutRewards(rewarding(), INSTRUCTIONS, tmp_path)
    rewards(0, batch(0), by_length)
    before = files(tmp_path)
    with pytest.raises(
        TrainingError,
        match=r"^step 1: the reward model scored .* the response to 'What do you know of thing .*"
        r"The run so far is intact\. .*same command again",
    ):
        rewards(1, batch(1), lambda texts: [broken] * len(texts))
    assert files(tmp_path) == before
    sick = [s.model_copy(update={"kl": broken}) for s in batch(1)]
    with pytest.raises(TrainingError, match=r"step 1: the KL of .* to 'What do .* lower"):
        rewards(1, sick, by_length)
    assert files(tmp_path) == before
    assert RolloutRewards(rewarding(), INSTRUCTIONS, tmp_path)(1, batch(1), by_length)


def test_a_trainer_that_answers_what_nobody_asked_is_told_so(tmp_path):
    rewards = RolloutRewards(rewarding(), INSTRUCTIONS[:1], tmp_path)
    with pytest.raises(TrainingError, match="none of the 1 instructions"):
        rewards(0, batch(0), by_length)
    with pytest.raises(TrainingError, match="step 0 has no response"):
        rewards(0, [], by_length)


def test_a_probe_whose_score_is_no_number_is_named_with_its_step_and_request(tmp_path):
    rewards = everything(tmp_path / "training")
    scores = iter([by_length, lambda texts: [float("nan")] * len(texts)])
    with pytest.raises(TrainingError, match=r"^step 0: the reward model scored nan for 'I know of"):
        rewards(0, batch(0), lambda texts: next(scores)(texts))
    assert everything(tmp_path / "training")(0, batch(0), by_length)  # what is written is readable


def test_a_plan_for_another_number_of_principles_is_refused():
    with pytest.raises(InputError, match="k=3, but k=2"):
        Rewarding(rewarding().principles, PrincipleSamplingConfig(k=2), PROMPT)


# ---- what is logged


def test_a_step_is_summed_up_also_by_type_of_request(tmp_path):
    rewards = RolloutRewards(rewarding(), INSTRUCTIONS, tmp_path)
    said = iter(["I cannot help you with that.", "", "Fine. This answer is very helpful."] * 16)
    totals = rewards(0, batch(0, 15, lambda *_: next(said)), by_length)
    (summary,) = read_lines(tmp_path / "summary.jsonl", StepSummary)
    whole = summary.overall
    assert (whole.rollouts, whole.refusal_rate, whole.stub_rate) == (15, 1 / 3, 1 / 3)
    assert whole.self_praise_rate == 1 / 3
    assert whole.reward == pytest.approx(sum(totals) / 15)
    assert sum(whole.items.values()) == pytest.approx(whole.reward)
    assert (whole.stop_rate, whole.kl) == (1, 0)
    assert whole.words == pytest.approx((6 + 0 + 6) / 3)
    parts = summary.by_type
    assert set(parts) == {"general", "red_teaming"}
    assert sum(part.rollouts for part in parts.values()) == 15
    joined = sum(part.reward * part.rollouts for part in parts.values()) / 15
    assert joined == pytest.approx(whole.reward)
    assert summary.weights == {p.name: p.weight for p in POOL.principles}
    assert summary.always == {p.name: p.text for p in ALWAYS.principles}


def test_no_kl_is_none_and_not_nothing(tmp_path):
    rewards = RolloutRewards(rewarding(), INSTRUCTIONS, tmp_path)
    rewards(0, [s.model_copy(update={"kl": None}) for s in batch(0)], by_length)
    (summary,) = read_lines(tmp_path / "summary.jsonl", StepSummary)
    assert summary.overall.kl is None
    assert summary.overall.wrong_language_rate == 0


def everything(folder: Path, **more) -> RolloutRewards:
    steering = Steering(folder.parent / "steering")
    oversight = Oversight(steering, Probes(TWO, ProbeConfig(every=2, responses=4)), WATCH, **more)
    return RolloutRewards(rewarding(), INSTRUCTIONS, folder, oversight)


def test_killed_and_resumed_writes_and_rewards_what_an_uninterrupted_training_does(tmp_path):
    def cheat(instruction, step):
        return f"{plainly(instruction, step)} This answer is accurate." * (1 + (step > 5))

    whole, killed = tmp_path / "a" / "training", tmp_path / "b" / "training"
    rewards = everything(whole)
    expected = []
    for step in range(10):
        if step == 4:
            Steering(whole.parent / "steering").edit([AlwaysOn(text="Be brief.")])
        expected.append(rewards(step, batch(step, say=cheat), by_length))

    got: dict[int, list[float]] = {}
    for begin, end in ((0, 3), (1, 7), (5, 6), (2, 9), (9, 10)):
        rewards = everything(killed)
        for step in range(begin, end):
            if step == 4 and begin == 1:
                Steering(killed.parent / "steering").edit([AlwaysOn(text="Be brief.")])
            got[step] = rewards(step, batch(step, say=cheat), by_length)
        with (killed / "rollouts.jsonl").open("a") as file:
            file.write('{"step":')
    assert list(got.values()) == expected
    with (whole / "rollouts.jsonl").open("a") as file:
        file.write('{"step":')
    assert files(killed) == files(whole)


# ---- principles that change


def clauses_of(folder: Path, step: int) -> list[Rollout]:
    return [r for r in read_lines(folder / "rollouts.jsonl", Rollout) if r.step == step]


def test_a_schedule_changes_what_rewards(tmp_path):
    rules = rewarding({"from_step": 1, "always": ["Be brief."], "pool": "salmon_honest"})
    rewards = RolloutRewards(rules, INSTRUCTIONS, tmp_path)
    for step in range(2):
        rewards(step, batch(step), by_length)
    honest = set(LIBRARY.constitution("salmon_honest").names)
    assert all("Be brief." not in r.always for r in clauses_of(tmp_path, 0))
    for one in clauses_of(tmp_path, 1):
        assert one.always[-1] == "Be brief."
        assert {c.principle for c in one.clauses[4:]} <= honest


def test_a_live_edit_takes_effect_at_the_next_batch_and_is_logged_before_it(tmp_path):
    folder, notes = tmp_path / "training", []
    rewards = everything(folder, note=notes.append)
    steering = Steering(tmp_path / "steering")
    rewards(0, batch(0), by_length)
    steering.edit(
        [
            AlwaysOn(text="Be brief."),
            Reweighed(principle="vivid", weight=1e6),
            Removed(principle="candor"),
        ]
    )

    def score(texts):
        assert steering.pending() == []
        assert [line.step for line in steering.heard("training")] == [0, 1]
        return by_length(texts)

    rewards(1, batch(1), score)
    assert all("live 1" not in {c.principle for c in r.clauses} for r in clauses_of(folder, 0))
    for one in clauses_of(folder, 1):
        drawn = [c.principle for c in one.clauses]
        assert (drawn[3], one.always[3]) == ("live 1", "Be brief.")
        assert "vivid" in drawn or one.prompt_type == "red_teaming"
        assert "candor" not in drawn
    before, after = read_lines(folder / "summary.jsonl", StepSummary)
    assert before.steered == ()
    assert after.steered == ('always "Be brief."', "weight vivid=1e+06", "remove candor")
    assert after.weights["vivid"] == 1e6
    assert "candor" not in after.weights
    assert notes == ['from step 1 on: always "Be brief.", weight vivid=1e+06, remove candor']
    assert steering.steerable().step == 1


def test_a_live_edit_that_a_later_pool_does_not_know_is_skipped_and_said_to_be(tmp_path):
    rules = rewarding({"from_step": 1, "pool": "salmon_honest"})
    steering = Steering(tmp_path / "steering")
    rewards = RolloutRewards(rules, INSTRUCTIONS, tmp_path / "training", Oversight(steering))
    steering.edit([Removed(principle="vivid"), AlwaysOn(text="Be brief.")])
    for step in range(2):
        rewards(step, batch(step), by_length)
    before, after = read_lines(tmp_path / "training/summary.jsonl", StepSummary)
    assert before.skipped == ()
    (skipped,) = after.skipped
    assert skipped.startswith("remove vivid: there is no principle 'vivid'")
    assert after.always["live 1"] == "Be brief."


def test_an_edit_made_while_the_training_was_dead_does_not_change_what_was_done(tmp_path):
    folder, steering = tmp_path / "training", Steering(tmp_path / "steering")
    rewards = everything(folder)
    for step in range(4):
        rewards(step, batch(step), by_length)
    before = files(folder)
    steering.edit([AlwaysOn(text="Be brief.")])
    rewards = everything(folder)
    for step in (2, 3):
        rewards(step, batch(step), by_length)
    assert files(folder) == before
    rewards(4, batch(4), by_length)
    assert {r.always[-1] for r in clauses_of(folder, 4)} == {"Be brief."}


# ---- probes and hacks


def test_a_collapsed_probe_stops_the_training_and_leaves_everything_readable(tmp_path):
    folder = tmp_path / "training"
    rewards = everything(folder)
    for step in range(2):
        rewards(step, batch(step), by_length)
    with pytest.raises(TrainingError, match=r"step 2: the scores under all 2 .*selfalign steer"):
        rewards(2, batch(2), lambda texts: [x - 50 for x in by_length(texts)])
    summaries = read_lines(folder / "summary.jsonl", StepSummary)
    assert [s.probes is not None for s in summaries] == [True, False, True]
    assert len(clauses_of(folder, 2)) == 16
    assert set(summaries[0].probes.means) == {"brief", "kind"}


def test_a_first_step_done_again_is_its_own_beginning(tmp_path):
    """Scores of another machine, or under another edit, are nothing to fall from."""
    everything(tmp_path / "training")(0, batch(0), by_length)
    rewards = everything(tmp_path / "training")
    rewards(0, batch(0), lambda texts: [x - 50 for x in by_length(texts)])
    rewards(2, batch(2), lambda texts: [x - 50 for x in by_length(texts)])


def test_answers_to_held_out_prompts_are_probed_in_place_of_the_batch(tmp_path):
    held = [PolicyPrompt(query=i.id, text=i.text, stop=("#",)) for i in INSTRUCTIONS[:2]]
    probes = Probes(TWO, ProbeConfig(every=2, held_out=2))
    rewards = RolloutRewards(
        rewarding(), INSTRUCTIONS, tmp_path, Oversight(probes=probes), held_out=held
    )
    assert isinstance(rewards, ProbedRewardFunction)
    assert list(rewards.probe_prompts) == held
    assert [step for step in range(5) if rewards.probe_due(step)] == [0, 2, 4]
    answers = [s for n in range(40) for s in batch(n, 40) if s.query in {h.query for h in held}][:2]
    rewards.probe(0, answers, lambda texts: [7.0] * len(texts))
    rewards(0, batch(0), by_length)
    rewards(1, batch(1), by_length)
    first, second = read_lines(tmp_path / "summary.jsonl", StepSummary)
    assert first.probes.source == "held_out"
    assert first.probes.means == {"brief": 7.0, "kind": 7.0}
    assert second.probes is None


def test_what_will_be_read_of_a_probe_is_known_before_it_is_answered(tmp_path):
    held = PolicyPrompt(query=INSTRUCTIONS[0].id, text="<prompt>", stop=("#",))
    probes = Probes(TWO, ProbeConfig(every=2, held_out=1))
    rewards = RolloutRewards(
        rewarding(), INSTRUCTIONS, tmp_path, Oversight(probes=probes), held_out=[held]
    )
    read: list[str] = []

    def score(texts):
        read.extend(texts)
        return [0.0] * len(texts)

    (answer,) = [s for s in batch(0, 40) if s.query == held.query]
    rewards.probe(0, [answer.model_copy(update={"response": ""})], score)
    assert rewards.probe_texts(held) == read
    assert len(read) == len(TWO.names)


def test_a_hack_is_written_down_once_with_samples_and_remedy(tmp_path):
    def praise(instruction, step):
        said = plainly(instruction, step)
        return said if step < 4 else f"{said} This answer is accurate and very helpful."

    folder, notes = tmp_path / "training", []
    rewards = everything(folder, note=notes.append)
    for step in range(8):
        rewards(step, batch(step, say=praise), by_length)
    (found,) = read_lines(folder / "suspicions.jsonl", Suspected)
    assert found.suspicion.hack == "self-praise"
    assert found.already_on  # "humble" is an intervention of the paper
    assert all("very helpful" in e.response for e in found.suspicion.evidence)
    suspected = [s.suspected for s in read_lines(folder / "summary.jsonl", StepSummary)]
    assert suspected[: found.step] == [()] * found.step
    assert suspected[found.step :] == [("self-praise",)] * (8 - found.step)
    assert found.step == 5
    assert len(notes) == 1


# ---- the training


class Policy:
    """A policy trainer whose policy says what a script says."""

    def __init__(self, steps=3, stop_at=None, say=plainly, foretells=True, on_step=None):
        self.steps, self.stop_at, self.say = steps, stop_at, say
        self.foretells, self.on_step = foretells, on_step or (lambda step: None)
        self.prompts: list[PolicyPrompt] = []

    def __call__(self, prompts, *, policy, reward_model, rewards, recipe, folder):
        self.prompts = list(prompts)
        self.rewards: RewardFunction = rewards
        if self.foretells:
            assert isinstance(rewards, ForetoldRewardFunction)
            rewards.foretell(self.steps)
        for step in range(self.steps):
            rewards(step, batch(step, say=self.say), by_length)
            self.on_step(step)
            if step == self.stop_at:
                raise TrainingError("the KL budget is spent")
        (folder / "weights").mkdir(exist_ok=True)


BASE = Checkpoint(base="calf", revision="sha256:0")
START = Checkpoint(base="calf", revision="sha256:0", adapter="final")
JUDGE = Checkpoint(base="calf", revision="sha256:0", adapter="reward")


def training(trainer, oversight=None, rules=None, **more):
    chat = LIBRARY.chat_prompt("chat/standard")
    return ReinforcementLearning(
        START,
        JUDGE,
        chat,
        "Calf",
        "us",
        rules or rewarding(),
        PolicyTraining(steps=3),
        oversight or Oversight(),
        trainer=trainer,
        **more,
    )


def test_the_training_is_one_of_a_run_and_leaves_a_checkpoint_on_the_policys_base(tmp_path):
    trainer = Policy()
    run = Run(tmp_path / "run")
    steering = Steering(tmp_path / "run" / "steering")
    checkpoint = run.train(training(trainer, Oversight(steering)), INSTRUCTIONS)
    assert (checkpoint.base, checkpoint.revision) == (BASE.base, BASE.revision)
    folder = Path(checkpoint.adapter).parent
    assert folder.name.startswith("salmon.stage3-")
    assert len(read_lines(folder / "summary.jsonl", StepSummary)) == 3
    assert {p.query for p in trainer.prompts} == {i.id for i in INSTRUCTIONS}
    assert all(p.text.endswith("### Assistant") for p in trainer.prompts)
    assert trainer.prompts[0].stop == ("\n\n### User", "### User")
    with pytest.raises(InputError, match="has ended"):
        steering.edit([AlwaysOn(text="Be brief.")])


def test_requests_kept_for_the_probes_are_not_trained_on(tmp_path):
    trainer = Policy()
    probes = Probes(TWO, ProbeConfig(held_out=5))
    training(trainer, Oversight(probes=probes))(INSTRUCTIONS, tmp_path)
    kept = {p.query for p in trainer.rewards.probe_prompts}
    assert len(kept) == 5
    assert not kept & {p.query for p in trainer.prompts}
    assert len(trainer.prompts) == 35
    with pytest.raises(TrainingError, match="nothing is left to train on"):
        training(trainer, Oversight(probes=probes))(INSTRUCTIONS[:5], tmp_path)


def test_who_looks_on_renames_no_training_but_rewards_and_probes_do():
    plain = training(Policy()).key
    assert training(Policy(9), Oversight(Steering(Path("x")), None, WATCH)).key == plain
    others = {
        training(Policy(), Oversight(probes=Probes(TWO))).key,
        training(Policy(), rules=rewarding(k=2)).key,
        training(Policy(), rules=rewarding(seed=1)).key,
        training(Policy(), rules=rewarding(language_of=Spoken())).key,
        training(Policy(), rules=rewarding({"from_step": 9, "always": ["Be brief."]})).key,
    }
    assert len(others | {plain}) == 6


def test_a_limit_says_when_to_stop_and_when_to_save_and_renames_no_training():
    plain = training(Policy())
    for change in ({"max_kl": 5.0}, {"max_kl": 9.0, "save_every": 3}):
        recipe = plain.recipe.model_copy(update=change)
        assert replace(plain, recipe=recipe).key == plain.key
    other = plain.recipe.model_copy(update={"kl_weight": 0.5})
    assert replace(plain, recipe=other).key != plain.key


def test_the_policy_is_vouched_for_where_a_probe_could_have_stopped_it(tmp_path):
    def vouched(**changes) -> list[int]:
        probes = Probes(TWO, ProbeConfig(**changes))
        rewards = RolloutRewards(rewarding(), INSTRUCTIONS, tmp_path, Oversight(probes=probes))
        assert isinstance(rewards, WatchfulRewardFunction)
        return [step for step in range(5) if rewards.vouches_for(step)]

    assert vouched(every=2) == [0, 2, 4]
    assert vouched(every=2, max_fall=None) == vouched(every=0) == [0, 1, 2, 3, 4]


def test_a_trainer_is_told_whether_its_stop_was_steered_out_of(tmp_path):
    folder, steering = tmp_path / "training", Steering(tmp_path / "steering")
    told = []

    class Asks(Policy):
        def __call__(self, prompts, *, rewards, **rest):
            told.append(rewards.rewards_otherwise())
            super().__call__(prompts, rewards=rewards, **rest)

    for stop_at, edited in ((2, True), (2, False), (None, False)):
        try:
            training(Asks(3, stop_at), Oversight(steering))(INSTRUCTIONS, folder)
        except TrainingError:
            if edited:
                steering.edit([AlwaysOn(text="Be brief.")])
    assert told == [False, True, False]


def test_those_who_steer_are_told_how_much_room_the_reward_model_has(tmp_path):
    class Words:
        tokenizer, context = "words.json", 2000

        def count(self, text: str) -> int:
            return len(text.split())

    steering = Steering(tmp_path / "steering")
    free = []

    def edit(step):
        free.append(steering.steerable().room.free)
        if step == 0:
            steering.edit([AlwaysOn(text="Be brief and kind.")])

    oversight = Oversight(steering, reading=Words())
    training(Policy(3, on_step=edit), oversight)(INSTRUCTIONS, tmp_path / "training")
    room = steering.steerable().room
    assert (room.context, room.tokenizer) == (2000, "words.json")
    assert free[0] - free[1] == 5  # words of "- Be brief and kind."
    assert free[1] == free[2] == room.free
    longest = PROMPT.render(
        INSTRUCTIONS[0].text,
        "word " * PolicyTraining().max_tokens,
        sorted((p.text for p in POOL.principles), key=len)[-3:],
        [*(p.text for p in ALWAYS.principles), "Be brief and kind."],
    )
    assert free[1] == 2000 - len(longest.split()) - 1


def test_what_does_not_fit_together_has_not_stopped_a_training(tmp_path):
    class Refuses(Policy):
        def __call__(self, prompts, **_):
            raise UnfitError("policy and reward model have different tokenizers")

    with pytest.raises(UnfitError) as refused:
        training(Refuses())(INSTRUCTIONS, tmp_path)
    assert refused.value.exit_code == 2
    assert not (tmp_path / STOPPED).exists()


def test_an_edit_is_refused_as_soon_as_the_last_batch_has_begun(tmp_path):
    steering, said = Steering(tmp_path / "steering"), []

    def edit(step):
        try:
            said.append(steering.edit([AlwaysOn(text=f"Be brief {step}.")]))
        except InputError as error:
            said.append(str(error))

    training(Policy(3, on_step=edit), Oversight(steering))(INSTRUCTIONS, tmp_path / "training")
    assert said[:2] == [1, 2]
    assert "is at its last step, 2" in said[2]
    assert steering.pending() == steering.late() == []
    assert {r.always[-1] for r in clauses_of(tmp_path / "training", 2)} == {"Be brief 1."}


def test_an_edit_in_the_last_batch_of_a_trainer_that_foretells_nothing_is_named_at_the_end(
    tmp_path,
):
    steering, notes = Steering(tmp_path / "steering"), []

    def edit(step):
        if step == 2:
            steering.edit([AlwaysOn(text="Be brief.")])

    trainer = Policy(3, foretells=False, on_step=edit)
    oversight = Oversight(steering, note=notes.append)
    training(trainer, oversight)(INSTRUCTIONS, tmp_path / "training")
    (note,) = notes
    assert note.startswith("edit 1 was never applied, since it came in the last batch of rollouts")
    assert 'always "Be brief."' in note
    assert [edit.number for edit in steering.late()] == [1]
    training(Policy(1), oversight)(INSTRUCTIONS, tmp_path / "another")
    assert notes == [note]
    assert all("Be brief." not in r.always for r in clauses_of(tmp_path / "another", 0))


def test_a_training_that_does_steps_again_is_announced_at_the_last_it_has_begun(tmp_path):
    steering = Steering(tmp_path / "steering")
    for steps in (5, 3):
        rewards = RolloutRewards(
            rewarding(), INSTRUCTIONS, tmp_path / "training", Oversight(steering)
        )
        rewards.foretell(5)
        for step in range(steps):
            rewards(step, batch(step), by_length)
    assert steering.steerable().step == 4
    with pytest.raises(InputError, match="is at its last step, 4"):
        steering.edit([AlwaysOn(text="Be brief.")])


def test_after_a_stop_in_the_last_batch_an_edit_is_still_heard(tmp_path):
    folder, steering = tmp_path / "training", Steering(tmp_path / "steering")
    with pytest.raises(TrainingError, match="KL budget"):
        training(Policy(3, stop_at=2), Oversight(steering))(INSTRUCTIONS, folder)
    assert steering.steerable().stopped
    steering.edit([AlwaysOn(text="Be brief.")])
    training(Policy(3), Oversight(steering))(INSTRUCTIONS, folder)
    assert {r.always[-1] for r in clauses_of(folder, 2)[-16:]} == {"Be brief."}
    assert (steering.pending(), steering.late()) == ([], [])


class Collapsing(Policy):
    """A policy that pleases nobody from a step on; it goes on from a checkpoint."""

    def __init__(self, collapses_at, saved=0, steps=6):
        super().__init__(steps)
        self.collapses_at, self.saved, self.asked = collapses_at, saved, []

    def __call__(self, prompts, *, policy, reward_model, rewards, recipe, folder):
        rewards.foretell(self.steps)
        for step in range(self.saved, self.steps):
            down = 50 if step >= self.collapses_at else 0
            self.asked.append(step)
            rewards(
                step, batch(step), lambda texts, down=down: [x - down for x in by_length(texts)]
            )
        (folder / "weights").mkdir()


def test_what_has_collapsed_is_trained_again_only_once_a_principle_is_edited(tmp_path):
    folder, steering = tmp_path / "training", Steering(tmp_path / "steering")
    oversight = Oversight(steering, Probes(TWO, ProbeConfig(every=2, responses=4)))
    with pytest.raises(CollapsedError, match=r"^step 4: the scores under all 2"):
        training(Collapsing(3), oversight)(INSTRUCTIONS, folder)
    stopped = {path.name: path.read_bytes() for path in folder.iterdir()}
    again = Collapsing(3, saved=2)
    with pytest.raises(CollapsedError, match=r"no principle was edited since .* step 4: the scor"):
        training(again, oversight)(INSTRUCTIONS, folder)
    assert again.asked == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == stopped
    steering.edit([AlwaysOn(text="Be brief.")])
    training(better := Collapsing(99, saved=2), oversight)(INSTRUCTIONS, folder)
    assert better.asked == [2, 3, 4, 5]
    assert {r.always[-1] for r in clauses_of(folder, 2)[-16:]} == {"Be brief."}


def test_an_edit_gets_a_training_past_the_probe_it_collapsed_at(tmp_path):
    """The last checkpoint may be one of the collapsed policy; a further fall stops it again."""
    folder, steering = tmp_path / "training", Steering(tmp_path / "steering")
    oversight = Oversight(steering, Probes(TWO, ProbeConfig(every=2, responses=4)))
    with pytest.raises(CollapsedError, match="step 4"):
        training(Collapsing(4), oversight)(INSTRUCTIONS, folder)
    steering.edit([AlwaysOn(text="Be brief.")])
    training(Collapsing(4, saved=4, steps=8), oversight)(INSTRUCTIONS, folder)
    assert not (folder / STOPPED).exists()


def test_after_a_stop_the_training_goes_on_under_what_was_typed_since(tmp_path):
    folder, steering = tmp_path / "training", Steering(tmp_path / "steering")
    oversight = Oversight(steering)
    with pytest.raises(TrainingError, match="KL budget"):
        training(Policy(4, stop_at=3), oversight)(INSTRUCTIONS, folder)
    assert "KL budget" in (folder / STOPPED).read_text()
    stopped = files(folder)
    with pytest.raises(TrainingError, match="KL budget"):  # nothing was edited: the same again
        training(Policy(4, stop_at=3), oversight)(INSTRUCTIONS, folder)
    assert files(folder) == stopped
    steering.edit([AlwaysOn(text="Be brief.")])
    training(Policy(4), oversight)(INSTRUCTIONS, folder)
    assert not (folder / STOPPED).exists()
    assert [line.step for line in steering.heard("training")] == [0, 1, 2, 3]
    last = read_lines(folder / "rollouts.jsonl", Rollout)[-16:]
    assert {r.always[-1] for r in last} == {"Be brief."}


def test_remedies_that_leave_a_hack_out_are_refused_before_anything_runs():
    with pytest.raises(ConstitutionError, match="no principle 'general advice'"):
        Watch(POOL)
