"""The report as one page: self-contained, no script, no network, opens from a disk.

    Report  ->  index.html and report.json in RUN/report/

Every text that enters the template passes `printable` and then its escaping, without anybody having
to remember it; the page's policy forbids scripts and every load besides.
"""

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from selfalign.core.disk import unwritable, write_whole
from selfalign.evaluation.statistics import Interval
from selfalign.reports.charts import bar_chart, heat_map, sunburst
from selfalign.reports.contents import Report, gather
from selfalign.reports.curves import Point, line_chart
from selfalign.reports.drawing import SERIES
from selfalign.reports.printable import printable
from selfalign.reports.salmon_page import salmon_view

FOLDER = "report"
MOST_TYPES = 20
"""The paper's figure: adversarial types shown."""


def write_report(run: Path, library: Path | None = None) -> Path:
    """Write a run's report and return where its page is.

    Raises:
        InputError: the folder is no run.
        UnwritableError: the report cannot be written.
    """
    report = gather(run, library)
    folder = run / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    write_whole(folder / "report.json", report)
    write_whole(folder / "index.html", render(report))
    return folder / "index.html"


def render(report: Report) -> str:
    """Return the page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    kinds = list(report.effect[0].result.kinds) if report.effect else []
    return environment.get_template("page.html.j2").render(
        report=report,
        kinds=kinds,
        series=SERIES,
        rate=rate_cell,
        two=two_digits,
        charts=charts_of(report),
        salmon=report.salmon,
        view=salmon_view(report.salmon) if report.salmon else None,
    )


def _shown(value: object) -> object:
    """Make every text that enters the page printable; what we drew ourselves already is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def charts_of(report: Report) -> Mapping[str, Markup | dict[str, Markup]]:
    """Draw every chart of the page."""
    types = dict(list(report.rules.by_type.items())[:MOST_TYPES])
    bars = {**report.lengths.self_aligned, **report.lengths.verbose}
    return {
        "verbs": sunburst(report.verbs, "instructions"),
        "rules_by_origin": bar_chart(report.rules.by_origin, "citations"),
        "rules_by_type": heat_map(types, report.rules.rules, "citations"),
        "lengths": bar_chart(
            {
                f"from {low} words": {
                    "self-aligned": report.lengths.self_aligned.get(low, 0),
                    "verbose": report.lengths.verbose.get(low, 0),
                }
                for low in bars
            },
            "answers",
        ),
        "losses": {
            name: line_chart(
                {"loss": [Point(step, loss) for step, loss in training.curve]}, "step", "nats"
            )
            for name, training in report.trainings.items()
        },
    }


def two_digits(value: float) -> str:
    """Return a number with two digits; what is nearly nothing has no sign."""
    return f"{round(value, 2) + 0.0:.2f}"


def rate_cell(interval: Interval | None) -> Markup:
    """Return a table cell with a rate, its interval and a bar."""
    if interval is None:
        return Markup("<td>–</td>")
    rate, low, high = (f"{100 * v:.0f}" for v in (interval.rate, interval.low, interval.high))
    return Markup(
        '<td class="rate"><b>{}&#8201;%</b><span>{}–{}</span>'
        '<span class="track"><i style="width:{}%"></i></span></td>'
    ).format(*map(escape, (rate, low, high, rate)))
