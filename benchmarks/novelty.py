"""The exact novelty filter against rouge_score, one pair at a time, and against MinHash.

    python benchmarks/novelty.py                            generated texts, a few minutes
    python benchmarks/novelty.py seeds.jsonl more.jsonl     real texts first, edits of them after
    python benchmarks/novelty.py --reference 4000 --growth 5000 20000 52000 366718 --json out.json

Everything runs in one process on one thread, methods in turn; CPU seconds, so that another job on
the machine disturbs the ratios less. The reference is rouge_score's own LCS on words split
beforehand, its cheapest use. `numba` and `datasketch` are left out where they are not installed.
"""

# ruff: noqa: T201, SIM905  (a benchmark speaks by its table; word lists read best as a line)

import argparse
import bisect
import gc
import json
import math
import os
import random
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path

from rouge_score import rouge_scorer

from selfalign.core.novelty import NoveltyFilter
from selfalign.core.novelty_bound import DropAt
from selfalign.core.novelty_rows import read_texts
from selfalign.core.novelty_tokens import Vocabulary, rouge_words

RULES: tuple[DropAt, ...] = ("ge", "gt")
ENGINES = {"python": False} | ({"numba": True} if find_spec("numba") else {})
GLUE = (
    "a the of to in and for an is with that on how what from are your you by about this using as "
    "two it their be can one word"
).split()
OPENINGS = (
    "write describe explain create generate find give list identify suggest compare name rewrite "
    "summarize classify design provide what how construct compose"
).split()


@dataclass(frozen=True)
class Result:
    """One method on one set, in one round."""

    method: str
    texts: int
    rule: str
    cpu_s: float
    wall_s: float
    kept: int
    differing: int | None
    """Decisions other than the exact ones; None where those were not computed."""


def made_up_words(count: int) -> list[str]:
    """Return different words of two or three syllables, the first ones the shortest."""
    onsets = "b c d f g h j k l m n p r s t v w z st tr pl gr".split()
    syllables = [c + v for c in onsets for v in "a e i o u ai or an en in".split()]
    words: list[str] = []
    for number in range(len(syllables), len(syllables) + count):
        word, rest = "", number
        while rest:
            word += syllables[rest % len(syllables)]
            rest //= len(syllables)
        words.append(word)
    return words


class Instructions:
    """Instruction-like texts: an opening, function words, and nouns by Zipf's law.

    Ten words on average, 30 % near-duplicates by one to six edits of an earlier text. The
    vocabulary grows with the set as that of real instructions does (15,700 words at 52,000).
    """

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.nouns = made_up_words(100_000)
        self.noun_odds = list(
            accumulate(1 / (r + 4) if r < 3000 else 3000 / r**2 for r in range(100_000))
        )
        self.odds = list(accumulate(1 / (r + 1) for r in range(len(GLUE))))

    def make(self, count: int, given: Sequence[str] = ()) -> list[str]:
        """Return the given texts and as many more as it takes."""
        texts = [text.split() for text in given[:count] if text.split()]
        while len(texts) < count:
            duplicate = bool(texts) and self.random.random() < 0.3
            texts.append(self.edited(self.random.choice(texts)) if duplicate else self.new())
        return [" ".join(text) for text in texts]

    def new(self) -> list[str]:
        """Return a new text."""
        length = max(3, int(self.random.lognormvariate(2.3, 0.35)))
        text = [self.pick(OPENINGS, self.odds)]
        while len(text) < length:
            glue = self.random.random() < 0.42
            text.append(
                self.pick(GLUE, self.odds) if glue else self.pick(self.nouns, self.noun_odds)
            )
        return text

    def edited(self, text: list[str]) -> list[str]:
        """Return the text after one to six replacements, deletions and insertions."""
        text = list(text)
        for _ in range(self.random.randint(1, 6)):
            place, kind = self.random.randrange(len(text)), self.random.random()
            if kind < 0.5:
                text[place] = self.pick(self.nouns, self.noun_odds)
            elif kind < 0.75 and len(text) > 3:
                del text[place]
            else:
                text.insert(place, self.pick(GLUE, self.odds))
        return text

    def pick(self, words: Sequence[str], odds: Sequence[float]) -> str:
        """Return a word by cumulative odds."""
        top = odds[min(len(words), len(odds)) - 1]
        return words[bisect.bisect(odds, self.random.random() * top)]


