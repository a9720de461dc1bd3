"""Checkpoint files: whole or not there, looked at before they are trusted, and only of this run."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mea_plugin.core.errors import Stopped
from mea_plugin.training import checkpoints
from tests.helpers import refused
from tests.mmagic import runs, tiny

pytest.importorskip('mmagic')


@pytest.fixture(scope='module')
def complete(tmp_path_factory):
    """A run's folder, with checkpoints 2, 4 and 6."""
    from mmengine.registry import init_default_scope

    import mea_plugin.mmagic  # noqa: F401 - registers

    init_default_scope('mmagic')
    folder = tmp_path_factory.mktemp('run') / 'work'
    runs.make_runner(runs.config('EditModel', folder)).train()
    return folder


@pytest.fixture
def folder(complete, tmp_path):
    return shutil.copytree(complete, tmp_path / 'work')


def go_on(folder, name='EditModel', **options):
    runner = runs.make_runner(runs.config(name, folder, resume=True, **options))
    runner.train()
    return runner


def change(path, **values):
    state = torch.load(path, weights_only=True)
    for key, value in values.items():
        state['mea' if key == 'version' else key] = {**state['mea'], key: value} if key == 'version' else value
    torch.save(state, path)


def test_plain_values_in_mmengines_format(complete):
    state = torch.load(complete / 'iter_6.pth', weights_only=True)
    assert set(state) == {'meta', 'state_dict', 'message_hub', 'optimizer', 'param_schedulers', 'mea'}
    assert state['meta']['iter'] == 6
    assert state['mea']['samples'] == 12
    assert (complete / 'last_checkpoint').read_text() == str(complete / 'iter_6.pth')


def test_mmengine_goes_on_from_ours(folder):
    from mmengine.runner import Runner

    runner = Runner.from_cfg(runs.config('EditModel', folder, resume=True, **{'train_cfg.max_iters': 7}))
    runner.train()
    assert runner.iter == 7


def resumed_from(name, said):
    """Whether a log holds one line on the checkpoint of that name and its iteration."""
    number = re.search(r'\d+', name)[0]
    return len(re.findall(rf'INFO.*/{name}\D+{number}$', said, re.MULTILINE)) == 1


def test_ours_goes_on_from_mmengines(tmp_path, caplog):
    from mmengine.runner import Runner

    Runner.from_cfg(runs.config('EditModel', tmp_path, **{'train_cfg.max_iters': 3})).train()
    log_level = {'log_level': 'INFO'}
    runner = go_on(tmp_path, **log_level)
    assert runner.iter == 6
    said = (next(tmp_path.glob(f'{runner.timestamp}/*.log'))).read_text()
    assert said.count('not bit for bit') == 1
    assert resumed_from('iter_3.pth', said)


