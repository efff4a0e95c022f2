"""Floor 5: the command line. Nothing imports it.

app.py          the verbs and their names
outcome.py      exit codes, interrupts and the log of what nobody expected
terminal.py     how it speaks
one module per group of verbs
"""

from selfalign.cli.app import main

__all__ = ["main"]
