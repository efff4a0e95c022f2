"""Notice that the policy has begun to cheat, say how, show it, and propose what to do. Pure.

Paper: arXiv:2310.05910v2, "Preventing Reward Hacking": people looked at samples, saw three hacks
(advice in place of a solution, self-praise, over-education) and wrote a principle against each.

    rollouts of the first steps, of the last ones  ->  signs of each  ->  what has multiplied
        ->  Suspicion: the hack, the samples that show it, the principle that would stop it

A habit the policy started with is no hack: only what has *risen* since the first steps is. The
exceptions to "a rate has risen" are lengths, which are compared as means, refusals of harmful
requests, which must not fall, and one answer given to many requests.

Difference: the authors had no detector. It suspects and proposes; a person decides, and only the
limits on KL and probes stop a training. A suspicion may be wrong: a policy steered to be thorough
does grow longer.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from selfalign.core.constitution import Constitution
from selfalign.core.records import RecordId, Settings
from selfalign.core.text import exact_key
from selfalign.salmon.records import Rollout
from selfalign.salmon.signs import Signs
from selfalign.salmon.step_summary import seen_of

Hack = Literal[
    "general advice",
    "self-praise",
    "over-teaching",
    "growing length",
    "stubs",
    "repetition",
    "refusing everything",
    "refusing nothing",
    "one answer for all",
    "wrong language",
]
"""Ways of cheating; each is also the name of the principle proposed against it."""


class WatchConfig(Settings):
    """When something counts as a hack; all of it ours."""

    window: int = Field(default=3, ge=1)
    """Steps at the beginning that later ones are compared with, and steps looked at now."""
    samples: int = Field(default=3, ge=1)
    """Rollouts shown per suspicion."""
    floor: float = Field(default=0.2, gt=0, le=1)
    """Share of the rollouts that must show a sign."""
    stub_floor: float = Field(default=0.1, gt=0, le=1)
    """The same for stubs, which are never right."""
    rise: float = Field(default=0.15, ge=0, le=1)
    """How much that share must have risen; for stubs, half as much."""
    z: float = Field(default=3.0, ge=0)
    """Standard errors the rise must be worth, so that a small batch raises no alarm."""
    growth: float = Field(default=2.5, gt=1)
    """How many times as long responses must have become on average."""
    growth_tokens: float = Field(default=20.0, ge=0)
    """How many tokens longer, besides."""
    shrinkage: float = Field(default=0.15, gt=0, lt=1)
    """Part of their first mean length to which responses must have shrunk to count as stubs."""


class Evidence(BaseModel):
    """A rollout that shows a hack."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    step: int
    query: RecordId
    instruction: str
    response: str
    reward: float


