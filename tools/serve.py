#!/usr/bin/env python
"""Serve a victim over HTTP, with keys, quotas and limits.

Only models and services that you own, or are authorised to offer and to test, are in scope.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mea_plugin.core.cli import ToolParser, run_tool
from mea_plugin.core.errors import InputError

if TYPE_CHECKING:
    from mea_plugin.serving import ServeOptions


def main(argv: Sequence[str] | None = None) -> None:
    """Manage keys, or serve until told to stop."""
    args = _parser().parse_args(argv)

    from mea_plugin.core.options import load_options  # --help needs no package
    from mea_plugin.serving import ServeOptions

    options = ServeOptions.parse_document(load_options(args.opt), str(args.opt))
    if args.create_key is None and (args.quota, args.rate, args.pixel_rate) != (None, None, None):
        raise InputError('--quota, --rate and --pixel-rate are for a new key', do='Add --create-key NAME')
    if args.create_key is not None or args.revoke_key is not None or args.list_keys:
        _manage_keys(args, options)
    else:
        _serve(args, options)


def _manage_keys(args: argparse.Namespace, options: ServeOptions) -> None:
    from mea_plugin.serving.database import open_store
    from mea_plugin.serving.keys import create_key, list_keys, revoke_key

    connection = open_store(options.database)
    try:
        if args.create_key is not None:
            limits = {'quota': args.quota, 'rate': args.rate, 'pixel_rate': args.pixel_rate}
            print(create_key(connection, args.create_key, **limits))
            print('Keep it: only its hash is stored, so it cannot be shown again.', file=sys.stderr)
        elif args.revoke_key is not None:
            revoke_key(connection, args.revoke_key)
            print(f'revoked {args.revoke_key}')
        else:
            for key in list_keys(connection):
                quota = f'quota {key.quota}' if key.quota is not None else 'no quota'
                rate = f'{key.rate:g}/s' if key.rate is not None else 'no rate'
                pixels = f'\t{key.pixel_rate:g} pixels/s' if key.pixel_rate is not None else ''
                revoked = '\trevoked' if key.revoked else ''
                print(f'{key.name}\t{key.billed} billed\t{quota}\t{rate}{pixels}{revoked}')
    finally:
        connection.close()


def _serve(args: argparse.Namespace, options: ServeOptions) -> None:
    from mea_plugin.core.packages import require_packages

    require_packages('a service', 'fastapi', 'prometheus_client', 'python_multipart', 'uvicorn')

    from mea_plugin.serving.database import open_store
    from mea_plugin.serving.server import check_address, check_watch, listen, serve
    from mea_plugin.victims import build_victim

    given = {key: getattr(args, key) for key in ('host', 'port') if getattr(args, key) is not None}
    options = options.model_copy(update=given)
    check_address(options, public=args.public)
    logging.basicConfig(level=logging.WARNING, format='%(asctime)s %(levelname)s %(name)s: %(message)s')
    print('Serve only a model that you own or are authorised to offer.', file=sys.stderr)
    open_store(options.database).close()  # a mistake is found before a model is loaded
    check_watch(options, args.opt)
    with listen(options.host, options.port) as listener:
        victim = build_victim(options.victim, where=f'{args.opt}: victim')
        # Small images get threads of their own, and a victim that does not say what threads may do, a second instance.
        alone = options.batch.small_pixels and getattr(victim, 'concurrent', None) is None
        serve(options, victim, listener, build_victim(options.victim, where=f'{args.opt}: victim') if alone else None)


def _parser() -> ToolParser:
    parser = ToolParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file, see options/serve/')
    parser.add_argument('--host', help='address to listen on, instead of the one that the file names')
    parser.add_argument('--port', type=_port, help='port, instead of the one that the file names; 0 picks a free one')
    parser.add_argument('--public', action='store_true', help='allow an address that other machines can reach')
    keys = parser.add_mutually_exclusive_group()
    keys.add_argument('--create-key', metavar='NAME', help='make a key, print it once, and end')
    keys.add_argument('--list-keys', action='store_true', help='print names, bills and limits, and end')
    keys.add_argument('--revoke-key', metavar='NAME', help='refuse a key from now on, and end')
    parser.add_argument(
        '--quota', type=int, metavar='N', help='answers that a new key may be billed; default: no limit'
    )
    parser.add_argument('--rate', type=float, metavar='R', help='requests per second of a new key; default: no limit')
    parser.add_argument(
        '--pixel-rate', type=float, metavar='P', help='pixels per second of a new key; default: no limit'
    )
    return parser


def _port(text: str) -> int:
    """A port; argparse reports what is not one."""
    port = int(text) if text.isdecimal() else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f'{text} is no port')
    return port


if __name__ == '__main__':
    sys.exit(run_tool(main))
