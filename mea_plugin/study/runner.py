"""Runs the cells of a study: several at once, each in a process of its own, none twice; a failure stops no other."""

from __future__ import annotations

import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from mea_plugin.core.errors import line_of
from mea_plugin.core.files import read_json, write_json
from mea_plugin.core.locks import is_locked
from mea_plugin.study.cell import BUSY, LOCK, Job
from mea_plugin.study.cell_records import find_cell_record
from mea_plugin.study.workers import Places

__all__ = ['Failure', 'Task', 'finished', 'run_tasks']

_LOOK = 0.2  # seconds between two looks at the processes
_LOOK_AGAIN = 5.0  # at cells that another process works on
_WAIT = 60.0  # for a training to put its state away
_CELL = (sys.executable, '-m', 'mea_plugin.study.cell')
_FAILURE = 'failure.json'


@dataclass(frozen=True)
class Task:
    """A job, the folder that it runs in, and what similar ones are called, for the estimate of the time left."""

    job: Job
    folder: Path
    kind: str


@dataclass(frozen=True)
class Failure:
    """A cell that ended without a result."""

    id: str
    reason: str
    log: Path


@dataclass
class _Running:
    task: Task
    process: subprocess.Popen[str]
    log: IO[str]
    place: int
    since: float = field(default_factory=time.monotonic)


def finished(job: Job) -> dict[str, Any] | None:
    """The result of a job, if there is one with exactly its options; a damaged one is passed over with a line."""
    return find_cell_record(job.record, job.key, [str(one['name']) for one in job.test_sets], job.metrics)


def run_tasks(
    tasks: Sequence[Task],
    places: Places,
    *,
    title: str,
    report: Callable[[str, dict[str, Any]], str],
    command: Sequence[str] = _CELL,
) -> tuple[dict[str, dict[str, Any]], list[Failure]]:
    """Run what is not finished.

    Other processes, here or on other machines with the same folders, may run the same tasks at the same time: each cell
    is locked by who works on it, and its result counts for all.

    Args:
        tasks: In the order in which they are wanted.
        places: Where.
        title: Of the progress bar.
        report: Makes a line of a finished cell's id and result.
        command: Runs the job whose file follows.

    Returns:
        Results by id, and the failures of this call.
    """
    run = _Run(tasks, places, title, report, command)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        run.work()
    finally:
        signal.signal(signal.SIGTERM, previous)
        run.stop()
    return run.results, run.failures


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


