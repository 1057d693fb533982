"""The command line: words in, words out; it decides nothing.

Commands are imported when they are called, so that ``everloop --help`` is quick.
"""

from everloop.cli.main import main

__all__ = ["main"]