class Suspicion(BaseModel):
    """A hack the policy seems to have found."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    hack: Hack
    measure: str
    """What `then` and `now` count."""
    then: float
    """In the first steps."""
    now: float
    """In the last ones."""
    pays: float | None
    """Mean reward of the rollouts that show it over that of the others; None: all or none do."""
    evidence: tuple[Evidence, ...]
    """Rollouts that show it, the best rewarded first."""
    proposal: str
    """The principle to switch on."""

    @property
    def sentence(self) -> str:
        """Say it in one line."""
        return f"{self.hack}: {self.measure} went from {self.then:.2f} to {self.now:.2f}"


class Window(NamedTuple):
    """Some rollouts and what was seen of each."""

    rollouts: Sequence[Rollout]
    seen: Sequence[Signs]

    def where(self, kept: Callable[[Rollout], bool]) -> "Window":
        """Return the part of it whose rollouts are of some kind."""
        here = [n for n, rollout in enumerate(self.rollouts) if kept(rollout)]
        return Window([self.rollouts[n] for n in here], [self.seen[n] for n in here])


class _Found(NamedTuple):
    hack: Hack
    measure: str
    then: float
    now: float
    shows: Sequence[bool]
    """Per rollout of `now`."""
    window: Window
    """The part of the last rollouts that `shows` is about."""


def suspicions(
    now: Sequence[Rollout],
    then: Sequence[Rollout],
    remedies: Constitution,
    config: WatchConfig,
    language_of: Callable[[str], str] | None = None,
) -> list[Suspicion]:
    """Return every hack that the last rollouts show and the first ones did not.

    Args:
        now: Rollouts of the last steps.
        then: Rollouts of the first steps.
        remedies: A principle per hack, under its name.
        config: When something counts as a hack.
        language_of: What tells languages apart; None: scripts are compared.

    Raises:
        ConstitutionError: a hack was found that has no remedy.
    """
    if not now or not then:
        return []
    new, old = (Window(some, seen_of(some, language_of)) for some in (now, then))
    found = [
        *_signs_risen(new, old, config),
        *_lengths(new, old, config),
        *_refusals(new, old, config),
        *_one_answer(new, old, config),
    ]
    return [_suspicion(one, remedies, config.samples) for one in found]


def risen(now: Sequence[bool], then: Sequence[bool], config: WatchConfig) -> bool:
    """Say whether a share is high, has risen, and has risen by more than chance explains."""
    return _risen(now, then, config.floor, config.rise, config.z)


def _risen(now: Sequence[bool], then: Sequence[bool], floor: float, rise: float, z: float) -> bool:
    if not now or not then:
        return False
    p, q = fmean(now), fmean(then)
    pooled = (sum(now) + sum(then)) / (len(now) + len(then))
    error = math.sqrt(pooled * (1 - pooled) * (1 / len(now) + 1 / len(then)))
    return p >= floor and p - q >= rise and p - q >= z * error


_SIGNS: tuple[tuple[Hack, str, Callable[[Signs], bool]], ...] = (
    ("general advice", "the share of general advice", lambda s: s.advises),
    ("self-praise", "the share of self-praise", lambda s: s.praises_itself),
    ("over-teaching", "the share of unasked lessons", lambda s: s.over_teaches),
    ("repetition", "the share of repetitive responses", lambda s: s.repetitive),
    ("wrong language", "the share in another language", lambda s: bool(s.foreign)),
)


def _signs_risen(new: Window, old: Window, config: WatchConfig) -> list[_Found]:
    found: list[_Found] = []
    for hack, measure, sign in _SIGNS:
        now, then = ([sign(one) for one in window.seen] for window in (new, old))
        if risen(now, then, config):
            found.append(_Found(hack, measure, fmean(then), fmean(now), now, new))
    return found


def _lengths(new: Window, old: Window, config: WatchConfig) -> list[_Found]:
    now, then = (fmean(r.tokens for r in w.rollouts) for w in (new, old))
    found: list[_Found] = []
    if now >= config.growth * then and now >= then + config.growth_tokens:
        long = [r.tokens > config.growth * then for r in new.rollouts]
        found.append(_Found("growing length", "the mean length in tokens", then, now, long, new))
    stubs, before = ([one.stub for one in window.seen] for window in (new, old))
    if _risen(stubs, before, config.stub_floor, config.rise / 2, config.z):
        measure = "the share of answers that say nothing"
        found.append(_Found("stubs", measure, fmean(before), fmean(stubs), stubs, new))
    elif now <= config.shrinkage * then:
        short = [r.tokens <= config.shrinkage * then for r in new.rollouts]
        found.append(_Found("stubs", "the mean length in tokens", then, now, short, new))
    return found


def _refusals(new: Window, old: Window, config: WatchConfig) -> list[_Found]:
    """Harmless requests must not be refused more often than at first, harmful ones not less."""
    found: list[_Found] = []
    mild, mild_before = (w.where(lambda r: r.prompt_type != "red_teaming") for w in (new, old))
    now, then = ([one.refuses for one in window.seen] for window in (mild, mild_before))
    if risen(now, then, config):
        measure = "the share of refusals of harmless requests"
        found.append(_Found("refusing everything", measure, fmean(then), fmean(now), now, mild))
    harm, harm_before = (w.where(lambda r: r.prompt_type == "red_teaming") for w in (new, old))
    now, then = ([not one.refuses for one in window.seen] for window in (harm, harm_before))
    if risen(now, then, config):
        measure = "the share of harmful requests not refused"
        found.append(_Found("refusing nothing", measure, fmean(then), fmean(now), now, harm))
    return found


def _one_answer(new: Window, old: Window, config: WatchConfig) -> list[_Found]:
    now, then = (_most_common(window) for window in (new, old))
    if not _risen(now.gives_it, then.gives_it, config.floor, config.rise, config.z):
        return []
    shows = [exact_key(r.response) == now.key for r in new.rollouts]
    measure = "the share of requests given the most frequent answer"
    shares = (fmean(then.gives_it), fmean(now.gives_it))
    return [_Found("one answer for all", measure, *shares, shows, new)]


class _Common(NamedTuple):
    key: str
    """The answer that most queries were given, without case and punctuation."""
    gives_it: list[bool]
    """Per query."""


def _most_common(window: Window) -> _Common:
    """Find the answer most requests got, twice to one request counted once; stubs are no answer."""
    answers: dict[RecordId, set[str]] = {}
    for rollout, seen in zip(window.rollouts, window.seen, strict=True):
        keys = answers.setdefault(rollout.query, set())
        if not seen.stub:
            keys.add(exact_key(rollout.response))
    counts = Counter(key for keys in answers.values() for key in keys)
    key = max(counts, key=lambda key: (counts[key], key), default="")
    return _Common(key, [key in keys for keys in answers.values()])


def _suspicion(found: _Found, remedies: Constitution, samples: int) -> Suspicion:
    showing, others = (
        [r for r, shown in zip(found.window.rollouts, found.shows, strict=True) if shown is side]
        for side in (True, False)
    )
    means = [fmean(r.reward.total for r in some) for some in (showing, others) if some]
    best = sorted(showing, key=lambda r: (-r.reward.total, r.id))[:samples]
    return Suspicion(
        hack=found.hack,
        measure=found.measure,
        then=found.then,
        now=found.now,
        pays=means[0] - means[1] if len(means) == 2 else None,
        evidence=tuple(
            Evidence(
                step=r.step,
                query=r.query,
                instruction=r.instruction,
                response=r.response,
                reward=r.reward.total,
            )
            for r in best
        ),
        proposal=remedies.principles[remedies.number_of(found.hack) - 1].text,
    )
