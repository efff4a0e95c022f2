"""The facts about a piece of work: what it was made of, and which code and packages did it.

    stage  ->  Manifest  ->  manifest.json beside the outcomes, written once

Ingredients are the identity; packages, source and time are facts that explain, and rename nothing.
"""

import platform
from datetime import UTC, datetime
from functools import cache
from importlib import metadata

from pydantic import BaseModel, ConfigDict, JsonValue

from selfalign.core.stage import Made

PACKAGES = (
    "selfalign",
    "torch",
    "transformers",
    "tokenizers",
    "trl",
    "peft",
    "accelerate",
    "numpy",
    "pydantic",
)
"""Packages whose version can change a number."""


class Manifest(BaseModel):
    """What `manifest.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    version: int
    key: str
    ingredients: dict[str, JsonValue]
    """Per field of the stage its value, or the fingerprint of its value."""
    settings: dict[str, JsonValue]
    """The configs among the ingredients, in full."""
    source_digest: str
    """Of the file the stage is written in."""
    packages: dict[str, str]
    """Versions installed when the work began; a package that is not installed is absent."""
    python: str
    created: str
    """When the work began: ISO 8601, UTC."""


def manifest_of(made: Made) -> Manifest:
    """Collect the facts about a stage or training, now and here."""
    return Manifest(
        name=made.name,
        version=made.version,
        key=made.key,
        ingredients=made.ingredients,
        settings=made.settings,
        source_digest=made.source_digest,
        packages=installed_versions(),
        python=platform.python_version(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


@cache
def installed_versions() -> dict[str, str]:
    """Return the versions of the packages that matter and are there; imports none of them."""
    versions: dict[str, str] = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