def by_rouge_score(texts: list[str], rule: DropAt) -> list[bool]:
    """Decide by rouge_score's LCS with every kept text, stopping at the first that is too alike."""
    tokenize = rouge_scorer.RougeScorer(["rougeL"])._tokenizer.tokenize
    kept: list[list[str]] = []
    decisions: list[bool] = []
    for words in map(tokenize, texts):
        scores = (rouge_scorer._score_lcs(old, words).fmeasure for old in kept)
        alike = any(score >= 0.7 if rule == "ge" else score > 0.7 for score in scores)
        decisions.append(not alike)
        if not alike:
            kept.append(words)
    return decisions


def by_us(texts: list[str], rule: DropAt, accelerate: bool) -> list[bool]:
    """Decide by the filter, from strings to decisions."""
    return NoveltyFilter(0.7, rule, "rouge", accelerate=accelerate).admit_all(texts)


def by_minhash(texts: list[str], jaccard: float, shingle: int) -> list[bool]:
    """Decide by datasketch's MinHash LSH with 128 permutations, greedily."""
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(threshold=jaccard, num_perm=128)
    sets = []
    for words in map(rouge_words, texts):
        spans = range(max(1, len(words) - shingle + 1))
        sets.append({" ".join(words[n : n + shingle]).encode() for n in spans})
    decisions: list[bool] = []
    for number, sketch in enumerate(MinHash.generator(sets, num_perm=128)):
        decisions.append(not lsh.query(sketch))
        if decisions[-1]:
            lsh.insert(str(number), sketch)
    return decisions


def reading(texts: list[str]) -> list[bool]:
    """Only split the texts and number the words: what every exact filter has to do."""
    vocabulary = Vocabulary()
    return [bool(vocabulary.encode(rouge_words(text))) for text in texts]


