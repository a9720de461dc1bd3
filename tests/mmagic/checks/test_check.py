"""Faults of a config that are named before anything is built."""

from __future__ import annotations

import re

import pytest

from tests.helpers import ROOT, call_tool, photograph, refused, run_tool, save

pytest.importorskip('mmagic')

SMALL = ROOT / 'options' / 'mmagic' / 'small'
SAM = {'type': 'SAM', 'base_optimizer': 'Adam', 'rho': 0.05, 'lr': 1e-3}
ADAM = {'type': 'Adam', 'lr': 1e-3}
LOOK = {'_delete_': True, 'type': 'LookSAM', 'lr': 1e-3}
MOMENTUM = {'_delete_': True, 'type': 'MomentumSAM', 'lr': 1e-3}
GENERATORS, DISCRIMINATORS = 'optim_wrapper.generators', 'optim_wrapper.discriminators'
NO_WARM_UP = {'type': 'LinearLR', 'start_factor': 0.1, 'by_epoch': False, 'end': 5}


def check(name, overrides, **options):
    from mea_plugin.mmagic.checks.check import check_config
    from mea_plugin.toolboxes.mmagic_config import load_config

    check_config(load_config(SMALL / f'{name}.py', overrides), where='c.py', data=False, **options)


# Each row: the config, what is changed in it, where the error is found, and the names in what it says and what to do.
PIPELINE = 'train_dataloader.dataset.pipeline'
FAULTS = [
    ('pix2pix_proposed', {'model.type': 'ExtractionPix2Pixx'}, 'model.type', "'ExtractionPix2Pixx'",
     "'ExtractionPix2Pix'"),
    ('pix2pix_proposed', {'model.hf_los': {}}, 'model', "'hf_los'", "'hf_loss'"),
    ('pix2pix_proposed', {'model.generator.num_dow': 3}, 'model.generator', "'num_dow'", "'num_down'"),
    ('pix2pix_proposed', {'model.generator.type': 'UnetGen'}, 'model.generator.type', "'UnetGen'", "'UnetGenerator'"),
    ('pix2pix_proposed', {'model.hf_loss.wave': 'db99'}, 'model.hf_loss', "'db99'", ''),
    ('pix2pix_proposed', {'model.hf_loss.level': 6}, 'model.hf_loss', 'level 6 320 128', '128'),
    ('pix2pix_proposed', {'model.hf_schedule': 'cosine'}, 'model.hf_schedule', "'cosine'", 'constant lr'),
    ('pix2pix_proposed', {'model.hf_loss': None}, 'model.hf_schedule', 'hf_loss', 'hf_loss hf_schedule'),
    ('pix2pix_proposed', {'param_scheduler': None}, 'model.hf_schedule', "'lr'", "param_scheduler 'constant'"),
    ('pix2pix_proposed', {'param_scheduler': [NO_WARM_UP]}, 'model.hf_schedule', "'lr'", 'LinearLR constant'),
    ('pix2pix_proposed', {f'{GENERATORS}.type': 'OptimWrapper'}, GENERATORS, 'OptimWrapper SAM', 'SAMOptimWrapper'),
    ('pix2pix_baseline', {f'{GENERATORS}.type': 'SAMOptimWrapper'}, GENERATORS, 'SAMOptimWrapper SAM',
     'SAMOptimWrapper OptimWrapper'),
    ('pix2pix_proposed', {f'{GENERATORS}.optimizer.rho': -1}, f'{GENERATORS}.optimizer', 'rho -1', ''),
    ('pix2pix_proposed', {f'{GENERATORS}.optimizer.base_optimizer': 'Adamm'}, f'{GENERATORS}.optimizer', "'Adamm'", ''),
    ('pix2pix_proposed', {f'{GENERATORS}.optimizer.type': 'SAMM'}, f'{GENERATORS}.optimizer.type', "'SAMM'", "'SAM'"),
    ('pix2pix_proposed', {f'{GENERATORS}.type': 'SAMWrapper'}, f'{GENERATORS}.type', "'SAMWrapper'",
     "'SAMOptimWrapper'"),
    ('pix2pix_proposed', {'model.type': 'Pix2Pix', 'model.hf_loss': None}, 'model', "'hf_loss'", 'loss_config'),
    ('pix2pix_proposed', {f'{GENERATORS}.accumulative_counts': 2}, 'optim_wrapper', '1 2', 'accumulative_counts'),
    ('pix2pix_proposed', {'optim_wrapper.generator': {'optimizer': ADAM}}, 'optim_wrapper', 'ExtractionPix2Pix',
     'generators discriminators'),
    ('pix2pix_proposed', {'model.related_domains': ['photo', 'response']}, PIPELINE, 'img_photo img_query', ''),
    ('cyclegan_proposed', {'model.related_domains': ['photo', 'response'], 'model.reachable_domains': ['response']},
     PIPELINE, 'img_photo paired_query', ''),
    ('cyclegan_proposed', {'model.related_domains': ['photo', 'response']}, 'model', "reachable_domains 'photo'", ''),
    ('pix2pix_proposed', {'model.default_domain': 'foo'}, 'model', "default_domain 'foo' ['response']", ''),
    ('pix2pix_proposed', {'model.reachable_domains': ['foo']}, 'model', "reachable_domains ['foo'] related_domains",
     ''),
    ('pix2pix_proposed', {'model.related_domains': ['response']}, 'model', "related_domains ['response']", ''),
    ('pix2pix_proposed', {'model.related_domains': 5}, 'model', 'related_domains 5', ''),
    ('cyclegan_proposed', {'train_dataloader.dataset.unpaired': False}, PIPELINE, 'paired_query paired_response',
     'unpaired=True'),
    ('pix2pix_proposed', {'model.loss_config': {'pixel_los_weight': 1}}, 'model.loss_config', "'pixel_los_weight'",
     "'pixel_loss_weight'"),
    ('pix2pix_proposed', {f'{GENERATORS}.foo': 1}, GENERATORS, "'foo'", 'accumulative_counts'),
    ('pix2pix_proposed', {f'{DISCRIMINATORS}.optimizer.lrr': 1}, f'{DISCRIMINATORS}.optimizer', "'lrr'", "'lr'"),
    ('pix2pix_proposed', {f'{DISCRIMINATORS}.optimizer.lr': -1}, f'{DISCRIMINATORS}.optimizer', '-1', ''),
    ('pix2pix_proposed', {f'{GENERATORS}.accumulative_counts': 0}, GENERATORS, 'accumulative_counts 0', '1'),
    ('pix2pix_proposed', {'optim_wrapper': 5}, 'optim_wrapper', '5', 'dict'),
    ('pix2pix_proposed', {'param_scheduler': 5}, 'param_scheduler', '5', 'dict'),
    ('pix2pix_proposed', {'train_dataloader': 5}, 'train_dataloader', '5', 'dict'),
    ('pix2pix_proposed', {PIPELINE: 5}, PIPELINE, '5', '[dict'),
    ('pix2pix_proposed', {'train_dataloader.dataset.foo': 5}, 'train_dataloader.dataset', "'foo'", 'data_root'),
    ('pix2pix_proposed', {'train_dataloader.batch_size': 0}, 'train_dataloader', 'batch_size 0', '1'),
    ('pix2pix_proposed', {'train_dataloader.persistent_workers': True}, 'train_dataloader',
     'persistent_workers num_workers', 'persistent_workers=False'),
    ('pix2pix_proposed', {'train_cfg.max_iters': 'abc'}, 'train_cfg', "max_iters 'abc'", '1'),
    ('pix2pix_proposed', {'load_from': 'nowhere.pth'}, 'load_from', 'nowhere.pth', ''),
    ('pix2pix_proposed', {'model.generator.num_down': 8}, PIPELINE, '128 256', 'crop_size'),
    ('pix2pix_proposed', {'train_cfg.max_iters': 3, f'{GENERATORS}.accumulative_counts': 2,
      f'{DISCRIMINATORS}.accumulative_counts': 2}, 'train_cfg.max_iters', '3 2', '2'),
    ('cyclegan_baseline', {'model.paper_discriminator_step': True}, DISCRIMINATORS, 'paper_discriminator_step SAM',
     'SAMOptimWrapper paper_discriminator_step'),
    ('cyclegan_proposed', {'model.paper_discriminator_step': True, f'{DISCRIMINATORS}.optimizer': MOMENTUM},
     DISCRIMINATORS, 'paper_discriminator_step MomentumSAM', 'SAMOptimWrapper paper_discriminator_step'),
    ('pix2pix_proposed', {f'{GENERATORS}.optimizer.every': 0}, f'{GENERATORS}.optimizer', 'every 0', ''),
    ('pix2pix_proposed', {f'{GENERATORS}.optimizer.first_pass': 'mine'}, f'{GENERATORS}.optimizer',
     "first_pass 'averaged' 'local' 'mine'", ''),
    ('pix2pix_proposed', {f'{GENERATORS}.optimizer': {**MOMENTUM, 'base_optimizer': 'SGD'}}, f'{GENERATORS}.optimizer',
     'MomentumSAM SGD momentum=0 momentum=0.9', ''),
    ('pix2pix_proposed', {f'{GENERATORS}.optimizer': {**MOMENTUM, 'every': 2}}, f'{GENERATORS}.optimizer',
     "MomentumSAM 'every'", ''),
    ('pix2pix_proposed', {f'{GENERATORS}.optimizer': {**LOOK, 'first_pass': 'local'}}, f'{GENERATORS}.optimizer',
     "LookSAM first_pass='local' first_pass='averaged'", ''),
    ('pix2pix_proposed', {f'{GENERATORS}.optimizer': {**LOOK, 'alpha': -1}}, f'{GENERATORS}.optimizer', 'alpha -1', ''),
    ('pix2pix_proposed', {f'{GENERATORS}.type': 'OptimWrapper', f'{GENERATORS}.optimizer': LOOK}, GENERATORS,
     'OptimWrapper LookSAM', 'SAMOptimWrapper'),
    ('pix2pix_proposed', {f'{GENERATORS}.type': 'OptimWrapper', f'{GENERATORS}.optimizer': MOMENTUM}, GENERATORS,
     'OptimWrapper MomentumSAM', 'SAMOptimWrapper'),
    ('edsr_x4_baseline', {'model.type': 'BaseEditModel', 'optim_wrapper.type': 'SAMOptimWrapper',
      'optim_wrapper.optimizer': MOMENTUM}, 'model.type', 'BaseEditModel MomentumSAM', 'ExtractionEditModel'),
    ('edsr_x4_proposed', {'train_cfg.max_iters': 301}, 'model.hf_schedule', 'T_max 300 301', 'T_max max_iters'),
    ('edsr_x4_proposed', {'param_scheduler': {'_delete_': True, 'type': 'CosineAnnealingLRR'}}, 'param_scheduler.type',
     "'CosineAnnealingLRR'", "'CosineAnnealingLR'"),
    ('edsr_x4_proposed', {'param_scheduler': {'_delete_': True, 'type': 'StepLR', 'step_size': 300, 'by_epoch': False}},
     'model.hf_schedule', "'lr'", "param_scheduler 'constant'"),
    ('edsr_x4_proposed', {'param_scheduler': {'_delete_': True, 'type': 'OneCycleLR', 'eta_max': 1, 'total_steps': 9}},
     'model.hf_schedule', "'lr'", 'OneCycleLR constant'),
    ('cyclegan_baseline', {'model.reachable_domains': ['response', 'query'], 'model.loss_config.paired_loss_weight': 1,
      PIPELINE: [{'type': 'PackInputs', 'keys': ['img_query', 'img_response']}]}, PIPELINE,
     'paired_query paired_response', ''),
    ('edsr_x4_proposed', {'model.type': 'BaseEditModel'}, 'model', "'hf_loss'", 'pixel_loss'),
    ('edsr_x4_baseline', {'model.type': 'BaseEditModel', 'optim_wrapper.type': 'SAMOptimWrapper',
      'optim_wrapper.optimizer': SAM}, 'model.type', 'BaseEditModel SAM', 'ExtractionEditModel'),
    ('edsr_x4_baseline', {'train_dataloader': None}, '', 'train_dataloader', 'train_dataloader'),
    ('edsr_x4_baseline', {'model.pixel_loss.type': 'L1Los'}, 'model.pixel_loss.type', "'L1Los'", "'L1Loss'"),
    ('srgan_x4_baseline', {'optim_wrapper': {'_delete_': True, 'type': 'OptimWrapper', 'optimizer': ADAM}},
     'optim_wrapper', 'ExtractionSRGAN', 'generator discriminator'),
]  # fmt: skip