class _Run:
    """One call of :func:`run_tasks`."""

    def __init__(
        self,
        tasks: Sequence[Task],
        places: Places,
        title: str,
        report: Callable[[str, dict[str, Any]], str],
        command: Sequence[str],
    ) -> None:
        self._places, self._report, self._command = places, report, command
        self._earlier = {task.job.id: _failure_note(task).get('id') for task in tasks}
        self.results: dict[str, dict[str, Any]] = {}
        self.failures: list[Failure] = []
        self._seconds: dict[str, list[float]] = {}
        self._running: list[_Running] = []
        found = {task.job.id: finished(task.job) for task in tasks}
        self.results.update({name: record for name, record in found.items() if record})
        waiting = [task for task in tasks if task.job.id not in self.results]
        start = places.start(len(waiting))
        self._waiting = waiting[start:] + waiting[:start]
        self._not_before: dict[str, float] = {}
        self._bar = tqdm(
            total=len(tasks),
            initial=len(self.results),
            desc=title,
            unit='cell',
            disable=None,
            bar_format='{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]',
        )

    def work(self) -> None:
        """Until every task has a result or has failed."""
        while self._waiting or self._running:
            self._start_some()
            self._end_some()
            self._show_time_left()
            time.sleep(_LOOK)
        self._bar.close()

    def stop(self) -> None:
        """End what still runs; trainings put their state away and go on next time."""
        for one in self._running:
            one.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + _WAIT
        for one in self._running:
            try:
                one.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                one.process.kill()
            one.log.close()
        self._running = []

    def _start_some(self) -> None:
        free = set(range(self._places.count)) - {one.place for one in self._running}
        now = time.monotonic()
        for task in list(self._waiting):
            if not free:
                return
            if self._not_before.get(task.job.id, 0) > now:
                continue
            record = finished(task.job)
            if record is not None:
                self._waiting.remove(task)
                self._finish(task, record)
            elif failure := self._failed_elsewhere(task):
                self._waiting.remove(task)
                self._fail(task, failure)
            elif is_locked(task.folder / LOCK):
                self._not_before[task.job.id] = now + _LOOK_AGAIN
            else:
                self._waiting.remove(task)
                self._running.append(self._start(task, free.pop()))

    def _start(self, task: Task, place: int) -> _Running:
        task.folder.mkdir(parents=True, exist_ok=True)
        file = task.job.write(task.folder)
        log = (task.folder / 'log.txt').open('w')
        process = subprocess.Popen(
            [*self._command, str(file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._places.environment(place),
            start_new_session=True,  # Ctrl-C is passed on by this process, once
        )
        return _Running(task, process, log, place)

    def _end_some(self) -> None:
        for one in list(self._running):
            code = one.process.poll()
            if code is None:
                continue
            self._running.remove(one)
            one.log.close()
            record = finished(one.task.job)
            if record is not None:
                self._seconds.setdefault(one.task.kind, []).append(time.monotonic() - one.since)
                self._finish(one.task, record)
            elif code == BUSY:
                self._not_before[one.task.job.id] = time.monotonic() + _LOOK_AGAIN
                self._waiting.append(one.task)
            else:
                reason = _reason(one.task.folder / 'log.txt', code)
                note = {'key': one.task.job.key, 'reason': reason, 'id': secrets.token_hex(8)}
                write_json(one.task.folder / _FAILURE, note)
                self._fail(one.task, reason)

    def _finish(self, task: Task, record: dict[str, Any]) -> None:
        self.results[task.job.id] = record
        self._bar.write(self._report(task.job.id, record), sys.stderr)
        self._bar.update()

    def _failed_elsewhere(self, task: Task) -> str | None:
        """Why the task failed in another process that runs the study at the same time; it would fail here, too."""
        note = _failure_note(task)
        if note.get('key') == task.job.key and note.get('id') != self._earlier[task.job.id]:
            return line_of(str(note.get('reason')))
        return None

    def _fail(self, task: Task, reason: str) -> None:
        log = task.folder / 'log.txt'
        failure = Failure(task.job.id, reason, log)
        self.failures.append(failure)
        self._bar.write(f'[failed] {failure.id}: {failure.reason} See {log}', sys.stderr)
        self._bar.update()

    def _show_time_left(self) -> None:
        if not self._seconds or self._bar.disable:
            return
        overall = statistics.fmean(second for seconds in self._seconds.values() for second in seconds)
        means = {kind: statistics.fmean(seconds) for kind, seconds in self._seconds.items()}
        now = time.monotonic()
        left = sum(means.get(task.kind, overall) for task in self._waiting)
        left += sum(max(0.0, means.get(one.task.kind, overall) - (now - one.since)) for one in self._running)
        text = tqdm.format_interval(left / self._places.count)
        self._bar.set_postfix_str(f'about {text} left', refresh=False)
        self._bar.refresh()


def _failure_note(task: Task) -> dict[str, Any]:
    """What the last failure of a task has left; its ``id`` tells it from an earlier one, whatever the clocks say."""
    note = read_json(task.folder / _FAILURE)
    return note if isinstance(note, dict) else {}


def _reason(log: Path, code: int) -> str:
    """The last line of a cell's output, which is the one line of an error, or the exception of a traceback."""
    lines = [line.strip() for line in log.read_text(errors='replace').splitlines() if line.strip()]
    last = lines[-1].removeprefix('error: ') if lines else 'no output.'
    ended = f'ended by signal {-code}' if code < 0 else f'exit code {code}'
    return f'{line_of(last)} ({ended})'
