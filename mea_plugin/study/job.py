"""A whole study: checks first, then query sets, trials, cells, results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mea_plugin.core.errors import RunError
from mea_plugin.extract.toolboxes import Surrogate, read_surrogate
from mea_plugin.metrics.metric import Metric
from mea_plugin.study.cell import Job
from mea_plugin.study.grid import Cell, naming, study_cells, surrogate_section, trial_cells
from mea_plugin.study.keys import Records, cell_key
from mea_plugin.study.options import StudyFile
from mea_plugin.study.prepare import Shared, asked_of, build_victims, check_budgets, check_defences, prepare
from mea_plugin.study.runner import Failure, Task, finished, run_tasks
from mea_plugin.study.tuning import Choice, choose_trials, mean_fidelity
from mea_plugin.study.workers import Places
from mea_plugin.victims import Victim

__all__ = ['StudyRun', 'check_study', 'run_study']

Choices = Mapping[tuple[str, str], Choice]


@dataclass(frozen=True)
class StudyRun:
    """What a run of a study ends with.

    Attributes:
        records: Of the finished cells.
        trials: Of the finished trials.
        choices: What tuning took.
        failures: Of this run.
        wanted: All cells of the tables.
        shared: Victims, queries and test images.
    """

    records: dict[Cell, dict[str, Any]]
    trials: dict[Cell, dict[str, Any]]
    choices: dict[tuple[str, str], Choice]
    failures: list[Failure]
    wanted: list[Cell]
    shared: Shared


def check_study(study: StudyFile) -> dict[str, Victim]:
    """Meet everything that can be met before the first query: each kind of cell is checked as its training would.

    Returns:
        The victims.

    Raises:
        InputError: A cell cannot run; it is named.
    """
    cells = [*trial_cells(study), *study_cells(study)]
    victims = build_victims(study, cells)
    check_defences(study, cells)
    check_budgets(study, cells)
    scale = next(iter(victims.values())).scale
    seen = set()
    for cell in cells:
        kind = (cell.surrogate, cell.method, cell.trial, study.attack(cell.method).knows and cell.defence)
        if kind not in seen:
            seen.add(kind)
            with naming(study, cell):
                _read(study, cell, None).check(scale, f'method {cell.method}')
    return victims


def run_study(study: StudyFile, places: Places, *, start: bool = True) -> StudyRun:
    """Run what is not finished.

    Args:
        study: From :func:`~mea_plugin.study.reading.load_study`.
        places: Where cells run.
        start: False to look only at what is finished.

    Raises:
        InputError: A cell cannot run; nothing was started then.
        RunError: All trials of a method have failed.
    """
    victims = check_study(study)
    cells, trials = study_cells(study), trial_cells(study)
    shared = prepare(study, [*trials, *cells], victims)
    metric = study.measured[0]
    failures: list[Failure] = []
    tried = _run(shared, trials, {}, places, 'trials', failures, metric, start)
    choices = choose_trials(study, trials, tried, metric)
    lost = {(cell.surrogate, cell.method) for cell in trials} - choices.keys()
    if lost and start:
        surrogate, method = min(lost)
        raise RunError(f'every trial of {method} with {surrogate} failed: {failures[0].reason} See {failures[0].log}')
    ready = [cell for cell in cells if (cell.surrogate, study.chain(cell.method)[0]) not in lost]
    records = _run(shared, ready, choices, places, 'cells', failures, metric, start)
    return StudyRun(records, tried, choices, failures, cells, shared)


def _run(
    shared: Shared,
    cells: Sequence[Cell],
    choices: Choices,
    places: Places,
    title: str,
    failures: list[Failure],
    metric: Metric,
    start: bool,
) -> dict[Cell, dict[str, Any]]:
    if not cells:
        return {}
    tasks = _tasks(shared, cells, choices)
    alike: dict[str, Task] = {}  # methods that come to the same options are trained once
    for task in tasks:
        alike.setdefault(task.job.key, task)
    same = {cell: alike[task.job.key].job.id for cell, task in zip(cells, tasks, strict=True)}
    if not start:
        found = {task.job.id: finished(task.job) for task in alike.values()}
        return {cell: record for cell, name in same.items() if (record := found[name])}

    def line(name: str, record: dict[str, Any]) -> str:
        seconds = record['train'].get('cpu_seconds') or record['train'].get('seconds')
        took = '' if seconds is None else f', {seconds:.0f} s of training'
        return f'[cell] {name}: {metric.title} {mean_fidelity(record, metric.name):.2f}{took}'

    results, failed = run_tasks(list(alike.values()), places, title=title, report=line)
    failures += failed
    return {cell: results[name] for cell, name in same.items() if name in results}


def _tasks(shared: Shared, cells: Sequence[Cell], choices: Choices) -> list[Task]:
    study = shared.study
    read: dict[str, Surrogate] = {}
    records = Records(study.results, study.reuse)
    tasks = []
    for cell in cells:
        section = _section(study, cell, choices)
        text = json.dumps({**section, 'seed': None}, sort_keys=True)
        surrogate = read.get(text) or _read(study, cell, _chosen(study, cell, choices))
        read[text] = surrogate
        key = cell_key(cell, surrogate, shared)
        tests = shared.tests_of(cell)
        job = Job(
            study=study.name,
            id=cell.id,
            key=key,
            axes=cell.axes,
            trial=cell.trial,
            surrogate=section,
            victim=study.victims[cell.victim].victim,
            queries=str(shared.query_folder(asked_of(study, cell), cell.queries)),
            pairs=[pair.id for pair in shared.drawn(cell)],
            test_sets=tests.entries,
            tests=tests.fingerprint,
            measure={key: study.content[key] for key in ('metrics', 'weights') if key in study.content},
            answers=str(study.output / 'answers' / cell.victim),
            record=str(records.path(cell, key)),
            metrics=[metric.name for metric in study.measured],
        )
        tasks.append(Task(job, study.output / 'cells' / cell.id, f'{cell.surrogate} {cell.method} {cell.trial}'))
    return tasks


def _chosen(study: StudyFile, cell: Cell, choices: Choices) -> str | None:
    choice = choices.get((cell.surrogate, study.chain(cell.method)[0]))
    return choice.trial if choice and cell.trial is None else None


def _section(study: StudyFile, cell: Cell, choices: Choices) -> dict[str, Any]:
    return surrogate_section(study, cell, _chosen(study, cell, choices))


def _read(study: StudyFile, cell: Cell, chosen: str | None) -> Surrogate:
    with naming(study, cell):
        return read_surrogate('surrogate', surrogate_section(study, cell, chosen), where=f'surrogates.{cell.surrogate}')
