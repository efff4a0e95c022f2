"""Charts say what the numbers say, and no label can break out of its picture."""

from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfalign.reports.charts import Branch, bar_chart, heat_map, sunburst

HOSTILE = '"><script>alert(1)</script>\x00'


def titles(svg):
    return [e.text for e in Xml.fromstring(svg).iter("title")]


def test_every_bar_says_its_count():
    svg = bar_chart({"candor": {"self_instruct": 3, "red_teaming": 7}}, "responses")
    assert "candor, red_teaming: 7 responses" in titles(svg)


def test_a_longer_bar_means_more():
    svg = bar_chart({"a": {"x": 10}, "b": {"x": 5}}, "things")
    ten, five = (float(r.get("width")) for r in Xml.fromstring(svg).iter("rect"))
    assert ten == pytest.approx(2 * five)


def test_a_cell_is_shaded_by_its_share_of_the_row():
    svg = heat_map({"type": {"candor": 3, "static": 1}}, ["candor", "static"], "thoughts")
    dark, light = (float(r.get("fill-opacity")) for r in Xml.fromstring(svg).iter("rect"))
    assert dark > light


def test_a_sunburst_of_one_branch_is_a_whole_ring():
    svg = sunburst([Branch("write", 4, (("poem", 3), ("story", 1)))], "instructions")
    assert "write → poem: 3 instructions" in titles(svg)
    first = next(Xml.fromstring(svg).iter("path")).get("d").split()
    begin, end = first[0].removeprefix("M"), first[5]
    assert begin != end  # an arc whose ends coincide is not drawn at all


@pytest.mark.parametrize(
    "svg",
    [
        bar_chart({HOSTILE: {HOSTILE: 1}}, HOSTILE),
        heat_map({HOSTILE: {HOSTILE: 1}}, [HOSTILE], HOSTILE),
        sunburst([Branch(HOSTILE, 1, ((HOSTILE, 1),))], HOSTILE),
    ],
    ids=["bars", "heat map", "sunburst"],
)
def test_a_hostile_label_stays_text(svg):
    assert "<script" not in svg
    assert "\x00" not in svg
    Xml.fromstring(svg)


@given(st.dictionaries(st.text(), st.dictionaries(st.text(), st.integers(0, 9)), max_size=4))
def test_any_counts_under_any_labels_are_well_formed(rows):
    Xml.fromstring(bar_chart(rows, "n"))
    Xml.fromstring(heat_map(rows, sorted({c for r in rows.values() for c in r}), "n"))
