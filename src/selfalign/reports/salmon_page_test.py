"""The SALMON part of the page shows the numbers of the files, and no text in it can act."""

from html.parser import HTMLParser

import pytest

from selfalign.reports.contents import gather
from selfalign.reports.page import two_digits, write_report
from selfalign.reports.salmon_kit_test import EDITED_AT, HOSTILE, whole_run
from selfalign.reports.salmon_page import following_rows, numbered, uprights

SECTIONS = ("labels", "reward-model", "policy", "controls")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return whole_run(tmp_path_factory.mktemp("salmon") / "run")


@pytest.fixture(scope="module")
def page(run):
    return write_report(run).read_text("utf-8")


class Seen(HTMLParser):
    """Collects the tags, attributes and text a browser would see."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.ids, self.text = set(), set(), set(), ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids |= {value for name, value in attrs if name == "id"}

    def handle_data(self, data):
        self.text += " ".join(data.split()) + " "


def test_every_part_has_its_section_and_its_link(page):
    assert Seen(page).ids >= set(SECTIONS)
    assert all(f'href="#{name}"' in page for name in SECTIONS)


def test_nothing_a_policy_an_editor_or_a_judge_s_name_says_can_act(page):
    seen = Seen(page)
    assert not seen.tags & {"script", "img", "iframe", "link", "object"}
    assert not any(name.startswith("on") for name in seen.attributes)
    assert "\x1b" not in page
    assert "\u202e" not in page
    for place in ("Thing 0 at step", 'always "Be brief.', 'live 1: "Be brief.', "judge: </title>"):
        assert place in seen.text
    assert seen.text.count("alert('x')") > 10


def test_the_page_with_curves_still_loads_nothing(page):
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")


def test_live_edits_stand_on_every_curve_of_the_policy_and_on_none_of_a_control(run, page):
    own, _ = gather(run).salmon.policies
    assert page.count('class="upright edit"') == len(own.curves) + len(own.optimiser)
    assert page.count('class="upright schedule"') == len(own.curves) + len(own.optimiser)


def test_numbers_of_the_files_are_on_the_page(run, page):
    text = Seen(page).text
    salmon = gather(run).salmon
    assert f"{salmon.labels.counts.labels} labels of 24 judged pairs" in text
    assert "87.5 % after; where the chosen text is the longer one 90.0 %." in text
    assert "Suspected: self-praise" in text
    own = salmon.policies[0]
    assert f"{own.gain.in_sds:+.2f} standard deviations" in text
    assert "Keep it short." in text


# ---- rows, marks, numbers


def test_the_table_of_pairs_has_a_row_for_all_a_pair_can_be(run):
    salmon = gather(run).salmon
    rows = following_rows(list(salmon.following.values()))
    assert [(r.group, r.name) for r in rows] == [
        ("", "all pairs"),
        ("wording", "seen"),
        ("wording", "unseen"),
        ("distractors", "with"),
        ("distractors", "without"),
        ("right answer is", "longer"),
        ("right answer is", "shorter"),
        ("principle", "brief"),
        ("principle", HOSTILE),
    ]
    unseen = rows[2].rates[1]
    assert (unseen.accuracy.rate, unseen.flips.rate) == (1, 0)
    assert following_rows([]) == []


def test_a_reader_that_was_asked_about_no_such_pair_has_an_empty_cell(run):
    judge, reward = gather(run).salmon.following.values()
    fewer = judge.model_copy(update={"traits": {"brief": judge.traits["brief"]}})
    assert following_rows([fewer, reward])[-1].rates[0] is None


def test_marks_of_one_step_share_an_upright_and_a_live_edit_gives_the_colour(run):
    own, _ = gather(run).salmon.policies
    here = uprights(numbered(own.marks))
    assert [one.x for one in here] == sorted({m.step for m in own.marks})
    edited = next(one for one in here if one.x == EDITED_AT)
    assert edited.kind == "edit"
    assert edited.head.startswith("2,3")
    assert "live edit: remove detailed" in edited.text


def test_what_is_nearly_nothing_has_no_sign():
    assert [two_digits(v) for v in (-0.001, 0.0, -1.236)] == ["0.00", "0.00", "-1.24"]
