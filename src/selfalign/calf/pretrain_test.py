"""What pretraining promises, on a model of a few thousand weights."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfalign.calf import pretrain as room
from selfalign.calf.pretrain import (
    Pretraining,
    average,
    learning_rate,
    next_token_loss,
    pack_documents,
)
from selfalign.core.errors import TrainingError

SMALL = Pretraining(
    tokens=4096,
    again=(512, 1024),
    finish=1024,
    width=32,
    layers=1,
    heads=2,
    pack=512,
    save_every=2,
    warmup=2,
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setenv("SELFALIGN_COMPILE", "0")
    monkeypatch.setattr(room, "TOKENIZER_DOCUMENTS", 300)


@pytest.fixture
def _one_thread():
    """Sums over several threads may be taken in another order on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weights(folder):
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


@pytest.mark.usefixtures("_one_thread")
def test_a_killed_pretraining_ends_in_the_weights_of_an_uninterrupted_one(tmp_path, monkeypatch):
    whole = room.pretrain(1, tmp_path / "whole", SMALL, report=str)
    learn, steps = room._learn, []

    def dies_at_step_five(*arguments):
        if len(steps) == 5:
            raise KeyboardInterrupt
        steps.append(1)
        return learn(*arguments)

    monkeypatch.setattr(room, "_learn", dies_at_step_five)
    with pytest.raises(KeyboardInterrupt):
        room.pretrain(1, tmp_path / "broken", SMALL, report=str)
    monkeypatch.setattr(room, "_learn", learn)
    room.pretrain(1, tmp_path / "broken", SMALL, report=str)
    for name in ("tokenizer.json", "pretraining.json"):
        assert (whole / name).read_text() == (tmp_path / "broken" / name).read_text()
    one, two = weights(whole), weights(tmp_path / "broken")
    assert {name: float((one[name] - two[name]).abs().max()) for name in one} == dict.fromkeys(
        one, 0
    )


def test_a_continued_pretraining_logs_no_step_twice(tmp_path, monkeypatch):
    out, save = tmp_path, room._save

    def dies_after_saving(*arguments):
        save(*arguments)
        log = out / room.CURVE
        said = '{{"step": {0}, "tokens": {0}, "loss_nats": 1.0, "seconds": 1.0}}\n'.format
        log.write_text(said(1) + said(3) + said(4)[:20])
        raise KeyboardInterrupt

    monkeypatch.setattr(room, "_save", dies_after_saving)
    with pytest.raises(KeyboardInterrupt):
        room.pretrain(1, out, SMALL, report=str)
    monkeypatch.setattr(room, "_save", save)
    room.pretrain(1, out, SMALL, report=str)
    steps = [json.loads(line)["step"] for line in (out / room.CURVE).read_text().splitlines()]
    assert steps == [1, SMALL.steps]


def test_what_it_writes_is_a_model_directory(tmp_path):
    out = room.pretrain(2, tmp_path, SMALL, report=str)
    tokenizer = AutoTokenizer.from_pretrained(out)
    text = "### User\nHow do I bake rolls?\n\n### Assistant\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len((out / room.CURVE).read_text().splitlines()) >= 1
    assert json.loads((out / "pretraining.json").read_text())["seed"] == 2
    card = (out / "README.md").read_text()
    assert "selfalign calf pretrain --seed 2" in card
    assert "$" not in card
    assert not (out / room.CHECKPOINT).exists()


def test_a_folder_of_another_seed_is_refused_with_the_way_out(tmp_path):
    room.pretrain(1, tmp_path, SMALL, report=str)
    with pytest.raises(TrainingError, match=r"other seed.*--out"):
        room.pretrain(2, tmp_path, SMALL, report=str)


def test_documents_of_a_pack_do_not_see_each_other(tmp_path):
    out = room.pretrain(3, tmp_path, SMALL, report=str)
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    written = [[7, 8, 9, 10, 11], [12, 13, 14], [15, 16, 17, 18, 19, 20]]
    pack = pack_documents(written, 0)
    plain = {
        tuple(ids): model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
        for ids in written
    }
    room._GROUPS[:] = pack.groups
    model.set_attn_implementation(room.ATTENTION)
    packed = model(input_ids=pack.tokens, position_ids=pack.positions, use_cache=False).logits[0]
    starts = [i for i, p in enumerate(pack.positions[0].tolist()) if p == 0]
    for start, ids in zip(starts, sorted(written, key=len, reverse=True), strict=True):
        assert torch.allclose(packed[start : start + len(ids)], plain[tuple(ids)], atol=1e-5)


