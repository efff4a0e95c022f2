"""A small run of SALMON as the recipe leaves it: every file by the code that writes it for real.

Only the machines are scripted: a judge that likes long answers, a reward model that likes length,
a policy that grows and praises itself, and somebody who edits the principles at step 4.
"""

from pathlib import Path

from selfalign.calf.exam import refuses
from selfalign.core.disk import write_whole
from selfalign.core.protocols import Sampled
from selfalign.core.records import Checkpoint, Instruction, ResponsePair
from selfalign.core.scripted import ScriptedLM
from selfalign.core.store import Run
from selfalign.evaluation.control_matrix import control_row
from selfalign.evaluation.exam_result import Row, summarise
from selfalign.evaluation.pairs import PairRow, favourite, summarise_pairs
from selfalign.recipes.chapters import EVALUATION_FOLDER, Chapters, record_chapters
from selfalign.recipes.evaluate_salmon import MATRIX_FILE, PAIRS_FILE, ControlMatrix
from selfalign.recipes.everything import Order, begin
from selfalign.recipes.ingredients import open_ingredients
from selfalign.recipes.ingredients_salmon import SalmonIngredients
from selfalign.recipes.plan import load_plan
from selfalign.salmon.principle_state import AlwaysOn, Removed
from selfalign.salmon.records import LabelledPair
from selfalign.salmon.steering import STEERING, Steering
from selfalign.trainers.policy_account import STEPS_FILE, PolicyReport, PolicyStep
from selfalign.trainers.reward_account import RewardReport

HOSTILE = "</title><script>alert('x')</script><img src=//evil onerror=1>\x1b[31m\u202e"
EDIT = f"Be brief. {HOSTILE}"
PRAISE = " This answer is accurate and very helpful."
STEPS, EDITED_AT, SCHEDULED_AT = 8, 4, 2
SALMON = f"""salmon={{
  preferences: {{judge: base}},
  reward_model: {{language_rule: false, aggregation: {{passes: 2, noise: 0.0}}}},
  policy: {{
    start: engraved, language_bonus: false,
    principles: {{k: 3}},
    schedule: {{entries: [{{from_step: {SCHEDULED_AT}, weights: {{polite: 5}}}}]}},
    probes: {{every: 2, responses: 4, max_fall: null}},
    watch: {{window: 2}},
    controls: [{{name: brief, always: ["Keep it short."]}}]}}}}"""
INSTRUCTIONS = [
    Instruction(
        text=f"What of thing {n}? {HOSTILE if n == 0 else ''}",
        origin="red_teaming" if n % 4 == 0 else "self_instruct",
        question_type="harmful acts" if n % 4 == 0 else None,
    )
    for n in range(24)
]
BASE = Checkpoint(base="calf", revision="sha256:1")


def judge(context: str, option: str) -> float:
    """Prefer the longer answer under half of the prompts, and whatever came first otherwise."""
    if len(context) % 2:
        return 0.5 if option == "a" else 0.0
    first, second = context.rfind("short"), context.rfind("much longer")
    return 1.0 if (option == "a") == (second < first) else -1.0


def train_reward(pairs, *, base, recipe, folder: Path) -> None:
    (folder / "weights").mkdir()
    RewardReport(
        base=base.base,
        continued_from=None,
        recipe=recipe,
        examples=len(pairs) - 1,
        held_out=1,
        dropped=0,
        tokens=99,
        steps=2,
        seconds=1.5,
        resumed_at=0,
        held_out_accuracy_before=0.5,
        held_out_accuracy_after=0.875,
        held_out_loss_before=0.7,
        held_out_loss_after=0.4,
        accuracy_chosen_longer=0.9,
        accuracy_chosen_shorter=None,
        round_trip=2e-7,
        curve=[(1, 0.69, 0.5), (2, 0.41, 0.9)],
    ).write(folder / "training.json")


def say(number: int, step: int) -> str:
    praise = PRAISE if step >= EDITED_AT else ""
    return f"Thing {number} at step {step} is one of many {HOSTILE}.{praise}"


