#!/usr/bin/env python
"""Write a trained surrogate as safetensors, torch.export, TorchScript, ONNX, or as BasicSR's weight file."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mea_plugin.core.cli import ToolParser, run_tool

if TYPE_CHECKING:
    from mea_plugin.export import Exported

FORMATS = 'safetensors, basicsr, torchscript, torch_export, onnx'


def main(argv: Sequence[str] | None = None) -> None:
    """Load the surrogate, write it, and say how far each file's answers are from its own."""
    parser = ToolParser(description=__doc__)
    parser.add_argument(
        '-opt',
        required=True,
        metavar='FILE',
        help="what it was trained with: BasicSR's option file, or MMagic's config (Python; it runs code)",
    )
    parser.add_argument(
        '--weights',
        metavar='FILE',
        help='default: experiments/NAME/models/net_g_latest.pth; MMagic: surrogate.pth in the work folder',
    )
    parser.add_argument('--format', nargs='+', required=True, metavar='FORMAT', help=f'some of {FORMATS}')
    parser.add_argument('--output', type=Path, metavar='DIR', help='folder of the files (default: exports/NAME)')
    parser.add_argument('--name', help="the files' name (default: the option file's name, or the config's)")
    parser.add_argument(
        '--param-key', metavar='KEY', help='which weights of a BasicSR file (default: params_ema, then params)'
    )
    parser.add_argument('--target-domain', metavar='NAME', help='which generator of an MMagic translation model')
    parser.add_argument(
        '--trusted', action='store_true', help='the weight file may run code; what training leaves need not'
    )
    parser.add_argument(
        '--tolerance',
        type=float,
        default=1e-4,
        help='refuse files whose answers, in [0, 1], differ by more (default: %(default)s)',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace files that are there')
    args = parser.parse_args(argv)

    from mea_plugin.export import export_surrogate, load_surrogate  # --help needs no package

    surrogate = load_surrogate(
        args.opt, args.weights, param_key=args.param_key, target_domain=args.target_domain, trusted=args.trusted
    )
    if args.name:
        surrogate = dataclasses.replace(surrogate, name=args.name)
    output = args.output or Path('exports') / surrogate.name
    for done in export_surrogate(surrogate, args.format, output, overwrite=args.overwrite, tolerance=args.tolerance):
        print(_describe(done), flush=True)


def _describe(done: Exported) -> str:
    import yaml

    largest, levels, sizes = done.difference
    rest = '' if done.batch else '; one image at a time'
    plain = json.loads(json.dumps(done.victim, default=str))
    victim = yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=10**6).strip()
    return (
        f'{done.path}: at most {largest:.2g} of [0, 1] and {levels} grey levels from the surrogate, at {sizes} sizes'
        f'{rest}\n  victim: {victim}'
    )


if __name__ == '__main__':
    sys.exit(run_tool(main))
