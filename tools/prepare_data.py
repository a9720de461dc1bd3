#!/usr/bin/env python
"""Make folders of images: bicubic low resolution, benchmarks, crops for training; and make other forms of a query set.

bicubic, benchmark, embedded and sub-images go on where they were when they were interrupted, and make again only what
their input or settings have changed. IMAGES is a folder, embedded:query or embedded:test.
lmdb, crop, split and mmagic take a complete query set, SET; their OUTPUT appears when it is whole.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mea_plugin.core.cli import ToolParser, run_tool
from mea_plugin.data.embedded import SPLITS

if TYPE_CHECKING:
    from mea_plugin.data.batch import BatchResult


def main(argv: Sequence[str] | None = None) -> None:
    """Run one of the commands and say what it did."""
    args = _parser().parse_args(argv)
    result: BatchResult = args.run(args)
    print(f'{args.output}: {result.made} images made, {result.kept} up to date')


def _bicubic(args: argparse.Namespace) -> BatchResult:
    from mea_plugin.data.prepare import make_bicubic

    return make_bicubic(args.input, args.output, scale=args.scale, like=args.like, jobs=args.jobs)


def _benchmark(args: argparse.Namespace) -> BatchResult:
    from mea_plugin.data.prepare import make_benchmark

    return make_benchmark(args.input, args.output, scale=args.scale, like=args.like, jobs=args.jobs)


def _sub_images(args: argparse.Namespace) -> BatchResult:
    from mea_plugin.data.prepare import make_sub_images

    settings = {key: getattr(args, key) for key in ('scale', 'crop', 'step', 'thresh', 'skip_small', 'jobs')}
    return make_sub_images(args.input, args.output, **settings)


def _embedded(args: argparse.Namespace) -> BatchResult:
    from mea_plugin.data.prepare import make_benchmark

    source = f'embedded:{args.split}'
    return make_benchmark([source], args.output, scale=args.scale, like=args.like, jobs=args.jobs, where='--split')


def _lmdb(args: argparse.Namespace) -> BatchResult:
    from mea_plugin.query_sets.lmdb import export_lmdb

    return export_lmdb(args.input, args.output, jobs=args.jobs)


def _crop(args: argparse.Namespace) -> BatchResult:
    from mea_plugin.query_sets.crops import crop_query_set

    settings = {key: getattr(args, key) for key in ('crop', 'step', 'thresh', 'skip_small', 'jobs')}
    return crop_query_set(args.input, args.output, **settings)


def _split(args: argparse.Namespace) -> BatchResult:
    from mea_plugin.query_sets.split import parse_parts, split_query_set

    return split_query_set(args.input, args.output, parts=parse_parts(args.parts), seed=args.seed, jobs=args.jobs)


def _mmagic(args: argparse.Namespace) -> BatchResult:
    from mea_plugin.query_sets.mmagic_folders import export_mmagic

    sources = {phase: getattr(args, phase) for phase in ('train', 'val', 'test') if getattr(args, phase)}
    return export_mmagic(sources, args.output, layout=args.layout, jobs=args.jobs)


def _parser() -> ToolParser:
    parser = ToolParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)

    bicubic = commands.add_parser('bicubic', help='IMAGES -> OUTPUT/NAME.png, bicubic low resolution')
    bicubic.add_argument('--input', required=True, metavar='IMAGES')
    bicubic.set_defaults(run=_bicubic)

    benchmark = commands.add_parser('benchmark', help='IMAGES -> OUTPUT/HR and OUTPUT/LRxSCALE')
    benchmark.add_argument('--input', required=True, nargs='+', metavar='IMAGES', help='no name may be in two of them')
    benchmark.set_defaults(run=_benchmark)

    embedded = commands.add_parser('embedded', help="scikit-image's photographs -> OUTPUT/HR and OUTPUT/LRxSCALE")
    embedded.add_argument('--split', required=True, choices=SPLITS)
    embedded.set_defaults(run=_embedded)

    crops = commands.add_parser('sub-images', help='benchmark folder -> aligned crops in OUTPUT/HR and OUTPUT/LRxSCALE')
    crops.add_argument('--input', required=True, type=Path, metavar='DIR', help='folder with HR and LRxSCALE')
    crops.add_argument('--crop', type=int, default=160, help='size of a crop in HR pixels (default: 160)')
    crops.add_argument('--step', type=int, default=160, help='from one crop to the next (default: 160)')
    crops.add_argument(
        '--thresh',
        type=int,
        default=0,
        help='a last strip wider than this gets a crop that overlaps the one before (default: 0), others are dropped',
    )
    crops.add_argument('--skip-small', action='store_true', help='leave out images smaller than a crop')
    crops.set_defaults(run=_sub_images)

    for command in (bicubic, benchmark, embedded, crops):
        command.add_argument('--scale', type=int, choices=(2, 3, 4, 8), default=4, help='default: 4')
        if command is not crops:
            help_like = "imresize of MATLAB on 8-bit images (default), or BasicSR's port, which rounds less"
            command.add_argument('--like', choices=('matlab', 'basicsr'), default='matlab', help=help_like)
    _add_query_set_commands(commands)
    for command in commands.choices.values():
        command.add_argument('--output', required=True, type=Path, metavar='DIR')
        command.add_argument('--jobs', type=whole_number, default=_cores(), help='processes (default: one per core)')
    return parser


def _add_query_set_commands(commands: argparse._SubParsersAction[ToolParser]) -> None:
    lmdb = commands.add_parser('lmdb', help='SET -> OUTPUT/query.lmdb and OUTPUT/response.lmdb')
    lmdb.set_defaults(run=_lmdb)

    crop = commands.add_parser('crop', help='SET -> OUTPUT, a query set of aligned crops')
    crop.add_argument('--crop', type=int, required=True, help='size of a crop in pixels of the query')
    crop.add_argument('--step', type=int, help='from one crop to the next, in the same pixels (default: --crop)')
    crop.add_argument(
        '--thresh',
        type=int,
        default=0,
        help='a last strip wider than this gets a crop that overlaps the one before (default: 0), others are dropped',
    )
    crop.add_argument('--skip-small', action='store_true', help='leave out queries smaller than a crop')
    crop.set_defaults(run=_crop)

    split = commands.add_parser('split', help='SET -> query sets OUTPUT/NAME; crops of an image stay together')
    help_parts = 'NAME=FRACTION (0.9) or, in all of them, NAME=COUNT (900)'
    split.add_argument('--parts', required=True, nargs='+', metavar='NAME=NUMBER', help=help_parts)
    split.add_argument('--seed', type=int, default=0, help='which images go where (default: 0)')
    split.set_defaults(run=_split)

    mmagic = commands.add_parser('mmagic', help="SETs -> folders of MMagic's own data sets for pix2pix or CycleGAN")
    for phase in ('train', 'val', 'test'):
        mmagic.add_argument(f'--{phase}', type=Path, required=phase == 'train', metavar='SET')
    help_layout = 'pairs: OUTPUT/train, side by side (default); unpaired: OUTPUT/trainA, OUTPUT/trainB'
    mmagic.add_argument('--layout', choices=('pairs', 'unpaired'), default='pairs', help=help_layout)
    mmagic.set_defaults(run=_mmagic)

    for command in (lmdb, crop, split):
        command.add_argument('--input', required=True, type=Path, metavar='SET')


def whole_number(text: str) -> int:
    """A number of processes; argparse shows the name of this function."""
    jobs = int(text)
    if jobs < 1:
        raise argparse.ArgumentTypeError(f'{jobs} is below 1')
    return jobs


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


if __name__ == '__main__':
    sys.exit(run_tool(main))
