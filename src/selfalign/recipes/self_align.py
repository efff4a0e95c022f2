"""SELF-ALIGN end to end: the paper's overview figure as code, one line per stage.

Paper: arXiv:2305.03047v2, "Our Method: SELF-ALIGN".

    base model
      -> 1 instructions it writes itself -> 2 answers under the principles
      -> 3 engraved: trained on them without the principles
      -> 4 long answers of the engraved model -> final: the base model trained on those

Difference from the paper: between the stages nothing has to be copied, shuffled or joined by hand;
run the same line again and it continues, with more instructions it asks only for the new ones.
"""

from collections.abc import Iterator, Sequence

from selfalign.core.protocols import LanguageModel
from selfalign.core.records import Instruction
from selfalign.core.store import Run
from selfalign.recipes.chapters import Chapters
from selfalign.recipes.ingredients import Ingredients
from selfalign.recipes.machines import Machines
from selfalign.self_align.asking import Pool
from selfalign.self_align.stage1_self_instruct import grow_pool
from selfalign.self_align.stage1_topic_guided_red_teaming import (
    RedTeamingSelection,
    draw_hints,
    solved_hints,
)
from selfalign.self_align.stage1_topics import brainstorm


def self_align(kit: Ingredients, run: Run, machines: Machines) -> Iterator[Chapters]:
    """Run the four stages; after each, yield what the run holds so far.

    Whoever iterates decides where to stop; iterating again continues from what was finished.
    """
    plan, checkpoint = kit.plan, machines.identify(kit.plan.base)
    base = machines.open(plan.base)
    done = Chapters(base=checkpoint, rules=kit.constitution.names, reached="stage1")

    drafted = drafted_instructions(kit, run, base)
    merging = kit.merge(drafted)
    instructions = limited(run.fill(merging, drafted), plan.limit)
    yield (done := done.then("stage1", instructions=merging.key))

    alignment = kit.self_alignment(base)
    aligned = run.fill(alignment, instructions)
    yield (done := done.then("stage2", aligned=alignment.key))

    examples = kit.engraving_examples(aligned)
    engraved = run.train(kit.engraving(checkpoint, machines.trainer), examples)
    yield (done := done.then("stage3", engraved=engraved.made_of))

    cloning = kit.verbose_cloning(machines.open(engraved))
    verbose = run.fill(cloning, kit.asked_at_length(instructions))
    examples = kit.final_examples(verbose)
    final = run.train(kit.final_training(checkpoint, machines.trainer), examples)
    yield done.then("stage4", verbose=cloning.key, final=final.made_of)


def drafted_instructions(kit: Ingredients, run: Run, base: LanguageModel) -> list[Instruction]:
    """Stage 1: self-instruct and topic-guided red-teaming, not yet united."""
    return [*instructions_by_growth(kit, run, base), *instructions_by_topic(kit, run, base)]


def limited(instructions: Sequence[Instruction], limit: int | None) -> list[Instruction]:
    """Put instructions in the order of their ids and keep the first ones; None: all."""
    return sorted(instructions, key=lambda instruction: instruction.id)[:limit]


def instructions_by_growth(kit: Ingredients, run: Run, base: LanguageModel) -> list[Instruction]:
    """Stage 1, first half: the pool of tasks grows round by round."""
    stage1 = kit.plan.stage1
    tasks = grow_pool(
        run, kit.self_instruct(base), filters=stage1.task_filters, growth=stage1.growth
    )
    return [task.as_instruction() for task in tasks]


def instructions_by_topic(kit: Ingredients, run: Run, base: LanguageModel) -> list[Instruction]:
    """Stage 1, second half: topics for each adversarial type, an instruction for each topic."""
    plan = kit.plan
    topics = brainstorm(
        run, kit.topics(base), rounds=plan.stage1.topic_rounds, filters=plan.stage1.topic_filters
    )
    solved = solved_hints(kit.library.question_types())
    requests = draw_hints(topics, solved, plan.stage1.red_teaming, plan.seed)
    drafts = run.fill(kit.red_teaming(base), requests)
    selection = RedTeamingSelection(
        Pool(tuple(requests)), Pool(tuple(drafts)), plan.stage1.red_teaming.line
    )
    return run.fill(selection, drafts)
