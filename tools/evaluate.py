#!/usr/bin/env python
"""Measure surrogates against their victim and all of them against the ground truth: JSON, Markdown table, picture."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

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

    from mea_plugin.core.options import load_options  # --help needs no package
    from mea_plugin.evaluation import evaluate_from_options
    from mea_plugin.evaluation.options import EvaluateFile
    from mea_plugin.study.data_root import place_data

    options = load_options(args.opt)
    if args.data:
        options['test_sets'] = place_data(options.get('test_sets'), args.data)
    file = EvaluateFile.parse_document(options, str(args.opt))
    output = args.output or file.output or Path('results') / file.name
    command = ['python', 'tools/evaluate.py', *map(str, sys.argv[1:] if argv is None else argv)]
    evaluation = evaluate_from_options(options, output, where=str(args.opt), command=command)
    print(evaluation.table)
    paths = evaluation.paths
    for path in (paths.json, paths.markdown, paths.panel):
        print(path)


if __name__ == '__main__':
    sys.exit(run_tool(main))
