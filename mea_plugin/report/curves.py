"""Training curves, out of what the toolboxes have logged below an extraction's folder."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import read_bytes
from mea_plugin.core.folders import inside
from mea_plugin.core.records import tell_once

__all__ = ['Curve', 'TrainingLog', 'read_extraction', 'read_training']


class Curve(NamedTuple):
    """One quantity over a training.

    Attributes:
        iterations: Rising.
        values: One for each; NaN, which plots as a gap, where what was logged is not finite.
    """

    iterations: list[int]
    values: list[float]


@dataclass(frozen=True)
class TrainingLog:
    """What one training has logged.

    Attributes:
        train: Losses and other measures of the step, by the name that the toolbox gives them.
        validation: Metrics, by name; BasicSR's are called ``SET/METRIC``.
    """

    train: dict[str, Curve] = field(default_factory=dict)
    validation: dict[str, Curve] = field(default_factory=dict)

    @property
    def losses(self) -> dict[str, Curve]:
        """The losses among what was logged of training."""
        return {name: curve for name, curve in self.train.items() if name.startswith('l_') or 'loss' in name}


class _Entry(NamedTuple):
    iteration: int
    is_validation: bool
    values: dict[str, float]


_STEP = re.compile(r'\[epoch: *\d+, iter: *([\d,]+), lr:\(([^)]*)\)\](?: \[eta:.*?\)\])?(.*)')
_START = re.compile(r'(?:Start|Resuming) training from epoch: *\d+, iter: *(\d+)')
_FREQUENCY = re.compile(r'^ *val_freq: (\S+)$')
_TOTAL = re.compile(r'^ *total_iter: (\S+)$')
_VALIDATION = re.compile(r'INFO: Validation (.+)$')
_METRIC = re.compile(r'^\t # (.+?): (\S+)(?:\tBest:.*)?$')
_PAIR = re.compile(r'(\S+): (\S+)')

_LARGEST_LOG = 1 << 26  # bytes: ten million iterations are logged in less
_LONGEST_LINE = 10_000  # characters
_LAST = 10**12  # iteration

# What MMEngine logs beside the measures: where it is, and how long that took.
_POSITION = {'iter', 'epoch', 'step', 'time', 'data_time', 'eta', 'memory'}


def read_extraction(folder: str | Path) -> dict[str, TrainingLog]:
    """The logs of all surrogates of an extraction, by name; one that has logged nothing is left out.

    Args:
        folder: The extraction's, which holds ``experiments/NAME``.
    """
    folder = Path(folder)
    runs = sorted(path for path in (folder / 'experiments').glob('*') if path.is_dir())
    logs = {run.name: read_training(run, within=folder) for run in runs}
    return {name: log for name, log in logs.items() if log.train or log.validation}


def read_training(folder: str | Path, *, within: Path | None = None) -> TrainingLog:
    """The log of one training, whatever toolbox it is of.

    A resumed training has a log for each time it was started. What a later one holds replaces what earlier ones hold
    from its first iteration on: they led to weights that were given up.

    Args:
        folder: The training's: BasicSR's ``experiments/NAME`` or MMEngine's work folder.
        within: The folder that files must lie in, by default the training's. One that leads outside by a link, or is
            too large, is left out, which is said in a line.
    """
    folder = Path(folder)
    entries: list[_Entry] = []
    files = [(_read_basicsr, path) for path in sorted(folder.glob('train_*.log'))]
    files += [(_read_mmengine, path) for path in _mmengine_files(folder)]
    for read, path in files:
        try:
            newer = list(read(_lines(path, within or folder), entries))
        except (InputError, OSError) as error:
            tell_once(f'left out of the report: {error}')
            continue
        first = min((entry.iteration for entry in newer if not entry.is_validation), default=math.inf)
        entries = [entry for entry in entries if entry.iteration < first] + newer
    return TrainingLog(_curves(entries, False), _curves(entries, True))


def _curves(entries: list[_Entry], validation: bool) -> dict[str, Curve]:
    points: dict[str, dict[int, float]] = {}
    for entry in entries:
        if entry.is_validation == validation:
            for name, value in entry.values.items():
                points.setdefault(name, {})[entry.iteration] = value if math.isfinite(value) else math.nan
    return {
        name: Curve(sorted(values), [values[iteration] for iteration in sorted(values)])
        for name, values in points.items()
    }


def _read_basicsr(lines: list[str], earlier: list[_Entry]) -> Iterator[_Entry]:
    """The entries of one of BasicSR's text logs.

    It does not say at which iteration it validates; that follows from ``val_freq`` and from what was logged before.
    """
    frequency, total = 0.0, math.inf
    validated = {
        (name.rpartition('/')[0], one.iteration) for one in earlier if one.is_validation for name in one.values
    }
    last, start, data_set = 0, 0, ''
    due: dict[str, int] = {}  # by data set
    for line in lines:
        if match := _STEP.search(line):
            last = _iteration(match[1], last)
            values = _numbers(_PAIR.findall(match[3]))
            yield _Entry(last, False, values | _numbers([('lr', match[2].partition(',')[0])]))
        elif match := _START.search(line):
            last = start = _iteration(match[1], last)
        elif match := _FREQUENCY.match(line):
            frequency = _at_least_one(match[1]) or 0
        elif match := _TOTAL.match(line):
            total = _at_least_one(match[1]) or math.inf
        elif match := _VALIDATION.search(line):
            data_set = match[1]
            owed = last > start or (data_set, start) not in validated  # resumed runs owe what they were killed in
            after = due.get(data_set, last - owed)
            due[data_set] = _due(max(last, after + 1, 1), frequency, total) if frequency else last
        elif data_set and (match := _METRIC.match(line)):
            yield _Entry(due[data_set], True, _numbers([(f'{data_set}/{match[1]}', match[2])]))


def _iteration(text: str, before: int) -> int:
    """An iteration, which may be written ``5,000``; the one before where it is none."""
    digits = text.replace(',', '')
    return int(digits) if 0 < len(digits) <= len(str(_LAST)) else before


def _at_least_one(text: str) -> float | None:
    number = _number(text)
    return number if number is not None and 1 <= number <= _LAST else None


def _due(least: int, frequency: float, total: float) -> int:
    """The iteration of the first validation that is not before another: a multiple of the frequency, or the end."""
    return int(min(math.ceil(least / frequency) * frequency, max(total, least)))


def _mmengine_files(folder: Path) -> list[Path]:
    """Per start, in their order, the file of scalars; where there is none, the log as JSON, which says the same."""
    found = []
    for start in sorted(path for path in folder.glob('*/vis_data') if path.is_dir()):
        logs = [start / 'scalars.json', start / f'{start.parent.name}.json']
        found += [path for path in logs if path.is_file()][:1]
    return found


def _read_mmengine(lines: list[str], earlier: list[_Entry]) -> Iterator[_Entry]:
    """The entries of a file of MMEngine's: one JSON object per line; those of a validation have no ``iter``."""
    last = 0
    for line in lines:
        try:
            record: Any = json.loads(line)  # MMEngine writes NaN
        except (ValueError, RecursionError):
            continue
        step = record.get('step', record.get('iter')) if isinstance(record, dict) else None
        if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step <= _LAST:
            continue
        values = _numbers((name, value) for name, value in record.items() if name not in _POSITION)
        if is_validation := 'iter' not in record:
            step = max(step, last)  # with `log_metric_by_epoch` it is the epoch
        last = step
        yield _Entry(step, is_validation, values)


def _lines(path: Path, within: Path) -> list[str]:
    """Lines without their ends; one that a killed process has left unfinished is none, nor is one that is endless."""
    text = read_bytes(inside(within, path, where=path), _LARGEST_LOG).decode(errors='replace')
    lines = text.split('\n')[:-1]
    return [line.rstrip('\r') for line in lines if len(line) <= _LONGEST_LINE]


def _numbers(pairs: Any) -> dict[str, float]:
    numbers = ((name, _number(value)) for name, value in pairs)
    return {name: number for name, number in numbers if number is not None}


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
