"""A judge and a reward model read the same pairs, each in the form it was trained on."""

import json
import math

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from selfalign.calf.pairs_exam import pairs
from selfalign.core.errors import EngineError, ModelError
from selfalign.core.records import Checkpoint
from selfalign.core.scripted import ScriptedLM
from selfalign.core.store import Run
from selfalign.engines.reward import open_reward_model
from selfalign.evaluation.pairs import summarise_pairs
from selfalign.recipes.ingredients import open_ingredients
from selfalign.recipes.models import find_model
from selfalign.recipes.pairs import (
    CONSTITUTION,
    JudgingPairs,
    LazyRewardModel,
    Reading,
    ScoringPairs,
    compare_pairs,
    is_reward_model,
    row_of,
)
from selfalign.recipes.plan import load_plan
from selfalign.salmon.reward_prompt import RewardPrompt

KIT = open_ingredients(load_plan("pocket"))
JUDGE = KIT.library.prompt("salmon/judge_principle")
REWARD = RewardPrompt(
    KIT.library.prompt("salmon/reward_model"), KIT.library.prompt("salmon/reward_model_rl")
)
PAIRS = pairs(11, 48, KIT.library.constitution(CONSTITUTION))
BETTER = {
    (line, answer): sign
    for p in PAIRS
    for line, towards in ((p.principle, 1.0), (p.negation, -1.0))
    for answer, sign in (
        (p.first, towards if p.better == "first" else -towards),
        (p.second, towards if p.better == "second" else -towards),
    )
}
"""How much a model that knows every pair by heart likes an answer under a principle."""


class ScriptedReward:
    """A reward model that follows a plain function of the text."""

    fingerprint = "scripted"

    def __init__(self, worth, context_length=2048):
        self.worth, self.context_length, self.calls = worth, context_length, 0

    def score(self, texts):
        self.calls += 1
        return [self.worth(text) for text in texts]

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]


def by_heart(text):
    """Score an answer by the principle that decides its pair, found in the listed ones."""
    answer = text.partition("### Response\n")[2].partition("\n\n### Instruction")[0]
    listed = text.partition("### Principles\n")[2].partition("\n\n")[0].splitlines()
    known = [BETTER[key] for line in listed if (key := (line.removeprefix("- "), answer)) in BETTER]
    return sum(known)


def judge(reply):
    """Return a judge that likes (a) as much as `reply` says of the parts of the prompt."""

    def logp(context, letter):
        first = context.partition("### Output (a)\n")[2].partition("\n\n### Output (b)")[0]
        second = context.partition("### Output (b)\n")[2].partition("\n\n### Rule")[0]
        name, _, rule = context.partition("### Rule\n")[2].partition("\n")[0].partition(": ")
        liking = reply(first, second, name, rule)
        return -math.log1p(math.exp(-liking if letter == "a" else liking))

    return JudgingPairs(ScriptedLM(lambda *_: " yes, (b) no", logp), JUDGE)


def result_of(stage, tmp_path, reader):
    readings = Run(tmp_path).fill(stage, PAIRS)
    rows = [row_of(p, r, reader) for p, r in zip(PAIRS, readings, strict=True)]
    return summarise_pairs("model", reader, 11, rows)


def test_a_judge_that_knows_the_rule_is_right_in_both_orders_and_flips(tmp_path):
    knows = judge(lambda a, b, name, rule: 2 * BETTER[rule, a])
    found = result_of(knows, tmp_path, "judge").rates.all
    assert [r.rate for r in (found.accuracy, found.negated, found.flips, found.agree)] == [1.0] * 4


def test_a_judge_that_likes_the_first_letter_is_never_right(tmp_path):
    found = result_of(judge(lambda *_: 3.0), tmp_path, "judge").rates.all
    assert found.accuracy.rate == found.negated.rate == found.agree.rate == 0


def test_a_judge_reads_a_negation_as_text_under_the_name_not_so(tmp_path):
    asked = []
    stage = judge(lambda a, b, name, rule: asked.append((a, b, name, rule)) or 1.0)
    stage(PAIRS[:1])
    pair = PAIRS[0]
    orders = ((pair.first, pair.second), (pair.second, pair.first))
    shown = ((pair.trait, pair.principle), (f"not {pair.trait}", pair.negation))
    wanted = [(*order, *rule) for rule in shown for order in orders]
    assert list(dict.fromkeys(asked)) == wanted


def test_a_judge_is_shown_no_distractors_and_says_so_in_its_rows(tmp_path):
    stage = judge(lambda a, b, name, rule: 2 * BETTER[rule, a])
    result = result_of(stage, tmp_path, "judge")
    assert set(result.rates.distractors) == {"without"}
    pair = next(p for p in PAIRS if p.distractors)
    assert not any(line in text for text in stage.render(pair) for line in pair.distractors)


def test_a_reward_model_that_knows_the_rule_is_right_and_flips_beside_distractors_too(tmp_path):
    result = result_of(ScoringPairs(ScriptedReward(by_heart), REWARD), tmp_path, "reward model")
    found = result.rates.all
    assert [r.rate for r in (found.accuracy, found.negated, found.flips)] == [1.0] * 3
    assert found.agree is None
    assert {name: r.accuracy.rate for name, r in result.rates.distractors.items()} == {
        "with": 1.0, "without": 1.0,
    }  # fmt: skip


