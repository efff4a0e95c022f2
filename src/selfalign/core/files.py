"""Reading what people write: text, YAML and JSON lines, with errors that name file, line and field.

    path  ->  text  ->  YAML or JSON value  ->  checked value, or one sentence about what is wrong

Every file of a library and every plan enters the house here, so a broken file is described the
same way everywhere.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from selfalign.core.errors import LibraryError, SelfAlignError

M = TypeVar("M", bound=BaseModel)
Failure = type[SelfAlignError]


class Written(BaseModel):
    """Base of everything a person writes into a library: frozen, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def read_text(path: Path, failure: Failure = LibraryError) -> str:
    """Return a file's text.

    Raises:
        failure: the file is missing, is a folder, may not be read, or is not UTF-8.
    """
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise failure(f"no file at {path}. Write one there, or correct the name.") from None
    except UnicodeDecodeError as error:
        raise failure(
            f"{path} is not UTF-8 text (byte {error.start} cannot be read). Save it as UTF-8."
        ) from None
    except OSError as error:
        raise failure(
            f"{path} cannot be read: {error.strerror}. Check that it is a file you may read."
        ) from None


def read_yaml(path: Path, failure: Failure = LibraryError) -> object:
    """Return a YAML file's value.

    Raises:
        failure: the file cannot be read, or its YAML is broken (the line is named).
    """
    return parse_yaml(read_text(path, failure), path, failure)


class StrictLoader(yaml.SafeLoader):
    """Reads plain YAML; a key written twice, or a value nobody can read, is refused with its line.

    YAML's own loader keeps the last of two equal keys in silence, and takes a date that does not
    exist, or a number of thousands of digits, for a failure of its own.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse a key that this mapping has already; what is merged in may be set again."""
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key `{key.value}` stands here a second time",
                    problem_mark=key.start_mark,
                    note="Keep one of the two.",
                )
            seen.add((key.tag, key.value))
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Turn a value nobody can read into an error that knows its line."""
        try:
            return cast(Any, super()).construct_object(node, deep)  # Any: partly typed
        except (ArithmeticError, AttributeError, LookupError, ValueError) as error:
            raise yaml.MarkedYAMLError(
                problem=f"{str(node.value)[:60]!r} is no value that can be read: {error}",
                problem_mark=node.start_mark,
                note="Correct it, or quote it if it is meant as text.",
            ) from None


def parse_yaml(text: str, path: Path, failure: Failure, first_line: int = 1) -> object:
    """Return a YAML text's value; `first_line` is where the text begins inside its file."""
    try:
        return cast("object", yaml.load(text, Loader=StrictLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + first_line}" if mark else "unknown line"
        problem = error.problem or "cannot be read"
        way_out = error.note or (
            "Quote text that holds a colon, a hash or a bracket, and check the indentation."
        )
        raise failure(
            f"{path}, {line}: this is not YAML ({problem}). {way_out}", field=line
        ) from None
    except RecursionError:
        raise failure(
            f"{path} is nested too deeply to be read. Close its brackets.", field="line 1"
        ) from None
    except yaml.YAMLError as error:
        raise failure(
            f"{path} is not YAML ({error}). Save it as plain UTF-8 text.", field="line 1"
        ) from None


def parse_json(text: str) -> object:
    """Return a JSON text's value.

    Raises:
        ValueError: it is not JSON, is nested without end, or an object has one key twice.
    """
    try:
        return cast("object", json.loads(text, object_pairs_hook=_each_key_once))
    except RecursionError as error:
        raise ValueError(str(error)) from None


def _each_key_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands there twice, keep one")
    return found


def read_json_lines(path: Path, failure: Failure = LibraryError) -> Iterator[tuple[int, object]]:
    """Yield (line number, value) for every line that is not blank.

    Raises:
        failure: the file cannot be read, or a line is not JSON.
    """
    for number, line in enumerate(read_text(path, failure).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except ValueError as error:
            raise failure(
                f"{path}, line {number}: this is not JSON ({error}). Write one object per line.",
                field=f"line {number}",
            ) from None
        yield number, value


def checked(kind: type[M], value: object, where: Path | str, failure: Failure = LibraryError) -> M:
    """Turn a value into a checked `kind`.

    Raises:
        failure: a field is missing, unknown or of another type; all of them are named.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]["loc"]
        raise failure(
            f"{where} is not a valid {kind.__name__}: {_in_words(error, kind)}.",
            field=".".join(map(str, first)),
        ) from None


def _in_words(error: ValidationError, kind: type[BaseModel]) -> str:
    """Say per wrong field what is wrong with it and what would be right."""
    said: list[str] = []
    for one in error.errors():
        field = ".".join(map(str, one["loc"])) or "the whole"
        if one["type"] == "missing":
            said.append(f"the field `{field}` is missing; add it")
        elif one["type"] == "extra_forbidden":
            known = (
                f" (the fields are {', '.join(kind.model_fields)})" if len(one["loc"]) == 1 else ""
            )
            said.append(f"`{field}` is not a field here{known}; remove it")
        else:
            said.append(f"`{field}`: {one['msg'][:1].lower()}{one['msg'][1:]}; correct it")
    return "; ".join(said)
