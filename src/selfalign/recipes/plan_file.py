"""A plan as people write it: one YAML file and `key.sub=value` on the command line, read strictly.

    file + overrides  ->  one mapping  ->  unknown keys refused, nearest name offered  ->  settings

Overrides go through the same door as the file, so a typing error on the command line is told apart
from a setting as exactly as one in the file.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar, cast, get_args

from pydantic import BaseModel

from selfalign.core.errors import PlanError
from selfalign.core.files import checked, parse_yaml, read_yaml

S = TypeVar("S", bound=BaseModel)
Values = dict[str, object]
COMMAND_LINE = Path("the command line")


def read_settings(kind: type[S], path: Path, overrides: Sequence[str] = ()) -> S:
    """Read a file of settings and apply overrides such as "engraving.rank=8".

    Raises:
        PlanError: the file cannot be read; a key is no setting (the nearest name is offered); a
            value is not of its kind. The message names file, field and way out.
    """
    values = _mapping(read_yaml(path, PlanError), path)
    refuse_unknown(values, kind, str(path))
    merged = values
    for override in overrides:
        single = parse_override(override)
        refuse_unknown(single, kind, f"{override!r} on the command line")
        merged = merge(merged, single)
    where = f"{path} with {' '.join(overrides)}" if overrides else str(path)
    return checked(kind, merged, where, PlanError)


def parse_override(text: str) -> Values:
    """Turn "a.b=1" into {"a": {"b": 1}}; the value is read as YAML.

    Raises:
        PlanError: there is no "=", or no key before it.
    """
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise PlanError(
            f"{text!r} is not a setting; write key=value or key.sub=value, such as seed=7.",
            field=text,
        )
    nested: object = parse_yaml(value, COMMAND_LINE, PlanError)
    for part in reversed(parts):
        nested = {part: nested}
    return cast("Values", nested)


def merge(below: Values, above: Values) -> Values:
    """Lay one mapping over another, section by section; neither is changed."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = merge(cast("Values", old), cast("Values", value))
        else:
            merged[key] = value
    return merged


def refuse_unknown(
    values: Mapping[str, object], kind: type[BaseModel], where: str, section: str = ""
) -> None:
    """Refuse the first key, in any depth, that is no setting; offer the nearest that is.

    Raises:
        PlanError: such a key exists.
    """
    for key, value in values.items():
        field = kind.model_fields.get(key)
        if field is None:
            known = list(kind.model_fields)
            near = get_close_matches(key, known, n=1, cutoff=0.5)
            meant = f"did you mean `{section}{near[0]}`? " if near else ""
            place = f"the section `{section.rstrip('.')}` has" if section else "a plan has"
            raise PlanError(
                f"{where}: `{section}{key}` is no setting; {meant}{place} {', '.join(known)}.",
                field=f"{section}{key}",
            )
        inner = _section(field.annotation)
        if inner is not None and isinstance(value, dict):
            refuse_unknown(cast("Values", value), inner, where, f"{section}{key}.")


def _section(annotation: object) -> type[BaseModel] | None:
    """Return the settings a field holds, also where it may hold none instead."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _mapping(value: object, path: Path) -> Values:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PlanError(
            f"{path} is not a plan: it must be lines of `setting: value`. `selfalign run pocket "
            f"--dry-run` shows one.",
            field="the whole file",
        )
    return {str(key): each for key, each in cast("dict[object, object]", value).items()}
