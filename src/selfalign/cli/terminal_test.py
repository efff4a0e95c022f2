"""Progress tells how far, how fast and how long; nothing printed can act on a terminal."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from selfalign.cli.terminal import BarProgress, PlainProgress, funnel_line, say, table
from selfalign.core.funnel import Drops, Funnel

FUNNEL = Funnel(
    stage="self_align.stage2",
    key="self_align.stage2-0123",
    inputs=10,
    kept=7,
    records=7,
    dropped=(Drops(reason="too_short", count=3, examples=()),),
    seconds=61.0,
)


class Clock:
    """Time that a test moves by hand."""

    now = 0.0

    def __call__(self):
        return self.now


def test_one_line_says_what_became_of_a_stage(tmp_path):
    assert funnel_line(FUNNEL, tmp_path) == (
        "self_align.stage2  kept 7 / 10  dropped: too_short 3  1 min 01 s  "
        f"{tmp_path}/self_align.stage2-0123"
    )


def test_without_a_terminal_a_line_comes_every_ten_seconds(tmp_path, capsys):
    clock = Clock()
    progress = PlainProgress(tmp_path, clock)
    progress.start("stage", 100, 20)
    for _ in range(30):
        clock.now += 1
        progress.advance(2)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "stage  80 of 100 to do"
    assert said[1] == "stage  40 / 100  2.0 per s  about 30 s left"
    assert len(said) == 4


def test_a_stage_with_nothing_left_says_only_how_it_ended(tmp_path, capsys):
    progress = PlainProgress(tmp_path)
    progress.start("stage", 10, 10)
    progress.finish(FUNNEL)
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith("self_align.stage2  kept 7 / 10")


def test_a_bar_on_a_terminal_shows_markup_and_escapes_as_text(tmp_path, capsys):
    screen = io.StringIO()
    progress = BarProgress(tmp_path, Console(file=screen, force_terminal=True, width=100))
    progress.start("[red]stage\x07", 10, 0)
    progress.advance(3)
    progress.note("[bold]x[/bold] \x1b]0;title\x07")
    progress.finish(FUNNEL)
    assert "[bold]x[/bold] \\x1b]0;title\\x07" in screen.getvalue()
    assert "[red]stage" in screen.getvalue()
    assert "\x07" not in screen.getvalue()
    assert "kept 7 / 10" in capsys.readouterr().out


def test_what_a_model_says_cannot_act_on_the_terminal(capsys):
    say("\x1b[2J[link=x]here[/link]")
    assert capsys.readouterr().out == "\\x1b[2J[link=x]here[/link]\n"


@given(st.lists(st.tuples(st.text(max_size=80), st.text(max_size=80)), max_size=5))
def test_a_table_has_one_line_per_row_whatever_is_in_it(rows):
    assert len(table(("a", "b"), rows).split("\n")) == len(rows) + 2
