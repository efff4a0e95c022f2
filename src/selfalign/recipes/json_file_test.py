"""What a run wrote about itself is read back, or what is wrong is said as it is."""

from pathlib import Path

import pytest

from selfalign.core.errors import InputError
from selfalign.recipes.everything import Order
from selfalign.recipes.json_file import read_json


def test_a_missing_file_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^no file at ") as told:
        read_json(Order, tmp_path / "order.json")
    assert "damaged" not in str(told.value)


def test_a_truncated_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "order.json"
    path.write_text('{"plan": "poc', "utf-8")
    with pytest.raises(InputError, match=r"order\.json is not JSON .*Delete it"):
        read_json(Order, path)