def measure(
    method: str,
    texts: list[str],
    rule: str,
    run: Callable[[], list[bool]],
    exact: list[bool] | None,
) -> tuple[Result, list[bool]]:
    """Time one method and count how many of its decisions differ from the exact ones."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    decisions = run()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    differing = (
        None if exact is None else sum(a != b for a, b in zip(decisions, exact, strict=True))
    )
    return Result(method, len(texts), rule, cpu, wall, sum(decisions), differing), decisions


def show(results: list[Result], reference: str) -> None:
    """Print one line per method and rule: CPU seconds, spread, ratio, differing decisions."""
    for method, rule in dict.fromkeys((r.method, r.rule) for r in results):
        mine = [r for r in results if (r.method, r.rule) == (method, rule)]
        base = [r.cpu_s for r in results if (r.method, r.rule) == (reference, rule)]
        times = [r.cpu_s for r in mine]
        median = statistics.median(times)
        ratio = statistics.median(base) / median if base else math.nan
        spread = f"{min(times):.3f}-{max(times):.3f}"
        print(
            f"{mine[0].texts:>8,} {method:32s} {rule:3s} {median:9.3f} {spread:>16s}{ratio:10,.1f}x"
            f"  kept {mine[0].kept:,}  differing "
            f"{'-' if mine[0].differing is None else f'{mine[0].differing:,}'}",
            flush=True,
        )


def against_rouge(texts: list[str], rounds: int) -> list[Result]:
    """Compare with the reference on one set, both rules."""
    results: list[Result] = []
    for rule in RULES:
        one, exact = measure(
            "rouge_score", texts, rule, lambda r=rule: by_rouge_score(texts, r), None
        )
        results.append(one)
        for _ in range(rounds):
            for name, fast in ENGINES.items():
                run = lambda r=rule, f=fast: by_us(texts, r, f)  # noqa: E731
                results.append(measure(name, texts, rule, run, exact)[0])
    return results


def against_minhash(texts: list[str], rounds: int) -> list[Result]:
    """Compare with MinHash at three settings on one set."""
    exact = by_us(texts, "ge", accelerate=False)
    runs: dict[str, Callable[[], list[bool]]] = {
        name: lambda f=fast: by_us(texts, "ge", f) for name, fast in ENGINES.items()
    }
    for jaccard, shingle in ((0.54, 1), (0.7, 1), (0.5, 2)):
        name = f"datasketch {jaccard} of {shingle}-word sets"
        runs[name] = lambda j=jaccard, s=shingle: by_minhash(texts, j, s)
    return [
        measure(name, texts, "ge", run, exact)[0]
        for _ in range(rounds)
        for name, run in runs.items()
    ]


def growth(sizes: list[int], texts: list[str]) -> list[Result]:
    """Measure ever larger sets and print how the time grows with them."""
    results: list[Result] = []
    for size in sizes:
        some = texts[:size]
        first: list[bool] | None = None
        runs: dict[str, Callable[[], list[bool]]] = {"reading": lambda s=some: reading(s)}
        runs |= {name: lambda s=some, f=fast: by_us(s, "ge", f) for name, fast in ENGINES.items()}
        for name, run in runs.items():
            one, decisions = measure(name, some, "ge", run, first)
            print(line_of_growth(one, [r for r in results if r.method == name]), flush=True)
            first = None if name == "reading" else first or decisions
            results.append(one)
    return results


def line_of_growth(one: Result, before: list[Result]) -> str:
    """Return the line of a set: time, time per text, exponent since the last set, memory."""
    law = ""
    if before:
        grown = math.log(one.texts / before[-1].texts)
        law = f"grows as N^{math.log(one.cpu_s / before[-1].cpu_s) / grown:.2f}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    differing = "" if one.differing is None else f"  differing {one.differing}"
    return (
        f"{one.texts:>8,} {one.method:8s} {one.cpu_s:9.3f} CPU s "
        f"{one.cpu_s / one.texts * 1e6:7.1f} us/text  {law:17s}  process peak {peak:.2f} GB"
        f"{differing}"
    )


def main() -> None:
    """Run the three comparisons and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path, help=".jsonl, .txt or .parquet; read first")
    parser.add_argument("--reference", type=int, nargs="*", default=[500, 1000])
    parser.add_argument("--minhash", type=int, default=20_000, help="0: leave it out")
    parser.add_argument("--growth", type=int, nargs="*", default=[5_000, 20_000, 52_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    given = [text for path in arguments.paths for text in read_texts(path, None)]
    largest = max([*arguments.reference, arguments.minhash, *arguments.growth, 1])
    texts = Instructions().make(largest, given)
    for fast in ENGINES.values():
        by_us(texts[:50], "ge", fast)
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{min(len(given), largest):,} texts read, the rest of {largest:,} generated")
    print(
        f"load of the machine {load} on {os.cpu_count()} cores: other jobs slow CPU seconds too\n"
    )
    print(f"{'texts':>8s} {'method':32s} rule    CPU s       least-most  times faster")
    results: list[Result] = []
    for size in arguments.reference:
        found = against_rouge(texts[:size], arguments.rounds)
        show(found, "rouge_score")
        results += found
    if arguments.minhash and not find_spec("datasketch"):
        print("\nno comparison with MinHash: install datasketch for it, or say --minhash 0")
    elif arguments.minhash:
        print("\nagainst MinHash; the ratio is to the exact filter in Python")
        found = against_minhash(texts[: arguments.minhash], arguments.rounds)
        show(found, "python")
        results += found
    print("\ngrowth; `reading` splits and numbers the words and decides nothing: the bound")
    results += growth(arguments.growth, texts)
    if arguments.json:
        facts = {"settings": {k: str(v) for k, v in vars(arguments).items()}, "given": len(given)}
        facts["results"] = [asdict(r) for r in results]
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
