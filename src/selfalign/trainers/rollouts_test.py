"""Sampling while training: every row by its own seed, cut where it ends, alike in any batch."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from selfalign.core.protocols import PolicyTraining
from selfalign.trainers.rl_losses import token_logprobs
from selfalign.trainers.rollouts import Draws, Row, Texts, draw, generate, row_for
from selfalign.trainers.shared_base import SharedBase
from selfalign.trainers.shared_files import find_stand
from selfalign.trainers.trl_kit_test import policy_on, reward_model_on

PROMPTS = ["The king", "What is the capital of Fonoton? I do not", "Sorry,", "### User", "coins"]
DRAWS = Draws(temperature=1.0, top_p=1.0, max_tokens=12)


@pytest.fixture(scope="module")
def shared(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> SharedBase:
    folder = tmp_path_factory.mktemp("adapters")
    stand = find_stand(
        policy_on(tiny_model, folder / "policy"), reward_model_on(tiny_model, folder / "reward")
    )
    return SharedBase(stand, PolicyTraining(), device=torch.device("cpu"))


def texts(shared: SharedBase) -> Texts:
    return Texts(shared.tokenizer, len(shared.tokenizer))


def drawn(
    shared: SharedBase,
    chosen: list[int],
    *,
    step: int = 0,
    at_once: int = 8,
    stop: tuple[str, ...] = (),
    draws: Draws = DRAWS,
) -> list[Row]:
    ids = shared.tokenizer([PROMPTS[n] for n in chosen])["input_ids"]
    rows = [
        row_for(one, stop, (3, step, f"query{n}", 0)) for one, n in zip(ids, chosen, strict=True)
    ]
    shared.use("policy")
    generate(shared, rows, texts(shared), draws, at_once)
    return rows


def test_a_row_draws_the_same_tokens_in_any_batch_and_any_order(shared: SharedBase) -> None:
    together = [row.tokens for row in drawn(shared, [0, 1, 2, 3, 4])]
    assert [row.tokens for row in drawn(shared, [4, 2, 0], at_once=1)] == [
        together[4],
        together[2],
        together[0],
    ]
    assert [row.tokens for row in drawn(shared, [0, 1, 2, 3, 4], at_once=2)] == together
    assert len({tuple(tokens) for tokens in together}) == 5


def test_another_step_turn_or_seed_draws_other_tokens(shared: SharedBase) -> None:
    ids = shared.tokenizer(PROMPTS[0])["input_ids"]
    rows = [
        row_for(ids, (), key)
        for key in ((3, 0, "q", 0), (3, 1, "q", 0), (3, 0, "q", 1), (4, 0, "q", 0))
    ]
    shared.use("policy")
    generate(shared, rows, texts(shared), DRAWS, 8)
    assert len({tuple(row.tokens) for row in rows}) == 4


def test_the_cache_gives_the_distribution_of_a_whole_forward_pass(shared: SharedBase) -> None:
    """Every drawn token is the one the policy's own distribution has at its uniform number."""
    shared.use("policy")
    for number, row in enumerate(drawn(shared, [0, 1, 2, 3, 4])):
        again = row_for(row.prompt, (), (3, 0, f"query{number}", 0))
        ids = torch.tensor([row.prompt + row.tokens])
        with torch.no_grad():
            logits = shared.causal(input_ids=ids).logits[0, len(row.prompt) - 1 : -1]
        uniforms = torch.tensor([again.randoms.random() for _ in row.tokens], dtype=torch.float64)
        assert draw(logits.float(), uniforms, DRAWS).tolist() == row.tokens


def test_rows_that_end_early_leave_the_others_untouched(shared: SharedBase) -> None:
    free = drawn(shared, [0, 1, 2, 3, 4])
    first = shared.tokenizer.decode(free[0].tokens[2:3])
    stopped = drawn(shared, [0, 1, 2, 3, 4], stop=(first,))
    assert len(stopped[0].tokens) <= 3
    for one, other in zip(free, stopped, strict=True):
        assert other.tokens == one.tokens[: len(other.tokens)]
        whole = shared.tokenizer.decode(one.tokens)
        assert other.finished is (first in whole)
        assert other.text == whole.partition(first)[0].strip()


class Fixed:
    """A policy that says what it is told to, whatever was said before."""

    device = torch.device("cpu")

    def __init__(self, tokenizer: object, said: str, end: bool) -> None:
        self.tokens = tokenizer(said)["input_ids"] + ([tokenizer.eos_token_id] if end else [])
        self.ends = frozenset({tokenizer.eos_token_id})
        self.padding = tokenizer.pad_token_id
        self.causal = self
        self.config = None
        self._size = len(tokenizer)
        self._at = 0

    def __call__(self, input_ids: torch.Tensor, **_: object) -> object:
        logits = torch.full((len(input_ids), 1, self._size), -1e9)
        logits[:, 0, self.tokens[self._at % len(self.tokens)]] = 0
        self._at += 1
        return type("Output", (), {"logits": logits})()


