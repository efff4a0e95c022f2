"""What the tests of the library share."""

import shutil
from pathlib import Path

import pytest

from selfalign.core.library import SHIPPED

SHELVES = ("constitutions", "exemplars", "prompts", "seeds")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A user's folder with a copy of everything that ships."""
    for shelf in SHELVES:
        shutil.copytree(SHIPPED / shelf, tmp_path / "mine" / shelf)
    return tmp_path / "mine"
