#!/usr/bin/env python
"""Make one HTML file out of results: tables, an image browser, curves, and how to reproduce them. It needs no network.

RESULTS are folders of evaluations, extractions and flatness measurements, in any number and mixture.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mea_plugin.core.cli import ToolParser, run_tool
from mea_plugin.core.errors import InputError
from mea_plugin.report.defaults import IMAGES, PRICE


def main(argv: Sequence[str] | None = None) -> None:
    """Make the report and say where it is and how large."""
    parser = ToolParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('results', nargs='+', metavar='RESULTS', help='evaluation.json, flatness.json or their folder')
    parser.add_argument('--output', type=Path, default=Path('report.html'), metavar='FILE', help='default: %(default)s')
    parser.add_argument(
        '--figures',
        type=Path,
        metavar='DIR',
        help='also write the figures as PNG and PDF and the tables as Markdown, LaTeX and CSV, into this folder',
    )
    parser.add_argument(
        '--images',
        type=int,
        default=IMAGES,
        metavar='N',
        help='show at most N images of each test set, evenly spread (default: %(default)s)',
    )
    parser.add_argument(
        '--price',
        type=float,
        default=PRICE,
        metavar='P',
        help='of a query, for what a surrogate costs (default: %(default)s)',
    )
    parser.add_argument('--title', help="the page's heading (default: the names of the results)")
    args = parser.parse_args(argv)
    if args.images < 0:
        raise InputError(f'{args.images} images', where='--images', do='Give 0 or more')
    if not 0 <= args.price < 1e9:
        raise InputError(f'the price is {args.price}', where='--price', do='Give a number of 0 or more')

    from mea_plugin.report.job import LARGE, make_report  # --help needs no package

    words = list(argv) if argv is not None else sys.argv[1:]
    report = make_report(
        args.results,
        args.output,
        figures=args.figures,
        images=args.images,
        title=args.title,
        price=args.price,
        command=['python', 'tools/report.py', *words],
    )
    for path in report.files:
        print(path)
    print(f'{report.page}: {report.size / 1e6:.1f} MB, {report.shown} of {report.total} images')
    if report.size > LARGE:
        print('that is much to open and to send; --images N shows fewer', file=sys.stderr)


if __name__ == '__main__':
    sys.exit(run_tool(main))
