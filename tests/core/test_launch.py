"""What a launcher tells a process, and how MMagic's run is started without a GPU."""

from __future__ import annotations

import datetime

import pytest

from mea_plugin.core.launch import leave_process_group, mpi_environment
from tests.helpers import refused

MPI = {'OMPI_COMM_WORLD_SIZE': '4', 'OMPI_COMM_WORLD_RANK': '3', 'OMPI_COMM_WORLD_LOCAL_RANK': '1'}


def test_open_mpi(monkeypatch):
    for key, value in MPI.items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv('MASTER_PORT', raising=False)
    monkeypatch.setenv('MASTER_ADDR', 'node1')
    assert mpi_environment() == {'MASTER_PORT': '29500', 'WORLD_SIZE': '4', 'RANK': '3', 'LOCAL_RANK': '1'}


def test_open_mpi_without_an_address(monkeypatch):
    for key, value in MPI.items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv('MASTER_ADDR', raising=False)
    with refused('--launcher mpi', 'MASTER_ADDR'):
        mpi_environment()


def test_without_a_group_there_is_nothing_to_leave():
    leave_process_group()


@pytest.mark.parametrize('launcher', ['pytorch', 'mpi'])
def test_mmagic_meets_by_gloo_within_the_configs_time(launcher, monkeypatch):
    torch = pytest.importorskip('torch')
    pytest.importorskip('mmagic')
    import mea_plugin.mmagic  # noqa: F401 - applies the work-arounds

    if torch.cuda.is_available():
        pytest.skip('MMEngine starts it itself where there is a GPU')
    from mmengine.dist import utils

    for key, value in {**MPI, 'MASTER_ADDR': 'node1', 'MASTER_PORT': '29500', 'WORLD_SIZE': '1', 'RANK': '0'}.items():
        monkeypatch.setenv(key, value)
    seen = {}
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda **kwargs: seen.update(kwargs))
    utils.init_dist(launcher, backend='nccl', timeout=600)
    assert seen == {'backend': 'gloo', 'timeout': datetime.timedelta(seconds=600)}
