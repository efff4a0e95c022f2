"""What vanilla Self-Instruct promises: which items become tasks, in whatever order they come."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.core.errors import InputError
from selfalign.core.library import open_library
from selfalign.core.protocols import END_OF_TEXT, Completion
from selfalign.core.records import Dropped, Kept
from selfalign.core.scripted import ScriptedLM
from selfalign.core.store import Run
from selfalign.self_align.asking import Draft, Pool
from selfalign.self_align.stage1_self_instruct import (
    BLACKLIST,
    Growth,
    PromptRequest,
    SelfInstruct,
    SelfInstructConfig,
    TaskFilters,
    TaskSelection,
    fault_of,
    grow_pool,
    seed_pool,
)
from selfalign.self_align.task_lists import Task

PROMPT = open_library().prompt("self_align/self_instruct")
SEEDS = Pool(
    tuple(
        Task(instruction=f"{verb} the {noun} for me.", input="" if n % 2 else f"a {noun}")
        for n, (verb, noun) in enumerate(
            [
                *[("Sort", "words"), ("Name", "rivers"), ("Explain", "tides"), ("Rank", "cities")],
                *[("Count", "sheep"), ("Rhyme", "line"), ("Translate", "letter")],
            ]
        )
    )
)
LINES = SelfInstructConfig(layout="lines", examples=3)


def stage(lm=None, **kwargs) -> SelfInstruct:
    return SelfInstruct(lm or ScriptedLM(), PROMPT, SEEDS, **kwargs)


def cut(text: str) -> Completion:
    return Completion(text=text, finish="length")


def judged(*texts: str, known=(), filters=None) -> list[str]:
    """Return per text the reason it is dropped for, or "kept"."""
    drafts = [Draft(request="r", number=4, text=f"4. {text}") for text in texts]
    known = Pool(tuple(Task(instruction=k) for k in known))
    selection = TaskSelection(
        known, Pool(tuple(drafts)), layout="lines", filters=filters or TaskFilters()
    )
    return [o.reason if isinstance(o, Dropped) else "kept" for o in selection(drafts)]


def test_the_prompt_shows_five_examples_and_opens_the_sixth():
    shown = stage().render(PromptRequest(round=0, index=0))
    assert shown.endswith("\n###\n6. Instruction:")
    assert shown.count("\n###\n") == 6
    assert sum(task.instruction in shown for task in SEEDS) == 5


def test_the_marker_for_no_input_is_the_one_the_shipped_prompt_names():
    assert SelfInstructConfig().no_input in PROMPT.text


def test_the_line_layout_shows_no_task_that_has_an_input():
    few = stage(config=LINES)
    assert {t.input for t in few.showable} == {""}
    assert few.render(PromptRequest(round=0, index=0)).endswith("\n4.")


def test_too_few_seeds_are_an_error_that_says_what_to_do():
    with pytest.raises(InputError, match=r"shows 5 tasks per prompt.*only 3.*Add seed tasks"):
        stage(config=SelfInstructConfig(layout="lines")).render(PromptRequest(round=0, index=0))


def test_the_end_token_is_banned_and_the_authors_sampling_is_the_default():
    drawn = stage().sampling(PromptRequest(round=0, index=0))
    assert (drawn.temperature, drawn.top_p, drawn.max_tokens) == (1.0, 0.98, 384)
    assert drawn.ban == (END_OF_TEXT,)


def test_the_last_item_is_always_dropped():
    request = PromptRequest(round=0, index=0)
    outcome = stage(config=LINES).read(request, cut(" Sing a song.\n5. Tell a joke.\n6. Wri"))
    assert [d.text for d in outcome.records] == ["4. Sing a song.", "5. Tell a joke."]
    ended = Completion(text=" Sing a song.\n5. Tell a joke.", finish="stop")
    assert [d.number for d in stage(config=LINES).read(request, ended).records] == [4]


def test_as_in_alpaca_a_list_that_ended_by_itself_can_keep_its_last_item():
    config = LINES.model_copy(update={"drop_last": "cut"})
    ended = Completion(text=" Sing a song.", finish="stop")
    outcome = stage(config=config).read(PromptRequest(round=0, index=0), ended)
    assert [d.text for d in outcome.records] == ["4. Sing a song."]
    whole = stage(config=config).read(PromptRequest(round=0, index=0), cut(" Sing.\n5. Tell"))
    assert [d.text for d in whole.records] == ["4. Sing."]


def test_blank_lines_neither_count_nor_become_items():
    blank = cut(" Sing a song.\n  \n\n5. Tell a joke.\n6. Wri")
    outcome = stage(config=LINES).read(PromptRequest(round=0, index=0), blank)
    assert [(d.number, d.text) for d in outcome.records] == [
        (4, "4. Sing a song."),
        (5, "5. Tell a joke."),
    ]


def test_items_beyond_the_number_asked_for_are_not_read():
    config = LINES.model_copy(update={"asked": 5})
    outcome = stage(config=config).read(
        PromptRequest(round=0, index=0), cut(" a\n5. b\n6. c\n7. d")
    )
    assert [d.number for d in outcome.records] == [4, 5]


def test_a_completion_without_a_whole_item_is_dropped_by_name():
    outcome = stage().read(PromptRequest(round=0, index=0), cut(" Write a poem about"))
    assert isinstance(outcome, Dropped)
    assert outcome.reason == "no_items"


def test_a_skipped_number_ends_what_can_be_read_of_a_list():
    items = " Tell me about salt.\n6. Tell me about pepper.\n7. Tell me of thyme.\n8. x"
    drafts = stage(config=LINES).read(PromptRequest(round=0, index=0), cut(items)).records
    selection = TaskSelection(Pool(), Pool(drafts), layout="lines")
    reasons = [o.reason if isinstance(o, Dropped) else "kept" for o in selection(drafts)]
    assert reasons == ["kept", "wrong_number", "wrong_number"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Sing me songs.", "too_few_words"),
        ("Sing me some songs.", "kept"),
        (" ".join(["word"] * 150), "kept"),
        (" ".join(["word"] * 151), "too_many_words"),
        ("Describe what the image shows.", "blacklisted"),
        ("Where did they GO TO yesterday?", "blacklisted"),
        ("Describe the imagery of this poem.", "kept"),
        ("“Hamlet” is by which author?", "non_ascii_start"),
        ('"Hamlet" is by which author?', "punctuation_start"),
        ("Übersetze mir bitte diesen Satz.", "non_ascii_start"),
    ],
)
def test_each_filter_drops_for_its_own_reason(text, reason):
    assert judged(text) == [reason]


def test_the_blacklist_has_the_authors_eighteen_words_and_looks_into_the_input():
    assert len(BLACKLIST) == len(set(BLACKLIST)) == 18
    task = Task(instruction="Describe this for me please.", input="see the video")
    assert fault_of(task, TaskFilters()) == "blacklisted"


def test_an_empty_blacklist_bans_nothing():
    task = Task(instruction="Describe what the image shows.")
    assert fault_of(task, TaskFilters(blacklist=())) is None


def test_the_first_of_two_faults_in_the_authors_order_is_the_reason():
    assert fault_of(Task(instruction="*image"), TaskFilters()) == "too_few_words"
    assert fault_of(Task(instruction="* an image of it"), TaskFilters()) == "blacklisted"


def test_a_task_too_like_a_known_one_is_dropped():
    known = ["List three uses of table salt."]
    assert judged("List three uses of sea salt.", known=known) == ["near_duplicate"]
    assert judged("Why is the sea so salty today?", known=known) == ["kept"]


def test_of_two_alike_exactly_one_is_kept_whatever_their_order():
    texts = ["List three uses of table salt.", "List three uses of sea salt."]
    assert sorted(judged(*texts)) == ["kept", "near_duplicate"]
    assert judged(*texts) == judged(*reversed(texts))[::-1]


@given(st.lists(st.text(max_size=60), max_size=8, unique=True), st.randoms())
def test_every_draft_has_one_outcome_whatever_the_order_and_the_batches(texts, shuffler):
    drafts = [Draft(request="r", number=n % 3, text=t) for n, t in enumerate(texts)]
    whole = {o.source: o for o in TaskSelection(Pool(), Pool(tuple(drafts)))(drafts)}
    shuffler.shuffle(drafts)
    shuffled = TaskSelection(Pool(), Pool(tuple(drafts)))
    assert {o.source: o for d in drafts for o in shuffled([d])} == whole
    assert set(whole) == {d.id for d in drafts}


@given(st.text(), st.sampled_from(["blocks", "lines"]), st.sampled_from(["stop", "length"]))
def test_reading_never_raises_on_any_completion(text, layout, finish):
    config = SelfInstructConfig(layout=layout, examples=3)
    outcome = stage(config=config).read(
        PromptRequest(round=0, index=0), Completion(text=text, finish=finish)
    )
    drafts = outcome.records if isinstance(outcome, Kept) else ()
    assert len(TaskSelection(Pool(), Pool(drafts), layout=layout)(drafts)) == len(drafts)


NEW = [
    f"{verb} {what} {ending}"
    for verb in ("Describe", "Invent", "Compare", "Defend", "Mend")
    for what in ("two sorts of honey", "a game played on ice", "our oldest neighbour's hat")
    for ending in ("without using any verbs.", "to somebody who is in a hurry.")
]


def write_lines(prompt: str, seed: int) -> str:
    return f" {NEW[seed % len(NEW)]}\n5. {NEW[(seed // 7) % len(NEW)]}\n6. and"


def test_the_pool_grows_until_the_target_and_feeds_later_prompts(tmp_path):
    lm = ScriptedLM(write_lines)
    growth = Growth(target=4, requests_per_round=3, rounds=9)
    tasks = grow_pool(Run(tmp_path), stage(lm, config=LINES), filters=TaskFilters(), growth=growth)
    assert 4 <= len(tasks) <= 9
    assert len(lm.asked) < 27  # the target was reached before the last round
    assert len({t.instruction for t in tasks}) == len(tasks)
    later = [prompt for prompt, _ in lm.asked[3:]]
    assert any(task.instruction in prompt for prompt in later for task in tasks)


def test_seeds_only_never_shows_what_the_model_wrote(tmp_path):
    lm = ScriptedLM(write_lines)
    growth = Growth(seeds_only=True, target=99, requests_per_round=3, rounds=3)
    tasks = grow_pool(Run(tmp_path), stage(lm, config=LINES), filters=TaskFilters(), growth=growth)
    assert tasks
    assert len(lm.asked) == 9
    assert not any(task.instruction in prompt for prompt, _ in lm.asked for task in tasks)


def test_a_second_run_asks_the_model_nothing_and_another_filter_generates_nothing(tmp_path):
    growth = Growth(seeds_only=True, target=99, requests_per_round=3, rounds=2)
    args = {"filters": TaskFilters(), "growth": growth}
    first = grow_pool(Run(tmp_path), stage(ScriptedLM(write_lines), config=LINES), **args)
    silent = ScriptedLM(write_lines)
    assert grow_pool(Run(tmp_path), stage(silent, config=LINES), **args) == first
    strict = {"filters": TaskFilters(min_words=99), "growth": growth}
    assert grow_pool(Run(tmp_path), stage(silent, config=LINES), **strict) == []
    assert silent.asked == []


def test_the_funnel_of_a_round_counts_every_draft(tmp_path):
    run = Run(tmp_path)
    growth = Growth(target=1, requests_per_round=5, rounds=1)
    tasks = grow_pool(
        run, stage(ScriptedLM(write_lines), config=LINES), filters=TaskFilters(), growth=growth
    )
    asked, selected = run.funnels()
    assert (asked.inputs, asked.records) == (5, 10)
    assert selected.inputs == 10
    assert selected.kept == len(tasks)
    assert selected.inputs == selected.kept + sum(d.count for d in selected.dropped)


def test_a_prompt_longer_than_the_context_is_dropped_not_cut():
    lm = ScriptedLM(write_lines, context_length=400)
    (outcome,) = stage(lm, config=LINES)([PromptRequest(round=0, index=0)])
    assert isinstance(outcome, Dropped)
    assert outcome.reason == "too_long"
    assert "400" in outcome.detail


def test_the_175_seeds_of_the_library_become_the_first_pool():
    seeds = open_library().seed_tasks()
    pool = seed_pool(seeds)
    assert len(pool) == 175
    assert sum(not task.input for task in pool) == 50
    assert sum(seed.is_classification for seed in seeds) == 26
    assert json.loads(pool.records[0].model_dump_json())["instruction"] == seeds[0].instruction