@pytest.mark.parametrize(('name', 'overrides', 'where', 'quoted', 'do'), FAULTS)
def test_faults(name, overrides, where, quoted, do):
    with refused(f'c.py: {where}' if where else 'c.py', *quoted.split(), do=tuple(do.split())):
        check(name, overrides)


@pytest.mark.parametrize('optimizer', [LOOK, MOMENTUM, {**LOOK, 'type': 'SAM', 'every': 3, 'first_pass': 'local'}])
def test_variants_pass(optimizer):
    check('pix2pix_proposed', {'optim_wrapper.generators.optimizer': optimizer})


@pytest.mark.parametrize('wrapper', [None, {'_delete_': True, 'type': 'MMDistributedDataParallel'}])
@pytest.mark.parametrize('name', ['edsr_x4_proposed', 'pix2pix_proposed', 'srgan_x4_proposed'])
def test_a_model_wrapper_that_hides_the_second_pass(name, wrapper):
    check(name, {'model_wrapper_cfg': wrapper})
    with refused('c.py: model_wrapper_cfg', 'MMDistributedDataParallel', 'SAM', do='DistributedDataParallel'):
        check(name, {'model_wrapper_cfg': wrapper}, launcher='pytorch')
    baseline = name.replace('proposed', 'baseline')
    with refused('c.py: model_wrapper_cfg', 'MMDistributedDataParallel', do='DistributedDataParallel') as error:
        check(baseline, {'model_wrapper_cfg': wrapper}, launcher='pytorch')
    assert 'SAM' not in error.value.what
    check(name, {}, launcher='pytorch')
    check(baseline, {}, launcher='pytorch')