@pytest.mark.parametrize('cut', ['half', 'flipped', 'empty'])
def test_a_broken_one_is_passed_over(cut, complete, folder):
    path = folder / 'iter_6.pth'
    data = bytearray(path.read_bytes())
    if cut == 'flipped':
        data[len(data) // 2] ^= 1
    path.write_bytes({'half': data[: len(data) // 2], 'flipped': data, 'empty': b''}[cut])
    runner = go_on(folder, log_level='INFO')
    said = (next(folder.glob(f'{runner.timestamp}/*.log'))).read_text()
    assert re.search(rf'WARNING.*{path}', said)
    assert resumed_from('iter_4.pth', said)
    assert not runs.differences(runs.final_state(complete), runs.final_state(folder))


def test_none_is_intact(folder):
    for path in folder.glob('*.pth'):
        path.write_bytes(b'')
    with refused(folder, '3'):
        go_on(folder)


def test_a_named_one_that_cannot_be_read(folder):
    (folder / 'iter_4.pth').write_bytes(b'PK')
    with refused(folder / 'iter_4.pth'):
        go_on(folder, load_from=str(folder / 'iter_4.pth'))


def test_last_checkpoint_need_not_be_right(folder, complete):
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_9.pth'))
    (folder / 'iter_6.pth').unlink()
    go_on(folder)
    assert not runs.differences(runs.final_state(complete), runs.final_state(folder))


def test_one_of_an_earlier_run_is_passed_over(folder):
    """A run that was started anew in a folder with checkpoints of a longer one."""
    os.utime(shutil.copy(folder / 'iter_6.pth', folder / 'iter_900.pth'), (1, 1))
    (folder / 'iter_6.pth').unlink()
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_4.pth'))
    runner = go_on(folder, log_level='INFO')
    said = (next(folder.glob(f'{runner.timestamp}/*.log'))).read_text()
    assert re.search(r'WARNING.*iter_900\.pth', said)
    assert resumed_from('iter_4.pth', said)


OTHER = {
    'network': ({'model.generator.mid_channels': 6}, 'generator 6'),
    'depth': ({'model.generator.num_blocks': 2}, 'generator .1.'),
    'optimizer': ({'optimizer': {'type': 'SGD', 'lr': 0.1}}, 'Adam SGD'),
    'second pass': ({'sam': True}, 'Adam SAM'),
    'base': ({'sam': True, 'optimizer': {**runs.SAM, 'base_optimizer': 'SGD'}}, 'Adam SAM SGD'),
    'schedule': ({'param_scheduler': None}, 'schedulers'),
}  # fmt: skip


@pytest.mark.parametrize('what', OTHER)
def test_of_another_run(what, folder):
    options, quoted = OTHER[what]
    before = {path.name: path.read_bytes() for path in folder.glob('*.pth')}
    with refused('iter_6.pth', *quoted.split()):
        go_on(folder, **options, **{'train_cfg.max_iters': 8})
    assert before == {path.name: path.read_bytes() for path in folder.glob('*.pth')}


def test_of_another_model(folder):
    with refused('iter_6.pth', 'generators'):
        go_on(folder, 'Pix2Pix')


def test_of_a_run_with_ema(tmp_path):
    runs.make_runner(runs.config('EditModel', tmp_path, custom_hooks=[{'type': 'EMAHook'}])).train()
    with refused('iter_6.pth', 'EMAHook'):
        go_on(tmp_path)


def test_of_a_newer_version(folder):
    change(folder / 'iter_6.pth', version=99)
    with refused('iter_6.pth', 'mea_plugin', '99'):
        go_on(folder)


def test_weights_without_a_state(folder):
    torch.save({'state_dict': {}}, folder / 'iter_6.pth')
    with refused('iter_6.pth', 'message_hub'):
        go_on(folder)


def test_weights_to_start_from_that_fit_nowhere(folder):
    with refused('iter_6.pth', 'ExtractionPix2Pix'):
        runs.make_runner(runs.config('Pix2Pix', folder / 'new', load_from=str(folder / 'iter_6.pth'))).train()


class FullDisk:
    """From a number of synced files on, there is no space left."""

    def __init__(self, monkeypatch, after: int) -> None:
        self.left, self.sync = after, os.fsync
        monkeypatch.setattr(os, 'fsync', self)

    def __call__(self, descriptor: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.sync(descriptor)


@pytest.mark.parametrize('after', [0, 1, 2])
def test_a_full_disk(after, complete, folder, monkeypatch):
    """While the checkpoint is written, while its folder is synced, and while last_checkpoint is written."""
    (folder / 'iter_6.pth').unlink()
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_4.pth'))
    with monkeypatch.context() as patch:
        FullDisk(patch, after)
        with pytest.raises(OSError, match='No space left') as error:
            go_on(folder, **{'default_hooks.checkpoint.max_keep_ckpts': 1})
    assert error.value.filename or after == 2
    assert (folder / 'iter_6.pth').is_file() == (after > 0)
    assert (folder / 'iter_4.pth').is_file()
    assert not [path for path in folder.iterdir() if path.name.startswith('.tmp-')]
    assert Path((folder / 'last_checkpoint').read_text()).is_file()
    go_on(folder)
    assert not runs.differences(runs.final_state(complete)['state_dict'], runs.final_state(folder)['state_dict'])


def test_what_a_killed_process_left_half_written_goes(folder):
    (folder / '.tmp-0011223344556677').write_bytes(b'x')
    go_on(folder)
    assert not (folder / '.tmp-0011223344556677').exists()


def test_older_ones_go_after_the_new_one_is_complete(tmp_path, monkeypatch):
    from mea_plugin.training import checkpoints

    seen, write = [], checkpoints.write

    def record(path, state):
        seen.append(sorted(one.name for one in tmp_path.glob('iter_*.pth')))
        write(path, state)

    monkeypatch.setattr(checkpoints, 'write', record)
    cfg = runs.config('EditModel', tmp_path, **{'default_hooks.checkpoint.max_keep_ckpts': 1})
    with pytest.raises(Stopped):
        runs.make_runner(cfg, runs.signal_at(5)).train()
    assert seen == [[], ['iter_2.pth'], ['iter_4.pth']]
    go_on(tmp_path, **{'default_hooks.checkpoint.max_keep_ckpts': 1})
    assert [path.name for path in tmp_path.glob('iter_*.pth')] == ['iter_6.pth']


def test_a_former_best_one_goes_after_the_new_one_is_complete(tmp_path, monkeypatch):
    from mea_plugin.training import checkpoints

    seen, write = [], checkpoints.write

    def record(path, state):
        seen.append(len(list(tmp_path.glob('best_*.pth'))))
        write(path, state)
        assert 'best' not in path.name or 'mea' not in state

    monkeypatch.setattr(checkpoints, 'write', record)
    rule = {**runs.validation('EditModel'), 'default_hooks.checkpoint.rule': 'greater'}
    runs.make_runner(runs.config('EditModel', tmp_path, **rule)).train()
    assert max(seen) >= 1
    assert len(list(tmp_path.glob('best_*.pth'))) == 1


def test_a_best_one_by_a_metric_that_nobody_computes(tmp_path):
    options = runs.validation('EditModel', **{'default_hooks.checkpoint.save_best': 'set0/MEA'})
    with refused('save_best', "'set0/MEA'", do='set0/MAE'):
        runs.make_runner(runs.config('EditModel', tmp_path, **options)).train()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').write_text('')
    runner = runs.make_runner(
        runs.config('EditModel', tmp_path / 'work', **{'default_hooks.checkpoint.out_dir': str(tmp_path / 'file')})
    )
    with refused('file/work'):
        runner.train()
    assert runner.iter == 0


def test_a_full_disk_at_the_start_is_no_fault_of_the_configs(monkeypatch, tmp_path):
    from mmengine.config import Config

    from mea_plugin.mmagic.run import train

    def full(cfg):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(train.ExtractionRunner, 'from_cfg', full)
    with pytest.raises(OSError, match='No space left') as error:
        train._run(Config({'work_dir': str(tmp_path)}), 'c.py')
    assert error.value.filename == str(tmp_path)


def test_a_run_without_a_checkpoint_hook_is_saved_when_it_stops(tmp_path):
    with pytest.raises(Stopped):
        runs.make_runner(
            runs.config('EditModel', tmp_path, **{'default_hooks.checkpoint': None}), runs.signal_at(3)
        ).train()
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_3.pth']


def test_it_may_lie_elsewhere_under_another_name(tmp_path):
    hook = {
        'default_hooks.checkpoint.out_dir': str(tmp_path / 'out'),
        'default_hooks.checkpoint.filename_tmpl': 's{}.pth',
    }
    with pytest.raises(Stopped, match=r's3\.pth'):
        runs.make_runner(runs.config('EditModel', tmp_path / 'work', **hook), runs.signal_at(3)).train()
    assert go_on(tmp_path / 'work', **hook).iter == 6
    assert {path.name for path in (tmp_path / 'out' / 'work').iterdir()} == {f's{one}.pth' for one in (2, 3, 4, 6)}


def test_more_processes_than_images():
    from mmengine.dataset import InfiniteSampler
    from torch.utils.data import DataLoader

    from mea_plugin.mmagic.data.loader import stream_loader
    from mea_plugin.training.ranks import Ranks

    dataset, ranks = list(tiny.IMAGES), Ranks()
    ranks.world = 5
    with refused('train_dataloader.dataset', '5', '4'):
        stream_loader(DataLoader(dataset, sampler=InfiniteSampler(dataset)), ranks, seed=0, start=0, skip=0)


def log_of(runner, folder):
    return next(folder.glob(f'{runner.timestamp}/*.log')).read_text()


def test_checkpoints_of_another_run_are_not_taken(complete, folder, tmp_path):
    """A second run starts in the folder; the first one's checkpoints, newer by their numbers, lie in it still."""
    runs.make_runner(runs.config('EditModel', folder, **{'train_cfg.max_iters': 2})).train()
    os.utime(folder / 'iter_6.pth')  # also by its time
    runner = go_on(folder, log_level='INFO')
    said = log_of(runner, folder)
    assert re.search(r'iter_6\.pth is passed over: it is of another run', said)
    assert resumed_from('iter_2.pth', said)
    assert runner.iter == 6
    other = go_on(shutil.copytree(complete, tmp_path / 'same'), **{'train_cfg.max_iters': 7})
    assert other.run_name != runner.run_name
    assert other.run_name == checkpoints.read(complete / 'iter_6.pth')['mea']['run']


@pytest.mark.parametrize('share', [0.1, 0.5, 0.97, 0.999])
def test_any_flipped_bit_means_the_checkpoint_before(share, folder):
    bad = bytearray((folder / 'iter_6.pth').read_bytes())
    bad[int(len(bad) * share)] ^= 16
    (folder / 'iter_6.pth').write_bytes(bad)
    assert resumed_from('iter_4.pth', log_of(go_on(folder, log_level='INFO'), folder))


def test_a_checkpoint_is_called_intact_only_where_it_is(folder):
    runner = runs.make_runner(runs.config('EditModel', folder, resume=True))
    assert 'intact' in runner._advice()
    (folder / 'iter_6.pth').write_bytes(b'half')
    assert 'intact' not in runner._advice()
    for path in folder.glob('iter_*'):
        path.unlink()
    assert 'intact' not in runner._advice()


_HOLD = """
import sys
from pathlib import Path
from mea_plugin.core.locks import OwnedLock
folder = Path(sys.argv[1])
lock = OwnedLock(folder / '.lock', folder)
print('held', flush=True)
sys.stdin.read()
"""


@pytest.mark.every_environment
def test_two_runs_in_one_folder(folder):
    """The second one ends before it writes anything, whether it would resume or not."""
    holder = subprocess.Popen(
        [sys.executable, '-c', _HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == 'held\n'
        before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob('*'))
        for options in ({}, {'resume': True}):
            with refused(folder, str(holder.pid), 'since'):
                runs.make_runner(runs.config('EditModel', folder, **options))
        assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob('*')) == before
    finally:
        holder.kill()
        holder.communicate(timeout=30)
    go_on(folder)
