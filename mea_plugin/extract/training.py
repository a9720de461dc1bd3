"""Training one surrogate in a process of its own, with a progress bar instead of the toolbox's log."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tqdm import tqdm

from mea_plugin.errors import InputError
from mea_plugin.extract.record import Record
from mea_plugin.extract.toolboxes import Surrogate
from mea_plugin.files import hash_file
from mea_plugin.query import QuerySet

__all__ = ['train_surrogate']

_ITERATION = re.compile(r'(?:iter:|Iter\(train\) *\[)\s*([\d,]+)')  # BasicSR's log, and MMEngine's
_LAST_LINES = 15


def train_surrogate(surrogate: Surrogate, queries: QuerySet, output: Path) -> tuple[Path, bool]:
    """Train a surrogate on a query set, unless that has been done; go on with a run that was interrupted.

    Args:
        surrogate: Name and options.
        queries: A complete query set.
        output: The extraction's folder; the toolbox writes below ``output/experiments/NAME``.

    Returns:
        The weight file, and whether it was there already.

    Raises:
        InputError: The options cannot be used, or training failed; the log's place is named.
    """
    weights = surrogate.weights(output)
    manifest = queries.manifest()
    assert manifest is not None
    pretrained = {path: _hash_weights(path, surrogate.name) for path in surrogate.pretrained()}
    inputs = {'options': surrogate.options, 'pairs': manifest['pairs'], 'pretrained': pretrained}
    record = Record(output / 'surrogates' / f'{surrogate.name}.json', inputs)
    if record.is_current():
        return weights, True
    option_file = surrogate.write(queries, output)
    command = surrogate.command(option_file, output, resume=record.was_begun())
    if not record.was_begun():
        record.begin()
    _run(command, surrogate.name, surrogate.total, option_file.with_suffix('.log'))
    record.finish([weights])
    return weights, False


def _hash_weights(path: str, name: str) -> str:
    if not Path(path).is_file():
        raise InputError(f'no such weight file {path}', where=name, do='Check the path')
    return hash_file(path)


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
            file.writelines(process.stdout)  # it still puts its state away, which a closed pipe would break off
            process.wait()
            raise
    if process.returncode == 2 and lines and lines[-1].startswith('error: '):
        raise InputError(lines[-1].removeprefix('error: ').rstrip('.'))
    if process.returncode != 0:
        print('\n'.join(lines), file=sys.stderr)
        raise InputError(f'training ended with exit code {process.returncode}', where=log, do='Read the log')
