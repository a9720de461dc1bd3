#!/usr/bin/env python
"""Send images to a victim and keep its answers as a query set."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mea_plugin.cli import ToolParser, run_tool
from mea_plugin.data.sources import image_source
from mea_plugin.options import load_options
from mea_plugin.query import run_queries
from mea_plugin.query.options import QueryOptions
from mea_plugin.victims import build_victim


def main(argv: Sequence[str] | None = None) -> None:
    """Query as the option file says; interrupted, the same command goes on."""
    parser = ToolParser(description=__doc__)
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file with name, victim and queries')
    parser.add_argument('--output', metavar='DIR', help='instead of the output that the file names')
    args = parser.parse_args(argv)
    options = QueryOptions.parse(load_options(args.opt), args.opt, args.output)
    images = image_source(options.images, where=f'{args.opt}: queries.images')
    victim = build_victim(options.victim, where=f'{args.opt}: victim')
    folder = options.output / 'queries'
    queries = run_queries(victim, images, folder, **options.numbers, options=options.noted())
    print(f'query set: {queries.folder}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
