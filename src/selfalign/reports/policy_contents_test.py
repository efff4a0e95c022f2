"""What the report says of a policy is what its training wrote, whoever trained it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.errors import StoreError
from selfalign.core.records import Clause
from selfalign.reports.policy_contents import (
    SAMPLES_PER_TYPE,
    before_after,
    gain,
    marks,
    policy_part,
    scheduled,
)
from selfalign.reports.policy_series import TrainerStep, curves, optimiser_curves, probe_series
from selfalign.salmon.oversight import Suspected
from selfalign.salmon.probes import ProbeScores
from selfalign.salmon.records import Reward, Rollout
from selfalign.salmon.reward_hacking import Suspicion
from selfalign.salmon.rollout_rewards import STOPPED, rollout_log, summary_log
from selfalign.salmon.schedule import Schedule, ScheduleEntry
from selfalign.salmon.step_log import read_lines
from selfalign.salmon.step_summary import StepSummary, by_type, seen_of, slice_of
from selfalign.trainers.ppo_account import STEPS_FILE, PpoStep, StepLog


def rollout(step, number=0, said="It is a fine day for a walk.", kind="general", **more) -> Rollout:
    facts = {"query": f"q{number}", "clauses": (Clause(principle="kind"),), "always": (), **more}
    return Rollout(
        step=step,
        number=number,
        turn=step,
        prompt_type=kind,
        instruction=f"Request {number}",
        response=said,
        raw_score=float(step),
        reward=Reward(score=float(step + number), unfinished=0, too_short=0, length=0, language=0),
        tokens=5 + step,
        finished=True,
        **{"kl": 0.5 * step, **facts},
    )


def summary(step, rollouts=None, **more) -> StepSummary:
    rollouts = rollouts or [rollout(step), rollout(step, 2, kind="red_teaming")]
    seen = seen_of(rollouts)
    facts = {"probes": None, "weights": {"kind": 1.0}, "always": {}, **more}
    return StepSummary(
        step=step, overall=slice_of(rollouts, seen), by_type=by_type(rollouts, seen), **facts
    )


def ppo_step(step, **more) -> PpoStep:
    facts = dict.fromkeys(set(PpoStep.model_fields) - {"step"}, 0.5)
    return PpoStep(step=step, **{**facts, **more})


def series(found):
    return {curve.name: curve.series for curve in found}


# ---- curves


def test_every_curve_holds_what_the_summaries_hold():
    steps = [summary(n) for n in range(4)]
    found = series(curves(steps, []))
    reward = found["reward and its items"]
    assert [p.y for p in reward["reward"]] == [s.overall.reward for s in steps]
    assert [p.y for p in reward["score"]] == [s.overall.items["score"] for s in steps]
    assert set(reward) == {"reward", "score"}  # the other items are 0 throughout
    assert [p.y for p in found["distance from the reference"]["KL"]] == [0, 0.5, 1, 1.5]
    assert [p.y for p in found["length"]["tokens"]] == [5, 6, 7, 8]
    assert set(found["how responses end and repeat"]) == {
        "stop rate", "refusal rate", "repetition",
    }  # fmt: skip
    assert [p.y for p in found["how responses end and repeat"]["stop rate"]] == [1] * 4
    assert "signs of cheating" not in found


def test_refusals_are_drawn_apart_for_each_type_of_request():
    no = "I cannot help you with that."
    steps = [
        summary(0),
        summary(1, [rollout(1), rollout(1, 1, no, "red_teaming")]),
        summary(2, [rollout(2, said=no)]),
    ]
    refusals = series(curves(steps, []))["refusals by type of request"]
    assert refusals == {"general": ((0, 0), (1, 0), (2, 1)), "red teaming": ((0, 0), (1, 1))}


def test_signs_of_cheating_are_drawn_where_there_are_any():
    praise = "It is so. This answer is very helpful."
    steps = [summary(0), summary(1, [rollout(1), rollout(1, 1, praise)])]
    assert series(curves(steps, []))["signs of cheating"] == {"self-praise": ((0, 0), (1, 0.5))}


def test_where_rollouts_have_no_kl_the_trainer_s_own_is_drawn():
    steps = [summary(n, [rollout(n, kl=None)]) for n in range(2)]
    assert "distance from the reference" not in series(curves(steps, []))
    trainer = [TrainerStep(step=n, kl=n + 3) for n in range(2)]
    assert series(curves(steps, trainer))["distance from the reference"] == {"KL": ((0, 3), (1, 4))}


def test_what_a_trainer_does_not_measure_has_no_curve():
    trainer = [TrainerStep(step=n, entropy=2.0) for n in range(2)]
    assert [c.name for c in optimiser_curves(trainer)] == ["entropy"]


def probe(mean, sd=2.0, source="batch"):
    return ProbeScores(source=source, responses=4, means={"kind": mean}, sds={"kind": sd})


def test_probes_are_drawn_in_standard_deviations_of_the_first():
    risen = probe_series([(0, probe(1.0)), (5, probe(4.0)), (10, probe(0.0, sd=9))])
    assert risen == {"kind": ((0, 0), (5, 1.5), (10, -0.5))}
    mixed = probe_series([(0, probe(1.0)), (5, probe(4.0, source="held_out"))])
    assert mixed == {"kind": ((0, 0),)}
    assert probe_series([]) == {}


def test_the_gain_is_counted_in_standard_deviations_of_the_start():
    steps = [summary(0, [rollout(0), rollout(0, 2)]), summary(3, [rollout(3)])]
    assert (gain(steps).first, gain(steps).sd, gain(steps).last) == (1, 1, 3)
    assert gain(steps).in_sds == 2
    assert gain([summary(0, [rollout(0)])]).in_sds is None


# ---- marks


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"pool": "salmon_honest"}, "pool salmon_honest"),
        ({"interventions": ""}, "interventions none"),
        ({"always": ("Be brief.", "Be kind.")}, 'always "Be brief.", always "Be kind."'),
        ({"always": ()}, "no text always on"),
        ({"weights": {"vivid": 0, "candor": 2.5}}, "weight vivid=0, weight candor=2.5"),
        ({}, "nothing"),
    ],
)
def test_an_entry_of_the_schedule_is_said_in_one_line(entry, said):
    assert scheduled(ScheduleEntry(from_step=1, **entry)) == said


def test_marks_are_edits_schedule_and_suspicions_by_step():
    steps = [
        summary(0),
        summary(1, steered=("remove vivid", 'always "Be brief."'), skipped=("remove vivid: no",)),
        summary(2, skipped=("remove vivid: no", "weight kind=3: it is gone")),
        summary(3, skipped=("remove vivid: no", "weight kind=3: it is gone")),
    ]
    suspicion = Suspicion(
        hack="stubs", measure="the length", then=9, now=1, pays=None, evidence=(), proposal="Speak."
    )
    suspected = Suspected(step=2, suspicion=suspicion, already_on=False)
    schedule = Schedule(
        entries=(
            ScheduleEntry(from_step=2, weights={"kind": 3}),
            ScheduleEntry(from_step=9, weights={"kind": 4}),
        )
    )
    assert [(m.step, m.kind, m.text) for m in marks(steps, [suspected], schedule)] == [
        (1, "live edit", "skipped, remove vivid: no"),
        (1, "live edit", 'always "Be brief."'),
        (2, "schedule", "weight kind=3"),
        (2, "live edit", "no longer in force, weight kind=3: it is gone"),
        (2, "suspected", "stubs: the length went from 9.00 to 1.00"),
    ]


# ---- samples

kinds = st.sampled_from(["general", "reasoning", "red_teaming"])
places = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), max_size=40, unique=True)


@given(places, places)
def test_samples_are_of_one_query_each_the_later_after_the_earlier(early, late):
    def some(found, first):
        types = ("general", "reasoning", "red_teaming")
        return [rollout(first + s, n, kind=types[n % 3]) for s, n in found]

    shown = before_after(some(early, 0), some(late, 10))
    asked = [s.instruction for s in shown]
    assert len(set(asked)) == len(asked)
    for kind in {s.prompt_type for s in shown}:
        assert sum(s.prompt_type == kind for s in shown) <= SAMPLES_PER_TYPE
    for sample in shown:
        number = int(sample.instruction.split()[1])
        assert sample.before.step == min(s for s, n in early if n == number)
        assert sample.after.step == 10 + max(s for s, n in late if n == number)
    both = {n for _, n in early} & {n for _, n in late}
    assert bool(shown) == bool(both)


def test_what_was_typed_in_is_shown_with_its_text():
    clauses = (
        Clause(principle="on the point"),
        Clause(principle="live 1"),
        Clause(principle="kind", negated=True),
    )
    one = rollout(0, clauses=clauses, always=("Stay on it.", "Be brief."))
    (shown,) = before_after([one], [rollout(5)])
    assert shown.before.clauses == ("on the point", 'live 1: "Be brief."', "not kind")
    assert shown.after.clauses == ("kind",)


# ---- the folder


def written(folder, steps=4):
    folder.mkdir(exist_ok=True)
    rollout_log(folder).write([rollout(s, n) for s in range(steps) for n in range(3)])
    summary_log(folder).write([summary(s) for s in range(steps)])
    log = StepLog(folder, (), 0)
    for step in range(steps):
        log.write(ppo_step(step, entropy=3.0 - step, explained_variance=None))
    return folder


def test_a_training_that_goes_on_is_shown_as_far_as_it_is(tmp_path):
    assert policy_part("policy", tmp_path / "none", Schedule()) is None
    folder = written(tmp_path / "salmon.stage3-1")
    part = policy_part("policy", folder, Schedule())
    assert (part.steps, part.facts, part.stopped) == (4, None, None)
    assert [c.name for c in part.optimiser] == ["entropy", "clip fraction"]
    assert [p.y for p in part.optimiser[0].series["entropy"]] == [3, 2, 1, 0]
    assert {(s.before.step, s.after.step) for s in part.samples} == {(0, 3)}


def test_a_line_torn_by_a_crash_is_left_out_and_a_step_done_again_counts_once(tmp_path):
    folder = written(tmp_path / "salmon.stage3-1")
    whole = policy_part("policy", folder, Schedule())
    summary_log(folder).write([summary(3, [rollout(3, 7)])])
    for name in ("rollouts.jsonl", "summary.jsonl", "suspicions.jsonl", STEPS_FILE):
        with (folder / name).open("a") as file:
            file.write('{"step":9,')
    part = policy_part("policy", folder, Schedule())
    assert part.steps == whole.steps == 4
    assert part.gain.last == 10
    assert part.samples == whole.samples


def test_a_changed_line_is_named_and_not_passed_over(tmp_path):
    folder = written(tmp_path / "salmon.stage3-1")
    with (folder / STEPS_FILE).open("a") as file:
        file.write('{"step": "what"}\n')
    with pytest.raises(StoreError, match=r"steps.jsonl, line 5: this is no TrainerStep"):
        policy_part("policy", folder, Schedule())


def test_a_training_that_stopped_says_why(tmp_path):
    folder = written(tmp_path / "salmon.stage3-1")
    (folder / STOPPED).write_text("the KL budget is spent\n", "utf-8")
    assert policy_part("policy", folder, Schedule()).stopped == "the KL budget is spent"


def test_the_account_of_either_trainer_has_what_the_curves_need(tmp_path):
    log = StepLog(tmp_path, (), 0)
    log.write(ppo_step(0))
    (line,) = read_lines(tmp_path / STEPS_FILE, TrainerStep)
    assert set(line.model_dump().values()) == {0, 0.5}
