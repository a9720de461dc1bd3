#!/usr/bin/env python
"""Speed of losses, optimizers, training, query runs, the service and evaluations beside their peers, in one run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from mea_plugin.core.cli import ToolParser, run_tool
from mea_plugin.core.errors import InputError

SMALLEST_SIDE = 20


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the named parts and print their tables."""
    args = _arguments(argv)

    import torch

    from mea_plugin.core.machine import describe_machine

    if args.device == 'cuda' and not torch.cuda.is_available():
        raise InputError('no CUDA device is at hand', where='--device', do='Use --device cpu')
    if args.threads:
        torch.set_num_threads(args.threads)
    machine = describe_machine(args.device)
    print(', '.join(f'{name}: {fact}' for name, fact in machine.items()) + '\n', flush=True)
    results: dict[str, object] = {'machine': machine}
    for part in dict.fromkeys(args.parts):
        text, results[part] = _measure(part, args)
        print(text, flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + '\n', encoding='utf-8')


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = ToolParser(description=__doc__)
    parser.add_argument(
        'parts', nargs='+', choices=('evaluate', 'losses', 'optim', 'query', 'serve', 'train'), help='what to measure'
    )
    parser.add_argument(
        '--rounds', type=_positive, help='timed rounds (default: 20; query, serve, train: 5; evaluate: 3)'
    )
    parser.add_argument('--sizes', type=_side, nargs='+', metavar='N', help='losses: image sides (default: 64 to 512)')
    parser.add_argument(
        '--device', default='cpu', choices=('cpu', 'cuda'), help='losses, train: where (default: %(default)s)'
    )
    parser.add_argument(
        '--data',
        type=Path,
        metavar='DIR',
        help='evaluate: holds Set5, Set14 and BSD100 (default: MEA_DATA, or no such)',
    )
    parser.add_argument('--threads', type=_positive, help="CPU threads (default: torch's own choice)")
    parser.add_argument('--quick', action='store_true', help='a few rounds of the smallest case, to see that it runs')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the numbers there too')
    args = parser.parse_args(argv)
    if args.json and not args.json.absolute().parent.is_dir():
        raise InputError(f'folder {args.json.parent} is missing', where='--json', do='Create it or name another')
    return args


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} is not a positive whole number')
    return int(text)


def _side(text: str) -> int:
    number = _positive(text)
    if number < SMALLEST_SIDE:
        raise argparse.ArgumentTypeError(f'{text} is below {SMALLEST_SIDE}, the least for db3 and 2 levels')
    return number


def _measure(part: str, args: argparse.Namespace) -> tuple[str, list[dict[str, object]]]:
    if part == 'evaluate':
        from mea_plugin.benchmarks import evaluate

        return evaluate.run(rounds=args.rounds or 3, quick=args.quick, data=args.data)
    if part == 'query':
        from mea_plugin.benchmarks import query

        return query.run(rounds=args.rounds or 5, quick=args.quick)
    if part == 'train':
        from mea_plugin.benchmarks import train

        return train.run(rounds=args.rounds or 5, quick=args.quick, device=args.device)
    if part == 'serve':
        from mea_plugin.benchmarks import serve

        return serve.run(rounds=args.rounds or 5, quick=args.quick)
    if part == 'optim':
        from mea_plugin.benchmarks import optim

        return optim.run(rounds=args.rounds or 20, quick=args.quick)
    from mea_plugin.benchmarks import losses

    return losses.run(rounds=args.rounds or 20, quick=args.quick, sizes=args.sizes, device=args.device)


if __name__ == '__main__':
    sys.exit(run_tool(main))
