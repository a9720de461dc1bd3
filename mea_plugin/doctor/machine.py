"""What of the machine decides whether training works: GPUs, folders that can be written, weights that are at hand."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mea_plugin.doctor.report import Finding
from mea_plugin.doctor.rules import torch_pair
from mea_plugin.metrics.published_weights import (
    FOLDER_VARIABLE,
    KNOWN,
    WeightFile,
    candidates,
    fault,
    hub_folder,
    is_file,
    named_folder,
)

__all__ = [
    'WEIGHTS',
    'Weights',
    'examine_folders',
    'examine_gpu',
    'examine_metric_weights',
    'examine_weights',
    'hub_folder',
    'python_to_type',
    'used_folders',
]


class Weights(NamedTuple):
    """A file of weights that something downloads when it is missing.

    Attributes:
        purpose: What needs it.
        name: The file's name, exactly: others of a similar name are other networks.
        source: The folder that it is downloaded from.
        mmagic: Whether it is looked for in MMagic's folder instead of torch's.
    """

    purpose: str
    name: str
    source: str
    mmagic: bool = False


_TORCHVISION = 'https://download.pytorch.org/models'
_RELEASES = 'https://github.com/{}/releases/download'

WEIGHTS = (
    Weights('perceptual loss (SRGAN)', 'vgg19-dcbb9e9d.pth', _TORCHVISION),
    Weights(
        "FID as MMagic's configs have it (StyleGAN)",
        'inception-2015-12-05.pt',
        'https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics',
        mmagic=True,
    ),
    Weights(
        "FID as BasicSR has it, and MMagic's PyTorch style",
        'pt_inception-2015-12-05-6726825d.pth',
        f'{_RELEASES.format("mseitzer/pytorch-fid")}/fid_weights',
    ),
)
"""The weights that the toolboxes' losses and metrics need, and download."""

_LPIPS_PARTS = ('alex.pth', 'vgg.pth', 'squeeze.pth')

_LPIPS = 'python -m pip install --force-reinstall --no-deps lpips'


def python_to_type() -> str:
    """``python`` where that is the one that runs this, else its path."""
    found = shutil.which('python')
    # Not resolved: an environment's Python is a link to one outside, which has other packages.
    return 'python' if found and Path(found).absolute() == Path(sys.executable).absolute() else _typed(sys.executable)


def examine_gpu(versions: Mapping[str, str], environment: Mapping[str, str]) -> tuple[str, list[Finding]]:
    """A line on torch's GPUs, and what keeps torch from using one that is there. Imports torch.

    Args:
        versions: Version by distribution name, of what is installed.
        environment: The environment's variables.
    """
    if 'torch' not in versions:
        return 'GPU: unknown, torch is not installed', []
    try:
        import torch
    except Exception as error:  # a broken installation raises anything
        reason = ' '.join(str(error).split()) or type(error).__name__
        _, pair = torch_pair(versions['torch'])
        again = f'python -m pip uninstall -y torch torchvision && python -m pip install {pair}'
        return 'GPU: unknown, torch does not import', [Finding(True, f'torch does not import ({reason})', again)]
    built = torch.version.cuda
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return f'GPU: {len(names)} ({", ".join(sorted(set(names)))}), torch built for CUDA {built}', []
    line = f'GPU: none that torch can use (torch built {"for CUDA " + built if built else "without CUDA"})'
    return line, _unused_driver(built, environment)


def _unused_driver(built: str | None, environment: Mapping[str, str]) -> list[Finding]:
    if shutil.which('nvidia-smi') is None:
        return []
    # uv asks the driver which CUDA it can do, and takes a torch built for that.
    fitting = (
        'python -m pip install uv && python -m uv pip install --torch-backend=auto'
        " --reinstall-package torch --reinstall-package torchvision 'torch>=2.1' torchvision"
    )
    if built is None:
        return [Finding(False, 'there is an NVIDIA driver, but this torch was built without CUDA', fitting)]
    if 'CUDA_VISIBLE_DEVICES' in environment:
        hidden = f'CUDA_VISIBLE_DEVICES={environment["CUDA_VISIBLE_DEVICES"]!r} hides the GPUs, or names one not there'
        return [Finding(False, hidden, 'unset CUDA_VISIBLE_DEVICES')]
    what = f'there is an NVIDIA driver, but torch finds no GPU: the driver may be too old for CUDA {built}'
    return [Finding(False, what, fitting)]


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
            findings.append(Finding(True, f'{there} {reason}: needed for {purpose}', _free(there)))
    return findings


