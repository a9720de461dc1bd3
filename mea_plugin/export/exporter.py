"""Writing a surrogate in a format: made, tried as a victim beside the surrogate itself, and only then put in place."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.files import write_bytes
from mea_plugin.core.paths import expanded
from mea_plugin.export.check import Difference, measure, smallest_size
from mea_plugin.export.onnx import check_onnx, to_onnx
from mea_plugin.export.program import program_metadata
from mea_plugin.export.surrogate import Surrogate
from mea_plugin.export.torch_export import check_torch_export, to_torch_export
from mea_plugin.export.torchscript import check_torchscript, to_torchscript
from mea_plugin.export.weights import check_safetensors, to_basicsr, to_safetensors
from mea_plugin.victims import build_victim
from mea_plugin.victims.checks import one_line
from mea_plugin.victims.network import NetworkVictim

__all__ = ['FORMATS', 'TOLERANCE', 'Exported', 'export_surrogate']

FORMATS = {
    'safetensors': '.safetensors',
    'basicsr': '.pth',
    'torchscript': '.pt',
    'torch_export': '.pt2',
    'onnx': '.onnx',
}
"""What can be written, and how the files end."""

TOLERANCE = 1e-4
"""On the scale of [0, 1]: a fortieth of a grey level. Other kernels and fused operations stay well below it."""

_CHECKS: dict[str, Callable[[], None]] = {
    'safetensors': check_safetensors,
    'torchscript': check_torchscript,
    'torch_export': check_torch_export,
    'onnx': check_onnx,
}
_PROGRAMS: dict[str, Callable[[Surrogate, dict[str, str], tuple[int, int]], bytes]] = {
    'torchscript': to_torchscript,
    'torch_export': to_torch_export,
    'onnx': to_onnx,
}


@dataclass(frozen=True)
class Exported:
    """One file.

    Attributes:
        format: One of :data:`FORMATS`.
        path: Where it is.
        difference: From the surrogate's own answers.
        victim: The options of a victim that answers from it.
        batch: Whether it takes several images at a time.
    """

    format: str
    path: Path
    difference: Difference
    victim: dict[str, Any]
    batch: bool


def export_surrogate(
    surrogate: Surrogate,
    formats: Sequence[str],
    folder: str | Path,
    *,
    overwrite: bool = False,
    tolerance: float = TOLERANCE,
) -> Iterator[Exported]:
    """Write a surrogate in some formats, one after the other.

    Args:
        surrogate: What is exported.
        formats: Of :data:`FORMATS`.
        folder: Gets ``NAME.pth``, ``NAME.onnx``...; made where it is missing.
        overwrite: Whether files that are there may be replaced.
        tolerance: How far the answers may be from the surrogate's own.

    Yields:
        What was written, as soon as it is in place.

    Raises:
        InputError: An unknown format, a package that is missing, a file that is there, a folder that cannot be written
            to; or, file by file, a network that this torch cannot export, or answers that differ: then nothing is
            written under that name.
    """
    folder = expanded(folder)
    if Path(surrogate.name).name != surrogate.name:
        raise InputError(f"the name is '{surrogate.name}'", where='--name', do='Give a name without folders')
    paths = {kind: folder / f'{surrogate.name}{_suffix(kind)}' for kind in dict.fromkeys(formats)}
    for kind, path in paths.items():
        _CHECKS.get(kind, lambda: None)()
        if path.exists() and not overwrite:
            raise InputError('is there already', where=path, do='Add --overwrite, or choose another --output or --name')
    _check_folder(folder)
    size = smallest_size(surrogate.victim)
    for kind, path in paths.items():
        yield _export(surrogate, kind, path, size, tolerance)


def _suffix(kind: str) -> str:
    if kind not in FORMATS:
        raise InputError(f"no format '{kind}'", where='--format', do=suggestion(str(kind), FORMATS))
    return FORMATS[kind]


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f'cannot be made ({error.strerror})', where=folder, do='Choose another --output') from error
    if not os.access(folder, os.W_OK):
        raise InputError('cannot be written to', where=folder, do='Choose another --output')


def _export(surrogate: Surrogate, kind: str, path: Path, size: int, tolerance: float) -> Exported:
    content, options = _make(surrogate, kind, size)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / path.name
        draft.write_bytes(content)
        difference, batch = _try(surrogate, kind, options(draft), size)
    if difference.largest > tolerance:
        raise InputError(
            f'the answers differ from those of {surrogate.name} by up to {difference.largest:.2g} of [0, 1], more than '
            f'{tolerance:g}',
            where=f'--format {kind}',
            do='Use another format, or raise --tolerance if that does no harm',
        )
    write_bytes(path, content)
    return Exported(kind, path, difference, options(path), batch)


def _make(surrogate: Surrogate, kind: str, size: int) -> tuple[bytes, Callable[[Path], dict[str, Any]]]:
    """The file's content, and from its path to the options of a victim that answers from it."""
    if kind == 'safetensors':
        return to_safetensors(surrogate), surrogate.as_victim
    if kind == 'basicsr':
        content, counterpart = to_basicsr(surrogate)
        network = counterpart.network if counterpart else surrogate.network
        return content, lambda path: {'type': 'basicsr', 'network_g': network, 'weights': str(path)}
    try:
        with _quiet():
            made = _PROGRAMS[kind](surrogate, program_metadata(surrogate), (size, 2 * size))
    except Exception as error:  # tracers and exporters raise what they like
        raise InputError(
            f'torch {torch.__version__} cannot write {surrogate.network["type"]} in this format with sizes left open '
            f'({one_line(error)})',
            where=f'--format {kind}',
            do='Use another format, or a newer torch',
        ) from error
    trusted = {} if kind == 'onnx' else {'trusted': True}
    return made, lambda path: {'type': kind, 'file': str(path), **trusted}


def _try(surrogate: Surrogate, kind: str, options: dict[str, Any], size: int) -> tuple[Difference, bool]:
    """How far the file's answers are from the surrogate's, and whether it takes several images at a time."""
    try:
        with _quiet():
            victim = build_victim({**options, 'device': 'cpu'})
            assert isinstance(victim, NetworkVictim)
            return measure(surrogate.victim, victim, size), victim.batch_size > 1
    except InputError as error:
        raise InputError(
            f'what was written cannot be used: {str(error).rstrip(".")}',
            where=f'--format {kind}',
            do='Use another format',
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracers' warnings of sizes that a trace may fix: that is what is measured afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield
