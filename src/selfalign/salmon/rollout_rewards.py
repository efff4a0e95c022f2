"""The reward function of SALMON stage 3: from responses to rewards, with everything written down.

Paper: arXiv:2310.05910v2, "RL Training with the Instructable Reward Model" and "Preventing Reward
Hacking".

    step, responses
      -> live edits heard, principles of the step     RUN/steering/applied.jsonl
      -> principles drawn per request, scores, items  FOLDER/rollouts.jsonl
      -> probes, signs, means                         FOLDER/summary.jsonl
      -> what looks like cheating                     FOLDER/suspicions.jsonl
      -> one reward per response, or a stop

A step asked for again is answered as before, and its lines are not written twice. What the past
came to is read from the files, never remembered: a training that was killed and one that was not
see the same.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from selfalign.core.disk import write_whole
from selfalign.core.errors import CollapsedError, TrainingError
from selfalign.core.protocols import PolicyPrompt, Sampled, Scorer
from selfalign.core.records import Instruction, RecordId
from selfalign.salmon.listening import STOPPED as STOPPED
from selfalign.salmon.listening import Listener
from selfalign.salmon.oversight import Oversight, Suspected
from selfalign.salmon.principle_state import PrincipleState
from selfalign.salmon.probes import Probed, Probes, ProbeScores, Source, collapse
from selfalign.salmon.reading_room import ReadingRoom
from selfalign.salmon.records import Rollout
from selfalign.salmon.reward_hacking import Suspicion, suspicions
from selfalign.salmon.rewarding import Rewarding, instruction_of
from selfalign.salmon.rewards import ScoreScale, score_scale
from selfalign.salmon.step_log import StepLog
from selfalign.salmon.step_summary import StepSummary, by_type, seen_of, slice_of

ROLLOUTS, SUMMARY, SUSPICIONS = "rollouts.jsonl", "summary.jsonl", "suspicions.jsonl"
"""The files of a training, beside the trainer's own."""
SCALE = "score_scale.json"
"""What scores are standardised by, once that is known."""


def rollout_log(folder: Path) -> StepLog[Rollout]:
    """Open the rollouts of a training, of which `of(steps)` returns those that count."""
    return StepLog(folder / ROLLOUTS, Rollout, lambda r: (r.step, r.number))


def summary_log(folder: Path) -> StepLog[StepSummary]:
    """Open the summaries of a training, of which `of(steps)` returns those that count."""
    return StepLog(folder / SUMMARY, StepSummary, lambda s: (s.step, 0))


def suspicion_log(folder: Path) -> StepLog[Suspected]:
    """Open the suspicions of a training, of which `of(steps)` returns those that count."""
    return StepLog(folder / SUSPICIONS, Suspected, lambda s: (s.step, s.suspicion.hack))


