"""`selfalign library diff` speaks of the stages there are, by the names they have."""

import pkgutil
from importlib import import_module

import selfalign.recipes
import selfalign.self_align
from selfalign.core.library import READERS
from selfalign.core.stage import Made


def every_kind(of: type[Made]) -> set[type[Made]]:
    """Return all classes made from one, at any depth."""
    return {of}.union(*(every_kind(kind) for kind in of.__subclasses__()))


def test_every_stage_an_edit_renames_exists():
    for room in (selfalign.self_align, selfalign.recipes):
        for module in pkgutil.iter_modules(room.__path__, room.__name__ + "."):
            if not module.name.endswith("_test"):
                import_module(module.name)
    there = {kind.name for kind in every_kind(Made) if isinstance(getattr(kind, "name", None), str)}
    named = {name for names in READERS.values() for name in names}
    assert {n for n in named if not n.startswith("salmon.")} <= there
    assert {n for n in there if n.startswith("self_align.")} <= named
