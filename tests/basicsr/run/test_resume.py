"""A run that was stopped anywhere and resumed gives bit for bit what one gives that was never stopped."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import torch

from mea_plugin.core import cli
from mea_plugin.training import checkpoints
from tests.helpers import ROOT, pair_folders, refused, training_options, write_yaml

pytest.importorskip('mea_plugin.basicsr')

HF = {'type': 'HighFrequencyLoss', 'loss_weight': 0.15, 'wave': 'db3', 'level': 2}
SAM = {'type': 'SAM', 'base_optimizer': 'Adam', 'rho': 0.05, 'lr': 1e-3}
SWINIR = {
    'type': 'SwinIR', 'upscale': 4, 'in_chans': 3, 'img_size': 12, 'window_size': 4, 'img_range': 1.0, 'depths': [2],
    'embed_dim': 12, 'num_heads': [2], 'mlp_ratio': 2, 'upsampler': 'pixelshuffledirect', 'drop_rate': 0.2,
}  # fmt: skip
TOTAL = 10


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return pair_folders(tmp_path_factory.mktemp('images'))


def options_of(images, kind):
    options = training_options(*images)
    train = options['train']
    train['total_iter'] = TOTAL
    train['scheduler']['periods'] = [TOTAL]
    options['logger'] = {'print_freq': 3, 'save_checkpoint_freq': 4, 'use_tb_logger': False}
    if kind == 'proposed':
        train |= {'hf_opt': HF, 'hf_schedule': 'lr', 'optim_g': dict(SAM), 'ema_decay': 0.9}
    elif kind == 'dropout':
        options['network_g'] = dict(SWINIR)
        train['scheduler'] = {'type': 'MultiStepLR', 'milestones': [5, 8], 'gamma': 0.5}
    elif kind == 'gan':
        options['model_type'] = 'ExtractionGANModel'
        options['network_d'] = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}
        train |= {'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1}, 'ema_decay': 0.9}
        train |= {'optim_g': {**SAM, 'every': 3}, 'optim_d': dict(SAM), 'net_d_iters': 2, 'hf_opt': HF}
    elif kind == 'looksam':
        train |= {'optim_g': {**SAM, 'type': 'LookSAM', 'every': 4}, 'amp': 'bfloat16', 'accumulate': 2}
    elif kind == 'momentum':
        train |= {'optim_g': {**SAM, 'type': 'MomentumSAM'}, 'channels_last': True}
    elif kind == 'workers':
        options['datasets']['train'] |= {'num_worker_per_gpu': 2, 'prefetch_mode': 'cpu'}
    elif kind == 'basicsr':
        options['model_type'] = 'SRModel'
        train['ema_decay'] = 0.9
    elif kind == 'validation':
        for name in ('val', 'val_2'):
            options['datasets'][name] = {
                'name': name,
                'type': 'PairedImageDataset',
                'dataroot_lq': str(images[0]),
                'dataroot_gt': str(images[1]),
                'io_backend': {'type': 'disk'},
            }
        metrics = {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}
        options['val'] = {'val_freq': 3, 'save_img': False, 'metrics': metrics}
    return options


def run(root, options, *arguments):
    from mea_plugin.basicsr.run.train import main

    file = write_yaml(root / 'tiny.yml', options)
    return cli.run_tool(main, ['-opt', str(file), '--root', str(root), *arguments])


def result(root: Path) -> dict:
    """Everything that the last checkpoint and the final weights hold."""
    folder = root / 'experiments' / 'tiny'
    state = checkpoints.read(folder / 'training_states' / f'{TOTAL}.state')
    state['mea'].pop('files')  # hashes of files whose zip archives hold their names
    assert len(state['mea'].pop('run')) == 32  # its name, which no other run has
    weights = torch.load(folder / 'models' / 'net_g_latest.pth', weights_only=True)
    return {'state': state, 'weights': weights}


def assert_same(first, second, path='') -> None:
    assert type(first) is type(second), path
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), path
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), path
        for key in first:
            assert_same(first[key], second[key], f'{path}.{key}')
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), path
        for index, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f'{path}.{index}')
    else:
        assert first == second, path


class CrashError(Exception):
    """Stands for a process that is killed."""


def at(monkeypatch, iteration, action):
    """Do something in the middle of an iteration."""
    from basicsr.models.sr_model import SRModel

    from mea_plugin.basicsr.models.extraction_model import ExtractionModel

    for model in (SRModel, ExtractionModel):
        plain = model.__dict__['optimize_parameters']

        def step(self, current, plain=plain):
            if current == iteration:
                action()
            plain(self, current)

        monkeypatch.setattr(model, 'optimize_parameters', step)


def crash():
    raise CrashError


KINDS = ['baseline', 'proposed', 'dropout', 'gan', 'looksam', 'momentum', 'workers', 'basicsr', 'validation']


@pytest.fixture(scope='module')
def whole(images, tmp_path_factory):
    """Runs that were never stopped, by kind."""
    done = {}

    def get(kind):
        if kind not in done:
            root = tmp_path_factory.mktemp(kind)
            assert run(root, options_of(images, kind)) == 0
            done[kind] = result(root)
        return done[kind]

    return get


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.filterwarnings('error:torch.meshgrid', 'error:Detected call of')
def test_two_runs_are_equal(kind, images, whole, tmp_path):
    """Else the tests below would say nothing."""
    assert run(tmp_path, options_of(images, kind)) == 0
    assert_same(result(tmp_path), whole(kind))


@pytest.mark.parametrize('kind', KINDS)
def test_killed(kind, images, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        at(patch, 7, crash)
        with pytest.raises(CrashError):
            run(tmp_path, options_of(images, kind))
    states = sorted(file.name for file in (tmp_path / 'experiments' / 'tiny' / 'training_states').iterdir())
    assert states == ['4.state']
    assert run(tmp_path, options_of(images, kind), '--auto_resume') == 0
    assert_same(result(tmp_path), whole(kind))


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(('number', 'code'), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_by_a_signal(kind, number, code, images, whole, tmp_path, monkeypatch, capfd):
    with monkeypatch.context() as patch:
        at(patch, 6, lambda: os.kill(os.getpid(), number))
        assert run(tmp_path, options_of(images, kind)) == code
    assert re.search(r'\b6\D+10\b', capfd.readouterr().err.splitlines()[-1])
    assert (tmp_path / 'experiments' / 'tiny' / 'training_states' / '6.state').is_file()
    assert run(tmp_path, options_of(images, kind), '--auto_resume') == 0
    assert_same(result(tmp_path), whole(kind))


def test_stopped_again_and_again(images, whole, tmp_path, monkeypatch):
    for iteration in (1, 2, 5, 10):
        with monkeypatch.context() as patch:
            at(patch, iteration, lambda: os.kill(os.getpid(), signal.SIGTERM))
            assert run(tmp_path, options_of(images, 'proposed'), '--auto_resume') == 143
    assert run(tmp_path, options_of(images, 'proposed'), '--auto_resume') == 0
    assert_same(result(tmp_path), whole('proposed'))


def test_stopped_while_it_validates(images, whole, tmp_path, monkeypatch):
    from mea_plugin.basicsr.models.extraction_model import ExtractionModel

    plain, calls = ExtractionModel.test, []

    def test(self):
        calls.append(1)
        if len(calls) == 5:  # the second set of the first validation
            os.kill(os.getpid(), signal.SIGTERM)
        plain(self)

    with monkeypatch.context() as patch:
        patch.setattr(ExtractionModel, 'test', test)
        assert run(tmp_path, options_of(images, 'validation')) == 143
    assert len(calls) == 5
    assert run(tmp_path, options_of(images, 'validation'), '--auto_resume') == 0
    assert_same(result(tmp_path), whole('validation'))


def test_a_finished_run_has_nothing_to_resume(images, whole, tmp_path, monkeypatch):
    assert run(tmp_path, options_of(images, 'baseline')) == 0
    at(monkeypatch, TOTAL + 1, crash)
    assert run(tmp_path, options_of(images, 'baseline'), '--auto_resume') == 0
    assert_same(result(tmp_path), whole('baseline'))


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize('what', ['training_states/8.state', 'models/net_g_8.pth'])
def test_a_broken_checkpoint_is_passed_over(what, images, whole, tmp_path, monkeypatch, words):
    with monkeypatch.context() as patch:
        at(patch, 9, crash)
        with pytest.raises(CrashError):
            run(tmp_path, options_of(images, 'proposed'))
    damage(tmp_path / 'experiments' / 'tiny' / what)
    assert run(tmp_path, options_of(images, 'proposed'), '--auto_resume') == 0
    passed, taken = (next(index for index, word in enumerate(words) if name in word) for name in ('8.state', '4.state'))
    assert passed < taken
    assert_same(result(tmp_path), whole('proposed'))


def stopped(images, root, monkeypatch, kind='proposed'):
    with monkeypatch.context() as patch:
        at(patch, 9, crash)
        with pytest.raises(CrashError):
            run(root, options_of(images, kind))
    return root / 'experiments' / 'tiny'


def snapshot(folder: Path) -> dict:
    return {str(file): file.read_bytes() for file in folder.rglob('*') if file.is_file() and file.suffix != '.log'}


def changed(images, **changes):
    options = options_of(images, 'proposed')
    for path, value in changes.items():
        *sections, key = path.split('__')
        target = options
        for section in sections:
            target = target[section]
        target[key] = value
    return options


BAD = {
    'another network': ({'network_g__num_feat': 12}, 'net_g_8.pth SRVGGNetCompact'),
    'another kind of optimizer': ({'train__optim_g': {'type': 'Adam', 'lr': 1e-3}}, '8.state SAM(Adam) Adam'),
    'a longer training': ({'train__total_iter': 12, 'train__scheduler__periods': [12]}, '8.state 10 total_iter 12'),
    'another base': ({'train__optim_g': {**SAM, 'base_optimizer': 'SGD'}}, '8.state SAM(Adam) SAM(SGD)'),
}


@pytest.mark.parametrize(('changes', 'names'), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_refused(changes, names, images, tmp_path, monkeypatch, capfd):
    folder = stopped(images, tmp_path, monkeypatch)
    before = snapshot(folder)
    capfd.readouterr()
    assert run(tmp_path, changed(images, **changes), '--auto_resume') == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1
    assert [name for name in names.split() if name not in errors[0]] == [], errors[0]
    assert snapshot(folder) == before


def test_another_schedule_is_not_taken_up_and_there_is_a_word(images, whole, tmp_path, monkeypatch, words):
    stopped(images, tmp_path, monkeypatch)
    changes = {'train__scheduler__eta_min': 1e-5, 'train__optim_g': {**SAM, 'lr': 5e-4}}
    assert run(tmp_path, changed(images, **changes), '--auto_resume') == 0
    assert any(all(name in word for name in ('8.state', 'eta_min', 'base_lrs')) for word in words)
    assert_same(result(tmp_path), whole('proposed'))


def test_a_newer_version_is_refused(images, tmp_path, monkeypatch, capfd):
    folder = stopped(images, tmp_path, monkeypatch)
    file = folder / 'training_states' / '8.state'
    state = checkpoints.read(file)
    state['mea']['version'] = checkpoints.VERSION + 1
    checkpoints.write(file, state)
    assert run(tmp_path, options_of(images, 'proposed'), '--auto_resume') == 2
    (error,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith('error: ')]
    assert all(name in error for name in (str(file), str(checkpoints.VERSION + 1), 'mea_plugin'))


@pytest.mark.parametrize('how', ['missing', 'damaged', 'text'])
def test_a_named_state_that_cannot_be_read(how, images, tmp_path, monkeypatch, capfd):
    folder = stopped(images, tmp_path, monkeypatch)
    file = folder / 'training_states' / '8.state'
    if how == 'missing':
        file.unlink()
    elif how == 'text':
        file.write_text('nothing')
    else:
        damage(file)
    options = options_of(images, 'proposed')
    options['path'] = {'resume_state': str(file)}
    before = snapshot(folder)
    assert run(tmp_path, options) == 2
    assert '8.state' in next(line for line in capfd.readouterr().err.splitlines() if line.startswith('error: '))
    assert snapshot(folder) == before


def test_a_named_state_of_another_run(images, whole, tmp_path, monkeypatch):
    """Its networks are those beside it."""
    folder = stopped(images, tmp_path, monkeypatch)
    (tmp_path / 'elsewhere').mkdir()
    moved = shutil.move(folder, tmp_path / 'elsewhere' / 'run')
    options = options_of(images, 'proposed')
    options['path'] = {'resume_state': str(Path(moved) / 'training_states' / '8.state')}
    assert run(tmp_path, options) == 0
    assert_same(result(tmp_path), whole('proposed'))


@pytest.fixture
def words():
    """What the toolbox's logger says, whatever stream it was given first."""
    import logging

    class Handler(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    said, handler, logger = [], Handler(), logging.getLogger('basicsr')
    logger.addHandler(handler)
    yield said
    logger.removeHandler(handler)


def test_a_state_of_basicsr_s_own_resumes_with_a_word(images, tmp_path, monkeypatch, words):
    folder = stopped(images, tmp_path, monkeypatch)
    file = folder / 'training_states' / '8.state'
    state = checkpoints.read(file)
    del state['mea']
    torch.save(state, file)
    assert run(tmp_path, options_of(images, 'proposed'), '--auto_resume') == 0
    assert any('8.state' in word and 'BasicSR' in word for word in words)


def test_a_full_disk_while_saving(images, whole, tmp_path, monkeypatch, capfd):
    full, plain = [], os.fsync

    def fsync(descriptor):
        if full:
            raise OSError(28, 'No space left on device', 'models/net_g_8.pth')
        plain(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', fsync)
        at(patch, 8, lambda: full.append(1))
        assert run(tmp_path, options_of(images, 'proposed')) == 2
    assert 'No space left on device' in capfd.readouterr().err
    folder = tmp_path / 'experiments' / 'tiny'
    assert not [file for file in folder.rglob('*') if file.name.startswith('.tmp')]
    assert run(tmp_path, options_of(images, 'proposed'), '--auto_resume') == 0
    assert_same(result(tmp_path), whole('proposed'))


def test_resuming_costs_the_same_anywhere(images, tmp_path, monkeypatch):
    """The first batch after a late start reads its own images and no others."""
    from basicsr.data.paired_image_dataset import PairedImageDataset

    from mea_plugin.basicsr.data.loaders import train_loader
    from mea_plugin.training.ranks import Ranks

    options = options_of(images, 'baseline')
    options |= {'dist': False}
    options['datasets']['train'] |= {'phase': 'train', 'scale': 4}
    reads, plain = [], PairedImageDataset.__getitem__

    def read(self, index):
        reads.append(index)
        return plain(self, index)

    monkeypatch.setattr(PairedImageDataset, '__getitem__', read)
    loader, _ = train_loader(options, Ranks(), seen=10**9)
    next(iter(loader))
    assert len(reads) == 2


def test_the_order_of_pairs_is_not_the_file_system_s(images, monkeypatch):
    from basicsr.data import data_util

    from mea_plugin.basicsr.data.loaders import train_loader, validation_loaders
    from mea_plugin.training.ranks import Ranks

    options = options_of(images, 'validation') | {'dist': False, 'num_gpu': 0}
    for phase, dataset in options['datasets'].items():
        dataset |= {'phase': phase.split('_')[0], 'scale': 4}
    names = sorted(file.name for file in Path(images[0]).iterdir())
    for found in (names, names[::-1]):
        monkeypatch.setattr(data_util, 'scandir', lambda folder, found=found: iter(found))
        loaders = [train_loader(options, Ranks(), seen=0)[0], *validation_loaders(options)]
        for loader in loaders:
            assert [Path(pair['lq_path']).name for pair in loader.dataset.paths] == names


def test_more_ranks_than_images(images, monkeypatch):
    from mea_plugin.basicsr.data.loaders import train_loader
    from mea_plugin.training.ranks import Ranks

    options = options_of(images, 'baseline')
    options |= {'dist': False}
    options['datasets']['train'] |= {'phase': 'train', 'scale': 4}
    ranks = Ranks()
    ranks.world = 4
    with refused('', '4', '3'):
        train_loader(options, ranks, seen=0)


@pytest.mark.every_environment
@pytest.mark.slow
def test_an_error_ends_the_tool_with_workers_running(images, tmp_path):
    """Python waits for its daemons at its end; it must not wait for workers that put signals off."""
    import sys

    code = (
        'import sys; from tests.basicsr.run import test_resume as t; from mea_plugin.core import cli\n'
        'from mea_plugin.basicsr.models.extraction_model import ExtractionModel\n'
        'def fail(self, iteration): raise OSError(28, "No space left on device")\n'
        'ExtractionModel.optimize_parameters = fail\n'
        'from mea_plugin.basicsr.run.train import main\n'
        'sys.exit(cli.run_tool(main, sys.argv[1:]))\n'
    )
    file = write_yaml(tmp_path / 'tiny.yml', options_of(images, 'workers'))
    command = [sys.executable, '-c', code, '-opt', str(file), '--root', str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith('error: No space left on device')


def test_states_of_another_run_are_not_taken(images, whole, tmp_path, monkeypatch, words):
    """The first run's state, newer by its number, comes to lie in the second one's folder."""
    options = options_of(images, 'proposed')
    folder = stopped(images, tmp_path, monkeypatch)
    with monkeypatch.context() as patch:
        at(patch, 7, crash)
        with pytest.raises(CrashError):
            run(tmp_path, options)  # anew: the first one's folder is moved away
    (first,) = folder.parent.glob('tiny_archived_*')
    for name in ('training_states/8.state', 'models/net_g_8.pth'):
        shutil.copy(first / name, folder / name)
    assert run(tmp_path, options, '--auto_resume') == 0
    assert any('8.state is passed over' in word and 'another run' in word for word in words)
    assert any('4.state' in word and 'instead' in word for word in words)
    assert_same(result(tmp_path), whole('proposed'))


def test_where_all_states_are_of_another_run_it_starts_anew(images, whole, tmp_path, monkeypatch, words):
    from mea_plugin.training.run_identity import new_run, note_run

    folder = stopped(images, tmp_path, monkeypatch)
    note_run(folder, new_run())
    assert run(tmp_path, options_of(images, 'proposed'), '--auto_resume') == 0
    assert any('another run' in word for word in words)
    assert_same(result(tmp_path), whole('proposed'))
    assert len(list(folder.parent.glob('tiny_archived_*'))) == 1  # nothing of it is lost


@pytest.mark.parametrize('where', [0.1, 0.5, 0.9, 0.97, 0.999])
def test_any_flipped_bit_means_the_state_before(where, images, tmp_path, monkeypatch):
    """Only looked for, which is what a resume begins with."""
    from mea_plugin.basicsr.run import checkpoint
    from mea_plugin.training.ranks import Ranks

    folder = stopped(images, tmp_path, monkeypatch)
    for name in ('training_states/8.state', 'models/net_g_8.pth'):
        file = folder / name
        good = file.read_bytes()
        bad = bytearray(good)
        bad[int(len(bad) * where)] ^= 1 << 4
        file.write_bytes(bad)
        path = {'experiments_root': str(folder), 'training_states': str(folder / 'training_states')}
        said = []
        found = checkpoint.find({'auto_resume': True, 'path': path}, Ranks(), said.append)
        assert found.iteration == 4
        assert '8.state is passed over' in said[0]
        file.write_bytes(good)


def test_a_checkpoint_is_called_intact_only_where_it_is(images, tmp_path, monkeypatch):
    from mea_plugin.basicsr.models.step_log import StepLog
    from mea_plugin.basicsr.run.loop import _advice

    folder = stopped(images, tmp_path, monkeypatch)
    states = folder / 'training_states'
    log = StepLog({'logger': {'print_freq': 1}, 'path': {'training_states': str(states)}, 'dist': False})

    def advice():
        return _advice({'path': {'training_states': str(states)}})

    assert log._has_checkpoint()
    assert 'intact' in advice()
    damage(states / '8.state')
    assert not log._has_checkpoint()
    assert 'intact' not in advice()
    for state in states.iterdir():
        state.unlink()
    assert not log._has_checkpoint()
    assert 'intact' not in advice()
