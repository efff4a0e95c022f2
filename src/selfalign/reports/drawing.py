"""The strokes every chart is made of: canvas, scale, axes, labels and bars, as SVG elements.

    values  ->  elements of an SVG picture  ->  Markup that a page can take in as it is

Colours are CSS classes of `page.html.j2` (`.s0` to `.s5`), so charts follow the page's theme. Every
mark carries a `<title>`, which browsers show on hover. Text goes through an XML writer, so no
label can break out of the picture.
"""

import math
from xml.etree import ElementTree as Xml

from markupsafe import Markup

from selfalign.reports.printable import one_line

SERIES = 6
"""How many colour classes the page defines; more series than that repeat colours."""
MOST_CHARS = 48
"""Ours: characters of a label."""


class Scale:
    """A straight map from values to pixels."""

    def __init__(self, low: float, high: float, first: float, last: float) -> None:
        """Map `low` to the pixel `first` and `high` to `last`; a range of nothing is one."""
        size = max(abs(low), abs(high), 1e-100)  # below it, round values cannot be told apart
        self.low, self.high = low, high if high - low > 1e-12 * size else low + max(1.0, size)
        self.first, self.last = first, last

    def __call__(self, value: float) -> float:
        """Return the pixel of a value; values outside the range lie outside the pixels."""
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


def new_canvas(width: int, height: int, title: str) -> Xml.Element:
    """Return an empty picture of so many pixels; it shrinks with the page."""
    svg = Xml.Element("svg", {"viewBox": f"0 0 {width} {height}", "role": "img", "class": "chart"})
    svg.set("style", f"max-width:{width}px")
    Xml.SubElement(svg, "title").text = one_line(title)
    return svg


def draw_axes(svg: Xml.Element, xs: Scale, ys: Scale, labels: tuple[str, str]) -> None:
    """Draw grid, ticks and the two labels; the picture reaches from the first value of `ys` up."""
    for value in ys.ticks():
        y = f"{ys(value):.1f}"
        place = {"x1": str(xs.first), "x2": str(xs.last), "y1": y, "y2": y, "class": "grid"}
        Xml.SubElement(svg, "line", place)
        write_label(svg, xs.first - 6, ys(value) + 3, f"{value:.3g}", "end small")
    for value in xs.ticks():
        write_label(svg, xs(value), ys.first + 16, f"{value:.4g}", "mid small")
    write_label(svg, (xs.first + xs.last) / 2, ys.first + 34, labels[0], "mid")
    write_label(svg, 4, 12, labels[1], "small")


def write_label(svg: Xml.Element, x: float, y: float, text: str, style: str) -> Xml.Element:
    """Write a text, cut to one line; return it, to be turned or styled."""
    element = Xml.SubElement(svg, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "class": style})
    element.text = one_line(text, MOST_CHARS)
    return element


def draw_bar(
    svg: Xml.Element, box: tuple[float, float, float, float], style: str, title: str
) -> Xml.Element:
    """Draw a rectangle (x, y, width, height) that says its title on hover."""
    x, y, width, height = (f"{v:.1f}" for v in box)
    place = {"x": x, "y": y, "width": width, "height": height, "class": style}
    rectangle = Xml.SubElement(svg, "rect", place)
    Xml.SubElement(rectangle, "title").text = one_line(title)
    return rectangle


def words_only(svg: Xml.Element, text: str) -> Markup:
    """Return a picture that has nothing to show but a sentence."""
    svg.set("viewBox", "0 0 640 40")
    write_label(svg, 8, 24, text, "")
    return as_markup(svg)


def as_markup(svg: Xml.Element) -> Markup:
    """Return the picture as text for a page."""
    # Safe: the XML writer has escaped every label and attribute.
    return Markup(Xml.tostring(svg, encoding="unicode"))
