"""Everything a report says, as one value: gathered from a run's folder, no model asked.

run folder  ->  Report  ->  report.json (as it is), index.html (rendered by page.py)
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from selfalign.core.funnel import Funnel
from selfalign.core.library import count_library
from selfalign.core.records import Instruction, SelfAlignedResponse
from selfalign.core.store import Run
from selfalign.evaluation.exam_result import ExamResult, Row, rate_of
from selfalign.evaluation.statistics import Interval
from selfalign.recipes.chapters import PLAN_FILE, Chapters, kept, read_chapters
from selfalign.recipes.evaluate import read_results
from selfalign.recipes.everything import reopen
from selfalign.recipes.ingredients import Ingredients
from selfalign.recipes.json_file import read_json
from selfalign.recipes.stages import all_funnels
from selfalign.recipes.trainings import TRAINING_FILE
from selfalign.reports.charts import Branch
from selfalign.reports.part import Part
from selfalign.reports.principles import RuleUsage, rule_usage
from selfalign.reports.salmon_contents import SalmonReport, gather_salmon
from selfalign.reports.verbs import asked_for, root_verbs
from selfalign.self_align.stage4_verbose_cloning import VerboseResponse
from selfalign.trainers.account import TrainingReport

SAMPLES_PER_KIND = 2
"""Ours: held-out questions shown per kind."""
WORDS_PER_BAR = 10
"""Ours: width of a bar of the length histogram."""


class Effect(Part):
    """One column of the effect table."""

    condition: str
    result: ExamResult
    total: Interval
    """All kinds together."""


class Answer(Part):
    """What one condition answered to a question."""

    condition: str
    text: str
    right: bool
    label: str


class Sample(Part):
    """A held-out question and its answers side by side."""

    kind: str
    question: str
    answers: tuple[Answer, ...]


class LedgerLine(Part):
    """One kind of human annotation."""

    kind: str
    count: int
    text_lines: int
    file: str
    counted: bool


class Lengths(Part):
    """Words per training answer, before and after verbose cloning."""

    self_aligned: dict[str, int]
    """Lower bound of the bar, then answers in it."""
    verbose: dict[str, int]
    mean_self_aligned: float | None
    mean_verbose: float | None


class Report(Part):
    """What `report.json` says."""

    title: str
    subtitle: str
    effect: tuple[Effect, ...]
    samples: tuple[Sample, ...]
    funnels: tuple[Funnel, ...]
    verbs: tuple[Branch, ...]
    verbs_read: int
    """Instructions that are requests with an object."""
    verbs_of: int
    """Self-instruct instructions looked at."""
    rules: RuleUsage
    lengths: Lengths
    trainings: dict[str, TrainingReport]
    ledger: tuple[LedgerLine, ...]
    facts: dict[str, str]
    plan: str
    """The effective plan, as YAML."""
    salmon: SalmonReport | None
    """None: the run has nothing of SALMON."""


def gather(path: Path, library: Path | None = None) -> Report:
    """Collect what a run has to show; stages that did not run yet are absent.

    Raises:
        InputError: the folder is no run.
    """
    run, chapters, kit = Run(path), read_chapters(path), reopen(path, library)
    aligned = list(kept(run.path, chapters.aligned, SelfAlignedResponse))
    verbose = list(kept(run.path, chapters.verbose, VerboseResponse))
    instructions = kept(run.path, chapters.instructions, Instruction)
    asked = [i.text for i in instructions if i.origin == "self_instruct"]
    results = read_results(run)
    salmon = gather_salmon(run, chapters, kit)
    papers = "SELF-ALIGN and SALMON" if salmon else "SELF-ALIGN"
    return Report(
        title=f"{kit.plan.assistant}, aligned by {len(chapters.rules)} principles",
        subtitle=f"{papers} on {kit.plan.base}, run {path.resolve().name}",
        effect=tuple(
            Effect(condition=c.name, result=r, total=rate_of(r.rows)) for c, r in results if r.rows
        ),
        samples=tuple(samples([(c.name, r) for c, r in results])),
        funnels=tuple(all_funnels(run)),
        verbs=tuple(root_verbs(asked)),
        verbs_read=sum(asked_for(text) is not None for text in asked),
        verbs_of=len(asked),
        rules=rule_usage(chapters.rules, aligned),
        lengths=lengths([r.response for r in aligned], [r.response for r in verbose]),
        trainings=_trainings(run, chapters),
        ledger=tuple(_ledger(kit)),
        facts=_facts(run, chapters, kit),
        plan=(path / PLAN_FILE).read_text("utf-8"),
        salmon=salmon,
    )


def samples(results: Sequence[tuple[str, ExamResult]]) -> Iterator[Sample]:
    """Pick the first questions of each kind and put the answers side by side."""
    if not results:
        return
    by_question = [(name, {row.question: row for row in r.rows}) for name, r in results]
    first = results[0][1].rows
    for kind in results[0][1].kinds:
        questions = list(dict.fromkeys(r.question for r in first if r.kind == kind))
        for question in questions[:SAMPLES_PER_KIND]:
            answers = tuple(
                _answer(name, rows[question]) for name, rows in by_question if question in rows
            )
            yield Sample(kind=kind, question=question, answers=answers)


def lengths(self_aligned: Sequence[str], verbose: Sequence[str]) -> Lengths:
    """Count answers by their number of words, in bars of equal width."""
    before, after = ([len(text.split()) for text in texts] for texts in (self_aligned, verbose))
    most = max([*before, *after], default=0) // WORDS_PER_BAR
    return Lengths(
        self_aligned=_bars(before, most),
        verbose=_bars(after, most),
        mean_self_aligned=_mean(before),
        mean_verbose=_mean(after),
    )


def _bars(words: Sequence[int], most: int) -> dict[str, int]:
    bars = {str(n * WORDS_PER_BAR): 0 for n in range(most + 1)}
    for count in words:
        bars[str(count // WORDS_PER_BAR * WORDS_PER_BAR)] += 1
    return bars


def _mean(values: Sequence[int]) -> float | None:
    return round(sum(values) / len(values), 2) if values else None


def _answer(condition: str, row: Row) -> Answer:
    return Answer(condition=condition, text=row.answer, right=row.right, label=row.label)


def _trainings(run: Run, chapters: Chapters) -> dict[str, TrainingReport]:
    folders = {"engraving (stage 3)": chapters.engraved, "final (stage 4)": chapters.final}
    paths = {name: run.path / f / TRAINING_FILE for name, f in folders.items() if f is not None}
    return {n: read_json(TrainingReport, p) for n, p in paths.items() if p.is_file()}


def _ledger(kit: Ingredients) -> Iterator[LedgerLine]:
    for row in count_library(kit.library, kit.plan.constitution):
        yield LedgerLine(
            kind=row.kind,
            count=row.count,
            text_lines=row.text_lines,
            file=row.file,
            counted=row.counted,
        )


def _facts(run: Run, chapters: Chapters, kit: Ingredients) -> dict[str, str]:
    facts = {
        "reached": chapters.reached,
        "base model": f"{chapters.base.base} {chapters.base.revision}",
        "library": ", ".join(str(folder) for folder in kit.library.folders),
        "seed": str(kit.plan.seed),
    }
    if chapters.aligned is not None:
        manifest = run.manifest(chapters.aligned)
        facts["python"] = manifest.python
        facts |= {f"package {name}": version for name, version in manifest.packages.items()}
        facts["begun"] = manifest.created
    return facts
