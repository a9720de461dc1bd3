#!/usr/bin/env python
"""Train a surrogate with MMagic: its own arguments, on GPU or CPU."""

import sys
from collections.abc import Sequence

from mea_plugin.core.cli import run_tool
from mea_plugin.toolboxes.command_lines import mmagic_parser


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says."""
    mmagic_parser().parse_args(argv)  # --help, and what is mistyped, before the toolbox is imported

    from mea_plugin.mmagic.run.train import main as train  # takes seconds, in which Ctrl-C may come, too

    train(argv)


if __name__ == '__main__':
    sys.exit(run_tool(main))
