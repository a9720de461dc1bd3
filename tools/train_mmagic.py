#!/usr/bin/env python
"""Train a surrogate with MMagic: its own arguments, on GPU or CPU."""

import sys
from collections.abc import Sequence

from mea_plugin.core.cli import run_tool


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says."""
    from mea_plugin.mmagic.run.train import main as train  # takes seconds, in which Ctrl-C may come, too

    train(argv)


if __name__ == '__main__':
    sys.exit(run_tool(main))
