#!/usr/bin/env python
"""Run a grid of extractions and compare methods over it: tables, figures, JSON. Stopped anywhere, it goes on."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mea_plugin.core.cli import ToolParser, run_tool
from mea_plugin.core.errors import RunError


def main(argv: Sequence[str] | None = None) -> None:
    """Check the option file, run what is not finished, write the results and say where they are."""
    parser = ToolParser(description=__doc__)
    parser.add_argument('-opt', type=Path, required=True, metavar='FILE', help='option file, see options/study/')
    parser.add_argument('--data', type=Path, metavar='DIR', help="folder that stands for 'datasets' in the option file")
    parser.add_argument('--output', type=Path, metavar='DIR', help='instead of output and results of the file')
    parser.add_argument(
        '--workers', type=int, metavar='N', help='cells at once (default: one per GPU, else per two cores; 0: per core)'
    )
    parser.add_argument('--threads', type=int, metavar='N', help='of each cell (default: its share of the cores)')
    parser.add_argument('--collect', action='store_true', help='start nothing: results of the cells that are finished')
    parser.add_argument(
        '--reproduce', type=Path, metavar='FILE', help='a published study.json; exit code 1 if this run contradicts it'
    )
    args = parser.parse_args(argv)

    from mea_plugin.study.reading import load_study  # --help needs no package
    from mea_plugin.study.workers import find_places

    stated = _read_stated(args.reproduce) if args.reproduce else None
    study = load_study(args.opt, data=args.data, output=args.output)

    from mea_plugin.study.job import run_study  # after the option file: this takes seconds
    from mea_plugin.study.results import write_results

    run = run_study(study, find_places(args.workers, args.threads), start=not args.collect)
    words = [str(word) for word in (sys.argv[1:] if argv is None else argv)]
    # Collecting has made none of the cells.
    command = ['python', 'tools/study.py', *(word for word in words if word != '--collect')]
    found, table = write_results(run, command)
    print(f'\n{table}\nresults: {study.results}')
    if found['cells']['finished'] < found['cells']['wanted']:
        print(f'{found["cells"]["finished"]} of {found["cells"]["wanted"]} cells are finished')
    if run.failures:
        lines = ''.join(f'\n  {one.id}: {one.reason} See {one.log}' for one in run.failures)
        raise RunError(f'{len(run.failures)} cells failed; the same command tries them again:{lines}')
    if stated is not None:
        _compare(found, stated, args.reproduce)


def _read_stated(path: Path) -> Mapping[str, Any]:
    from mea_plugin.study.reproduce import read_stated

    return read_stated(path)


def _compare(found: Mapping[str, Any], stated: Mapping[str, Any], path: Path) -> None:
    from mea_plugin.evaluation.markup import to_markdown
    from mea_plugin.study.reproduce import reproduction

    table, is_reproduced = reproduction(found, stated)
    print(f'\n{to_markdown(table, width=120)}')
    if not is_reproduced:
        raise RunError(f'a mean lies outside of the interval that {path} states')


if __name__ == '__main__':
    sys.exit(run_tool(main))
