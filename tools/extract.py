#!/usr/bin/env python
"""Query a victim, train surrogates, evaluate them: from one option file, each step skipped when it is done."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mea_plugin.core.cli import ToolParser, run_tool


def main(argv: Sequence[str] | None = None) -> None:
    """Extract as the option file says; interrupted, the same command goes on."""
    parser = ToolParser(description=__doc__)
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file of an extraction')
    parser.add_argument('--output', metavar='DIR', help='instead of the output that the file names')
    args = parser.parse_args(argv)

    from mea_plugin.extract import extract, load_extraction  # --help needs no package

    command = ['python', 'tools/extract.py', *(sys.argv[1:] if argv is None else argv)]
    result = extract(load_extraction(args.opt, args.output), command=command)
    print()
    print(result.table)
    print(f'table:   {result.table_path}\npicture: {result.picture_path}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
