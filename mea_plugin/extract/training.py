"""Training one surrogate in a process of its own, with a progress bar instead of the toolbox's log."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from mea_plugin.errors import InputError
from mea_plugin.extract.options import Surrogate
from mea_plugin.extract.record import Record
from mea_plugin.files import hash_file, write_text
from mea_plugin.query import QuerySet

__all__ = ['check_surrogate', 'train_surrogate']

_ITERATION = re.compile(r'iter:\s*([\d,]+)')
_LAST_LINES = 15


def train_surrogate(surrogate: Surrogate, queries: QuerySet, output: Path) -> tuple[Path, bool]:
    """Train a surrogate on a query set, unless that has been done; go on with a run that was interrupted.

    Args:
        surrogate: Name and options; ``datasets.train`` gets the query set's folders.
        queries: A complete query set.
        output: The extraction's folder; BasicSR writes below ``output/experiments/NAME``.

    Returns:
        The weight file, and whether it was there already.

    Raises:
        InputError: The options cannot be used, or training failed; the log's place is named.
    """
    options = _complete(surrogate, queries)
    weights = output / 'experiments' / surrogate.name / 'models' / 'net_g_latest.pth'
    manifest = queries.manifest()
    assert manifest is not None
    inputs = {'options': options, 'pairs': manifest['pairs'], 'pretrained': _pretrained(options)}
    record = Record(output / 'surrogates' / f'{surrogate.name}.json', inputs)
    if record.is_current():
        return weights, True
    option_file = output / 'surrogates' / f'{surrogate.name}.yml'
    write_text(option_file, yaml.safe_dump(options, sort_keys=False))
    command = [sys.executable, '-m', 'mea_plugin.basicsr.train', '-opt', str(option_file), '--root', str(output)]
    if record.was_begun():
        command.append('--auto_resume')
    else:
        record.begin()
    _run(command, surrogate.name, int(options['train']['total_iter']), option_file.with_suffix('.log'))
    record.finish([weights])
    return weights, False


def check_surrogate(surrogate: Surrogate, scale: int, where: str) -> None:
    """Check a surrogate's options before a query is spent on it.

    Raises:
        InputError: They cannot be used, or its scale is not the victim's.
    """
    from mea_plugin.basicsr.check import check_options

    where = f'{where}: surrogates.{surrogate.name}'
    check_options(surrogate.options, where=where, data=False)
    if surrogate.options.get('scale') != scale:
        what = f"scale is {surrogate.options.get('scale')}, the victim's is {scale}"
        raise InputError(what, where=where, do='Train a surrogate of the same scale')


def _complete(surrogate: Surrogate, queries: QuerySet) -> dict[str, Any]:
    """The surrogate's options with its name and the query set filled in."""
    options = dict(surrogate.options)
    datasets = dict(options.get('datasets') or {})
    folder = queries.folder.resolve()
    paths = {'dataroot_lq': str(folder / 'query'), 'dataroot_gt': str(folder / 'response')}
    datasets['train'] = {**(datasets.get('train') or {}), **paths}
    return {**options, 'name': surrogate.name, 'datasets': datasets}


def _pretrained(options: dict[str, Any]) -> dict[str, str]:
    paths = options.get('path') or {}
    files = {key: value for key, value in paths.items() if key.startswith('pretrain_network') and value}
    for key, value in files.items():
        if not Path(value).is_file():
            raise InputError(f'no such weight file {value}', where=f'path.{key}', do='Check the path')
    return {key: hash_file(value) for key, value in files.items()}


def _run(command: list[str], name: str, total: int, log: Path) -> None:
    lines: list[str] = []
    with (
        log.open('w') as file,
        tqdm(total=total, desc=f'train {name}', unit='iter', disable=not sys.stderr.isatty()) as bar,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                lines = [*lines[1 - _LAST_LINES :], line.rstrip()]
                if match := _ITERATION.search(line):
                    bar.update(int(match[1].replace(',', '')) - bar.n)
        except KeyboardInterrupt:
            process.terminate()
            raise
    if process.returncode == 2 and lines and lines[-1].startswith('error: '):
        raise InputError(lines[-1].removeprefix('error: ').rstrip('.'))
    if process.returncode != 0:
        print('\n'.join(lines), file=sys.stderr)
        raise InputError(f'training ended with exit code {process.returncode}', where=log, do='Read the log')
