"""What topic brainstorming promises: well-formed, new and balanced topics, in any order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.library import open_library
from selfalign.core.protocols import Completion
from selfalign.core.records import Dropped, Kept
from selfalign.core.scripted import ScriptedLM
from selfalign.core.store import Run
from selfalign.self_align.asking import Draft, Pool
from selfalign.self_align.stage1_topics import (
    ROUNDS,
    Topic,
    TopicBrainstorming,
    TopicConfig,
    TopicFilters,
    TopicSelection,
    balanced,
    brainstorm,
    by_type,
    fault_of,
    seed_topics,
    topic_of,
)

PROMPT = open_library().prompt("self_align/topics")
LAW, ART = "Questions that require legal expertise", "Questions that require knowledge of art"


def topics(question_type: str, *texts: str) -> list[Topic]:
    return [Topic(question_type=question_type, text=text) for text in texts]


SEEDS = Pool((*topics(LAW, "Tenancy"), *topics(ART, "Las Meninas")))


def stage(lm=None, pool=SEEDS, **kwargs) -> TopicBrainstorming:
    return TopicBrainstorming(lm or ScriptedLM(), PROMPT, pool, **kwargs)


def selected(pool: Pool[Topic], *lines: tuple[Topic, str], filters=None) -> list[str]:
    """Return per (topic asked, line written) the reason it is dropped for, or "kept"."""
    drafts = [Draft(request=t.id, number=n, text=x) for n, (t, x) in enumerate(lines)]
    selection = TopicSelection(pool, Pool(tuple(drafts)), filters or TopicFilters())
    return [o.reason if isinstance(o, Dropped) else "kept" for o in selection(drafts)]


def test_a_poor_type_shows_the_one_topic_the_prompt_is_for():
    law = SEEDS.records[0]
    shown = stage().render(law)
    assert shown.endswith("\n1. Tenancy\n2.")
    assert LAW in shown


@pytest.mark.parametrize(("there", "shown"), [(9, 1), (10, 5), (30, 5)])
def test_a_type_of_ten_topics_shows_five_drawn_at_random(there, shown):
    pool = Pool(tuple(topics(LAW, *(f"T{n}" for n in range(there)))))
    rounds = [stage(pool=pool, round=r).shown(pool.records[0]) for r in range(4)]
    assert {len(set(drawn)) for drawn in rounds} == {shown}
    assert (len({tuple(drawn) for drawn in rounds}) > 1) == (shown == 5)


def test_a_topic_is_asked_anew_each_round():
    law = SEEDS.records[0]
    assert stage(round=0).sampling(law).seed != stage(round=1).sampling(law).seed
    assert stage(round=1).sampling(law) == stage(round=1).sampling(law)


def test_the_first_twenty_lines_are_read_and_the_last_one_is_not_dropped():
    law = SEEDS.records[0]
    short = stage().read(law, Completion(text=" Divorce\n3. Wi", finish="length"))
    assert [d.text for d in short.records] == ["2. Divorce", "3. Wi"]
    text = "\n".join(f"{n}. T" for n in range(3, 60))
    assert len(stage().read(law, Completion(text=text, finish="length")).records) == 20
    assert (
        len(
            stage(config=TopicConfig(lines=3))
            .read(law, Completion(text=text, finish="length"))
            .records
        )
        == 3
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2. Divorce", None),
        ("2. Law of Torts", None),
        ("2. Law of the Sea", "too_many_words"),
        ("2. divorce", "no_capital"),
        ("2. Élysée Treaty", "no_capital"),
        ("2. Divorce.", "punctuation_end"),
        ("2. ", "no_topic"),
        ("Divorce", "no_topic"),
        ("2. St. Moritz", None),
    ],
)
def test_a_topic_is_a_short_capitalised_phrase_without_punctuation(line, reason):
    assert fault_of(topic_of(line), TopicFilters()) == reason


def test_a_plan_for_a_small_model_can_lift_each_rule():
    free = TopicFilters(capital=False, bare_end=False, max_words=9)
    assert fault_of("burning a barn in the night.", free) is None


def test_a_topic_is_known_in_any_spelling_but_only_within_its_type():
    law, art = SEEDS.records
    lines = [(law, "2. TENANCY"), (law, "2. Divorce"), (art, "2. Tenancy"), (law, "2. las Meninas")]
    free = TopicFilters(balanced=False, capital=False)
    assert selected(SEEDS, *lines, filters=free) == ["known", "kept", "kept", "kept"]


def test_every_type_is_cut_to_the_poorest_one():
    law, art = SEEDS.records
    lines = [(law, "2. Divorce"), (law, "3. Perjury"), (law, "4. Patents"), (art, "2. Guernica")]
    reasons = selected(SEEDS, *lines)
    assert sorted(reasons[:3]) == ["kept", "unbalanced", "unbalanced"]
    assert reasons[3] == "kept"
    assert selected(SEEDS, *lines, filters=TopicFilters(balanced=False)) == ["kept"] * 4


def test_a_type_the_model_finds_nothing_for_stops_all_others():
    law, _ = SEEDS.records
    assert selected(SEEDS, (law, "2. Divorce")) == ["unbalanced"]


NAMES = st.sampled_from(["Divorce", "divorce", "Perjury", "Guernica", "A b c d", "x.", "", "Wine"])


@given(st.lists(st.tuples(st.booleans(), NAMES), max_size=12), st.randoms())
def test_selection_has_one_outcome_per_draft_in_any_order_and_balances(written, shuffler):
    drafts = [
        Draft(request=SEEDS.records[art].id, number=n, text=f"{n}. {name}")
        for n, (art, name) in enumerate(written)
    ]
    outcomes = {o.source: o for o in TopicSelection(SEEDS, Pool(tuple(drafts)))(drafts)}
    shuffler.shuffle(drafts)
    assert {
        o.source: o for d in drafts for o in TopicSelection(SEEDS, Pool(tuple(drafts)))([d])
    } == outcomes
    assert set(outcomes) == {d.id for d in drafts}
    kept = [r for o in outcomes.values() if isinstance(o, Kept) for r in o.records]
    spellings = [(t.question_type, t.text.casefold()) for t in [*SEEDS, *kept]]
    assert len(set(spellings)) == len(spellings)
    assert len({len(group) for group in by_type([*SEEDS, *kept]).values()}) == 1


@given(st.lists(st.tuples(st.sampled_from([LAW, ART]), st.text(max_size=4))))
def test_balancing_twice_changes_nothing_more_and_keeps_the_first(pairs):
    pool = [Topic(question_type=q, text=t) for q, t in pairs]
    once = balanced(pool)
    assert balanced(once) == once
    for question_type, group in by_type(once).items():
        assert by_type(pool)[question_type][: len(group)] == group


@given(st.text())
def test_reading_never_raises_on_any_completion(text):
    law = SEEDS.records[0]
    outcome = stage().read(law, Completion(text=text, finish="length"))
    drafts = outcome.records if isinstance(outcome, Kept) else ()
    assert len(TopicSelection(SEEDS, Pool(drafts))(drafts)) == len(drafts)


def list_names(prompt: str, seed: int) -> str:
    return f" Topic{seed % 7}\n3. Topic{seed % 11}\n4. and more"


def test_rounds_ask_once_per_topic_there_is_and_stay_balanced(tmp_path):
    lm = ScriptedLM(list_names)
    after = [
        brainstorm(Run(tmp_path), stage(lm), rounds=n, filters=TopicFilters()) for n in (1, 2, 3)
    ]
    sizes = [len(pool) for pool in after]
    assert 2 < sizes[0] < sizes[1] <= sizes[2]
    assert len(lm.asked) == 2 + sizes[0] + sizes[1]  # each round asked once, later runs resumed
    for pool in after:
        assert len({len(group) for group in by_type(pool).values()}) == 1
    assert {t.id for t in SEEDS} <= {t.id for t in after[1]}  # what a person wrote stays


def test_the_twenty_types_of_the_library_are_well_formed_seeds():
    pool = seed_topics(open_library().question_types())
    assert len(pool) == len(by_type(pool)) == 20
    assert {fault_of(t.text, TopicFilters()) for t in pool} == {None}
    assert ROUNDS == 6
