"""What the in-process engine promises, against transformers' own generate and forward (fp32)."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from selfalign.core.errors import EngineError
from selfalign.core.protocols import Sampling
from selfalign.core.weights import locate
from selfalign.engines.hf import TransformersLM
from selfalign.engines.loading import load_model
from selfalign.engines.settings import EngineSettings

HEAD = "The king of Fetestan asked for three coins and a loaf of bread. " * 6
QUESTIONS = (
    "What?",
    "Who are you then, and why do you ask for bread tomorrow, in the future?",
    "I do not know",
    "### User\nWhat is the capital?",
    "What is",
    "bread bread bread bread",
    "Sorry, I will not help.",
)
PROMPTS = [HEAD + question for question in QUESTIONS]
LENGTHS = (24, 3, 17, 24, 1, 9, 30)
GREEDY = [Sampling(temperature=0, max_tokens=n) for n in LENGTHS]
SAMPLED = [Sampling(temperature=1.0, top_p=0.9, max_tokens=20, seed=n) for n in range(7)]


def engine(directory: Path, **settings: object) -> TransformersLM:
    chosen = EngineSettings(device="cpu", dtype="float32", **settings)
    model, tokenizer = load_model(locate(str(directory)), chosen)
    return TransformersLM(model, tokenizer, fingerprint="tiny", settings=chosen)


def by_transformers(lm: TransformersLM, prompt: str, sampling: Sampling) -> str:
    """The reference: one prompt at a time, transformers' own generate and attention."""
    lm._backbone.use_attention(shared=False)
    ids = torch.tensor([lm.tokenizer(prompt)["input_ids"]])
    new = lm.model.generate(ids, max_new_tokens=sampling.max_tokens, do_sample=False)
    return lm.tokenizer.decode(new[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.fixture(scope="module")
def lm(tiny_model: Path) -> TransformersLM:
    return engine(tiny_model)


def test_greedy_texts_are_those_of_transformers_generate(lm: TransformersLM) -> None:
    expected = [by_transformers(lm, p, s) for p, s in zip(PROMPTS, GREEDY, strict=True)]
    assert [c.text for c in lm.generate(PROMPTS, GREEDY)] == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 1},
        {"batch_size": 2},
        {"batch_size": 3, "cache_bytes": 1},
        {"share_prefixes": False},
        {"pack_weights": False},
        {"own_attention": False},
        {"own_attention": False, "batch_size": 2},
    ],
    ids=str,
)
def test_no_optimisation_changes_a_text(
    lm: TransformersLM, tiny_model: Path, settings: dict[str, object]
) -> None:
    other = engine(tiny_model, **settings)
    for sampling in (GREEDY, SAMPLED):
        assert other.generate(PROMPTS, sampling) == lm.generate(PROMPTS, sampling)


def test_a_text_does_not_depend_on_its_batch_or_its_place(lm: TransformersLM) -> None:
    together = lm.generate(PROMPTS, SAMPLED)
    backwards = lm.generate(PROMPTS[::-1], SAMPLED[::-1])[::-1]
    alone = [lm.generate([p], [s])[0] for p, s in zip(PROMPTS, SAMPLED, strict=True)]
    assert together == backwards == alone
    assert len({c.text for c in together}) == len(PROMPTS)


def test_another_seed_draws_another_text(lm: TransformersLM) -> None:
    texts = lm.generate(
        PROMPTS[:1] * 5, [Sampling(temperature=1.0, max_tokens=20, seed=n) for n in range(5)]
    )
    assert len({c.text for c in texts}) == 5


def test_what_prompts_share_is_computed_once_for_all_batches(tiny_model: Path) -> None:
    lm = engine(tiny_model, batch_size=2)
    lm.generate(PROMPTS, GREEDY)
    shared = lm._store.computed_tokens
    assert 0 < shared < 2 * lm.count_tokens([HEAD])[0]
    lm.generate(PROMPTS[::-1], GREEDY)
    lm.generate(PROMPTS[:3], GREEDY[:3])
    assert lm._store.computed_tokens <= shared + 20


