"""BasicSR runs of several processes, started as users start them: by torchrun, on one machine and on two."""

from __future__ import annotations

import os
import signal
import time

import pytest
import torch

from tests.basicsr.run.test_resume import HF, SAM, assert_same
from tests.helpers import pair_folders, run_tool, training_options, write_yaml
from tests.training import nodes

pytest.importorskip('mea_plugin.basicsr')
pytestmark = pytest.mark.slow

WITHIN = 60  # seconds in which a run must end after one of its processes has gone
LONG = 200  # iterations of a run that is stopped on its way: some seconds, so that no signal comes after its end


def prepare(root, *, total=12, batch=1, name='tiny', **train):
    """An option file for images in the folder."""
    lq, gt = root / 'lq', root / 'gt'
    if not lq.is_dir():
        pair_folders(root)
    options = training_options(lq, gt, hf_opt=HF, hf_schedule='lr', optim_g=dict(SAM), **train)
    options['name'] = name
    options['datasets']['train']['batch_size_per_gpu'] = batch
    options['train'] |= {'total_iter': total}
    options['train']['scheduler']['periods'] = [total]
    options['logger'] = {'print_freq': 1, 'save_checkpoint_freq': 5, 'use_tb_logger': False}
    return write_yaml(root / f'{name}.yml', options)


def weights(root, name='tiny'):
    return torch.load(root / 'experiments' / name / 'models' / 'net_g_latest.pth', weights_only=True)['params']


def arguments(root, file, *more):
    return ['-opt', file, '--root', root, '--launcher', 'pytorch', *more]


@pytest.fixture(scope='module')
def joint(tmp_path_factory):
    """What one process makes of the joint batches, and its folder."""
    root = tmp_path_factory.mktemp('joint')
    done = run_tool('train_basicsr', '-opt', prepare(root, batch=2, name='joint'), '--root', root)
    assert done.returncode == 0, done.stderr
    return weights(root, 'joint')


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for key in found:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-4, atol=1e-5)


def run_whole(root, file):
    with nodes.on_this_machine('train_basicsr', arguments(root, file), root / 'whole.log') as run:
        assert run.wait() == 0, run.text()
    return weights(root)


@pytest.mark.every_environment
def test_two_processes_are_one(joint, tmp_path):
    assert_close(run_whole(tmp_path, prepare(tmp_path)), joint)


def test_two_processes_resume_exactly(tmp_path):
    whole = run_whole(tmp_path, prepare(tmp_path, total=LONG))

    # The same again, stopped by a scheduler's SIGTERM, and then by a process that is killed.
    file = prepare(tmp_path, total=LONG, name='again')
    with nodes.on_this_machine('train_basicsr', arguments(tmp_path, file), tmp_path / 'stopped.log') as run:
        run.wait_for(r'iter: +2,')
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() != 0
        assert 'everything is saved. Run the same command with --auto_resume' in run.text()
    log = tmp_path / 'killed.log'
    with nodes.on_this_machine('train_basicsr', arguments(tmp_path, file, '--auto_resume'), log) as run:
        run.wait_for(r'Saving models and training states')
        os.kill(run.workers()[1], signal.SIGKILL)
        began = time.monotonic()
        assert run.wait() != 0
        assert time.monotonic() - began < WITHIN
    log = tmp_path / 'resumed.log'
    with nodes.on_this_machine('train_basicsr', arguments(tmp_path, file, '--auto_resume'), log) as run:
        assert run.wait() == 0, run.text()
        assert 'Resuming training from' in run.text()
    assert_same(weights(tmp_path, 'again'), whole)


def test_two_nodes_are_one(joint, tmp_path):
    file = prepare(tmp_path)
    with (
        nodes.cable() as names,
        nodes.on_two_nodes(names, 'train_basicsr', arguments(tmp_path, file), tmp_path) as runs,
    ):
        for run in runs:
            assert run.wait() == 0, run.text()
    assert_close(weights(tmp_path), joint)


@pytest.mark.parametrize('how', ['killed', 'cut off'])
def test_a_node_that_goes_ends_the_run(how, tmp_path):
    file = prepare(tmp_path, total=100_000)
    with (
        nodes.cable() as names,
        nodes.on_two_nodes(names, 'train_basicsr', arguments(tmp_path, file), tmp_path) as runs,
    ):
        runs[0].wait_for(r'Saving models and training states(.|\n)*iter:')
        if how == 'killed':
            runs[1].close()
        else:
            nodes.cut(names[1])
        said = runs[0].wait_for_lost_peer(WITHIN)
    assert '--auto_resume' in said
    from mea_plugin.training import checkpoints

    states = list((tmp_path / 'experiments' / 'tiny' / 'training_states').glob('*.state'))
    assert states
    assert not any(checkpoints.fault(state) for state in states)


def test_without_a_launcher_s_environment(tmp_path):
    done = run_tool('train_basicsr', *map(str, arguments(tmp_path, prepare(tmp_path))))
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1]
    assert error.startswith('error: --launcher pytorch: ')
    assert all(name in error for name in ('RANK', 'MASTER_ADDR', 'torchrun'))
