"""`python -m selfalign.cli`: the command, where its script is not on the path."""

from selfalign.cli.app import main

main()
