"""Training a surrogate, or a victim, with BasicSR's own loop; also on a CPU, with safe and checked options."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence

import mea_plugin.basicsr  # noqa: F401 - registers
from mea_plugin.basicsr import compat
from mea_plugin.basicsr.options import make_parser, parse_options
from mea_plugin.cli import run_tool

__all__ = ['main']


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says."""
    root = make_parser().parse_args(argv).root
    compat.run_training(root, functools.partial(parse_options, argv=argv))


if __name__ == '__main__':
    sys.exit(run_tool(main))
