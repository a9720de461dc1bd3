"""MMagic runs of several processes, started as users start them: by torchrun, on one machine and on two."""

from __future__ import annotations

import os
import signal
import time

import pytest
import torch

from tests.helpers import ROOT, run_tool
from tests.query_sets.sets import make_set
from tests.training import nodes

pytest.importorskip('mmagic')
pytestmark = pytest.mark.slow

CONFIG = ROOT / 'options' / 'mmagic' / 'small' / 'edsr_x4_proposed.py'
WITHIN = 60  # seconds in which a run must end after one of its processes has gone
LONG = 200  # iterations of a run that is stopped on its way: some seconds, so that no signal comes after its end


@pytest.fixture(scope='module')
def query_set(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp('set') / 'queries', dict.fromkeys('0123', (40, 36)), 4)


def arguments(query_set, folder, *more, total=12, batch=1, launcher='pytorch'):
    options = {
        'train_cfg.max_iters': total,
        'param_scheduler.T_max': total,
        'train_dataloader.dataset.data_root': query_set,
        'train_dataloader.batch_size': batch,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'default_hooks.checkpoint.interval': 5,
        'default_hooks.logger.interval': 1,
        'randomness.seed': 3,
    }
    changes = [f'{key}={one}' for key, one in options.items()]
    return [str(CONFIG), '--work-dir', folder, '--launcher', launcher, *more, '--cfg-options', *changes]


def weights(folder):
    return torch.load(folder / 'surrogate.pth', weights_only=True)['state_dict']


@pytest.fixture(scope='module')
def joint(query_set, tmp_path_factory):
    """What one process makes of the joint batches."""
    folder = tmp_path_factory.mktemp('joint')
    done = run_tool('train_mmagic', *map(str, arguments(query_set, folder, batch=2, launcher='none')))
    assert done.returncode == 0, done.stderr
    return weights(folder)


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for key in found:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-4, atol=1e-5)


def run_whole(query_set, root, **options):
    folder = root / 'whole'
    with nodes.on_this_machine('train_mmagic', arguments(query_set, folder, **options), root / 'whole.log') as run:
        assert run.wait() == 0, run.text()
    return weights(folder)


@pytest.mark.every_environment
def test_two_processes_are_one(joint, query_set, tmp_path):
    assert_close(run_whole(query_set, tmp_path), joint)


def test_two_processes_resume_exactly(query_set, tmp_path):
    whole = run_whole(query_set, tmp_path, total=LONG)

    # The same again, stopped by a scheduler's SIGTERM, and then by a process that is killed.
    again = tmp_path / 'again'
    stopped = arguments(query_set, again, total=LONG)
    resumed = arguments(query_set, again, '--resume', total=LONG)
    with nodes.on_this_machine('train_mmagic', stopped, tmp_path / 'stopped.log') as run:
        run.wait_for(r'Iter\(train\) \[ *2/')
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() != 0
        assert '--resume goes on' in run.text()
    with nodes.on_this_machine('train_mmagic', resumed, tmp_path / 'killed.log') as run:
        run.wait_for(r'Saving checkpoint')
        os.kill(run.workers()[1], signal.SIGKILL)
        began = time.monotonic()
        assert run.wait() != 0
        assert time.monotonic() - began < WITHIN
    with nodes.on_this_machine('train_mmagic', resumed, tmp_path / 'resumed.log') as run:
        assert run.wait() == 0, run.text()
    for key, value in whole.items():
        assert torch.equal(value, weights(again)[key]), key


def test_two_nodes_are_one(joint, query_set, tmp_path):
    with (
        nodes.cable() as names,
        nodes.on_two_nodes(names, 'train_mmagic', arguments(query_set, tmp_path / 'run'), tmp_path) as runs,
    ):
        for run in runs:
            assert run.wait() == 0, run.text()
    assert_close(weights(tmp_path / 'run'), joint)


def test_a_node_that_is_cut_off_ends_the_run(query_set, tmp_path):
    from mea_plugin.training import checkpoints

    folder = tmp_path / 'run'
    endless = arguments(query_set, folder, total=100_000)
    with nodes.cable() as names, nodes.on_two_nodes(names, 'train_mmagic', endless, tmp_path) as runs:
        runs[0].wait_for(r'Saving checkpoint(.|\n)*Iter\(train\)')
        nodes.cut(names[1])
        said = runs[0].wait_for_lost_peer(WITHIN)
    assert '--resume' in said
    assert not any(checkpoints.fault(file) for file in folder.glob('iter_*.pth'))