def _free(there: Path) -> str:
    """The command after which a folder can be written to, or made where a file is in its way."""
    if not there.is_dir():
        return f'mv {_typed(there)} {_typed(f"{there}.moved")}'
    return f'chmod u+wx {_typed(there)}' if there.stat().st_uid == os.getuid() else f'sudo chown $USER {_typed(there)}'


def _typed(path: Path | str) -> str:
    return shlex.quote(str(path))


def used_folders(environment: Mapping[str, str]) -> dict[str, Path]:
    """The folders that the tools write to."""
    return {
        'relative paths in option files': Path(),
        'results': Path('results'),
        'training logs of MMagic': Path('work_dirs'),
        'temporary files': Path(tempfile.gettempdir()),
        'downloaded weights': hub_folder(environment),
    }


def examine_weights(environment: Mapping[str, str]) -> tuple[list[str], list[Finding]]:
    """A line on each file of weights, and one on how to get it where it is missing.

    They are looked for in the folders of ``MEA_WEIGHTS`` (joined by colons), torch's and MMagic's.

    Args:
        environment: The environment's variables.

    Returns:
        The lines, and a finding for each folder of ``MEA_WEIGHTS`` that does not exist.
    """
    named = [Path(folder).expanduser() for folder in environment.get('MEA_WEIGHTS', '').split(':') if folder]
    hub, mmagic = hub_folder(environment), Path('~/.cache/openmmlab/mmagic').expanduser()
    folders = [*named, hub, mmagic]
    lines = [f'weights are looked for in {", ".join(map(str, folders))}']
    for weights in WEIGHTS:
        found = next((folder / weights.name for folder in folders if is_file(folder / weights.name)), None)
        lines.append(f'  {weights.purpose}: {found or f"no {weights.name}; downloaded when needed, or by"}')
        if found is None:
            target = (mmagic if weights.mmagic else hub) / weights.name
            lines.append(f'  -> curl -fL --create-dirs -o {_typed(target)} {weights.source}/{weights.name}')
    findings = [
        Finding(False, f'MEA_WEIGHTS names {folder}, where there is no folder', f'mkdir -p {_typed(folder)}')
        for folder in named
        if not folder.is_dir()
    ]
    return lines, findings


def examine_metric_weights(environment: Mapping[str, str]) -> tuple[list[str], list[Finding]]:
    """A line on each weight file of the metrics of this package, which downloads none, and one on how to get it.

    Args:
        environment: The environment's variables.

    Returns:
        The lines, and a finding for each file whose content is not the published one, or that cannot be read.
    """
    folder, hub = named_folder(environment), hub_folder(environment)
    folders = ', '.join(str(each) for each in (folder, hub) if each)
    lines = [f'weights of metrics are looked for in {folders} ({FOLDER_VARIABLE} names a folder)']
    findings = []
    for file in KNOWN.values():
        path = next((each for each in candidates(file, folder, environment) if is_file(each)), None)
        lines.append(f'  {file.purpose}: {path or f"no {file.name}; they read n/a without it"}')
        if path is None:
            lines.append(f'  -> curl -fL --create-dirs -o {_typed((folder or hub) / file.name)} {file.url}')
        elif what := _fault(path, file):
            findings.append(Finding(True, f'{path} {what}', f'mv {_typed(path)} {_typed(f"{path}.damaged")}'))
    missing = [part for part in _LPIPS_PARTS if not _in_lpips(part)]
    if missing:
        lines += [f'  LPIPS: no {", ".join(missing)}, which the package lpips brings', f'  -> {_LPIPS}']
    return lines, findings


def _fault(path: Path, file: WeightFile) -> str:
    try:
        return fault(path, file)
    except OSError as error:
        return f'cannot be read ({error.strerror})'


def _in_lpips(name: str) -> bool:
    spec = importlib.util.find_spec('lpips')
    folders = (spec.submodule_search_locations or []) if spec else []
    return any((Path(folder) / 'weights' / 'v0.1' / name).is_file() for folder in folders)
