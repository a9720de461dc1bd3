"""What of the machine decides whether training works: GPUs, folders that can be written, weights that are at hand."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mea_plugin.doctor import Finding

__all__ = ['WEIGHTS', 'examine_folders', 'examine_gpu', 'examine_weights', 'hub_folder', 'used_folders']

WEIGHTS = {
    'vgg19': 'the perceptual loss (SRGAN configs)',
    'vgg16': 'LPIPS with its VGG backbone',
    'alexnet': 'LPIPS with its AlexNet backbone',
    'inception': 'FID and KID',
}
"""What file names begin with or contain, and what needs them."""


def examine_gpu() -> tuple[str, list[Finding]]:
    """A line on torch's GPUs, and what keeps torch from using one that is there. Imports torch."""
    try:
        import torch
    except Exception as error:  # a broken installation raises anything
        reason = ' '.join(str(error).split()) or type(error).__name__
        again = 'pip install --force-reinstall torch torchvision'
        return 'GPU: unknown, torch does not import', [Finding(True, f'torch does not import ({reason})', again)]
    built = torch.version.cuda
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return f'GPU: {len(names)} ({", ".join(sorted(set(names)))}), torch built for CUDA {built}', []
    line = f'GPU: none that torch can use (torch built {"for CUDA " + built if built else "without CUDA"})'
    return line, _unused_driver(built)


def _unused_driver(built: str | None) -> list[Finding]:
    if shutil.which('nvidia-smi') is None:
        return []
    if built is None:
        do = 'pip install --force-reinstall torch torchvision (the build with CUDA)'
        return [Finding(False, 'there is an NVIDIA driver, but this torch was built without CUDA', do)]
    what = f'there is an NVIDIA driver, but torch finds no GPU: it may be too old for CUDA {built}, or hidden'
    return [Finding(False, what, 'nvidia-smi; echo $CUDA_VISIBLE_DEVICES; update the driver or install an older torch')]


def hub_folder(environment: Mapping[str, str]) -> Path:
    """Where torch keeps downloaded weights."""
    cache = environment.get('XDG_CACHE_HOME') or '~/.cache'
    return (Path(environment.get('TORCH_HOME') or Path(cache) / 'torch') / 'hub' / 'checkpoints').expanduser()


def examine_folders(folders: Mapping[str, Path]) -> list[Finding]:
    """Folders that cannot be written to, or made.

    Args:
        folders: What each is for, and where it is.
    """
    findings = []
    for purpose, folder in folders.items():
        there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            reason = 'cannot be written to' if there.is_dir() else 'is a file'
            do = f'chmod u+wx {there}' if there.is_dir() else f'mv {there} elsewhere'
            findings.append(Finding(True, f'{there} {reason}: needed for {purpose}', do))
    return findings


def used_folders(environment: Mapping[str, str]) -> dict[str, Path]:
    """The folders that the tools write to."""
    return {
        'relative paths in option files': Path(),
        'results': Path('results'),
        'training logs of MMagic': Path('work_dirs'),
        'temporary files': Path(tempfile.gettempdir()),
        'downloaded weights': hub_folder(environment),
    }


def examine_weights(folder: Path) -> list[str]:
    """A line on each kind of weights that toolboxes download when they need them."""
    files = sorted(path.name for path in folder.glob('*.pth')) if folder.is_dir() else []
    lines = []
    for part, purpose in WEIGHTS.items():
        found = next((name for name in files if part in name), None)
        lines.append(f'  {purpose}: {found or f"none; downloaded when needed, or put a {part} file there"}')
    return [f'weights are looked for in {folder}', *lines]
