"""The command line: `fastgd`, or `python -m fastgd`."""

from fastgd.cli.app import main

__all__ = ["main"]