def test_a_reward_model_that_likes_length_is_right_where_the_right_answer_is_longer(tmp_path):
    def length(text):
        answer = text.partition("### Response\n")[2].partition("\n\n### Instruction")[0]
        return float(len(answer.split()))

    result = result_of(ScoringPairs(ScriptedReward(length), REWARD), tmp_path, "reward model")
    found = {name: r.accuracy.rate for name, r in result.rates.right_answer.items()}
    assert found == {"longer": 1.0, "shorter": 0.0}
    assert result.rates.all.both.rate == 0


def test_a_reward_model_reads_the_deciding_principle_among_its_distractors(tmp_path):
    pair = next(p for p in PAIRS if len(p.distractors) == 2)
    texts = ScoringPairs(ScriptedReward(by_heart), REWARD).render(pair)
    assert [text.count("\n- ") for text in texts] == [3] * 4
    assert [pair.principle in text for text in texts] == [True, True, False, False]
    assert [pair.negation in text for text in texts] == [False, False, True, True]
    assert all(line in text for text in texts for line in pair.distractors)


def test_a_pair_is_read_the_same_way_in_any_company():
    model = ScriptedReward(lambda text: float(len(text) % 7))
    together = ScoringPairs(model, REWARD)(PAIRS[:6])
    assert model.calls == 1
    assert together == [ScoringPairs(model, REWARD)([p])[0] for p in PAIRS[:6]]


def test_a_score_that_is_no_number_is_an_error_and_not_a_verdict():
    with pytest.raises(EngineError, match="no preference"):
        ScoringPairs(ScriptedReward(lambda text: math.nan), REWARD)(PAIRS[:1])


def test_a_pair_that_does_not_fit_the_model_is_an_error_with_both_numbers():
    with pytest.raises(ModelError, match=r"takes \d+ tokens .* attends to 9"):
        ScoringPairs(ScriptedReward(by_heart, context_length=9), REWARD)(PAIRS[:2])


def test_rows_say_what_was_read():
    pair = PAIRS[0]
    towards = 1.0 if pair.better == "first" else -1.0
    row = row_of(pair, Reading(margins=(towards,), negated_margins=(towards,)), "reward model")
    assert (row.right, row.right_negated) == (True, False)
    assert (row.question, row.principle, row.longer) == (pair.question, pair.principle, pair.longer)
    assert row.distractors == pair.distractors


def test_weights_say_themselves_whether_they_give_scores(tiny_model, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config = {"base_model_name_or_path": str(tiny_model), "task_type": "SEQ_CLS"}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    trained = Checkpoint(base=str(tiny_model), revision="", adapter=str(adapter))
    assert is_reward_model(str(adapter))
    assert is_reward_model(trained)
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "task_type": "CAUSAL_LM"}))
    assert not is_reward_model(str(adapter))
    assert not is_reward_model(trained)
    assert not any(map(is_reward_model, (str(tiny_model), "calf", "org/model", "http://x/v1")))


def test_a_directory_of_a_whole_classifier_gives_scores(tiny_model, tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    for file in tiny_model.iterdir():
        (whole / file.name).write_bytes(file.read_bytes())
    config = json.loads((whole / "config.json").read_text())
    (whole / "config.json").write_text(
        json.dumps({**config, "architectures": ["LlamaForSequenceClassification"]})
    )
    assert is_reward_model(str(whole))


@pytest.mark.slow
def test_a_real_language_model_is_a_judge(make_tiny_model, tmp_path):
    roomy = make_tiny_model(tmp_path / "roomy", max_position_embeddings=8192)
    result = compare_pairs(KIT, Run(tmp_path / "run"), find_model(str(roomy)), 4, 20)
    assert (result.task, result.reader, result.n) == ("calf-pairs", "judge", 20)
    assert [r.question for r in result.rows] == [
        p.question for p in pairs(4, 20, KIT.library.constitution(CONSTITUTION))
    ]
    assert all(len(r.margins) == len(r.negated_margins) == 2 for r in result.rows)
    again = compare_pairs(KIT, Run(tmp_path / "again"), find_model(str(roomy)), 4, 20)
    assert again == result


@pytest.mark.slow
def test_a_real_reward_model_scores_as_it_would_alone_and_is_opened_once(make_tiny_model, tmp_path):
    roomy = make_tiny_model(tmp_path / "roomy", max_position_embeddings=8192)
    folder = tmp_path / "reward"
    AutoModelForSequenceClassification.from_pretrained(roomy, num_labels=1).save_pretrained(folder)
    AutoTokenizer.from_pretrained(roomy).save_pretrained(folder)
    run = Run(tmp_path / "run")
    result = compare_pairs(KIT, run, find_model(str(folder)), 4, 12)
    assert (result.reader, result.n) == ("reward model", 12)
    assert set(result.rates.distractors) == {"with", "without"}
    lazy, model, row = LazyRewardModel(str(folder)), open_reward_model(str(folder)), result.rows[0]
    assert lazy.fingerprint == model.fingerprint
    again = run.fill(
        ScoringPairs(lazy, REWARD), pairs(4, 12, KIT.library.constitution(CONSTITUTION))
    )
    assert [r.margins for r in again] == [r.margins for r in result.rows]
    assert "_opened" not in vars(lazy)
    pair = pairs(4, 12, KIT.library.constitution(CONSTITUTION))[0]
    one, other = model.score(
        [REWARD.render(row.question, answer, pair.shown(negated=False))
         for answer in (row.first, row.second)]
    )  # fmt: skip
    assert row.margins == pytest.approx((one - other,), abs=1e-4)
    assert row.right == ((one > other) == (row.better == "first"))