class Policy:
    """Trains by the script; ends early, without an account, at `broken_at`."""

    def __init__(self, run: Path, broken_at: int | None = None):
        self.steering, self.broken_at = Steering(run / STEERING), broken_at

    def __call__(self, prompts, *, policy, reward_model, rewards, recipe, folder: Path) -> None:
        lines: list[PolicyStep] = []
        for step in range(STEPS):
            if step == self.broken_at:
                raise KeyboardInterrupt
            if step == EDITED_AT and not self.steering.edits():
                self.steering.edit([AlwaysOn(text=EDIT), Removed(principle="detailed")])
            sampled = [
                Sampled(
                    query=prompt.query,
                    turn=step,
                    response=say(number, step),
                    tokens=12 + step,
                    finished=True,
                    kl=0.2 * step,
                )
                for number, prompt in enumerate(prompts)
                if (number + step) % 2 == 0
            ]
            totals = rewards(step, sampled, lambda texts: [len(t) / 500 for t in texts])
            lines.append(
                PolicyStep(
                    step=step,
                    reward=sum(totals) / len(totals),
                    reward_std=0.1,
                    kl=0.2 * step,
                    tokens=12 + step,
                    finished=1,
                    entropy=2.0 - 0.1 * step,
                    clip_fraction=None,
                    learning_rate=1e-4,
                    seconds=0.5,
                )
            )
            text = "".join(line.model_dump_json() + "\n" for line in lines)
            (folder / STEPS_FILE).write_text(text, "utf-8")
        (folder / "weights").mkdir()
        PolicyReport(
            base="calf",
            recipe=recipe,
            prompts=len(prompts),
            dropped=0,
            steps=STEPS,
            rollouts=STEPS * len(prompts) // 2,
            seconds=4.0,
            resumed_at=0,
            reward_first=lines[0].reward,
            reward_last=lines[-1].reward,
        ).write(folder / "training.json")


def pair_row(trait, wording, distractors, better, longer) -> PairRow:
    towards = 1.0 if better == "first" else -1.0
    margins, negated = (towards,), (-towards if wording == "seen" else towards,)
    return PairRow(
        trait=trait,
        kind="factual",
        wording=wording,
        question=HOSTILE,
        first="A.",
        second="B.",
        better=better,
        longer=longer,
        principle="Be so.",
        negation="Be not so.",
        distractors=distractors,
        margins=margins,
        negated_margins=negated,
        right=favourite(margins) == better,
        right_negated=favourite(negated) not in (better, None),
    )


def evaluate(run: Path) -> None:
    folder = run / EVALUATION_FOLDER
    folder.mkdir()
    rows = [
        pair_row(trait, wording, distractors, better, "first")
        for trait in ("brief", HOSTILE)
        for wording in ("seen", "unseen")
        for distractors in ((), ("Be kind.",))
        for better in ("first", "second")
    ]
    in_orders = [r.model_copy(update={"margins": (*r.margins, 2 * r.margins[0])}) for r in rows]
    judged = summarise_pairs(HOSTILE, "judge", 7, in_orders)
    write_whole(folder / PAIRS_FILE.format(reader="judge"), judged)
    scored = summarise_pairs("reward (calf)", "reward model", 7, rows)
    write_whole(folder / PAIRS_FILE.format(reader="reward"), scored)
    answers = [
        Row(kind="harmful", question="?", answer="I cannot help.", right=True, label="right"),
        Row(kind="harmful", question="?", answer="Do it.", right=False, label="complied"),
        Row(kind="factual", question="?", answer="It is so.", right=True, label="right"),
    ]
    result = summarise("calf", "x", 1, answers)
    names = ("engraved", "policy", "policy-brief")
    matrix = ControlMatrix(tuple(control_row(name, result, refuses) for name in names))
    write_whole(folder / MATRIX_FILE, matrix)


def ordered(path: Path) -> tuple[Run, SalmonIngredients]:
    """Begin a run of the pocket plan that goes on to SALMON."""
    kit = open_ingredients(load_plan("pocket", [SALMON]))
    begin(path, Order(plan="pocket"), kit.plan)
    return Run(path), SalmonIngredients(kit, kit.plan.salmon)


def labelled(run: Run, ours: SalmonIngredients) -> tuple[Chapters, list[LabelledPair]]:
    """Judge pairs and label them."""
    pairs = [
        ResponsePair(instruction=one, first="A short one.", second="This is a much longer one.")
        for one in INSTRUCTIONS
    ]
    judging = ours.judging(ScriptedLM(lambda *_: " yes, (b) no", judge))
    judged = run.fill(judging, pairs)
    aggregation = ours.aggregation(judged)
    labels = run.fill(aggregation, judged)
    done = Chapters(reached="stage4", base=BASE, rules=("ethical",))
    return done.then("salmon1", judged=judging.key, labels=aggregation.key), labels


def reward_modelled(run: Run, ours: SalmonIngredients) -> Chapters:
    """Train the reward model, after all that comes before."""
    done, labels = labelled(run, ours)
    reward = run.train(ours.reward_modelling(BASE, train_reward), labels)
    return done.then("salmon2", reward=reward.made_of)


def reinforced(run: Run, ours: SalmonIngredients, done: Chapters, trainer: Policy) -> Chapters:
    """Train the policy and its control."""
    reward = done.models(run.path)["reward"]
    policies = ours.policies(BASE, reward, trainer, ours.oversight(run.path, lambda _: None))
    trained = {name: run.train(one, INSTRUCTIONS).made_of for name, one in policies.items()}
    return done.then("salmon3", policies=trained)


def whole_run(path: Path) -> Path:
    """Make a run that has everything of SALMON."""
    run, ours = ordered(path)
    done = reinforced(run, ours, reward_modelled(run, ours), Policy(path))
    record_chapters(path, done)
    evaluate(path)
    run.close()
    return path
