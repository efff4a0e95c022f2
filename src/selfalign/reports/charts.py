"""The report's charts as inline SVG: no script, no network, readable in light and dark.

    numbers  ->  SVG text to put into a page

Colours are CSS classes of `page.html.j2` (`.s0` to `.s5`), so charts follow the page's theme. Every
mark carries a `<title>`, which browsers show on hover. Text goes through an XML writer, so no
label can break out of the picture.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree as Xml

from markupsafe import Markup

from selfalign.reports.printable import one_line

SERIES = 6
"""How many colour classes the page defines; more series than that repeat colours."""


class Point(NamedTuple):
    """One measurement of a line chart."""

    x: float
    y: float


class Branch(NamedTuple):
    """A slice of the inner ring of a sunburst and what lies outside it."""

    label: str
    size: int
    twigs: tuple[tuple[str, int], ...]


def line_chart(series: Mapping[str, Sequence[Point]], x_label: str, y_label: str) -> Markup:
    """Draw named lines over common axes; a series without points is left out."""
    drawn = {name: points for name, points in series.items() if points}
    svg = _canvas(640, 260, f"{y_label} over {x_label}")
    if not drawn:
        return _text_only(svg, "nothing was measured")
    every = [p for points in drawn.values() for p in points]
    xs = _Scale(min(p.x for p in every), max(p.x for p in every), 56, 620)
    ys = _Scale(min(0.0, *(p.y for p in every)), max(p.y for p in every), 216, 30)
    _axes(svg, xs, ys, (x_label, y_label))
    for n, (name, points) in enumerate(drawn.items()):
        path = " ".join(f"{xs(p.x):.1f},{ys(p.y):.1f}" for p in points)
        line = Xml.SubElement(svg, "polyline", {"points": path, "class": f"line s{n % SERIES}"})
        Xml.SubElement(line, "title").text = one_line(name)
        _label(svg, 64 + 150 * (n % 4), 12 + 14 * (n // 4), name, f"key s{n % SERIES}")
    return _markup(svg)


def bar_chart(rows: Mapping[str, Mapping[str, int]], unit: str) -> Markup:
    """Draw one group of horizontal bars per row, one bar per series within it."""
    names = list(dict.fromkeys(name for counts in rows.values() for name in counts))
    thick, gap = 12, 8
    group = thick * max(1, len(names)) + gap
    svg = _canvas(640, 30 + group * len(rows), unit)
    most = max((c for counts in rows.values() for c in counts.values()), default=0)
    for n, name in enumerate(names):
        _label(svg, 210 + 140 * n, 12, name, f"key s{n % SERIES}")
    for r, (row, counts) in enumerate(rows.items()):
        top = 24 + group * r
        _label(svg, 200, top + (group - gap) / 2, one_line(row, 30), "end")
        for n, name in enumerate(names):
            value = counts.get(name, 0)
            width = 360 * value / most if most else 0
            y = top + thick * n
            _bar(
                svg, (206, y, width, thick - 2), f"s{n % SERIES}", f"{row}, {name}: {value} {unit}"
            )
            if value:
                _label(svg, 212 + width, y + thick - 3, f"{value:,}", "small")
    return _markup(svg)


def heat_map(rows: Mapping[str, Mapping[str, int]], columns: Sequence[str], unit: str) -> Markup:
    """Draw a table of counts, each cell shaded by its share of its own row."""
    size, left, top = 30, 230, 90
    svg = _canvas(left + size * len(columns) + 70, top + 22 * len(rows) + 8, unit)
    for c, column in enumerate(columns):
        text = _label(svg, 0, 0, one_line(column, 16), "")
        text.set("transform", f"translate({left + size * c + 18},{top - 6}) rotate(-45)")
    for r, (row, counts) in enumerate(rows.items()):
        y, total = top + 22 * r, sum(counts.values())
        _label(svg, left - 6, y + 11, one_line(row, 34), "end")
        for c, column in enumerate(columns):
            count = counts.get(column, 0)
            cell = _bar(
                svg, (left + size * c, y, size - 2, 20), "cell", f"{row}, {column}: {count} {unit}"
            )
            cell.set("fill-opacity", f"{0.04 + 0.9 * (count / total if total else 0):.2f}")
            if count:
                _label(svg, left + size * c + size / 2 - 1, y + 14, str(count), "mid small")
    return _markup(svg)


def sunburst(branches: Sequence[Branch], unit: str) -> Markup:
    """Draw an inner ring of branches and, outside each, its twigs, in proportion to counts."""
    svg = _canvas(640, 460, unit)
    total = sum(b.size for b in branches)
    if not total:
        return _text_only(svg, "nothing was counted")
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
    return _markup(svg)


class _Scale:
    """A straight map from values to pixels."""

    def __init__(self, low: float, high: float, first: float, last: float) -> None:
        self.low, self.high = low, high if high > low else low + 1
        self.first, self.last = first, last

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.first + share * (self.last - self.first)

    def ticks(self, count: int = 5) -> list[float]:
        """Return round values inside the range, about `count` of them."""
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [n * step for n in range(first, last + 1)]


def _canvas(width: int, height: int, title: str) -> Xml.Element:
    svg = Xml.Element("svg", {"viewBox": f"0 0 {width} {height}", "role": "img", "class": "chart"})
    svg.set("style", f"max-width:{width}px")
    Xml.SubElement(svg, "title").text = one_line(title)
    return svg


def _axes(svg: Xml.Element, xs: _Scale, ys: _Scale, labels: tuple[str, str]) -> None:
    for value in ys.ticks():
        y = f"{ys(value):.1f}"
        place = {"x1": str(xs.first), "x2": str(xs.last), "y1": y, "y2": y, "class": "grid"}
        Xml.SubElement(svg, "line", place)
        _label(svg, xs.first - 6, ys(value) + 3, f"{value:.3g}", "end small")
    for value in xs.ticks():
        _label(svg, xs(value), ys.first + 16, f"{value:.4g}", "mid small")
    _label(svg, (xs.first + xs.last) / 2, ys.first + 34, labels[0], "mid")
    _label(svg, 4, 12, labels[1], "small")


def _label(svg: Xml.Element, x: float, y: float, text: str, style: str) -> Xml.Element:
    element = Xml.SubElement(svg, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "class": style})
    element.text = one_line(text, 48)
    return element


def _bar(
    svg: Xml.Element, box: tuple[float, float, float, float], style: str, title: str
) -> Xml.Element:
    x, y, width, height = (f"{v:.1f}" for v in box)
    place = {"x": x, "y": y, "width": width, "height": height, "class": style}
    bar = Xml.SubElement(svg, "rect", place)
    Xml.SubElement(bar, "title").text = one_line(title)
    return bar


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
    label = _label(svg, 0, 0, one_line(text, 14), style)
    label.set("transform", f"translate({x:.1f},{y:.1f}) rotate({angle:.1f}) translate(0,4)")


def _polar(radius: float, turn: float) -> tuple[float, float]:
    angle = 2 * math.pi * turn - math.pi / 2
    return 320 + radius * math.cos(angle), 230 + radius * math.sin(angle)


def _text_only(svg: Xml.Element, text: str) -> Markup:
    svg.set("viewBox", "0 0 640 40")
    _label(svg, 8, 24, text, "")
    return _markup(svg)


def _markup(svg: Xml.Element) -> Markup:
    # Safe: the XML writer has escaped every label and attribute.
    return Markup(Xml.tostring(svg, encoding="unicode"))