def test_no_document_predicts_the_next_one_and_filling_is_not_learnt():
    pack = pack_documents([[5, 6, 7], [8, 9]], filler=0)
    assert pack.targets.tolist()[:3] == [6, 7, -100]
    assert (pack.targets == 0).sum() == 0
    assert (pack.targets >= 0).sum() == 3


def test_the_loss_of_certainty_is_nothing_and_of_ignorance_the_log_of_the_vocabulary():
    pack = pack_documents([[1, 2, 3]], filler=0)
    sure = torch.zeros(1, pack.tokens.shape[1], 4)
    sure[0, 0, 2] = sure[0, 1, 3] = 1e3
    assert next_token_loss(sure, pack).item() == pytest.approx(0.0)
    blank = torch.zeros(1, pack.tokens.shape[1], 4)
    assert next_token_loss(blank, pack).item() == pytest.approx(1.38629, abs=1e-4)


def test_a_last_round_of_less_than_a_step_is_none(tmp_path):
    short = SMALL.model_copy(update={"finish": SMALL.pack - 1})
    assert (room.pretrain(1, tmp_path, short, report=str) / room.WEIGHTS).exists()


@pytest.mark.usefixtures("_one_thread")
def test_the_last_round_begins_at_the_mean_and_with_fresh_optimisers(tmp_path, monkeypatch):
    begun, learn = [], room._learn

    def looked_at(state, *others):
        if state.step == SMALL.rounds[-1]:
            rates = [len(optimiser.state) for optimiser in state.optimisers]
            begun.append((rates, {n: t.clone() for n, t in state.model.state_dict().items()}))
        return learn(state, *others)

    def kept(files, target):
        if target.name == room.WEIGHTS:
            shutil.copyfile(files[-1], tmp_path / "ended")
        average(files, target)

    monkeypatch.setattr(room, "_learn", looked_at)
    monkeypatch.setattr(room, "average", kept)
    made = room.pretrain(1, tmp_path / "made", SMALL, report=str)
    monkeypatch.setattr(room, "average", average)
    mean = room.pretrain(1, tmp_path / "mean", SMALL.model_copy(update={"finish": 0}), report=str)
    [(remembered, first)] = begun
    assert remembered == [0, 0]
    ended, shipped = load_file(tmp_path / "ended"), weights(made)
    for name, tensor in weights(mean).items():
        assert torch.equal(tensor.float(), first[name])
    for name, end in ended.items():
        wanted = (end.float() + first[name]) / 2
        assert torch.equal(shipped[name], wanted.to(torch.bfloat16))
    assert any(not torch.equal(end.float(), first[name]) for name, end in ended.items())


def test_the_weights_are_the_mean_of_those_at_the_ends_of_the_last_rounds(tmp_path, monkeypatch):
    kept = []

    def looked_at(files, target):
        kept.extend(map(load_file, files))
        average(files, target)

    monkeypatch.setattr(room, "average", looked_at)
    two = SMALL.model_copy(update={"averaged": 2, "finish": 0})
    out = room.pretrain(1, tmp_path / "made", two, report=str)
    assert len(kept) == 2
    for name, tensor in load_file(out / "model.safetensors").items():
        wanted = (kept[0][name].float() + kept[1][name].float()) / 2
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, wanted.to(torch.bfloat16))
    assert any(not torch.equal(kept[0][name], kept[1][name]) for name in kept[0])
    assert sorted(file.name for file in out.glob("*.safetensors")) == ["model.safetensors"]


def test_the_learning_rate_rises_holds_falls_and_falls_again():
    settings = Pretraining(
        tokens=100 * 8192, again=(20 * 8192, 10 * 8192), finish=5 * 8192, warmup=10
    )
    rates = [learning_rate(step, settings) for step in range(settings.steps)]
    assert len(rates) == 135
    assert rates[0] < rates[9] == rates[39] > rates[80] > rates[99] > 0
    for first, last in ((100, 119), (120, 129), (130, 134)):
        assert rates[first - 1] < rates[first] == settings.again_rate > rates[last] > 0
