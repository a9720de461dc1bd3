"""The arguments of BasicSR's and MMagic's own training tools; neither toolbox is imported."""

from __future__ import annotations

import argparse

from mea_plugin.core.cli import ToolParser

__all__ = ['basicsr_parser', 'mmagic_parser']


def basicsr_parser() -> ToolParser:
    """BasicSR's arguments, and ``--root``."""
    parser = ToolParser(
        prog='train_basicsr.py', description='Train with BasicSR; CPU or GPU.', prepare=_prepare_basicsr
    )
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file (YAML)')
    parser.add_argument('--root', default='.', metavar='DIR', help='folder that gets experiments/ (default: here)')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none', help='job launcher')
    parser.add_argument('--auto_resume', action='store_true', help='go on from the newest state in experiments/NAME')
    parser.add_argument('--debug', action='store_true', help='log every iteration, validate every eighth')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument('--force_yml', nargs='+', metavar='KEY=VALUE', help='set options: train:ema_decay=0.999')
    return parser


def mmagic_parser() -> ToolParser:
    """The arguments of MMagic's ``tools/train.py``; ``cfg_options`` are the words as they were typed."""
    parser = ToolParser(prog='train_mmagic.py', description='Train with MMagic; CPU or GPU.', prepare=_prepare_mmagic)
    parser.add_argument('config', help='config file (Python; it runs code)')
    parser.add_argument('--work-dir', metavar='DIR', help='folder of logs and checkpoints (default: work_dirs/CONFIG)')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on from the newest intact checkpoint in the work folder, as if the run had never stopped',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision: float16 on a GPU, bfloat16 on a CPU')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate to the batch size')
    parser.add_argument(
        '--cfg-options', nargs='+', action='extend', metavar='KEY=VALUE', help='set options: train_cfg.max_iters=100'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def _prepare_basicsr() -> None:
    from mea_plugin.toolboxes import basicsr_compat

    basicsr_compat.apply()


def _prepare_mmagic() -> None:
    from mea_plugin.toolboxes import mmagic_compat

    mmagic_compat.apply()
