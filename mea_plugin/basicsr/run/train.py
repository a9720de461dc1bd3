"""Training a surrogate, or a victim, with BasicSR's own loop; also on a CPU, with safe and checked options."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import mea_plugin.basicsr  # noqa: F401 - registers
from mea_plugin.basicsr.run.loop import train
from mea_plugin.basicsr.run.options import parse_options
from mea_plugin.core.cli import run_tool
from mea_plugin.core.launch import leave_process_group
from mea_plugin.toolboxes import basicsr_compat as compat
from mea_plugin.toolboxes.command_lines import basicsr_parser

__all__ = ['main']


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says."""
    root = basicsr_parser().parse_args(argv).root
    with compat.quiet():
        opt, args = parse_options(root, argv=argv)
        opt['root_path'] = root
        train(opt, args.option_text)
    leave_process_group()


if __name__ == '__main__':
    sys.exit(run_tool(main))
