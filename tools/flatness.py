#!/usr/bin/env python
"""Measure how flat the minima of trained surrogates are: sharpness, Hessian, loss landscape. JSON, table, picture."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mea_plugin.core.cli import ToolParser, run_tool


def main(argv: Sequence[str] | None = None) -> None:
    """Read the option file, measure, print the table and where the results are."""
    parser = ToolParser(description=__doc__)
    parser.add_argument('-opt', type=Path, required=True, metavar='FILE', help='option file, see options/flatness/')
    parser.add_argument('--output', type=Path, metavar='DIR', help='folder of the results (default: results/NAME)')
    args = parser.parse_args(argv)

    from mea_plugin.core.options import load_options, require  # --help needs no package
    from mea_plugin.flatness import flatness_from_options

    options = load_options(args.opt)
    name = str(require(options, 'name', str(args.opt)))
    output = args.output or Path(options.get('output') or Path('results') / name)
    command = ['python', 'tools/flatness.py', *(sys.argv[1:] if argv is None else argv)]
    done = flatness_from_options(options, output, where=str(args.opt), command=command)
    print(done.table)
    print(f'{done.json}\n{done.picture}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
