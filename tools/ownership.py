#!/usr/bin/env python
"""Test whether suspect networks were trained on a victim's watermarked answers. A p-value each, from queries alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mea_plugin.core.cli import ToolParser, run_tool


def main(argv: Sequence[str] | None = None) -> None:
    """Read the option file, ask, print the table and where the result is."""
    parser = ToolParser(description=__doc__)
    parser.add_argument('-opt', type=Path, required=True, metavar='FILE', help='option file, see options/ownership/')
    parser.add_argument('--output', type=Path, metavar='DIR', help='folder of the results (default: results/NAME)')
    args = parser.parse_args(argv)

    from mea_plugin.core.options import load_options, require  # --help needs no package
    from mea_plugin.ownership.job import ownership_from_options

    options = load_options(args.opt)
    name = str(require(options, 'name', str(args.opt)))
    output = args.output or Path(options.get('output') or Path('results') / name)
    command = ['python', 'tools/ownership.py', *(sys.argv[1:] if argv is None else argv)]
    done = ownership_from_options(options, output, where=str(args.opt), command=command)
    print(done.table)
    print(done.json)


if __name__ == '__main__':
    sys.exit(run_tool(main))
