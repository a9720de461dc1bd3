"""Training one surrogate in a process of its own, with a progress bar instead of the toolbox's log."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_file
from mea_plugin.extract.record import Record
from mea_plugin.extract.toolboxes import Surrogate
from mea_plugin.query_sets import QuerySet

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
        cpu_seconds: The same in processor time of its process, which other work on the machine hardly moves; None also
            where the system does not tell (other than Linux).
    """

    weights: Path
    was_there: bool
    seconds: float | None = None
    cpu_seconds: float | None = None


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
    pace = _run(command, surrogate.name, surrogate.total, option_file.with_suffix('.log'), keep_open)
    record.finish([weights])
    return Trained(weights, False, *pace.seconds(surrogate.total))


def _hash_weights(path: str, name: str) -> str:
    if not Path(path).is_file():
        raise InputError(f'no such weight file {path}', where=name, do='Check the path')
    return hash_file(path)


@dataclass
class Pace:
    """When which iteration was logged: its number, the time, and the processor time of the process."""

    logged: list[tuple[int, float, float | None]] = field(default_factory=list)

    def note(self, iteration: int, process: int) -> None:
        """One was logged now."""
        self.logged.append((iteration, time.monotonic(), _cpu_seconds(process)))

    def seconds(self, total: int) -> tuple[float | None, float | None]:
        """Time and processor time for so many iterations, as quick as those from the first to the last logged."""
        if not self.logged or self.logged[-1][0] <= self.logged[0][0]:
            return None, None
        (first, start, begun), (last, end, done) = self.logged[0], self.logged[-1]
        share = total / (last - first)
        cpu = None if begun is None or done is None else (done - begun) * share
        return (end - start) * share, cpu


def _cpu_seconds(process: int) -> float | None:
    """User and system time of a process and its threads so far."""
    try:
        fields = Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def _run(command: list[str], name: str, total: int, log: Path, keep_open: Sequence[int] = ()) -> Pace:
    lines: list[str] = []
    pace = Pace()
    with (
        log.open('w') as file,
        tqdm(total=total, desc=f'train {name}', unit='iter', disable=not sys.stderr.isatty()) as bar,
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
                    pace.note(done, process.pid)
                    bar.update(done - bar.n)
        except KeyboardInterrupt:
            process.terminate()
            file.writelines(process.stdout)  # it still puts its state away, which a closed pipe would break off
            process.wait()
            raise
    if process.returncode == 2 and lines and lines[-1].startswith('error: '):
        raise InputError(lines[-1].removeprefix('error: '))
    if process.returncode != 0:
        print('\n'.join(lines), file=sys.stderr)
        raise InputError(f'training ended with exit code {process.returncode}', where=log, do='Read the log')
    return pace