LINEAR = {'start_factor': 1, 'end_factor': 0, 'by_epoch': False, 'end': 300}


@pytest.mark.parametrize(
    'scheduler',
    [
        {'type': 'LinearLR', **LINEAR},
        {'type': 'LinearParamScheduler', 'param_name': 'lr', **LINEAR},
        {'type': 'mmengine.CosineAnnealingLR', 'T_max': 300, 'by_epoch': False},
        {'type': 'MultiStepLR', 'milestones': [100, 900], 'by_epoch': False},
        {'type': 'PolyLR', 'by_epoch': False},
    ],
)
def test_schedulers_that_lower_the_learning_rate(scheduler):
    check('edsr_x4_proposed', {'param_scheduler': {'_delete_': True, **scheduler}})


def test_a_gan_without_a_discriminator():
    wrappers = {'_delete_': True, 'generator': {'type': 'OptimWrapper', 'optimizer': ADAM}}
    check('srgan_x4_baseline', {'model.discriminator': None, 'optim_wrapper': wrappers})


@pytest.fixture
def folder(tmp_path):
    for index in range(3):
        save(tmp_path / 'query' / f'{index}.png', photograph((140, 136), index))
        save(tmp_path / 'response' / f'{index}.png', photograph((140, 136), index))
    return tmp_path


