"""`python -m cli` is `basin`."""

from cli.main import main

main()
