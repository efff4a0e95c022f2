"""SALMON end to end: the paper's overview figure as code, one line per stage.

Paper: arXiv:2310.05910v2, "Our Approach".

    SELF-ALIGN's final model
      -> 1 pairs of its own answers, judged by itself under one principle at a time
      -> 2 labels under a few principles, some negated -> a reward model that reads principles
      -> 3 (a start whose answers differ, if asked for)
         the policy, rewarded under principles that can be edited while it runs

Difference from the paper: the instructions are the run's own (theirs come from public data sets).
"""

from collections.abc import Iterator

from selfalign.core.records import Instruction, SelfAlignedResponse
from selfalign.core.store import Run
from selfalign.recipes.chapters import Chapters, kept
from selfalign.recipes.ingredients import Ingredients
from selfalign.recipes.ingredients_salmon import SalmonIngredients
from selfalign.recipes.machines import Machines
from selfalign.recipes.policy_workers import waiting_policies


def salmon(kit: Ingredients, run: Run, machines: Machines, done: Chapters) -> Iterator[Chapters]:
    """Go on from what SELF-ALIGN left; after each stage, yield what the run holds so far."""
    if kit.plan.salmon is None:
        return
    ours = SalmonIngredients(kit, kit.plan.salmon)
    settings, models = ours.settings.preferences, done.models(run.path)

    instructions = sorted(kept(run.path, done.instructions, Instruction), key=lambda i: i.id)
    sampling = ours.pair_sampling(machines.open(models[settings.sampled_from]))
    pairs = run.fill(sampling, instructions[: settings.limit])
    judging = ours.judging(machines.open(models[settings.judge]))
    judged = run.fill(judging, pairs)
    yield (done := done.then("salmon1", pairs=sampling.key, judged=judging.key))

    aggregation = ours.aggregation(judged)
    labels = run.fill(aggregation, judged)
    base = done.base
    if ours.first_lesson is not None:
        lesson = ours.reward_pretraining(base, machines.reward_trainer)
        base = run.train(lesson, ours.first_lesson.kept)
    modelling = ours.reward_modelling(base, machines.reward_trainer)
    aligned = list(kept(run.path, done.aligned, SelfAlignedResponse))
    reward = run.train(modelling, ours.with_degenerate(labels, aligned, pairs))
    yield (done := done.then("salmon2", labels=aggregation.key, reward=reward.made_of))

    start = models.get(ours.settings.policy.start)
    if start is None:
        examples = ours.varied_examples(aligned, pairs)
        start = run.train(ours.varied_start(done.base, machines.trainer), examples)
        done = done.then("salmon2", varied=start.made_of)
    oversight = ours.oversight(run.path, machines.note, reward)
    policies = ours.policies(start, reward, machines.policy_trainer, oversight)
    if done.instructions is not None:
        waiting = waiting_policies(run.path, policies, instructions, done.instructions)
        machines.train_ahead(waiting, ours.settings.policy.at_once)
    trained = {name: run.train(one, instructions).made_of for name, one in policies.items()}
    direct = ours.direct_preferences(start, aggregation, machines.dpo_trainer)
    if direct is not None:
        trained["policy-dpo"] = run.train(direct, judged).made_of
    yield done.then("salmon3", policies={n: folder for n, folder in trained.items() if folder})
