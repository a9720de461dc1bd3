#!/usr/bin/env python
"""Send images to a victim and keep its answers. Only for victims that you own or are authorised to test."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mea_plugin.core.cli import ToolParser, run_tool
from mea_plugin.core.launch import is_first_process


def main(argv: Sequence[str] | None = None) -> None:
    """Query as the option file says; interrupted, the same command goes on."""
    parser = ToolParser(description=__doc__)
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file with name, victim and queries')
    parser.add_argument('--output', metavar='DIR', help='instead of the output that the file names')
    parser.add_argument(
        '--images', nargs='+', metavar='SOURCE', help='instead of queries.images: folders, files, globs, LMDB folders'
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        '--status', action='store_true', help='show what has been sent and what it cost, and send nothing'
    )
    action.add_argument('--dry-run', action='store_true', help='show what would be sent and cost, and send nothing')
    parser.add_argument('--verify', action='store_true', help='hash images and answers again before anything is sent')
    parser.add_argument(
        '--buy-again', action='store_true', help='ask again for answers that were paid for and are damaged or gone'
    )
    args = parser.parse_args(argv)
    if args.verify and (args.status or args.dry_run):
        parser.error('--verify is for a run, not for --status or --dry-run')
    if args.images and args.status:
        parser.error('--images is not for --status')

    from mea_plugin.core.options import load_options  # --help needs no package
    from mea_plugin.data.sources import image_references
    from mea_plugin.query import run_queries
    from mea_plugin.query.options import QueryFile
    from mea_plugin.query.status import dry_run, status
    from mea_plugin.victims import build_victim

    options = QueryFile.read(load_options(args.opt), args.opt, args.output)
    if args.status:
        print(status(options))
        return
    sources = args.images or options.queries.images
    images = image_references(sources, where='--images' if args.images else f'{args.opt}: queries.images')
    victim = build_victim(options.victim, where=f'{args.opt}: victim')
    if args.dry_run:
        print(dry_run(victim, images, options))
        return
    noted = options.noted()
    noted['queries']['images'] = sources
    folder = options.output / 'queries'
    checks = {'verify': args.verify, 'buy_again': args.buy_again}
    queries = run_queries(victim, images, folder, **options.queries.settings(), **checks, options=noted)
    if is_first_process():
        print(f'query set: {queries.folder}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
