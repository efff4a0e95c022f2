"""Curves over the steps of a training as inline SVG, with uprights where something was changed.

    named points, uprights  ->  SVG text to put into a page

An upright is a vertical line with a number at its head and, where there is room, its text along
it; on hover it says its text in full. Colours repeat after six series, then lines are dashed.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree as Xml

from markupsafe import Markup

from selfalign.reports.drawing import (
    SERIES,
    Scale,
    as_markup,
    draw_axes,
    new_canvas,
    words_only,
    write_label,
)
from selfalign.reports.printable import one_line

KEY_WIDTH, KEY_HEIGHT, KEY_CHARS = 150, 14, 20
"""Ours: room for the name of a series above the plot."""
DOTTED = 12
"""Ours: series of at most so many points have a dot for each, with its value on hover."""
ROOM = 13
"""Ours: pixels to the next upright that text along one needs."""
PIXELS_PER_CHAR, FEWEST_CHARS = 6.2, 24
"""Ours: length of that text along the plot; a plot too low for so many characters has none."""


class Point(NamedTuple):
    """One measurement of a line chart."""

    x: float
    y: float


class Upright(NamedTuple):
    """A vertical line: something was changed or noticed there."""

    x: float
    head: str
    """What is written above it: a number, for a list below the chart."""
    text: str
    kind: str
    """CSS class of its colour: `edit`, `schedule` or `suspected`."""


class Frame(NamedTuple):
    """What a chart's plot covers."""

    width: int = 640
    plot_height: int = 186
    span: tuple[float, float] | None = None
    """What the x axis covers beside the points; None: nothing else."""


WIDE = Frame()
"""As wide as the page's other charts."""


def line_chart(
    series: Mapping[str, Sequence[Point]],
    x_label: str,
    y_label: str,
    *,
    uprights: Sequence[Upright] = (),
    frame: Frame = WIDE,
) -> Markup:
    """Draw named lines over common axes; a series without points is left out.

    The y axis always shows 0. Uprights outside the x axis are left out.
    """
    drawn = {name: points for name, points in series.items() if points}
    columns = max(1, (frame.width - 64) // KEY_WIDTH)
    rows = -(-len(drawn) // columns)
    top = 18 + KEY_HEIGHT * rows + (KEY_HEIGHT if uprights else 0)
    svg = new_canvas(frame.width, top + frame.plot_height + 44, f"{y_label} over {x_label}")
    if not drawn:
        return words_only(svg, "nothing was measured")
    every = [point for points in drawn.values() for point in points]
    ends = [*(frame.span or ()), *(p.x for p in every)]
    low, high = min(ends), max(ends)
    xs = Scale(low, high, 56, frame.width - 20)
    ys = Scale(
        min(0.0, *(p.y for p in every)),
        max(0.0, *(p.y for p in every)),
        top + frame.plot_height,
        top,
    )
    draw_axes(svg, xs, ys, (x_label, y_label))
    _stand(svg, xs, ys, [one for one in uprights if low <= one.x <= high])
    for n, (name, points) in enumerate(drawn.items()):
        style = f"line s{n % SERIES} d{n // SERIES % 3}"
        _line(svg, [Point(xs(p.x), ys(p.y)) for p in points], style, name)
        if len(points) <= DOTTED:
            _dots(svg, points, (xs, ys), f"s{n % SERIES}", f"{name}, {x_label}")
        x, y = 64 + KEY_WIDTH * (n % columns), 26 + KEY_HEIGHT * (n // columns)
        _line(svg, [Point(x, y - 4), Point(x + 14, y - 4)], style, name)
        write_label(svg, x + 18, y, one_line(name, KEY_CHARS), f"key s{n % SERIES}")
    return as_markup(svg)


def _line(svg: Xml.Element, pixels: Sequence[Point], style: str, title: str) -> None:
    path = " ".join(f"{p.x:.1f},{p.y:.1f}" for p in pixels)
    line = Xml.SubElement(svg, "polyline", {"points": path, "class": style})
    Xml.SubElement(line, "title").text = one_line(title)


def _dots(
    svg: Xml.Element, points: Sequence[Point], scales: tuple[Scale, Scale], style: str, where: str
) -> None:
    for point in points:
        x, y = (scale(v) for scale, v in zip(scales, point, strict=True))
        place = {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "2.4", "class": f"dot {style}"}
        dot = Xml.SubElement(svg, "circle", place)
        Xml.SubElement(dot, "title").text = one_line(f"{where} {point.x:g}: {point.y:.4g}")


def _stand(svg: Xml.Element, xs: Scale, ys: Scale, uprights: Sequence[Upright]) -> None:
    ordered = sorted(uprights, key=lambda one: one.x)
    chars = int((ys.first - ys.last) / PIXELS_PER_CHAR)
    for n, one in enumerate(ordered, start=1):
        x = xs(one.x)
        end = xs(ordered[n].x) if n < len(ordered) else xs.last + 4
        place = {
            "x1": f"{x:.1f}",
            "x2": f"{x:.1f}",
            "y1": f"{ys.last:.1f}",
            "y2": f"{ys.first:.1f}",
        }
        line = Xml.SubElement(svg, "line", {**place, "class": f"upright {one.kind}"})
        Xml.SubElement(line, "title").text = one_line(one.text, 200)
        write_label(svg, x, ys.last - 4, one.head, f"mid small {one.kind}")
        if end - x >= ROOM and chars >= FEWEST_CHARS:
            said = write_label(svg, 0, 0, one_line(one.text, chars), f"small {one.kind}")
            said.set("transform", f"translate({x + 3:.1f},{ys.last + 3:.1f}) rotate(90)")