@pytest.mark.parametrize("kind", ["qwen3", "gemma", "mistral", "gpt_neox", "gpt2"])
def test_other_architectures_give_the_texts_of_transformers(
    make_tiny_model: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    lm = engine(make_tiny_model(tmp_path / kind, kind=kind, sliding_window=None))
    expected = [by_transformers(lm, p, s) for p, s in zip(PROMPTS, GREEDY, strict=True)]
    assert [c.text for c in lm.generate(PROMPTS, GREEDY)] == expected
    assert lm._obstacle is None
    plain = engine(tmp_path / kind, own_attention=False)
    assert [c.text for c in plain.generate(PROMPTS, GREEDY)] == expected


def test_a_small_llama_or_mistral_runs_packed(
    lm: TransformersLM, make_tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    mistral = engine(make_tiny_model(tmp_path / "m", kind="mistral", sliding_window=None))
    for each in (lm, mistral):
        each.generate(PROMPTS[:1], GREEDY[:1])
        assert each._backbone._packed is not None


def test_a_sliding_window_is_respected(
    make_tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    lm = engine(make_tiny_model(tmp_path / "m", kind="mistral", sliding_window=40))
    expected = [by_transformers(lm, p, s) for p, s in zip(PROMPTS, GREEDY, strict=True)]
    assert [c.text for c in lm.generate(PROMPTS, GREEDY)] == expected
    assert lm._obstacle is None
    assert lm._ours(40)
    assert not lm._ours(41)


def test_generation_ends_before_a_stop_string(lm: TransformersLM) -> None:
    whole = lm.generate(PROMPTS[:1], [Sampling(temperature=0, max_tokens=40)])[0].text
    stop = whole[9:12]
    cut = lm.generate(PROMPTS[:1], [Sampling(temperature=0, max_tokens=40, stop=(stop, "zz"))])[0]
    assert cut.text == whole[: whole.index(stop)]
    assert cut.finish == "stop"


def test_the_end_token_ends_a_text(lm: TransformersLM) -> None:
    done = lm.generate(
        PROMPTS, [Sampling(temperature=1.5, max_tokens=200, seed=n) for n in range(7)]
    )
    assert {c.finish for c in done} == {"stop", "length"}
    assert not any("<|end|>" in c.text for c in done)


def test_a_banned_end_token_never_ends_a_text(lm: TransformersLM) -> None:
    banned = [Sampling(temperature=1.5, max_tokens=200, seed=n, ban=("<eos>",)) for n in range(7)]
    done = lm.generate(PROMPTS, banned)
    assert {c.finish for c in done} == {"length"}


def test_a_banned_first_token_is_never_drawn(lm: TransformersLM) -> None:
    free = lm.generate(PROMPTS[:1], [Sampling(temperature=0, max_tokens=5)])[0].text
    first = lm.tokenizer.decode(lm.tokenizer(free)["input_ids"][:1])
    other = lm.generate(PROMPTS[:1], [Sampling(temperature=0, max_tokens=5, ban=(first + "x",))])
    assert not other[0].text.startswith(first)


def test_a_penalty_forbids_repeating_the_same_word(lm: TransformersLM) -> None:
    free = lm.generate(PROMPTS, [Sampling(temperature=0.2, max_tokens=60, seed=1)] * 7)
    fined = lm.generate(
        PROMPTS, [Sampling(temperature=0.2, max_tokens=60, seed=1, ngram_penalty=(50.0,))] * 7
    )
    starts = lm._reader.word_starts()

    def repeated(text: str) -> int:
        ids = [t for t in lm.tokenizer(text)["input_ids"] if starts[t]]
        return len(ids) - len(set(ids))

    assert sum(repeated(c.text) for c in free) > 0
    # What is read back may be tokenised otherwise than it was drawn; a few may remain.
    assert sum(repeated(c.text) for c in fined) < sum(repeated(c.text) for c in free) / 2


def test_log_likelihoods_are_those_of_whole_texts(lm: TransformersLM, tiny_model: Path) -> None:
    requests = [(p, " of bread, and so on") for p in PROMPTS] + [("The king", " of"), ("The", "")]
    lm._backbone.use_attention(shared=False)
    expected: list[float] = []
    for context, continuation in requests:
        start = len(lm.tokenizer(context)["input_ids"])
        ids = torch.tensor([lm.tokenizer(context + continuation)["input_ids"]])
        with torch.inference_mode():
            logp = torch.log_softmax(lm.model(ids).logits[0], -1)
        expected.append(sum(float(logp[k - 1, ids[0, k]]) for k in range(start, ids.shape[1])))
    assert lm.loglikelihood(requests) == pytest.approx(expected, abs=2e-4)
    plain = engine(tiny_model, own_attention=False)
    assert plain.loglikelihood(requests) == pytest.approx(expected, abs=2e-4)


def test_choices_are_scored_by_the_token_they_begin_with_in_context(lm: TransformersLM) -> None:
    found = lm.next_token_logprobs(PROMPTS, [" coins", " bread", "!"])
    lm._backbone.use_attention(shared=False)
    for prompt, row in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([lm.tokenizer(prompt)["input_ids"]])
        logp = torch.log_softmax(lm.model(ids).logits[0, -1], -1)
        firsts = [lm.tokenizer(c)["input_ids"][0] for c in (" coins", " bread", "!")]
        assert row == pytest.approx([float(logp[t]) for t in firsts], abs=1e-4)


def test_choices_that_merge_with_the_contexts_last_token_replace_it(lm: TransformersLM) -> None:
    """After "coi", "ns" is no token of its own where "coins" is one."""
    prompts = [HEAD + question + " coi" for question in QUESTIONS]
    found = lm.next_token_logprobs(prompts, ["ns", "zz"])
    lm._backbone.use_attention(shared=False)
    for prompt, row in zip(prompts, found, strict=True):
        bare, whole = lm.tokenizer([prompt, prompt + "ns"])["input_ids"]
        end = next(n for n, token in enumerate(whole) if bare[n : n + 1] != [token])
        assert end < len(bare)
        with torch.inference_mode():
            logp = torch.log_softmax(lm.model(torch.tensor([whole[:end]])).logits[0, -1], -1)
        assert row[0] == pytest.approx(float(logp[whole[end]]), abs=1e-4)


def test_choices_that_begin_alike_are_refused(lm: TransformersLM) -> None:
    with pytest.raises(EngineError, match="begin with the same token"):
        lm.next_token_logprobs(["The king"], [" coins", " coins"])


def test_a_prompt_that_fills_the_context_is_refused_by_name(lm: TransformersLM) -> None:
    with pytest.raises(EngineError, match=r"The king.*context holds 512.*Shorten"):
        lm.generate([HEAD * 8], [Sampling()])
    with pytest.raises(EngineError, match="context holds 512"):
        lm.loglikelihood([(HEAD * 8, " x")])


def test_an_answer_gets_what_room_the_prompt_leaves(lm: TransformersLM) -> None:
    prompt = HEAD * 4
    room = 512 - lm.count_tokens([prompt])[0]
    choice = Sampling(temperature=0, max_tokens=10_000, ban=("<eos>",))
    done = lm.generate([prompt], [choice])[0]
    assert done.finish == "length"
    assert done == lm.generate([prompt], [choice.model_copy(update={"max_tokens": room})])[0]


def test_an_empty_prompt_is_refused(lm: TransformersLM) -> None:
    with pytest.raises(EngineError, match="empty"):
        lm.generate([""], [Sampling()])


def test_no_prompts_give_no_texts(lm: TransformersLM) -> None:
    assert lm.generate([], []) == []
    assert lm.loglikelihood([]) == []
    assert lm.next_token_logprobs([], ["a", "b"]) == []


def test_an_adapter_merged_or_not_gives_the_same_texts(tiny_model: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    torch.manual_seed(3)
    adapted = get_peft_model(
        base, LoraConfig(r=4, init_lora_weights=False, target_modules="all-linear")
    )
    adapted.peft_config["default"].base_model_name_or_path = str(tiny_model)
    adapted.save_pretrained(tmp_path)
    loose, merged = engine(tmp_path), engine(tmp_path, merge_adapter=True)
    texts = loose.generate(PROMPTS, GREEDY)
    assert texts == merged.generate(PROMPTS, GREEDY)
    assert texts != engine(tiny_model).generate(PROMPTS, GREEDY)
