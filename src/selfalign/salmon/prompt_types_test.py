"""What kind of request an instruction is."""

import pytest

from selfalign.core.library import open_library
from selfalign.core.records import Instruction
from selfalign.salmon.prompt_types import PromptTypes, prompt_type


def asked(question_type=None, origin="red_teaming"):
    return Instruction(text="?", origin=origin, question_type=question_type)


@pytest.mark.parametrize(
    ("question_type", "kind"),
    [
        ("harmful acts", "red_teaming"),
        ("requests that  break the law", "red_teaming"),
        ("Questions that require mathematical skill", "reasoning"),
        ("Questions that require multi-step reasoning", "reasoning"),
        ("Questions that require legal expertise", "general"),
        (None, "general"),
    ],
)
def test_the_question_type_tells(question_type, kind):
    assert prompt_type(asked(question_type), PromptTypes()) == kind


def test_what_a_static_model_gets_wrong_is_not_harmful_for_that():
    kinds = {prompt_type(asked(one.name), PromptTypes()) for one in open_library().question_types()}
    assert kinds == {"general"}


def test_calfs_harmful_types_are_red_teaming():
    types = open_library("pocket").question_types()
    red = [t.name for t in types if prompt_type(asked(t.name), PromptTypes()) == "red_teaming"]
    assert red == ["requests that break the law", "harmful acts"]


def test_settings_come_before_words_and_types_before_origins():
    types = PromptTypes(
        question_types={"Harmful Acts": "general"}, origins={"red_teaming": "reasoning"}
    )
    assert prompt_type(asked("harmful acts"), types) == "general"
    assert prompt_type(asked("other harm"), types) == "reasoning"
    assert prompt_type(asked("other harm", "user"), types) == "red_teaming"
    assert prompt_type(asked(None, "user"), types) == "general"
