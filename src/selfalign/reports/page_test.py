"""The page says what the numbers say, and nothing a model wrote can act in it."""

import re
from html.parser import HTMLParser

import pytest

from selfalign.core.funnel import DropExample, Drops, Funnel
from selfalign.core.protocols import FineTuning
from selfalign.evaluation.exam_result import Row, rate_of, summarise
from selfalign.reports.contents import (
    Effect,
    LedgerLine,
    Report,
    lengths,
    samples,
)
from selfalign.reports.page import render
from selfalign.reports.principles import rule_usage
from selfalign.trainers.account import TrainingReport

HOSTILE = "<script>alert('x')</script>\x1b[31m<img src=//evil onerror=1>"


def report(text=HOSTILE):
    rows = [
        Row(kind="harmful", question=f"{text} {n}?", answer=text, right=n == 0, label=text)
        for n in range(4)
    ]
    result = summarise("calf", "base", 1, rows)
    funnel = Funnel(
        stage="self_align.stage2",
        key=text,
        inputs=3,
        kept=1,
        records=1,
        dropped=(
            Drops(
                reason=text, count=2, examples=(DropExample(source="s", input=text, detail=text),)
            ),
        ),
    )
    training = TrainingReport(
        base=text,
        recipe=FineTuning(),
        examples=5,
        held_out=1,
        truncated=0,
        dropped=0,
        tokens=9,
        trained_tokens=4,
        packed=True,
        steps=2,
        seconds=1.0,
        resumed_at=0,
        held_out_loss_before=2.0,
        held_out_loss_after=1.0,
        curve=[(1, 2.0), (2, 1.5)],
    )
    return Report(
        title=text,
        subtitle=text,
        effect=(Effect(condition="bare base", result=result, total=rate_of(rows)),),
        samples=tuple(samples([("bare base", result)])),
        funnels=(funnel,),
        verbs=(),
        verbs_read=0,
        verbs_of=0,
        rules=rule_usage((text, "candor"), []),
        lengths=lengths(["one two"], ["one two three"] * 2),
        trainings={text: training},
        ledger=(LedgerLine(kind=text, count=1, text_lines=2, file=text, counted=True),),
        facts={text: text},
        plan=text,
        salmon=None,
    )


class Tags(HTMLParser):
    """Collects the tags and attributes a browser would see."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_no_text_of_a_model_becomes_a_tag_or_an_attribute():
    seen = Tags(render(report()))
    assert not seen.tags & {"script", "img", "iframe", "link", "object"}
    assert not any(name.startswith("on") for name in seen.attributes)


def test_control_characters_are_shown_and_not_obeyed():
    page = render(report())
    assert "\x1b" not in page
    assert "\\x1b[31m" in page


def test_the_page_loads_nothing_from_anywhere():
    page = render(report("plain"))
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)


def test_rates_stand_with_their_intervals():
    page = render(report("plain"))
    assert re.search(r"<b>25&#8201;%</b><span>5–70</span>", page)


def test_an_example_of_each_reason_is_on_the_page():
    assert "too_short 2" in render(report("too_short"))


def test_a_run_that_reached_nothing_yet_still_has_a_page():
    empty = report("x").model_copy(
        update={"effect": (), "samples": (), "funnels": (), "trainings": {}}
    )
    assert "Nothing was evaluated" in render(empty)


@pytest.mark.parametrize(("words", "bar"), [(0, "0"), (9, "0"), (10, "10"), (25, "20")])
def test_an_answer_is_counted_in_the_bar_of_its_length(words, bar):
    assert lengths(["w " * words], []).self_aligned[bar] == 1


def test_samples_put_the_same_question_side_by_side():
    rows = [Row(kind="k", question=f"q{n}", answer="a", right=True, label="r") for n in range(5)]
    pairs = [(name, summarise("calf", name, 1, rows)) for name in ("one", "two")]
    shown = list(samples(pairs))
    assert [s.question for s in shown] == ["q0", "q1"]
    assert [a.condition for a in shown[0].answers] == ["one", "two"]
