"""`selfalign library count`: the supervision ledger, how much a human wrote.

arXiv:2305.03047v2, introduction: fewer than 300 lines of annotations, counted as seed prompts (175
tasks and 20 question types), principles (16) and exemplars (5). Prompt texts and the identity
templates are not counted there; they are listed here, below the total, so that nobody is misled.

arXiv:2310.05910v2, introduction: 6 exemplars and 31 principles, which are the 17 rules of its
self-alignment and the 14 principles of its RL. Not counted there: the principles pairs are judged
by (with an opposite each), the interventions, and the sets of the controllability experiments.
"""

from dataclasses import dataclass
from pathlib import Path

from selfalign.core.files import read_text
from selfalign.core.library.folders import Library

PAPER_LIMIT = 300
"""The paper's abstract: "fewer than 300 lines of human annotations"."""


@dataclass(frozen=True)
class LedgerRow:
    """One kind of human annotation."""

    kind: str
    """"seed tasks", "question types", "principles", "exemplars", "total", or an uncounted kind."""
    count: int
    """Annotations, by the paper's accounting: one per task, type, principle and exemplar."""
    text_lines: int
    """Lines of the files they are written in, without blank lines and comments."""
    file: str
    counted: bool = True
    """Whether the paper counts this kind."""


@dataclass(frozen=True)
class System:
    """A row of the paper's comparison (Table 1)."""

    name: str
    annotations: str
    source: str
    technique: str
    verified: bool
    """True: the number was read in the paper or in notes taken from it; False: from memory."""


SYSTEMS = (
    System("InstructGPT", "77K", "users and annotators", "SFT + RLHF", True),
    System("Text-Davinci-003 / ChatGPT", "undisclosed", "undisclosed", "SFT + RLHF", False),
    System("Claude", "undisclosed", "undisclosed", "RLHF + CAI", False),
    System("GPT-4", "undisclosed", "undisclosed", "SFT + RLHF + CAI", False),
    System("Alpaca", "52K", "Text-Davinci-003", "Self-Instruct + KD", True),
    System("Vicuna", "70K", "users and ChatGPT", "KD", True),
    System("Koala", "472K", "humans and teacher models", "KD + SFT", False),
    System("OpenAssistant", "161K", "annotators", "SFT + RLHF", False),
    System("Dolly-V2", "15K", "annotators", "SFT", True),
    System("Dromedary (the paper)", "<300 lines", "humans", "Self-Instruct + Self-Align", True),
)
"""The systems SELF-ALIGN compares itself with; "verified" speaks of the number alone."""


def count_library(library: Library, constitution: str = "self_align") -> list[LedgerRow]:
    """Return the ledger: the counted kinds, their total, then what the paper does not count.

    Raises:
        LibraryError, ConstitutionError: a counted file is missing or malformed.
    """
    counted = [
        _row(library, "seed tasks", len(library.seed_tasks()), "seeds/tasks.jsonl"),
        _row(library, "question types", len(library.question_types()), "seeds/question_types.yaml"),
        _row(
            library,
            "principles",
            len(library.constitution(constitution).principles),
            f"constitutions/{constitution}.yaml",
        ),
        _row(
            library,
            "exemplars",
            len(library.exemplars(constitution)),
            f"exemplars/{constitution}.yaml",
        ),
    ]
    total = LedgerRow(
        "total", sum(r.count for r in counted), sum(r.text_lines for r in counted), "all of these"
    )
    prompts = [f for f in library.files() if f.startswith("prompts/") and "/salmon/" not in f]
    return [
        *counted,
        total,
        LedgerRow(
            "prompt texts",
            len(prompts),
            sum(text_lines(library.find(file)) for file in prompts),
            "prompts/",
            counted=False,
        ),
        _row(
            library,
            "identity pairs (from templates)",
            len(library.identity("the assistant", "its maker")),
            "seeds/identity.yaml",
            counted=False,
        ),
    ]


def count_salmon(library: Library) -> list[LedgerRow]:
    """Return the ledger of SALMON: the counted kinds, their total, then what is not counted.

    Raises:
        LibraryError, ConstitutionError: a file is missing or malformed.
    """
    rules = {"self-alignment": "self_align_v2", "RL": "salmon_rl"}
    counted = [
        _row(
            library,
            "exemplars",
            len(library.exemplars("self_align_v2")),
            "exemplars/self_align_v2.yaml",
        ),
        *(_principles(library, f"principles ({use})", name) for use, name in rules.items()),
    ]
    total = LedgerRow(
        "total", sum(r.count for r in counted), sum(r.text_lines for r in counted), "all of these"
    )
    beside = ("preferences", "interventions", "remedies", "harmless", "honest", "non_evasive")
    return [
        *counted,
        total,
        *(
            _principles(library, f"principles ({name})", f"salmon_{name}", counted=False)
            for name in beside
        ),
    ]


def _principles(library: Library, kind: str, name: str, *, counted: bool = True) -> LedgerRow:
    count = len(library.constitution(name).principles)
    return _row(library, kind, count, f"constitutions/{name}.yaml", counted=counted)


def text_lines(path: Path) -> int:
    """Count the lines of a file a person wrote something on, comments left out."""
    lines = (line.strip() for line in read_text(path).splitlines())
    comment = "#" if path.suffix == ".yaml" else "\0"
    return sum(1 for line in lines if line and not line.startswith(comment))


def _row(library: Library, kind: str, count: int, file: str, *, counted: bool = True) -> LedgerRow:
    return LedgerRow(kind, count, text_lines(library.find(file)), file, counted)
