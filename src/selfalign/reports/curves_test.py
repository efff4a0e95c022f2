"""A curve shows what was measured, an upright what was changed, and neither lets a text act."""

from itertools import pairwise
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from selfalign.reports.curves import Frame, Point, Upright, line_chart

HOSTILE = '"><script>alert(1)</script>\x00'
FLAT = [Point(0, 1), Point(10, 2)]


def elements(svg, tag, style=""):
    return [e for e in Xml.fromstring(svg).iter(tag) if style in (e.get("class") or "")]


def upright(x, text="a change", head="1", kind="edit"):
    return Upright(x, head, text, kind)


@pytest.mark.parametrize("points", [[], [Point(1, 2)], [Point(1, 2), Point(1, 2)]])
def test_a_line_of_few_points_is_still_a_picture(points):
    svg = line_chart({"loss": points}, "step", "nats")
    assert Xml.fromstring(svg).tag.endswith("svg")
    assert "nan" not in svg.lower()


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_axes_are_marked_at_a_few_round_values_inside(low, width):
    svg = line_chart({"loss": [Point(low, 1), Point(low + width, 2)]}, "step", "nats")
    grid = elements(svg, "line", "grid")
    marks = [e for e in Xml.fromstring(svg).iter("text") if e.get("class") == "mid small"]
    assert 2 <= len(grid) <= 8
    assert 1 <= len(marks) <= 8
    assert all(55 <= float(mark.get("x")) <= 621 for mark in marks)


@example([0.0, 5e-324])
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30))
def test_higher_values_are_drawn_higher_and_nothing_leaves_the_plot(values):
    svg = line_chart({"v": [Point(n, v) for n, v in enumerate(values)]}, "step", "v")
    drawn = elements(svg, "polyline")[0].get("points").split()
    ys = [float(pair.split(",")[1]) for pair in drawn]
    height = float(Xml.fromstring(svg).get("viewBox").split()[3])
    assert all(0 <= y <= height - 44 + 0.1 for y in ys)
    for (a, one), (b, other) in pairwise(zip(values, ys, strict=True)):
        assert (one >= other) if a <= b else (one <= other)


def test_an_upright_stands_where_its_step_is_and_says_its_text_in_full():
    text = "always " + "be brief " * 9
    svg = line_chart({"reward": FLAT}, "step", "reward", uprights=[upright(5, text)])
    (line,) = elements(svg, "line", "upright")
    assert float(line.get("x1")) == float(line.get("x2")) == pytest.approx((56 + 620) / 2)
    assert line.find("title").text == text.strip()
    along = [e for e in elements(svg, "text", "edit") if e.get("transform")]
    assert along[0].text == text[:29].rstrip() + "…"


def test_text_along_an_upright_needs_room_beside_and_below():
    near = [upright(5), upright(5.1), upright(9)]
    svg = line_chart({"reward": FLAT}, "step", "reward", uprights=near)
    assert sum(bool(e.get("transform")) for e in elements(svg, "text", "edit")) == 2
    low = Frame(plot_height=100)
    svg = line_chart({"reward": FLAT}, "step", "reward", uprights=near, frame=low)
    assert not any(e.get("transform") for e in elements(svg, "text", "edit"))
    assert len(elements(svg, "line", "upright")) == 3


def test_an_upright_outside_the_axis_is_left_out_and_the_axis_can_be_widened():
    late = [upright(12)]
    assert not elements(line_chart({"r": FLAT}, "s", "r", uprights=late), "line", "upright")
    wide = line_chart({"r": FLAT}, "s", "r", uprights=late, frame=Frame(span=(0, 20)))
    assert elements(wide, "line", "upright")


def test_no_two_of_eighteen_series_look_the_same():
    svg = line_chart({f"p{n}": FLAT for n in range(18)}, "step", "score")
    styles = [e.get("class") for e in elements(svg, "polyline")]
    assert len(set(styles)) == 18
    tops = [float(e.get("y")) for e in elements(svg, "text", "key")]
    lowest = max(float(e.get("y2")) for e in elements(svg, "line", "grid"))
    highest = min(float(e.get("y2")) for e in elements(svg, "line", "grid"))
    assert max(tops) < highest < lowest


def test_few_points_say_their_values_and_many_do_not():
    few = line_chart({"score": FLAT}, "step", "score")
    titles = [e.text for e in Xml.fromstring(few).iter("title")]
    assert "score, step 10: 2" in titles
    many = line_chart({"score": [Point(n, n) for n in range(50)]}, "step", "score")
    assert not elements(many, "circle")


def test_a_hostile_text_in_an_upright_stays_text():
    svg = line_chart(
        {HOSTILE: FLAT}, HOSTILE, HOSTILE, uprights=[upright(5, HOSTILE, HOSTILE, "edit")]
    )
    assert "<script" not in svg
    assert "\x00" not in svg
    assert not elements(svg, "script")


def test_points_beyond_the_axis_that_was_asked_for_widen_it():
    svg = line_chart({"r": FLAT}, "s", "r", frame=Frame(span=(0, 5)))
    (line,) = elements(svg, "polyline", "line s0 d0")[:1]
    assert max(float(pair.split(",")[0]) for pair in line.get("points").split()) == 620
