"""One cell of a study in a process of its own: train, measure, write the result.

The runner starts it as ``python -m mea_plugin.study.cell FILE`` with a :class:`Job`; a lock in the cell's folder keeps
a second process out for as long as this one or the training that it started lives.
"""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mea_plugin.core.cli import run_tool
from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_json, parse_json, read_bytes, write_json
from mea_plugin.core.locks import locked
from mea_plugin.core.provenance import provenance
from mea_plugin.core.records import find_record, write_record
from mea_plugin.evaluation import evaluate
from mea_plugin.evaluation.options import MetricOptions, parse_test_sets
from mea_plugin.evaluation.results import Comparison, SetResult, number
from mea_plugin.extract.toolboxes import Surrogate, read_surrogate
from mea_plugin.extract.training import train_surrogate
from mea_plugin.query.recorded import RecordedVictim
from mea_plugin.query_sets import QuerySet
from mea_plugin.query_sets.layout import PairFiles
from mea_plugin.study.cell_records import write_cell_record
from mea_plugin.victims import build_victim

__all__ = ['BUSY', 'LOCK', 'Job', 'measured_sets', 'run_cell']

BUSY = 75
"""Exit code: another process works on the cell."""

LOCK = 'lock'
"""The lock's file in a cell's folder."""


@dataclass(frozen=True)
class Job:
    """Everything that the process of a cell has to know, as JSON.

    Attributes:
        study: The study's name.
        id: The cell's.
        key: Of :func:`~mea_plugin.study.keys.cell_key`.
        axes: The cell's.
        trial: In a trial, the candidate.
        surrogate: For :func:`~mea_plugin.extract.toolboxes.read_surrogate`.
        victim: For :func:`~mea_plugin.victims.build_victim`.
        queries: The shared query set's folder.
        pairs: The ids of its pairs that the cell is trained on.
        test_sets: As folders.
        tests: Their fingerprint.
        measure: The sections ``metrics`` and ``weights`` of the study.
        answers: Folder in which the victim's answers to test images are kept.
        record: The result's file.
        metrics: Names of those whose values the tables of the study show.
    """

    study: str
    id: str
    key: str
    axes: dict[str, Any]
    trial: str | None
    surrogate: dict[str, Any]
    victim: dict[str, Any]
    queries: str
    pairs: list[str]
    test_sets: list[dict[str, Any]]
    tests: str
    measure: dict[str, Any]
    answers: str
    record: str
    metrics: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> Path:
        """Put it into the cell's folder."""
        write_json(folder / 'job.json', asdict(self))
        return folder / 'job.json'


def run_cell(job: Job, folder: Path, lock: int) -> None:
    """Train the surrogate, go on with an interrupted training, measure it, and write the record.

    Args:
        job: What to do.
        folder: The cell's own; what is left there of other options is replaced.
        lock: The descriptor of its lock, which the training inherits.

    Raises:
        InputError: The options cannot be used, or training failed.
    """
    import torch

    surrogate = read_surrogate('surrogate', job.surrogate, where=job.id)
    victim = RecordedVictim(build_victim(job.victim, where=f'{job.id}: victim'), job.answers)
    queries = _own_queries(job, folder)
    trained = train_surrogate(surrogate, queries, folder, keep_open=[lock])
    note = folder / 'train.json'
    if not trained.was_there:
        seconds = {'seconds': trained.seconds, 'cpu_seconds': trained.cpu_seconds}
        write_record(note, {'key': job.key, 'iterations': surrogate.total, **seconds})
    train = find_record(note) or {}
    if train.pop('key', None) != job.key:  # killed before it was noted
        train = {'iterations': surrogate.total, 'seconds': None}
    metrics = MetricOptions.parse(job.measure, job.id).find_metrics(f'{job.id}: ')
    network = build_victim(surrogate.as_victim(folder), where=f'{job.id}: surrogate')
    result, _ = evaluate(
        victim,
        {'surrogate': network},
        parse_test_sets(job.test_sets, job.id),
        metrics=metrics,
        panel_images=1,
        where=job.id,
    )
    sets = measured_sets(result.sets, 'surrogate')
    _check_measured(sets, job.id)
    made = provenance([], {}, 'cuda' if torch.cuda.is_available() else 'cpu')
    record = {
        'study': job.study,
        'id': job.id,
        'key': job.key,
        'axes': job.axes,
        'trial': job.trial,
        'test_sets': sets,
        'train': train,
        'fingerprints': {'victim': victim.fingerprint, 'queries': _content(queries), 'test_sets': job.tests},
        'options': surrogate.options,
        'packages': made['packages'],
        'machine': made['machine'],
    }
    path = Path(job.record)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_cell_record(path, record)
    _tidy(surrogate, folder)


def measured_sets(sets: Sequence[SetResult], model: str) -> dict[str, Any]:
    """One model's values per image, by test set: ``images``, ``fidelity`` and, with ground truth, ``quality``."""
    found: dict[str, Any] = {}
    for one in sets:
        entry: dict[str, Any] = {}
        for kind in ('fidelity', 'quality'):
            comparison: Comparison | None = one.comparisons(kind).get(model)
            if comparison is not None and comparison.images:
                entry['images'] = list(comparison.images)
                names = next(iter(comparison.images.values()))
                entry[kind] = {name: [number(value) for value in comparison.values(name)] for name in names}
        found[one.name] = entry
    return found


def _own_queries(job: Job, folder: Path) -> QuerySet:
    """The pairs that the cell has drawn, as a query set of links."""
    shared, own = QuerySet(job.queries), QuerySet(folder / 'queries')
    manifest = shared.manifest()
    if manifest is None:
        raise InputError('the query set is gone', where=job.queries, do='Run the study again')
    entries = {one['id']: one for one in manifest['pairs']}
    wanted = [entries[identifier] for identifier in job.pairs]
    pairs = [
        PairFiles(one['name'], one['query'], one['response'], tuple(one['size']), shared.paths(one['id']))
        for one in wanted
    ]
    own.build(pairs, manifest['description'], {'study': job.study, 'cell': job.id})
    return own


def _content(queries: QuerySet) -> str:
    manifest = queries.manifest() or {}
    return hash_json(manifest['pairs'])


def _check_measured(sets: dict[str, Any], where: str) -> None:
    for name, entry in sets.items():
        if not entry.get('fidelity'):
            raise InputError(f'nothing was measured on {name}', where=where, do='Give metrics that compare two images')


def _tidy(surrogate: Surrogate, folder: Path) -> None:
    """Leave the final weights and the logs; training states and the query set's links go."""
    weights = surrogate.weights(folder)
    experiment = folder / 'experiments' / surrogate.name
    for path in experiment.rglob('*'):
        if path.is_file() and path != weights and path.suffix in ('.pth', '.state'):
            path.unlink()
    shutil.rmtree(folder / 'queries', ignore_errors=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the job and run it."""
    (file,) = sys.argv[1:] if argv is None else argv
    for each in (signal.SIGINT, signal.SIGTERM):  # also where a shell's & has made this process ignore the first
        signal.signal(each, signal.default_int_handler)
    path = Path(file)
    job = Job(**parse_json(read_bytes(path)))
    with ExitStack() as held:
        try:
            lock = held.enter_context(locked(path.parent / LOCK, wait=False))
        except BlockingIOError:
            sys.exit(BUSY)
        run_cell(job, path.parent, lock)


if __name__ == '__main__':
    sys.exit(run_tool(main))
