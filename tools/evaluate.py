#!/usr/bin/env python
"""Measure surrogates against their victim and all of them against the ground truth: JSON, Markdown table, picture."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mea_plugin.core.cli import ToolParser, run_tool


def main(argv: Sequence[str] | None = None) -> None:
    """Read the option file, evaluate, print the table and where the results are."""
    parser = ToolParser(description=__doc__)
    parser.add_argument('-opt', type=Path, required=True, metavar='FILE', help='option file, see options/evaluate/')
    parser.add_argument(
        '--data', type=Path, metavar='DIR', help="folder that stands for 'datasets' in the test sets' folders"
    )
    parser.add_argument('--output', type=Path, metavar='DIR', help='folder of the results (default: results/NAME)')
    args = parser.parse_args(argv)

    from mea_plugin.core.options import load_options, require  # --help needs no package
    from mea_plugin.evaluation import evaluate_from_options

    options = load_options(args.opt)
    if args.data:
        _place_data(options, args.data)
    name = str(require(options, 'name', str(args.opt)))
    output = args.output or Path(options.get('output') or Path('results') / name)
    command = ['python', 'tools/evaluate.py', *map(str, sys.argv[1:] if argv is None else argv)]
    evaluation = evaluate_from_options(options, output, where=str(args.opt), command=command)
    print(evaluation.table)
    paths = evaluation.paths
    for path in (paths.json, paths.markdown, paths.panel):
        print(path)


def _place_data(options: dict[str, Any], folder: Path) -> None:
    """Read the test sets' folders below ``datasets`` from another one."""
    sets = options.get('test_sets')
    for one in sets if isinstance(sets, list) else []:
        for key in ('lq', 'gt', 'target') if isinstance(one, dict) else ():
            parts = Path(str(one.get(key))).parts
            if parts[0] == 'datasets':
                one[key] = str(folder.joinpath(*parts[1:]))


if __name__ == '__main__':
    sys.exit(run_tool(main))
