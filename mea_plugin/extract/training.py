"""Training one surrogate in a process of its own, with a progress bar instead of the toolbox's log."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from mea_plugin.errors import InputError
from mea_plugin.extract.record import Record
from mea_plugin.extract.toolboxes import Surrogate
from mea_plugin.files import hash_file
from mea_plugin.query import QuerySet

__all__ = ['Trained', 'train_surrogate']

_ITERATION = re.compile(r'(?:epoch: *\d+, iter:|Iter\(train\) *\[)\s*([\d,]+)')  # BasicSR's log, and MMEngine's
_LAST_LINES = 15


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        weights: The file.
        was_there: Whether an earlier run had made it.
        seconds: What all its iterations take, by the pace between the first and the last that its log has; starting
            up and saving are left out. None where it was there, or logged less than twice.
    """

    weights: Path
    was_there: bool
    seconds: float | None = None


def train_surrogate(surrogate: Surrogate, queries: QuerySet, output: Path, *, keep_open: Sequence[int] = ()) -> Trained:
    """Train a surrogate on a query set, unless that has been done; go on with a run that was interrupted.

    Args:
        surrogate: Name and options.
        queries: A complete query set.
        output: The extraction's folder; the toolbox writes below ``output/experiments/NAME``.
        keep_open: File descriptors that the training's process inherits, such as a lock's: it is held as long as that
            process lives, even if this one is killed.

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
        return Trained(weights, was_there=True)
    option_file = surrogate.write(queries, output)
    command = surrogate.command(option_file, output, resume=record.was_begun())
    if not record.was_begun():
        record.begin()
    seconds = _run(command, surrogate, option_file.with_suffix('.log'), keep_open)
    record.finish([weights])
    return Trained(weights, was_there=False, seconds=seconds)


def _hash_weights(path: str, name: str) -> str:
    if not Path(path).is_file():
        raise InputError(f'no such weight file {path}', where=name, do='Check the path')
    return hash_file(path)


@dataclass
class _Pace:
    """When which iteration was logged."""

    logged: list[tuple[int, float]] = field(default_factory=list)

    def seconds(self, total: int) -> float | None:
        """For so many iterations, as quick as those from the first to the last that was logged."""
        (first, start), (last, end) = self.logged[0], self.logged[-1]
        return (end - start) / (last - first) * total if last > first else None


def _run(command: list[str], surrogate: Surrogate, log: Path, keep_open: Sequence[int]) -> float | None:
    lines: list[str] = []
    pace = _Pace()
    with (
        log.open('w') as file,
        tqdm(
            total=surrogate.total, desc=f'train {surrogate.name}', unit='iter', disable=not sys.stderr.isatty()
        ) as bar,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, pass_fds=keep_open
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                lines = [*lines[1 - _LAST_LINES :], line.rstrip()]
                if match := _ITERATION.search(line):
                    done = int(match[1].replace(',', ''))
                    pace.logged.append((done, time.monotonic()))
                    bar.update(done - bar.n)
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
    return pace.seconds(surrogate.total) if pace.logged else None
