"""Reading back what a run wrote about itself, with a sentence if somebody changed it."""

import json
from pathlib import Path
from typing import TypeVar, cast

from pydantic import BaseModel

from selfalign.core.errors import InputError
from selfalign.core.files import Failure, checked, read_text

M = TypeVar("M", bound=BaseModel)


def read_json(kind: type[M], path: Path, failure: Failure = InputError) -> M:
    """Return a JSON file as a checked `kind`.

    Raises:
        failure: it cannot be read, is not JSON, or has other fields.
    """
    text = read_text(path, failure)  # its own sentence, not that of broken JSON
    try:
        value = cast("object", json.loads(text))
    except (ValueError, RecursionError) as error:
        raise failure(
            f"{path} is not JSON ({error}); it was damaged. Delete it and run the command that "
            f"writes it again."
        ) from None
    return checked(kind, value, path, failure)
