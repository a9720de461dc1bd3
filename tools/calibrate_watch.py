#!/usr/bin/env python
"""Learn what ordinary customers send, and when a query stream is unlike it: for `watch` of tools/serve.py."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mea_plugin.core.cli import ToolParser, run_tool


def main(argv: Sequence[str] | None = None) -> None:
    """Read every customer's images, write the calibration, print the thresholds."""
    parser = ToolParser(description=__doc__)
    parser.add_argument(
        'customers', type=Path, metavar='DIR', help="holds a folder per customer, with that customer's images in order"
    )
    parser.add_argument('--output', type=Path, required=True, metavar='FILE', help='the calibration, a JSON file')
    parser.add_argument(
        '--false-alarm',
        type=float,
        default=0.01,
        metavar='P',
        help='share of ordinary customers who may raise an alarm (default: %(default)s)',
    )
    parser.add_argument('--shrink', type=int, default=1, metavar='N', help='make images smaller first, by this factor')
    args = parser.parse_args(argv)

    from mea_plugin.serving.watch import calibrate_from_folders  # --help needs no package

    found, customers = calibrate_from_folders(args.customers, false_alarm=args.false_alarm, shrink=args.shrink)
    found.save(args.output)
    print(f'{customers} customers: an alarm at {found.repeats:.2f} of repeats, or a drift of {found.drift:.2f}')
    print(args.output)


if __name__ == '__main__':
    sys.exit(run_tool(main))
