"""Where cells run: on cores, on GPUs, and under launchers."""

from __future__ import annotations

import os

from mea_plugin.study.workers import find_places
from tests.helpers import refused

CORES = len(os.sched_getaffinity(0))


def test_cores_are_shared_out():
    places = find_places(2, environment={'CUDA_VISIBLE_DEVICES': ''})
    assert (places.count, places.threads, places.gpus) == (2, max(1, CORES // 2), ())
    assert find_places(0, environment={'CUDA_VISIBLE_DEVICES': ''}).count == CORES
    assert find_places(3, 7, environment={'CUDA_VISIBLE_DEVICES': ''}).threads == 7


def test_one_cell_per_gpu():
    places = find_places(environment={'CUDA_VISIBLE_DEVICES': '2,5'})
    assert places.count == 2
    assert [places.environment(place)['CUDA_VISIBLE_DEVICES'] for place in (0, 1)] == ['2', '5']


def test_torchrun_gives_each_process_a_gpu_and_a_start(monkeypatch):
    environment = {
        'RANK': '3',
        'WORLD_SIZE': '4',
        'LOCAL_RANK': '1',
        'LOCAL_WORLD_SIZE': '2',
        'MASTER_ADDR': 'x',
        'CUDA_VISIBLE_DEVICES': '0,1',
    }
    places = find_places(environment=environment)
    assert (places.gpus, places.count, places.rank, places.world) == (('1',), 1, 3, 4)
    assert places.start(8) == 6
    monkeypatch.setenv('RANK', '3')
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'x')
    child = places.environment(0)
    assert child['CUDA_VISIBLE_DEVICES'] == '1'
    assert not {'RANK', 'TORCHELASTIC_RUN_ID'} & child.keys()


def test_slurm_arrays_and_tasks():
    array = {
        'SLURM_ARRAY_TASK_ID': '12',
        'SLURM_ARRAY_TASK_MIN': '10',
        'SLURM_ARRAY_TASK_COUNT': '5',
        'CUDA_VISIBLE_DEVICES': '',
    }
    assert (find_places(environment=array).rank, find_places(environment=array).world) == (2, 5)
    tasks = {
        'SLURM_PROCID': '5',
        'SLURM_LOCALID': '1',
        'SLURM_NTASKS': '8',
        'SLURM_JOB_NUM_NODES': '2',
        'CUDA_VISIBLE_DEVICES': '0,1,2,3',
    }
    places = find_places(environment=tasks)
    assert (places.rank, places.world, places.gpus) == (5, 8, ('1',))


def test_negative_numbers_are_refused():
    with refused('--workers', '-1'):
        find_places(-1)
    with refused('--threads', '-2'):
        find_places(1, -2)
