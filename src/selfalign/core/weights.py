"""Where a model's files lie and what they are called, without opening them as tensors.

    "calf" | directory | adapter directory | Hub name  --locate-->    what to load
                                                       --identify-->  Checkpoint

Engines and trainers both start from a `Checkpoint`; this is what they agree on. A directory is
named by the digest of its files, so a model may be moved or copied without being renamed.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from selfalign.core.errors import ModelError
from selfalign.core.records import CONTENT_DIGEST, Checkpoint, digest

CALF = "calf"
"""The embedded base model's name."""

HUB = "hf:"
"""Optional mark of a Hub name: "hf:org/model@revision"."""

ADAPTER_CONFIG = "adapter_config.json"
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")
_IDENTITY = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    ADAPTER_CONFIG,
    "*.safetensors",
    "pytorch_model*.bin",
    "adapter_model.bin",
)
_BLOCK = 1 << 22
_LISTED = 12


@dataclass(frozen=True)
class Located:
    """What to load: a source for the weights, and at most one adapter on top."""

    base: str
    """Absolute directory, or Hub name."""
    revision: str | None
    """Of a Hub name; None for a directory or the default branch."""
    adapter: Path | None = None

    @property
    def directory(self) -> Path | None:
        """The base's directory; None when it is a Hub name."""
        path = Path(self.base)
        return path if path.is_absolute() else None


def calf_directory() -> Path:
    """Return where the embedded base model's weights ship."""
    return Path(__file__).resolve().parents[1] / CALF / "weights"


def locate(model: str | Checkpoint) -> Located:
    """Find the files of a model name or checkpoint.

    Raises:
        ModelError: a directory that is not a model, or nothing of that name.
    """
    if isinstance(model, Checkpoint):
        return _locate_checkpoint(model)
    directory = _directory(model)
    if directory is None:
        return _hub(model)
    if not (directory / ADAPTER_CONFIG).is_file():
        return Located(str(check_model_directory(directory)), None)
    base, revision = base_of_adapter(directory)
    located = locate(base)
    if located.adapter is not None:
        raise ModelError(
            f"the adapter in {directory} stands on another adapter ({base}). Merge that one into "
            "its base first, and name the merged directory in adapter_config.json."
        )
    return Located(located.base, located.revision or revision, directory)


def _locate_checkpoint(checkpoint: Checkpoint) -> Located:
    if checkpoint.adapter is None:
        located = locate(checkpoint.base)
        if located.directory is not None or checkpoint.revision.startswith(CONTENT_DIGEST):
            return located
        return Located(located.base, checkpoint.revision or located.revision)
    trained = trained_weights(Path(checkpoint.adapter))
    if not (trained / ADAPTER_CONFIG).is_file():
        return Located(str(check_model_directory(trained)), None)
    base = _locate_checkpoint(checkpoint.model_copy(update={"adapter": None}))
    return Located(base.base, base.revision, trained)


def trained_weights(folder: Path) -> Path:
    """Return the weights inside a training's folder; the folder itself if it holds them."""
    return (folder / "weights" if (folder / "weights").is_dir() else folder).resolve()


def identify(model: str) -> Checkpoint:
    """Name a model as a checkpoint: by its files' digest, or by Hub name and revision.

    The revision of a Hub name may be empty; who loads it pins the commit.
    """
    located = locate(model)
    if located.directory is None:
        base = Checkpoint(base=located.base, revision=located.revision or "")
    else:
        name = CALF if located.directory == calf_directory() else located.base
        base = Checkpoint(base=name, revision=CONTENT_DIGEST + files_digest(located.directory))
    if located.adapter is None:
        return base
    made_of = digest([base.fingerprint, files_digest(located.adapter)])
    return base.model_copy(update={"adapter": str(located.adapter), "made_of": made_of})


def base_of_adapter(directory: Path) -> tuple[str, str | None]:
    """Return the base an adapter names, and its revision; relative paths start at the adapter."""
    path = directory / ADAPTER_CONFIG
    try:
        config = cast(dict[str, object], json.loads(path.read_text("utf-8")))
        base = config["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} names no base model ({type(error).__name__}: {error}). Write the base's name "
            'or directory into it as "base_model_name_or_path".'
        ) from None
    if not isinstance(base, str) or not base:
        raise ModelError(
            f'{path} has "base_model_name_or_path": {base!r}. Write the base\'s name or directory.'
        )
    beside = directory / base
    revision = config.get("revision")
    found = str(beside.resolve()) if base.startswith(".") and beside.is_dir() else base
    return found, revision if isinstance(revision, str) and revision else None


def check_model_directory(directory: Path) -> Path:
    """Return the absolute directory if it holds a model and its tokenizer.

    Raises:
        ModelError: names what is missing and lists what is there.
    """
    missing: list[str] = []
    if not (directory / "config.json").is_file():
        missing.append("config.json")
    if not any(any(directory.glob(pattern)) for pattern in _WEIGHTS):
        missing.append("weights (*.safetensors)")
    if not any((directory / name).is_file() for name in _TOKENIZERS):
        missing.append("a tokenizer (tokenizer.json)")
    if missing:
        raise ModelError(
            f"{directory} is not a model: {_listed(missing)} missing; it holds "
            f"{_contents(directory)}. Name a directory written by save_pretrained (model and "
            "tokenizer), an adapter directory, or a Hub name."
        )
    return directory.resolve()


def files_digest(directory: Path) -> str:
    """Return the digest of a model directory's files; those that only describe it do not count."""
    names = sorted({path.name for pattern in _IDENTITY for path in directory.glob(pattern)})
    return digest([[name, _file_digest(directory / name)] for name in names])


def _directory(name: str) -> Path | None:
    if name == CALF:
        if not (calf_directory() / "config.json").is_file():
            raise ModelError(
                f"the embedded model is not in {calf_directory()}. Rebuild it with `selfalign calf "
                "pretrain`, or name another model."
            )
        return calf_directory()
    if name.startswith(HUB) or not name.strip():
        return None
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    looks_like_path = name.startswith(("/", ".", "~")) or name.count("/") > 1 or path.exists()
    if looks_like_path:
        raise ModelError(
            f"no model directory at {name}{' (it is a file)' if path.exists() else ''}. Name a "
            f'directory, "{CALF}", or a Hub name such as org/model.'
        )
    return None


def _hub(name: str) -> Located:
    repository, _, revision = name.removeprefix(HUB).partition("@")
    if not repository or repository.count("/") > 1 or any(c.isspace() for c in name):
        raise ModelError(
            f'{name!r} is no model. Name a directory, "{CALF}", or a Hub name such as '
            "org/model or hf:org/model@revision."
        )
    return Located(repository, revision or None)


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last} are" if first else f"{last} is"


def _contents(directory: Path) -> str:
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in directory.iterdir())
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return (", ".join(names[:_LISTED]) or "nothing") + more


# --- digests of big files, remembered ------------------------------------------------------------


def _file_digest(path: Path) -> str:
    """Digest a file's content; remembered by path, size and time of change."""
    state = path.stat()
    key = digest([str(path.resolve()), state.st_size, state.st_mtime_ns])
    memory = _memory_path() / key if state.st_size > _BLOCK else None
    if memory is not None and memory.is_file() and len(known := memory.read_text("ascii")) == 64:
        return known
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    if memory is not None:
        # Only a convenience: a home that cannot be written costs time, nothing else.
        with suppress(OSError):
            memory.parent.mkdir(parents=True, exist_ok=True)
            memory.write_text(found.hexdigest(), "ascii")
    return found.hexdigest()


def _memory_path() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "selfalign" / "digests"
