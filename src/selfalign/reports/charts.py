"""The report's charts of counts as inline SVG: no script, no network, readable in light and dark.

    numbers  ->  SVG text to put into a page

What changes over time is drawn by `curves.py`; both are made of the strokes in `drawing.py`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree as Xml

from markupsafe import Markup

from selfalign.reports.drawing import (
    SERIES,
    as_markup,
    draw_bar,
    new_canvas,
    words_only,
    write_label,
)
from selfalign.reports.printable import one_line


class Branch(NamedTuple):
    """A slice of the inner ring of a sunburst and what lies outside it."""

    label: str
    size: int
    twigs: tuple[tuple[str, int], ...]


def bar_chart(rows: Mapping[str, Mapping[str, int]], unit: str) -> Markup:
    """Draw one group of horizontal bars per row, one bar per series within it."""
    names = list(dict.fromkeys(name for counts in rows.values() for name in counts))
    thick, gap = 12, 8
    group = thick * max(1, len(names)) + gap
    svg = new_canvas(640, 30 + group * len(rows), unit)
    most = max((c for counts in rows.values() for c in counts.values()), default=0)
    for n, name in enumerate(names):
        write_label(svg, 210 + 140 * n, 12, name, f"key s{n % SERIES}")
    for r, (row, counts) in enumerate(rows.items()):
        top = 24 + group * r
        write_label(svg, 200, top + (group - gap) / 2, one_line(row, 30), "end")
        for n, name in enumerate(names):
            value = counts.get(name, 0)
            width = 360 * value / most if most else 0
            y = top + thick * n
            draw_bar(
                svg, (206, y, width, thick - 2), f"s{n % SERIES}", f"{row}, {name}: {value} {unit}"
            )
            if value:
                write_label(svg, 212 + width, y + thick - 3, f"{value:,}", "small")
    return as_markup(svg)


def heat_map(rows: Mapping[str, Mapping[str, int]], columns: Sequence[str], unit: str) -> Markup:
    """Draw a table of counts, each cell shaded by its share of its own row."""
    size, left, top = 30, 230, 90
    svg = new_canvas(left + size * len(columns) + 70, top + 22 * len(rows) + 8, unit)
    for c, column in enumerate(columns):
        text = write_label(svg, 0, 0, one_line(column, 16), "")
        text.set("transform", f"translate({left + size * c + 18},{top - 6}) rotate(-45)")
    for r, (row, counts) in enumerate(rows.items()):
        y, total = top + 22 * r, sum(counts.values())
        write_label(svg, left - 6, y + 11, one_line(row, 34), "end")
        for c, column in enumerate(columns):
            count = counts.get(column, 0)
            cell = draw_bar(
                svg, (left + size * c, y, size - 2, 20), "cell", f"{row}, {column}: {count} {unit}"
            )
            cell.set("fill-opacity", f"{0.04 + 0.9 * (count / total if total else 0):.2f}")
            if count:
                write_label(svg, left + size * c + size / 2 - 1, y + 14, str(count), "mid small")
    return as_markup(svg)


def sunburst(branches: Sequence[Branch], unit: str) -> Markup:
    """Draw an inner ring of branches and, outside each, its twigs, in proportion to counts."""
    svg = new_canvas(640, 460, unit)
    total = sum(b.size for b in branches)
    if not total:
        return words_only(svg, "nothing was counted")
    start = 0.0
    for n, branch in enumerate(branches):
        sweep = branch.size / total
        colour = f"s{n % SERIES}"
        _slice(svg, (70, 130), (start, sweep), colour, f"{branch.label}: {branch.size} {unit}")
        _radial(svg, (100, start + sweep / 2), branch.label, sweep, "mid small on")
        at = start
        for label, count in branch.twigs:
            part = sweep * count / branch.size
            title = f"{branch.label} → {label}: {count} {unit}"
            _slice(svg, (132, 210), (at, part), f"{colour} pale", title)
            _radial(svg, (171, at + part / 2), label, part, "mid small")
            at += part
        start += sweep
    return as_markup(svg)


def _slice(
    svg: Xml.Element,
    radii: tuple[float, float],
    turn: tuple[float, float],
    style: str,
    title: str,
) -> None:
    """Draw a ring segment; `turn` is start and width as shares of the full circle."""
    (inner, outer), (start, width) = radii, turn
    end = start + min(width, 0.9999)  # an arc of exactly one turn has no end point of its own
    large = int(end - start > 0.5)
    (x1, y1), (x2, y2) = _polar(outer, start), _polar(outer, end)
    (x3, y3), (x4, y4) = _polar(inner, end), _polar(inner, start)
    d = (
        f"M{x1:.3f},{y1:.3f} A{outer},{outer} 0 {large} 1 {x2:.3f},{y2:.3f} "
        f"L{x3:.3f},{y3:.3f} A{inner},{inner} 0 {large} 0 {x4:.3f},{y4:.3f} Z"
    )
    path = Xml.SubElement(svg, "path", {"d": d, "class": f"slice {style}"})
    Xml.SubElement(path, "title").text = one_line(title)


def _radial(
    svg: Xml.Element, place: tuple[float, float], text: str, share: float, style: str
) -> None:
    """Write along the radius; `place` is radius and turn, `share` the room there is of a turn."""
    radius, at = place
    if 2 * math.pi * radius * share < 11:
        return  # no room: the slice keeps its title
    x, y = _polar(radius, at)
    angle = at * 360 - 90
    if at > 0.5:
        angle += 180
    label = write_label(svg, 0, 0, one_line(text, 14), style)
    label.set("transform", f"translate({x:.1f},{y:.1f}) rotate({angle:.1f}) translate(0,4)")


def _polar(radius: float, turn: float) -> tuple[float, float]:
    angle = 2 * math.pi * turn - math.pi / 2
    return 320 + radius * math.cos(angle), 230 + radius * math.sin(angle)