def tool(folder, *arguments):
    data = f'train_dataloader.dataset.data_root={folder}'
    return call_tool('train_mmagic', *arguments, '--work-dir', folder / 'work', '--cfg-options', data)


def names_in(printed, *names):
    """Whether a tool has printed one line, an error that holds all of the names."""
    return re.fullmatch(r'error: .*\n', printed) and all(str(name) in printed for name in names)


def test_the_tool_says_it_in_one_line(folder, capsys):
    (folder / 'response' / '2.png').unlink()
    assert tool(folder, SMALL / 'pix2pix_proposed.py') == 2
    assert names_in(capsys.readouterr().err, folder, '3', '2', "'2.png'")
    assert not (folder / 'work').exists()


@pytest.mark.parametrize('name', ['edsr_x4_proposed', 'srgan_x4_baseline'])
@pytest.mark.parametrize(
    ('fault', 'names'),
    [
        (lambda folder: (folder / 'response' / '2.png').unlink(), ('3 queries', '2 responses', "'2.png'")),
        (lambda folder: (folder / 'query' / '2.png').unlink(), ('2 queries', '3 responses', "'2.png'")),
        (lambda folder: (folder / 'query').rename(folder / 'other'), ('train_dataloader.dataset.data_root', '/query')),
        (lambda folder: None, ('response/0.png: ', '136x140')),
        (lambda folder: (folder / 'manifest.json').write_text('{"description": {}}'), ('tools/query.py',)),
    ],
)
def test_super_resolution_looks_at_its_folders_too(name, fault, names, folder, capsys):
    fault(folder)
    assert tool(folder, SMALL / f'{name}.py') == 2
    assert names_in(capsys.readouterr().err, folder, *names)
    assert not (folder / 'work').exists()


