"""The SALMON part of a report says what the run's files say, and nothing where there are none."""

import json
from collections import Counter

import pytest

from selfalign.core.disk import write_whole
from selfalign.core.store import Run
from selfalign.recipes.chapters import Chapters, kept, read_chapters, record_chapters
from selfalign.recipes.evaluate_salmon import read_controls, read_pairs
from selfalign.recipes.everything import Order, begin
from selfalign.recipes.ingredients import open_ingredients
from selfalign.recipes.plan import load_plan
from selfalign.reports.contents import gather
from selfalign.reports.page import render, write_report
from selfalign.reports.salmon_kit_test import (
    BASE,
    EDIT,
    EDITED_AT,
    HOSTILE,
    SALMON,
    SCHEDULED_AT,
    STEPS,
    Policy,
    labelled,
    ordered,
    reinforced,
    reward_modelled,
    whole_run,
)
from selfalign.reports.salmon_page_test import SECTIONS, Seen
from selfalign.salmon.records import LabelledPair
from selfalign.salmon.rollout_rewards import STOPPED, summary_log, suspicion_log


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return whole_run(tmp_path_factory.mktemp("salmon") / "run")


def test_labels_are_counted_as_they_were_written(run):
    chapters, labels = read_chapters(run), gather(run).salmon.labels
    written = list(kept(run, chapters.labels, LabelledPair))
    assert labels.recounted is None
    assert labels.counts.labels == len(written) > 20
    by_principle = {s.principle: s.labels for s in labels.counts.decided_by if s.labels}
    assert by_principle == Counter(label.decided_by for label in written)
    for one in labels.counts.consistency:
        assert labels.consistent[one.principle].rate == one.rate
        assert labels.first_shown[one.principle].rate == one.first_shown / one.judged


def test_pairs_and_controls_are_those_of_the_evaluation(run):
    salmon = gather(run).salmon
    for reader, result in read_pairs(run).items():
        assert salmon.following[reader].rates == result.rates
        assert salmon.following[reader].traits == result.traits
    assert set(salmon.following) == {"judge", "reward"}
    assert salmon.controls == read_controls(run).root


def test_the_plan_s_policy_comes_first_with_its_edits_and_its_suspicions(run):
    own, control = gather(run).salmon.policies
    assert (own.name, control.name) == ("policy", "policy-brief")
    summaries = summary_log(run / own.folder)
    rewards = [s.overall.reward for s in summaries.of(summaries.steps)]
    assert [p.y for p in own.curves[0].series["reward"]] == rewards
    assert own.steps == len(rewards) == STEPS
    found = [(m.step, m.kind, m.text) for m in own.marks if m.kind != "suspected"]
    assert found == [
        (SCHEDULED_AT, "schedule", "weight polite=5"),
        (EDITED_AT, "live edit", f'always "{" ".join(EDIT.split())}"'),
        (EDITED_AT, "live edit", "remove detailed"),
    ]
    suspected = suspicion_log(run / own.folder)
    assert list(own.suspicions) == suspected.of(suspected.steps)
    assert "self-praise" in {one.suspicion.hack for one in own.suspicions}
    assert [m.text for m in own.marks if m.kind == "suspected"] == [
        one.suspicion.sentence for one in own.suspicions
    ]


def test_a_control_has_no_edits_no_schedule_and_its_own_samples(run):
    _, control = gather(run).salmon.policies
    assert control.marks == ()
    assert control.samples
    assert all('always 1: "Keep it short."' in s.after.clauses for s in control.samples)


def test_report_json_holds_all_of_it(run):
    write_report(run)
    written = json.loads((run / "report" / "report.json").read_text("utf-8"))
    assert written == json.loads(gather(run).model_dump_json())
    assert written["salmon"]["policies"][0]["curves"][0]["series"]["reward"][0][0] == 0
    assert [row["policy"] for row in written["salmon"]["controls"]] == [
        "engraved", "policy", "policy-brief",
    ]  # fmt: skip


def test_a_run_that_has_only_labels_says_only_that(tmp_path):
    begun, ours = ordered(tmp_path)
    chapters, _ = labelled(begun, ours)
    record_chapters(tmp_path, chapters)
    begun.close()
    report = gather(tmp_path)
    salmon = report.salmon
    assert salmon.labels is not None
    assert (salmon.reward_training, salmon.policies, salmon.controls) == (None, (), ())
    assert Seen(render(report)).ids & set(SECTIONS) == {"labels"}


def test_a_training_that_was_killed_or_stopped_is_shown_as_far_as_it_came(tmp_path):
    begun, ours = ordered(tmp_path)
    done = reward_modelled(begun, ours)
    record_chapters(tmp_path, done)
    assert gather(tmp_path).salmon.policies == ()
    with pytest.raises(KeyboardInterrupt):
        reinforced(begun, ours, done, Policy(tmp_path, broken_at=5))
    begun.close()
    (part,) = gather(tmp_path).salmon.policies
    assert (part.name, part.steps, part.facts) == ("policy", 5, None)
    write_whole(tmp_path / part.folder / STOPPED, f"the KL budget is spent {HOSTILE}\n")
    page = render(gather(tmp_path))
    seen = Seen(page)
    assert "this training is not finished" in seen.text
    assert "It stopped by itself: the KL budget is spent" in seen.text
    assert "script" not in seen.tags


def test_labels_of_settings_that_have_changed_are_said_to_be_recounted(tmp_path):
    begun, ours = ordered(tmp_path)
    chapters, _ = labelled(begun, ours)
    record_chapters(tmp_path, chapters)
    begun.close()
    other = open_ingredients(load_plan("pocket", [SALMON.replace("passes: 2", "passes: 3")]))
    begin(tmp_path, Order(plan="pocket"), other.plan)
    Run(tmp_path).close()
    labels = gather(tmp_path).salmon.labels
    assert "have changed since" in labels.recounted
    assert labels.counts.labels > len(list(kept(tmp_path, chapters.labels, LabelledPair)))


def test_principles_that_are_gone_leave_a_sentence_and_the_rest_of_the_report(tmp_path):
    begun, ours = ordered(tmp_path)
    chapters, _ = labelled(begun, ours)
    record_chapters(tmp_path, chapters)
    begun.close()
    gone = SALMON.replace("judge: base", "judge: base, constitution: salmon_harmless")
    begin(tmp_path, Order(plan="pocket"), open_ingredients(load_plan("pocket", [gone])).plan)
    Run(tmp_path).close()
    report = gather(tmp_path)
    assert report.salmon.labels is None
    assert "principle 'harmless' of constitution 'salmon_harmless' has no negation" in (
        report.salmon.unlabelled
    )
    assert "The labels cannot be counted here: principle 'harmless'" in Seen(render(report)).text


def test_a_run_without_salmon_has_the_page_it_had(tmp_path):
    kit = open_ingredients(load_plan("pocket", ["salmon=null"]))
    begin(tmp_path, Order(plan="pocket"), kit.plan)
    record_chapters(tmp_path, Chapters(reached="stage4", base=BASE, rules=("ethical",)))
    Run(tmp_path).close()
    report = gather(tmp_path)
    seen = Seen(render(report))
    assert report.salmon is None
    assert not seen.ids & set(SECTIONS)
    assert "SALMON" not in report.subtitle
    assert "Labels" not in seen.text
