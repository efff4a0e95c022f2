"""Parts side by side give what they give one after another."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from selfalign.core.weights import calf_directory
from selfalign.trainers import side_by_side as module
from selfalign.trainers.side_by_side import each_alone, parts_for, side_by_side, trainings_for


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def gradients(layer: torch.nn.Linear, outputs: list[torch.Tensor]) -> list[torch.Tensor]:
    loss = sum((place + 1) * output.square().mean() for place, output in enumerate(outputs))
    assert isinstance(loss, torch.Tensor)
    layer.zero_grad()
    loss.backward()
    return [one.grad for one in layer.parameters() if one.grad is not None]


def test_the_same_outputs_and_the_same_gradients() -> None:
    torch.manual_seed(0)
    layer, parts = torch.nn.Linear(6, 3), [torch.randn(n, 6) for n in (4, 1, 7)]
    one_by_one = [layer(part) for part in parts]
    apart = side_by_side(layer, parts, list(layer.parameters()))
    for mine, theirs in zip(apart, one_by_one, strict=True):
        torch.testing.assert_close(mine, theirs)
    wanted = gradients(layer, one_by_one)
    found = gradients(layer, apart)
    assert len(found) == 2
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_same_parts_give_the_same_bits_every_time() -> None:
    torch.manual_seed(0)
    layer, parts = torch.nn.Linear(64, 64), [torch.randn(50, 64) for _ in range(4)]
    weights = list(layer.parameters())
    first = gradients(layer, side_by_side(layer, parts, weights))
    for _ in range(20):
        again = gradients(layer, side_by_side(layer, parts, weights))
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_weight_that_a_part_does_not_use_gets_the_gradients_of_the_others() -> None:
    one, other = torch.nn.Parameter(torch.tensor(2.0)), torch.nn.Parameter(torch.tensor(3.0))
    never = torch.nn.Parameter(torch.tensor(1.0))
    frozen = torch.tensor(5.0)
    outputs = side_by_side(lambda w: w * w, [one, other], [one, other, never, frozen])
    sum(outputs, torch.tensor(0.0)).backward()
    assert (float(one.grad or 0), float(other.grad or 0), never.grad) == (4.0, 6.0, None)


def test_every_part_has_a_thread_with_one_core_and_the_caller_keeps_its_own() -> None:
    meeting = threading.Barrier(2, timeout=20)

    def run(_: int) -> tuple[int, str, bool]:
        meeting.wait()  # nobody comes past alone
        return torch.get_num_threads(), threading.current_thread().name, torch.is_grad_enabled()

    with torch.no_grad():
        (cores, name, recorded), (others, other, _) = each_alone(run, [0, 1])
    assert (cores, others, recorded) == (1, 1, False)
    assert name != other
    assert torch.get_num_threads() == 2
    found: list[int] = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [2]


def test_what_a_part_raises_is_raised() -> None:
    def run(number: int) -> int:
        if number:
            raise ValueError(f"part {number}")
        return number

    with pytest.raises(ValueError, match="part 1"):
        each_alone(run, [0, 1, 2])
    assert each_alone(run, [0]) == [0]


def test_one_part_and_no_gradients_need_no_thread() -> None:
    layer = torch.nn.Linear(2, 2)
    (output,) = side_by_side(layer, [torch.ones(1, 2)], list(layer.parameters()))
    assert output.grad_fn is not None
    with torch.no_grad():
        outputs = side_by_side(layer, [torch.ones(1, 2)] * 2, list(layer.parameters()))
    assert not any(one.requires_grad for one in outputs)


def test_large_models_share_the_cores_within_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = torch.nn.Linear(10, 10)
    assert parts_for(layer) == 2
    assert parts_for(torch.nn.Sequential(layer, torch.nn.Dropout(0.1))) == 1
    torch.set_num_threads(1)
    assert parts_for(layer) == 1
    torch.set_num_threads(6)
    assert parts_for(layer) == 4
    assert each_alone(lambda _: torch.get_num_threads(), [0, 1]) == [3, 3]
    torch.set_num_threads(2)
    monkeypatch.setattr(module, "_SMALL", 100)
    assert parts_for(layer) == 1
    assert parts_for(torch.nn.Linear(2, 2, device="meta")) == 1


def test_small_bases_are_trained_on_by_as_many_trainings_as_there_are_threads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calf = calf_directory()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert trainings_for(calf) == 2
    torch.set_num_threads(64)
    assert trainings_for(calf) == 4
    assert trainings_for(tmp_path) == 1  # nothing says how large it is
    weights = sum(one.numel() for one in load_file(calf / "model.safetensors").values())
    monkeypatch.setattr(module, "_SMALL", weights)
    assert trainings_for(calf) == 4
    monkeypatch.setattr(module, "_SMALL", weights - 1)
    assert trainings_for(calf) == 1


def test_trainings_on_a_gpu_come_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert trainings_for(calf_directory()) == 1