def test_images_smaller_than_the_crop(folder, capsys):
    for kind in ('query', 'response'):
        save(folder / kind / '1.png', photograph((140, 90)))
    assert tool(folder, SMALL / 'pix2pix_proposed.py') == 2
    assert names_in(capsys.readouterr().err, folder / 'response' / '1.png', '90x140', '128')


def test_what_fails_before_the_first_step_is_one_line(folder):
    """Also what no check foresaw; in a process of its own, where nothing swallows the libraries' warnings."""
    save(folder / 'response' / '1.png', photograph((140, 136), 1))
    data = f'train_dataloader.dataset.data_root={folder}'
    visualizer = 'visualizer.type=NoSuchVisualizer'
    arguments = (SMALL / 'pix2pix_baseline.py', '--work-dir', folder / 'work', '--cfg-options', data, visualizer)
    ended = run_tool('train_mmagic', *arguments)
    assert ended.returncode == 2
    assert names_in(ended.stderr, 'pix2pix_baseline.py: ', 'NoSuchVisualizer'), ended.stderr


@pytest.mark.parametrize(('content', 'name'), [(None, ''), ('x = (', "'('"), ('x = 1 / 0', 'division by zero')])
def test_configs_that_cannot_be_read(content, name, folder, capsys):
    config = folder / 'c.py'
    if content is not None:
        config.write_text(content)
    assert tool(folder, config) == 2
    assert names_in(capsys.readouterr().err, f'{config}: ', name)


def test_wrong_arguments(capsys):
    with pytest.raises(SystemExit) as ended:
        call_tool('train_mmagic', 'c.py', '--launcher', 'torch')
    assert ended.value.code == 2
    assert capsys.readouterr().err.count('\n') == 1


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(folder, capsys, monkeypatch):
    import torch

    from mea_plugin.losses import HighFrequencyLoss

    calls = []
    forward = HighFrequencyLoss.forward

    def poisoned(self, pred, target):
        calls.append(1)
        return forward(self, pred, target) * (float('nan') if len(calls) > 2 * 4 + 1 else 1)

    monkeypatch.setattr(HighFrequencyLoss, 'forward', poisoned)
    options = ['train_cfg.max_iters=9', 'default_hooks.checkpoint.interval=2', 'model.generator.num_down=5']
    options += ['model.generator.base_channels=4', 'train_dataloader.batch_size=1']
    data = f'train_dataloader.dataset.data_root={folder}'
    arguments = ['--work-dir', folder / 'work', '--cfg-options', data, *options]
    assert call_tool('train_mmagic', SMALL / 'pix2pix_proposed.py', *arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith('error: iteration 5: loss_hf ')
    assert 'nan' in last
    checkpoint = torch.load(folder / 'work' / 'iter_4.pth')
    assert all(value.isfinite().all() for value in checkpoint['state_dict'].values())
    assert not (folder / 'work' / 'surrogate.pth').exists()


def test_mixed_precision_by_an_argument(folder):
    import torch

    from mea_plugin.mmagic.run.train import _use_amp
    from mea_plugin.toolboxes.mmagic_config import load_config

    cfg = load_config(SMALL / 'pix2pix_proposed.py')
    _use_amp(cfg, 'c.py')
    kinds = {key: cfg.optim_wrapper[key].type for key in ('generators', 'discriminators')}
    assert kinds == {'generators': 'SAMAmpOptimWrapper', 'discriminators': 'AmpOptimWrapper'}
    if torch.cuda.is_available():
        return
    options = ['train_cfg.max_iters=2', 'train_dataloader.batch_size=1', 'model.generator.num_down=5']
    data = f'train_dataloader.dataset.data_root={folder}'
    arguments = ['--amp', '--work-dir', folder / 'work', '--cfg-options', data, *options]
    assert call_tool('train_mmagic', SMALL / 'pix2pix_proposed.py', *arguments) == 0
    weights = torch.load(folder / 'work' / 'surrogate.pth', weights_only=True)['state_dict']
    assert all(value.isfinite().all() and value.dtype != torch.bfloat16 for value in weights.values())
