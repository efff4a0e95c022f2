"""Names lead to models, and wrong names to sentences."""

import shutil

import pytest

from selfalign.core.errors import ModelError
from selfalign.core.records import Checkpoint
from selfalign.recipes.machines import LazyModel, RealMachines
from selfalign.recipes.models import find_model, read_models, record_model


def trained(run, name):
    """A finished training in a run, as the store leaves it."""
    folder = run / f"{name}-0123"
    (folder / "weights").mkdir(parents=True)
    checkpoint = Checkpoint(
        base="calf", revision="sha256:1", adapter="weights", made_of=folder.name
    )
    (folder / "checkpoint.json").write_text(checkpoint.model_dump_json())
    return checkpoint.model_copy(update={"adapter": str(folder / "weights")})


def test_a_runs_models_are_found_by_name(tmp_path):
    checkpoint = trained(tmp_path, "engraved")
    record_model(tmp_path, "engraved", checkpoint)
    found = find_model(f"{tmp_path}:engraved")
    assert found.run == tmp_path
    assert found.model.fingerprint == checkpoint.fingerprint


def test_weights_that_are_gone_are_not_looked_for_on_the_hub(tmp_path):
    record_model(tmp_path, "final", trained(tmp_path, "final"))
    shutil.rmtree(tmp_path / "final-0123/weights")
    with pytest.raises(ModelError, match=r"weights of .*:final are gone: .*delete .*checkpoint"):
        find_model(f"{tmp_path}:final")


def test_models_of_a_run_are_named_by_paths_relative_to_it(tmp_path):
    record_model(tmp_path, "base", Checkpoint(base="calf", revision="sha256:1"))
    record_model(tmp_path, "final", trained(tmp_path, "final"))
    assert read_models(tmp_path) == {"base": "calf", "final": "final-0123/weights"}


def test_a_hub_model_keeps_the_revision_it_was_pinned_to(tmp_path):
    record_model(tmp_path, "base", Checkpoint(base="org/model", revision="0a1b"))
    assert read_models(tmp_path) == {"base": "org/model@0a1b"}


def test_other_names_are_handed_to_the_engine_as_they_are(tmp_path):
    for name in ("calf", "org/model", "hf:org/model@main", str(tmp_path)):
        assert find_model(name).model == name


def test_a_folder_that_is_no_run_has_no_models(tmp_path):
    with pytest.raises(ModelError, match=r"models\.json"):
        find_model(f"{tmp_path}:final")


def test_a_lazy_model_is_named_without_being_loaded(tiny_model):
    lazy = LazyModel(str(tiny_model))
    assert lazy.fingerprint == LazyModel(str(tiny_model)).checkpoint.fingerprint
    assert lazy.generate([], []) == []


def test_one_model_is_in_memory_at_a_time(tiny_model, make_tiny_model, tmp_path):
    other = make_tiny_model(tmp_path / "other", seed=1)
    machines = RealMachines()
    one, two = machines.open(str(tiny_model)), machines.open(str(other))
    first = one.count_tokens(["hello"])
    kept = one._slot._opened
    assert two.count_tokens(["hello"]) == first
    assert one._slot._opened is not kept
    assert one.count_tokens(["hello"]) == first
