"""`selfalign chat|ask`: put questions to a model.

chat   a conversation on the terminal
ask    one question, or one per line on stdin -> one JSON object per line
"""

import json
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from selfalign.cli.terminal import say, tell
from selfalign.core.chat import render_chat
from selfalign.core.errors import InputError
from selfalign.core.protocols import LanguageModel, Sampling
from selfalign.core.weights import CALF
from selfalign.recipes.everything import reopen
from selfalign.recipes.ingredients import Ingredients, open_ingredients
from selfalign.recipes.machines import LazyModel
from selfalign.recipes.models import Found, find_model
from selfalign.recipes.plan import Plan, load_plan

LINES_AT_ONCE = 64
"""Ours: questions of stdin answered together."""

ModelName = Annotated[
    str,
    typer.Argument(metavar="MODEL", help='"calf", a directory, a Hub name, or RUN:NAME.'),
]
LibraryOption = Annotated[
    Path | None,
    typer.Option("--library", metavar="DIR", help="Your texts; what the folder lacks is ours."),
]
ChatName = Annotated[
    str, typer.Option("--prompt", metavar="NAME", help="Which conversation prompt to use.")
]
Temperature = Annotated[
    float, typer.Option(min=0.0, max=100.0, help="0 always takes the likeliest word.")
]
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest answer.")]
Seed = Annotated[int, typer.Option(help="Draws the answers, where temperature is above 0.")]


def chat(
    model: ModelName,
    library: LibraryOption = None,
    prompt: ChatName = "chat/standard",
    temperature: Temperature = 0.1,
    max_tokens: MaxTokens = 256,
    seed: Seed = 0,
) -> None:
    """Talk with a model; an empty line or end of input ends it."""
    found = find_model(model)
    kit, lm = _texts_for(found, library), LazyModel(found.model)
    draw = Sampling(temperature=temperature, max_tokens=max_tokens, seed=seed)
    tell(f"{kit.plan.assistant} ({model}); an empty line ends the conversation")
    turns: list[str] = []
    while said := _next_line():
        turns.append(said)
        turns.append(_answers(lm, kit, prompt, [turns], draw)[0])
        say(turns[-1])


def ask(
    model: ModelName,
    question: Annotated[
        str | None, typer.Argument(metavar="QUESTION", help="Without it, one per line of stdin.")
    ] = None,
    library: LibraryOption = None,
    prompt: ChatName = "chat/standard",
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 256,
    seed: Seed = 0,
) -> None:
    """Ask a model one question; or one per line on stdin, answered as JSON lines."""
    found = find_model(model)
    kit, lm = _texts_for(found, library), LazyModel(found.model)
    draw = Sampling(temperature=temperature, max_tokens=max_tokens, seed=seed)
    if question is not None:
        say(_answers(lm, kit, prompt, [[question]], draw)[0])
        return
    lines = _questions()
    while some := list(islice(lines, LINES_AT_ONCE)):
        answers = _answers(lm, kit, prompt, [[line] for line in some], draw)
        for line, answer in zip(some, answers, strict=True):
            say(json.dumps({"instruction": line, "response": answer}, ensure_ascii=True))


def _texts_for(found: Found, library: Path | None) -> Ingredients:
    """Return the plan and texts a model was made with; for others, those of its vocabulary."""
    if found.run is not None:
        return reopen(found.run, library)
    if found.model == CALF:
        return open_ingredients(load_plan("pocket"), library)
    return open_ingredients(Plan(base=found.typed, assistant="Assistant"), library)


def _answers(
    lm: LanguageModel,
    kit: Ingredients,
    prompt: str,
    conversations: Sequence[Sequence[str]],
    draw: Sampling,
) -> list[str]:
    opening = kit.chat(prompt)
    gaps = {name: value for name, value in kit.names if name in opening.prompt.gaps}
    completions = lm.generate(
        [render_chat(opening, turns, **gaps) for turns in conversations],
        [draw.model_copy(update={"stop": opening.stop})] * len(conversations),
    )
    return [completion.text.strip() for completion in completions]


def _questions() -> Iterator[str]:
    """Yield the lines of stdin that are not blank."""
    with _readable():
        yield from (line.strip() for line in sys.stdin if line.strip())


def _next_line() -> str:
    """Read a line of the person's; "" when there are no more."""
    try:
        with _readable():
            return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


@contextmanager
def _readable() -> Generator[None]:
    """Turn bytes that are no text into a sentence."""
    try:
        yield
    except UnicodeDecodeError as error:
        wrong = error.object[error.start]
        raise InputError(
            f"stdin is not UTF-8 text (there is a byte 0x{wrong:02x}). Save or convert it as "
            f"UTF-8, as with `iconv -f latin1 -t utf-8`; what was answered before it is printed."
        ) from None
