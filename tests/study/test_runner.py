"""Running cells as processes: several at once, none twice, failures and kills survived. The cells are stand-ins."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mea_plugin.study.cell import Job
from mea_plugin.study.runner import Task, finished, run_tasks
from mea_plugin.study.workers import Places
from tests.helpers import ROOT

# Holds the cell's lock, notes that it ran, and writes the record; the rest of what it does is in the surrogate section.
CELL = """
import fcntl, json, os, pathlib, signal, sys, time
path = pathlib.Path(sys.argv[1])
job = json.loads(path.read_text())
with (path.parent / 'lock').open('a') as lock:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(75)
    with (path.parent / 'ran').open('a') as file:
        file.write(f'{os.getpid()} {time.time()}\\n')
    time.sleep(job['surrogate'].get('sleep', 0))
    if job['surrogate'].get('fail'):
        print('error: this cell fails.')
        sys.exit(2)
    scores = {'images': ['a', 'b'], 'fidelity': {'psnr_rgb': [30.0, None]}}
    record = {'key': job['key'], 'test_sets': {'s': scores}, 'train': {'seconds': 1.5}, 'packages': {}}
    record['machine'] = {'threads': os.environ['OMP_NUM_THREADS']}
    path_of_record = pathlib.Path(job['record'])
    path_of_record.parent.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, 'THE_ROOT')
    from mea_plugin.study.cell_records import write_cell_record
    write_cell_record(path_of_record, record)
    with (path.parent / 'ran').open('a') as file:
        file.write(f'{os.getpid()} {time.time()}\\n')
""".replace('THE_ROOT', str(ROOT))


def make_task(folder: Path, name: str, key: str = 'k', **behaviour) -> Task:
    record = str(folder / 'records' / f'{name}.json')
    job = Job('s', name, key, {}, None, behaviour, {}, '', [], [{'name': 's'}], '', {}, '', record, ['psnr_rgb'])
    return Task(job, folder / 'cells' / name, 'kind')


@pytest.fixture
def command(tmp_path):
    script = tmp_path / 'cell.py'
    script.write_text(CELL)
    return [sys.executable, str(script)]


def run(tasks, command, count=2):
    return run_tasks(tasks, Places((), count, 3), title='cells', report=lambda name, _: name, command=command)


def times_run(task):
    path = task.folder / 'ran'
    return len({line.split()[0] for line in path.read_text().splitlines()}) if path.exists() else 0


def test_cells_run_at_once_and_never_again(tmp_path, command):
    tasks = [make_task(tmp_path, f'c{index}', sleep=0.6) for index in range(4)]
    results, failures = run(tasks, command)
    assert sorted(results) == ['c0', 'c1', 'c2', 'c3']
    assert not failures
    assert {record['machine']['threads'] for record in results.values()} == {'3'}
    spans = [[float(line.split()[1]) for line in (t.folder / 'ran').read_text().splitlines()] for t in tasks]
    most = max(sum(start <= at < end for start, end in spans) for at, _ in spans)
    assert most == 2
    run(tasks, command)
    assert [times_run(task) for task in tasks] == [1] * 4


def test_a_result_of_other_options_does_not_count(tmp_path, command):
    run([make_task(tmp_path, 'c', key='old')], command)
    changed = make_task(tmp_path, 'c', key='new')
    assert finished(changed.job) is None
    results, _ = run([changed], command)
    assert results['c']['key'] == 'new'
    (tmp_path / 'records' / 'c.json').write_text('{"format": 1, "key"')
    assert finished(changed.job) is None


def test_a_failure_is_reported_and_stops_no_other(tmp_path, command, capsys):
    tasks = [make_task(tmp_path, 'bad', fail=True), *(make_task(tmp_path, f'c{index}') for index in range(2))]
    results, (failure,) = run(tasks, command)
    assert sorted(results) == ['c0', 'c1']
    assert failure.id == 'bad'
    assert failure.reason == 'this cell fails. (exit code 2)'
    assert '[failed] bad: this cell fails.' in capsys.readouterr().err
    run(tasks, command)  # the next run tries it again
    assert times_run(tasks[0]) == 2


START = """
import sys
sys.path.insert(0, {root!r})
from tests.study.test_runner import make_task, run
from pathlib import Path
tasks = [make_task(Path({folder!r}), f'c{{index}}', sleep={sleep}) for index in range({count})]
results, failures = run(tasks, {command!r})
print(len(results), len(failures))
"""


def start(tmp_path, command, *, count, sleep):
    code = START.format(root=str(ROOT), folder=str(tmp_path), command=command, count=count, sleep=sleep)
    return subprocess.Popen([sys.executable, '-c', code], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_two_processes_share_the_cells(tmp_path, command):
    processes = [start(tmp_path, command, count=6, sleep=0.5) for _ in range(2)]
    assert [process.communicate(timeout=120)[0] for process in processes] == ['6 0\n', '6 0\n']
    assert [times_run(make_task(tmp_path, f'c{index}')) for index in range(6)] == [1] * 6


def test_after_kill_9_no_finished_cell_runs_again(tmp_path, command):
    process = start(tmp_path, command, count=4, sleep=1.0)
    records = tmp_path / 'records'
    wait_for(lambda: records.is_dir() and len(list(records.iterdir())) >= 2)
    process.kill()
    process.communicate()
    before = {path.name: path.stat().st_mtime_ns for path in records.iterdir()}
    again = start(tmp_path, command, count=4, sleep=1.0)
    assert again.communicate(timeout=120)[0] == '4 0\n'
    assert {name: (records / name).stat().st_mtime_ns for name in before} == before
    # Cells that were running went on by themselves, under their locks: no cell ran twice.
    assert [times_run(make_task(tmp_path, f'c{index}')) for index in range(4)] == [1] * 4


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_cells_too(tmp_path, command, number):
    process = start(tmp_path, command, count=2, sleep=50)
    ran = [tmp_path / 'cells' / f'c{index}' / 'ran' for index in range(2)]
    wait_for(lambda: all(path.exists() for path in ran))
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    for path in ran:
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text().split()[0]), 0)
    assert not (tmp_path / 'records').exists()


def test_the_job_file_holds_everything(tmp_path):
    task = make_task(tmp_path, 'c', sleep=1)
    task.folder.mkdir(parents=True)
    assert Job(**json.loads(task.job.write(task.folder).read_text())) == task.job
