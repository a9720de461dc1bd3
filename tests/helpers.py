"""Small images, option files and runs of tools for the tests."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from mea_plugin.core import cli
from mea_plugin.core.errors import InputError

ROOT = Path(__file__).resolve().parent.parent


def photograph(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A smooth random RGB image with some edges, uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x * rng.uniform(0.05, 0.9) + y * rng.uniform(0.05, 0.9) + rng.uniform(0, 6)) for _ in range(3)]
    image = 128 + 60 * np.stack(waves, -1) + 40 * ((x // 9 + y // 7) % 2)[..., None] + rng.normal(0, 3, (*size, 3))
    return image.clip(0, 255).astype(np.uint8)


def save(path: Path, image: np.ndarray) -> Path:
    """Save an array as an image of the path's format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def write_yaml(path: Path, options: dict) -> Path:
    """Write an option file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(options, sort_keys=False))
    return path


def run_tool(name: str, *arguments: str | Path, cwd: Path = ROOT, timeout: int = 300) -> subprocess.CompletedProcess:
    """Run ``tools/NAME.py`` in a process of its own, on one thread."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, str(ROOT / 'tools' / f'{name}.py'), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=timeout)


def call_tool(name: str, *arguments: str | Path) -> int:
    """Run ``tools/NAME.py`` in this process, which saves importing everything again; returns the exit code."""
    spec = importlib.util.spec_from_file_location(f'tools_{name}', ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return cli.run_tool(module.main, [str(argument) for argument in arguments])


def pair_folders(folder: Path, *, count: int = 3, lq: tuple[int, int] = (24, 28), scale: int = 4) -> tuple[Path, Path]:
    """Folders ``lq`` and ``gt`` of matching images."""
    for index in range(count):
        gt = photograph((lq[0] * scale, lq[1] * scale), index)
        save(folder / 'gt' / f'{index}.png', gt)
        shrunk = Image.fromarray(gt).resize((lq[1], lq[0]), Image.Resampling.BICUBIC)
        save(folder / 'lq' / f'{index}.png', np.array(shrunk))
    return folder / 'lq', folder / 'gt'


def training_options(lq: Path, gt: Path, **train: object) -> dict:
    """The smallest BasicSR options that train: 4 iterations of a tiny x4 network."""
    return {
        'name': 'tiny',
        'model_type': 'ExtractionModel',
        'scale': 4,
        'num_gpu': 0,
        'manual_seed': 0,
        'datasets': {
            'train': {
                'name': 'tiny',
                'type': 'PairedImageDataset',
                'dataroot_lq': str(lq),
                'dataroot_gt': str(gt),
                'io_backend': {'type': 'disk'},
                'gt_size': 48,
                'use_hflip': True,
                'use_rot': True,
                'num_worker_per_gpu': 0,
                'batch_size_per_gpu': 2,
                'dataset_enlarge_ratio': 8,
            }
        },
        'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 1, 'upscale': 4},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 1e-3},
            'scheduler': {
                'type': 'CosineAnnealingRestartLR',
                'periods': [4],
                'restart_weights': [1],
                'eta_min': 1e-6,
            },
            'total_iter': 4,
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
            **train,
        },
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
    }


@contextmanager
def refused(where: str | Path = '', *quoted: str, do: str | tuple[str, ...] = ()) -> Iterator[pytest.ExceptionInfo]:
    """Expect an :class:`InputError`, told by its fields: wordings may change, places and values may not.

    Args:
        where: The end of the error's ``where``: an option's path, a file's name. Empty: not looked at.
        quoted: Values and names that ``what`` has to hold.
        do: Names that ``do`` has to hold: the nearest known option, a command, a package.

    Example:
        >>> with refused('run.yml: train.optim_g.type', 'Adan', do='Adam'):
        ...     raise InputError("no optimizer 'Adan'", where='run.yml: train.optim_g.type', do="Use 'Adam'")
    """
    with pytest.raises(InputError) as caught:
        yield caught
    error = caught.value
    assert error.where.endswith(str(where)), f'{error.where!r} does not end with {str(where)!r}'
    for text, names in ((error.what, quoted), (error.do, (do,) if isinstance(do, str) else do)):
        for name in names:
            assert name in text, f'{name!r} is not in {text!r}'