def said(
    model: Path, what: str, stop: tuple[str, ...], *, end: bool = False, draws: Draws = DRAWS
) -> tuple[Row, object]:
    tokenizer = AutoTokenizer.from_pretrained(model)
    row = row_for([1, 2], stop, (0, 0, "q", 0))
    policy = Fixed(tokenizer, what, end)
    generate(policy, [row], Texts(tokenizer, len(tokenizer)), draws, 1)
    return row, tokenizer


LONG = Draws(temperature=1.0, top_p=1.0, max_tokens=100)
STOP = ("\n\n### User", "### User")


def test_the_stop_text_is_trained_on_and_not_judged(tiny_model: Path) -> None:
    row, tokenizer = said(tiny_model, "\nThree coins.\n\n### User\nMore talk", STOP, draws=LONG)
    assert row.text == "Three coins."
    assert row.finished
    assert tokenizer.decode(row.tokens).endswith("### User")
    assert "\nMore" not in tokenizer.decode(row.tokens)
    assert row.answer_tokens == len(tokenizer("\nThree coins.")["input_ids"])


def test_an_answer_the_limit_cuts_is_unfinished(tiny_model: Path) -> None:
    row, tokenizer = said(tiny_model, "\nThree coins and a loaf of bread.", STOP)
    assert not row.finished
    assert len(row.tokens) == row.answer_tokens == DRAWS.max_tokens
    assert row.text == tokenizer.decode(row.tokens).strip()


def test_the_end_token_ends_a_turn_unless_only_the_stop_text_may(tiny_model: Path) -> None:
    row, tokenizer = said(tiny_model, "\nThree", STOP, end=True)
    assert row.finished
    assert row.tokens[-1] == tokenizer.eos_token_id
    assert row.answer_tokens == len(row.tokens) - 1
    strict = Draws(1.0, 1.0, 12, end_finishes=False)
    other, _ = said(tiny_model, "\nThree", STOP, end=True, draws=strict)
    assert other.tokens == row.tokens
    assert not other.finished


def test_an_empty_answer_still_has_its_stop_to_train_on(tiny_model: Path) -> None:
    row, tokenizer = said(tiny_model, "### User", STOP)
    assert (row.text, row.answer_tokens, row.finished) == ("", 0, True)
    assert tokenizer.decode(row.tokens) == "### User"


def test_a_stop_text_inside_a_longer_token_is_found(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    whole = next(t for t in range(len(tokenizer)) if len(tokenizer.decode([t]).strip()) > 3)
    inside = tokenizer.decode([whole]).strip()[1:3]
    row, _ = said(tiny_model, tokenizer.decode([whole]), (inside,))
    assert row.finished
    assert row.tokens[-1] == whole


# --- drawing -------------------------------------------------------------------------------------


def test_uniform_numbers_are_spread_over_tokens_by_their_probability() -> None:
    logits = torch.log(torch.tensor([0.1, 0.0, 0.6, 0.3])).repeat(1000, 1)
    uniforms = (torch.arange(1000).double() + 0.5) / 1000
    counts = torch.bincount(draw(logits, uniforms, DRAWS), minlength=4)
    assert counts.tolist() == [100, 0, 600, 300]


def test_top_p_draws_from_the_nucleus_and_temperature_sharpens() -> None:
    logits = torch.log(torch.tensor([0.1, 0.05, 0.6, 0.25])).repeat(1000, 1)
    uniforms = (torch.arange(1000).double() + 0.5) / 1000
    nucleus = torch.bincount(draw(logits, uniforms, Draws(1.0, 0.8, 1)), minlength=4)
    assert nucleus.tolist() == pytest.approx([0, 0, 1000 * 0.6 / 0.85, 1000 * 0.25 / 0.85], abs=1)
    sharp = torch.bincount(draw(logits, uniforms, Draws(0.5, 1.0, 1)), minlength=4)
    total = 0.1**2 + 0.05**2 + 0.6**2 + 0.25**2
    assert sharp.tolist() == pytest.approx(
        [1000 * p**2 / total for p in (0.1, 0.05, 0.6, 0.25)], abs=1
    )


@given(
    st.lists(st.floats(-8, 8), min_size=2, max_size=9),
    st.floats(0, 1, exclude_max=True),
    st.floats(0.05, 1),
    st.floats(0.2, 3),
)
def test_a_drawn_token_is_in_the_nucleus(
    logits: list[float], uniform: float, top_p: float, temperature: float
) -> None:
    row = torch.tensor([logits])
    token = draw(row, torch.tensor([uniform], dtype=torch.float64), Draws(temperature, top_p, 1))
    probabilities = torch.softmax(row / temperature, -1)[0].double()
    more_likely = probabilities[probabilities > probabilities[token]].sum()
    assert float(more_likely) < top_p + 1e-6
    assert math.isfinite(float(token_logprobs(row[:, None], token[:, None], temperature)))


def test_temperature_0_takes_the_likeliest_token_whatever_the_dice_say() -> None:
    logits = torch.tensor([[0.1, 0.3, 0.2], [2.0, -1.0, 1.9]])
    greedy = Draws(temperature=0.0, top_p=1.0, max_tokens=4)
    for dice in (0.0, 0.5, 0.999):
        assert draw(logits, torch.full((2,), dice), greedy).tolist() == [1, 0]