class RolloutRewards:
    """Rewards one training's rollouts and keeps its files; a `RewardFunction`."""

    def __init__(
        self,
        rewarding: Rewarding,
        instructions: Sequence[Instruction],
        folder: Path,
        oversight: Oversight | None = None,
        *,
        held_out: Sequence[PolicyPrompt] = (),
        room: ReadingRoom | None = None,
    ) -> None:
        """Find what an earlier attempt left in the folder.

        Args:
            rewarding: What decides the rewards.
            instructions: Every instruction the trainer may sample for, held-out ones included.
            folder: The training's; its name is the training's name.
            oversight: Who looks on and who may edit; None: nobody.
            held_out: Prompts whose responses are probed, if the trainer can sample for them.
            room: What the reward model has room for, for whoever edits; None: that is not known.

        Raises:
            StoreError: a line of an earlier attempt cannot be read.
        """
        self._rewarding, self._folder = rewarding, folder
        self._oversight = oversight or Oversight()
        self._instructions: Mapping[RecordId, Instruction] = {one.id: one for one in instructions}
        self._rollouts, self._summaries = rollout_log(folder), summary_log(folder)
        self._suspected = suspicion_log(folder)
        self.probe_prompts: Sequence[PolicyPrompt] = tuple(held_out)
        """What the trainer may answer for the probes; never trained on."""
        self._held_out: dict[int, ProbeScores] = {}
        self._listener = Listener(
            folder, rewarding.principles, self._oversight.steering, self._oversight.note, room
        )

    @property
    def _probes(self) -> Probes | None:
        return self._oversight.probes

    def __call__(self, step: int, sampled: Sequence[Sampled], score: Scorer) -> list[float]:
        """Return a finite reward per response, after writing down why.

        Raises:
            TrainingError: there is no response, or a score or a KL is no number.
            CollapsedError: a probe has collapsed. What was written until then stays readable.
        """
        if not sampled:
            raise TrainingError(f"step {step} has no response to reward. Look at the trainer.")
        principles = self._listener.in_force(step)
        rollouts = self._rewarded(step, sampled, principles.state, score)
        self._rollouts.write(rollouts)
        probes = self._probed(step, sampled, score)
        first = self._first_probe(step) or probes
        found = self._found(step, principles.state)
        seen = seen_of(rollouts, self._rewarding.language_of)
        self._summaries.write(
            [
                StepSummary(
                    step=step,
                    overall=slice_of(rollouts, seen),
                    by_type=by_type(rollouts, seen),
                    probes=probes,
                    weights={p.name: p.weight for p in principles.state.drawable.principles},
                    always={p.name: p.text for p in principles.state.always},
                    steered=principles.new,
                    skipped=principles.unfit,
                    suspected=tuple(one.hack for one in found),
                )
            ]
        )
        self._stop_if_collapsed(step, first, probes)
        return [rollout.reward.total for rollout in rollouts]

    def vouches_for(self, step: int) -> bool:
        """Say whether a step was probed and had not collapsed; always, if no probe can stop it."""
        config = self._probes.config if self._probes else None
        if self._probes is None or config is None or not config.every or config.max_fall is None:
            return True
        return self._probes.due(step)

    def rewards_otherwise(self) -> bool:
        """Say whether principles were edited since the training stopped."""
        return self._listener.steered_since_stop

    # ---- probes on held-out prompts, for a trainer that can sample for them

    def probe_texts(self, prompt: PolicyPrompt) -> list[str]:
        """Return what is scored of a response to a held-out prompt, were it empty."""
        if self._probes is None:
            return []
        empty = Probed(self._instructions[prompt.query].text, "")
        return self._probes.texts([empty], self._rewarding.prompt)

    def probe_due(self, step: int) -> bool:
        """Say whether to sample for `probe_prompts` and call `probe` before this step's rewards."""
        return bool(self.probe_prompts) and self._probes is not None and self._probes.due(step)

    def probe(self, step: int, sampled: Sequence[Sampled], score: Scorer) -> None:
        """Score responses to the held-out prompts; the summary of the step will say what came."""
        if self._probes is not None and sampled:
            self._held_out[step] = self._scores(step, self._probes, sampled, score, "held_out")

    def _probed(self, step: int, sampled: Sequence[Sampled], score: Scorer) -> ProbeScores | None:
        if step in self._held_out:
            return self._held_out.pop(step)
        if self._probes is None or not self._probes.due(step):
            return None
        return self._scores(step, self._probes, self._probes.chosen(sampled), score, "batch")

    def _scores(
        self,
        step: int,
        probes: Probes,
        sampled: Sequence[Sampled],
        score: Scorer,
        source: Source,
    ) -> ProbeScores:
        probed = [
            Probed(instruction_of(one, self._instructions).text, one.response) for one in sampled
        ]
        try:
            return probes.scores(probed, self._rewarding.prompt, score, source)
        except TrainingError as error:
            raise TrainingError(f"step {step}: {error}", field=error.field) from None

    def _first_probe(self, step: int) -> ProbeScores | None:
        """Return the first probe before a step, after a stop that was steered out of: since then.

        Else the step that is done again would only collapse again.
        """
        since = self._listener.steered_out_at(step)
        for before in self._summaries.steps:
            if since <= before < step and self._probes is not None and self._probes.due(before):
                for summary in self._summaries.of([before]):
                    if summary.probes is not None:
                        return summary.probes
        return None

    def _stop_if_collapsed(
        self, step: int, first: ProbeScores | None, now: ProbeScores | None
    ) -> None:
        if self._probes is None or first is None or now is None:
            return
        collapsed = collapse(first, now, self._probes.config)
        if collapsed:
            raise CollapsedError(
                f"step {step}: {collapsed}, so the policy has collapsed and the training stops. "
                f"All up to here is intact: {self._folder / SUSPICIONS} and {SUMMARY} beside it "
                f"say what it does now. Switch on a principle against that with `selfalign steer "
                f"RUN --always TEXT` and run the same command again: under it, the training goes "
                f"on from the last policy that was found whole."
            )

    def check_going_on(self) -> None:
        """Make sure that what has collapsed is not trained again to the same end.

        Raises:
            CollapsedError: the training stopped so, and nothing was edited since.
        """
        if not self._listener.stopped_for_good:
            return
        last = self._listener.last_begun
        if last is None:
            last = max(self._summaries.steps, default=0)
        try:
            for summary in self._summaries.of([last]):
                self._stop_if_collapsed(last, self._first_probe(last), summary.probes)
        except CollapsedError as error:
            raise CollapsedError(
                f"no principle was edited since the training stopped, and it would only stop "
                f"again, so nothing is trained. {self._listener.why_stopped or error}"
            ) from None

    # ---- for whoever runs the training

    def foretell(self, steps: int) -> None:
        """Refuse edits from the last of so many steps on."""
        self._listener.foretell(steps)

    def stop(self, why: str) -> None:
        """Take down why the training stopped by itself."""
        self._listener.stop(why)

    def end(self) -> None:
        """Say that the training is over: no further edit will be heard."""
        self._listener.end()

    # ---- rewards

    def _rewarded(
        self, step: int, sampled: Sequence[Sampled], state: PrincipleState, score: Scorer
    ) -> list[Rollout]:
        batch = self._rewarding.guided(sampled, self._instructions, state)
        scores = score([self._rewarding.text(one) for one in batch])
        path = self._folder / SCALE
        if path.exists():
            scale = ScoreScale.model_validate_json(path.read_bytes())
            return self._rewarding.rollouts(step, batch, scores, scale)
        groups = [(one.query, one.turn) for one in sampled]
        scale = score_scale(scores, self._rewarding.rewards, groups)
        rollouts = self._rewarding.rollouts(step, batch, scores, scale)
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, scale)
        return rollouts

    # ---- hacks

    def _found(self, step: int, state: PrincipleState) -> list[Suspicion]:
        """Look for hacks in the last steps, and write down those that are new."""
        watch = self._oversight.watch
        if watch is None:
            return []
        steps = [s for s in self._rollouts.steps if s <= step]
        window = watch.config.window
        if len(steps) < 2 * window:
            return []
        found = suspicions(
            self._rollouts.of(steps[-window:]),
            self._rollouts.of(steps[:window]),
            watch.remedies,
            watch.config,
            self._rewarding.language_of,
        )
        known = {hack for s in self._summaries.of([step - 1]) for hack in s.suspected}
        on = {" ".join(principle.text.split()) for principle in state.always}
        new = [
            Suspected(step=step, suspicion=one, already_on=" ".join(one.proposal.split()) in on)
            for one in found
            if one.hack not in known
        ]
        self._suspected.write(new)
        for one in new:
            self._oversight.note(f"step {step}: suspected {one.suspicion.sentence}")
        return found
