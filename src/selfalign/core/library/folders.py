"""Where the files of a library are looked for: the user's folder, the plan's overlay, ours.

    <folder>/constitutions/NAME.yaml     principles
    <folder>/exemplars/NAME.yaml         conversations that demonstrate them
    <folder>/prompts/ROOM/NAME.md        prompt texts
    <folder>/seeds/…                     tasks.jsonl, question_types.yaml, identity.yaml

The first folder that has a file wins, file by file: replacing one principle file, or one prompt,
needs no Python and no copy of the rest.
"""

from dataclasses import dataclass
from pathlib import Path

import selfalign
from selfalign.core.chat import ChatPrompt, as_chat
from selfalign.core.constitution import Constitution, load_constitution
from selfalign.core.errors import LibraryError, PromptError
from selfalign.core.exemplars import Exemplar, load_exemplars
from selfalign.core.library.seeds import (
    IdentityPair,
    QuestionType,
    SeedTask,
    load_identity,
    load_question_types,
    load_seed_tasks,
)
from selfalign.core.prompts import Prompt, load_prompt

SHIPPED = Path(selfalign.__file__).parent / "library"
"""The library that comes with the package."""

SHELVES = {"constitutions": ".yaml", "exemplars": ".yaml", "prompts": ".md", "seeds": ""}
"""The folders of a library, and what the files in each end with."""


@dataclass(frozen=True)
class Library:
    """Folders searched in order; every method reads from disk and checks what it reads."""

    folders: tuple[Path, ...]

    def find(self, file: str) -> Path:
        """Return where a file such as "constitutions/self_align.yaml" is.

        Raises:
            LibraryError: no folder has it; what the same shelf does have follows.
        """
        for folder in self.folders:
            if (folder / file).is_file():
                return folder / file
        shelf, _, name = file.partition("/")
        there = sorted(f.partition("/")[2] for f in self.files() if f.startswith(shelf + "/"))
        raise LibraryError(
            f"there is no {shelf}/{name} in {', '.join(map(str, self.folders))}; "
            f"there is {', '.join(there) or 'nothing on that shelf'}. Correct the name or add it.",
            field=file,
        )

    def files(self) -> dict[str, Path]:
        """Return every file of the library by its name, each where the first folder has it."""
        found: dict[str, Path] = {}
        for folder in self.folders:
            for shelf, suffix in SHELVES.items():
                for path in sorted((folder / shelf).rglob(f"*{suffix}")):
                    if path.is_file() and not path.name.startswith((".", "__")):
                        found.setdefault(path.relative_to(folder).as_posix(), path)
        return dict(sorted(found.items()))

    def names(self, shelf: str) -> list[str]:
        """Return what a shelf holds, as the other methods take it: "chat/standard"."""
        suffix = SHELVES[shelf]
        return [
            f.removeprefix(f"{shelf}/").removesuffix(suffix)
            for f in self.files()
            if f.startswith(shelf + "/")
        ]

    def constitution(self, name: str) -> Constitution:
        """Return the constitution of `constitutions/NAME.yaml`."""
        return load_constitution(self.find(f"constitutions/{name}.yaml"))

    def prompt(self, name: str) -> Prompt:
        """Return the prompt of `prompts/NAME.md`, such as "self_align/topics".

        Raises:
            PromptError: the file calls itself something else.
        """
        path = self.find(f"prompts/{name}.md")
        prompt = load_prompt(path)
        if prompt.name != name:
            raise PromptError(
                f"{path} calls itself {prompt.name!r}; its place says {name!r}; "
                f"make `name:` agree.",
                field="name",
            )
        return prompt

    def chat_prompt(self, name: str) -> ChatPrompt:
        """Return the conversation opening of `prompts/NAME.md`, such as "chat/standard"."""
        return as_chat(self.prompt(name))

    def exemplars(self, name: str) -> tuple[Exemplar, ...]:
        """Return the exemplars of `exemplars/NAME.yaml`."""
        return load_exemplars(self.find(f"exemplars/{name}.yaml"))

    def seed_tasks(self) -> list[SeedTask]:
        """Return the tasks of `seeds/tasks.jsonl`."""
        return load_seed_tasks(self.find("seeds/tasks.jsonl"))

    def question_types(self) -> list[QuestionType]:
        """Return the adversarial types of `seeds/question_types.yaml`."""
        return load_question_types(self.find("seeds/question_types.yaml"))

    def identity(self, assistant: str, maker: str) -> list[IdentityPair]:
        """Return the questions and answers of `seeds/identity.yaml` about this assistant."""
        return load_identity(self.find("seeds/identity.yaml"), assistant=assistant, maker=maker)


def open_library(overlay: str | None = None, directory: Path | None = None) -> Library:
    """Return the library a run reads: the user's folder first, then an overlay, then ours.

    Args:
        overlay: A shipped variant, such as "pocket"; its files win over the default ones.
        directory: A folder of the user's with the same layout; its files win over all others.

    Raises:
        LibraryError: there is no such overlay or folder, or the folder has no shelf of a library.
    """
    folders: list[Path] = []
    if directory is not None:
        folders.append(_user_folder(directory))
    if overlay is not None:
        if overlay not in overlays():
            raise LibraryError(
                f"there is no shipped library {overlay!r}; there is {', '.join(overlays())}. "
                f"Correct the plan's `library:`, or pass your own folder with --library."
            )
        folders.append(SHIPPED / overlay)
    return Library((*folders, SHIPPED))


def overlays() -> list[str]:
    """Return the names of the shipped variants."""
    return sorted(p.name for p in SHIPPED.iterdir() if p.name not in SHELVES and _shelves(p))


def _user_folder(directory: Path) -> Path:
    if not directory.is_dir():
        raise LibraryError(
            f"there is no library folder at {directory}; create it, or correct --library."
        )
    if not _shelves(directory):
        raise LibraryError(
            f"{directory} is not a library: it has none of {', '.join(SHELVES)}. Put your files in "
            f"folders of these names."
        )
    return directory


def _shelves(folder: Path) -> list[str]:
    return [shelf for shelf in SHELVES if (folder / shelf).is_dir()]
