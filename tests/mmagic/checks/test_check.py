"""Faults of a config that are named before anything is built."""

from __future__ import annotations

import re

import pytest

from mea_plugin.core.errors import InputError
from tests.helpers import ROOT, call_tool, photograph, run_tool, save

pytest.importorskip('mmagic')

SMALL = ROOT / 'options' / 'mmagic' / 'small'
SAM = {'type': 'SAM', 'base_optimizer': 'Adam', 'rho': 0.05, 'lr': 1e-3}
ADAM = {'type': 'Adam', 'lr': 1e-3}
LOOK = {'_delete_': True, 'type': 'LookSAM', 'lr': 1e-3}
MOMENTUM = {'_delete_': True, 'type': 'MomentumSAM', 'lr': 1e-3}
NO_WARM_UP = {'type': 'LinearLR', 'start_factor': 0.1, 'by_epoch': False, 'end': 5}


def check(name, overrides, **options):
    from mea_plugin.mmagic.checks.check import check_config
    from mea_plugin.toolboxes.mmagic_config import load_config

    check_config(load_config(SMALL / f'{name}.py', overrides), where='c.py', data=False, **options)


FAULTS = [
    ('pix2pix_proposed', {'model.type': 'ExtractionPix2Pixx'}, "no model 'ExtractionPix2Pixx'.*ExtractionPix2Pix"),
    ('pix2pix_proposed', {'model.hf_los': {}}, "unknown option 'hf_los'.*hf_loss"),
    ('pix2pix_proposed', {'model.generator.num_dow': 3}, "unknown option 'num_dow'.*num_down"),
    ('pix2pix_proposed', {'model.generator.type': 'UnetGen'}, "no model 'UnetGen'.*UnetGenerator"),
    ('pix2pix_proposed', {'model.hf_loss.wave': 'db99'}, 'db99'),
    ('pix2pix_proposed', {'model.hf_loss.level': 6}, r'level 6.*128'),
    ('pix2pix_proposed', {'model.hf_schedule': 'cosine'}, "no schedule 'cosine'"),
    ('pix2pix_proposed', {'model.hf_loss': None}, 'no hf_loss to schedule'),
    ('pix2pix_proposed', {'param_scheduler': None}, 'no scheduler lowers the learning rate'),
    ('pix2pix_proposed', {'param_scheduler': [NO_WARM_UP]}, "'lr' cannot follow a warm-up"),
    ('pix2pix_proposed', {'optim_wrapper.generators.type': 'OptimWrapper'}, 'runs one pass.*SAMOptimWrapper'),
    ('pix2pix_baseline', {'optim_wrapper.generators.type': 'SAMOptimWrapper'}, 'SAMOptimWrapper needs SAM'),
    ('pix2pix_proposed', {'optim_wrapper.generators.optimizer.rho': -1}, 'rho must be'),
    ('pix2pix_proposed', {'optim_wrapper.generators.optimizer.base_optimizer': 'Adamm'}, 'Adamm'),
    ('pix2pix_proposed', {'optim_wrapper.generators.optimizer.type': 'SAMM'}, "no optimizer 'SAMM'.*SAM"),
    ('pix2pix_proposed', {'optim_wrapper.generators.type': 'SAMWrapper'}, 'SAMOptimWrapper'),
    ('pix2pix_proposed', {'model.type': 'Pix2Pix', 'model.hf_loss': None}, "unknown option 'hf_loss'"),
    ('pix2pix_proposed', {'optim_wrapper.generators.accumulative_counts': 2}, 'accumulate 1 and 2 batches'),
    ('pix2pix_proposed', {'optim_wrapper.generator': {'optimizer': ADAM}}, 'generators and discriminators'),
    ('pix2pix_proposed', {'model.related_domains': ['photo', 'response']}, 'wants img_photo'),
    ('cyclegan_proposed', {'model.related_domains': ['photo', 'response'], 'model.reachable_domains': ['response']},
     'wants img_photo'),
    ('cyclegan_proposed', {'model.related_domains': ['photo', 'response']}, 'reachable_domains .* are not all in'),
    ('pix2pix_proposed', {'model.default_domain': 'foo'}, "default_domain 'foo' is not in reachable_domains"),
    ('pix2pix_proposed', {'model.reachable_domains': ['foo']}, 'reachable_domains .* are not all in'),
    ('pix2pix_proposed', {'model.related_domains': ['response']}, 'the two domains of a pair'),
    ('pix2pix_proposed', {'model.related_domains': 5}, 'Give a list of names'),
    ('cyclegan_proposed', {'train_dataloader.dataset.unpaired': False}, 'loads paired_query, paired_response'),
    ('pix2pix_proposed', {'model.loss_config': {'pixel_los_weight': 1}}, "'pixel_los_weight'.*pixel_loss_weight"),
    ('pix2pix_proposed', {'optim_wrapper.generators.foo': 1}, "unknown option 'foo'"),
    ('pix2pix_proposed', {'optim_wrapper.discriminators.optimizer.lrr': 1}, "unknown option 'lrr'.*'lr'"),
    ('pix2pix_proposed', {'optim_wrapper.discriminators.optimizer.lr': -1}, 'Invalid learning rate'),
    ('pix2pix_proposed', {'optim_wrapper.generators.accumulative_counts': 0}, 'accumulative_counts is 0'),
    ('pix2pix_proposed', {'optim_wrapper': 5}, 'expected a dict, got 5'),
    ('pix2pix_proposed', {'param_scheduler': 5}, 'expected a scheduler with a type, got 5'),
    ('pix2pix_proposed', {'train_dataloader': 5}, 'expected a dict, got 5'),
    ('pix2pix_proposed', {'train_dataloader.dataset.pipeline': 5}, 'expected a list of transforms, got 5'),
    ('pix2pix_proposed', {'train_dataloader.dataset.foo': 5}, "unknown option 'foo'"),
    ('pix2pix_proposed', {'train_dataloader.batch_size': 0}, 'batch_size is 0'),
    ('pix2pix_proposed', {'train_dataloader.persistent_workers': True}, 'persistent_workers needs num_workers'),
    ('pix2pix_proposed', {'train_cfg.max_iters': 'abc'}, "max_iters is 'abc'"),
    ('pix2pix_proposed', {'load_from': 'nowhere.pth'}, 'no such weight file nowhere.pth'),
    ('pix2pix_proposed', {'model.generator.num_down': 8}, 'crop of 128 pixels is no multiple of 256'),
    ('pix2pix_proposed', {'train_cfg.max_iters': 3, 'optim_wrapper.generators.accumulative_counts': 2,
      'optim_wrapper.discriminators.accumulative_counts': 2}, 'end within a window of 2'),
    ('cyclegan_baseline', {'model.paper_discriminator_step': True}, 'they have no SAM'),
    ('cyclegan_proposed', {'model.paper_discriminator_step': True, 'optim_wrapper.discriminators.optimizer': MOMENTUM},
     'they have MomentumSAM, which takes no second pass'),
    ('pix2pix_proposed', {'optim_wrapper.generators.optimizer.every': 0}, 'every must be a whole number.*got 0'),
    ('pix2pix_proposed', {'optim_wrapper.generators.optimizer.first_pass': 'mine'}, "'averaged' or 'local', got 'mi"),
    ('pix2pix_proposed', {'optim_wrapper.generators.optimizer': {**MOMENTUM, 'base_optimizer': 'SGD'}},
     'MomentumSAM climbs along the momentum.*SGD has momentum=0. Write momentum=0.9'),
    ('pix2pix_proposed', {'optim_wrapper.generators.optimizer': {**MOMENTUM, 'every': 2}}, "'every' has no meaning"),
    ('pix2pix_proposed', {'optim_wrapper.generators.optimizer': {**LOOK, 'first_pass': 'local'}},
     'LookSAM keeps a direction.*each rank would keep another'),
    ('pix2pix_proposed', {'optim_wrapper.generators.optimizer': {**LOOK, 'alpha': -1}}, 'alpha must be'),
    ('pix2pix_proposed', {'optim_wrapper.generators.type': 'OptimWrapper', 'optim_wrapper.generators.optimizer': LOOK},
     'OptimWrapper runs one pass, and LookSAM needs a second'),
    ('pix2pix_proposed', {'optim_wrapper.generators.type': 'OptimWrapper',
      'optim_wrapper.generators.optimizer': MOMENTUM}, 'runs one pass, and MomentumSAM needs it ahead of the weights'),
    ('edsr_x4_baseline', {'model.type': 'BaseEditModel', 'optim_wrapper.type': 'SAMOptimWrapper',
      'optim_wrapper.optimizer': MOMENTUM}, 'BaseEditModel runs one pass, and MomentumSAM needs it'),
    ('edsr_x4_proposed', {'train_cfg.max_iters': 301}, 'has T_max 300.*rises again'),
    ('edsr_x4_proposed', {'param_scheduler': {'_delete_': True, 'type': 'CosineAnnealingLRR'}}, "no parameter sch"),
    ('edsr_x4_proposed', {'param_scheduler': {'_delete_': True, 'type': 'StepLR', 'step_size': 300, 'by_epoch': False}},
     'no scheduler lowers'),
    ('edsr_x4_proposed', {'param_scheduler': {'_delete_': True, 'type': 'OneCycleLR', 'eta_max': 1, 'total_steps': 9}},
     'cannot follow a warm-up'),
    ('cyclegan_baseline', {'model.reachable_domains': ['response', 'query'], 'model.loss_config.paired_loss_weight': 1,
      'train_dataloader.dataset.pipeline': [{'type': 'PackInputs', 'keys': ['img_query', 'img_response']}]},
     'wants paired_'),
    ('edsr_x4_proposed', {'model.type': 'BaseEditModel'}, "unknown option 'hf_"),
    ('edsr_x4_baseline', {'model.type': 'BaseEditModel', 'optim_wrapper.type': 'SAMOptimWrapper',
      'optim_wrapper.optimizer': SAM}, 'BaseEditModel runs one pass.*ExtractionEditModel'),
    ('edsr_x4_baseline', {'train_dataloader': None}, 'section train_dataloader is missing'),
    ('edsr_x4_baseline', {'model.pixel_loss.type': 'L1Los'}, "no model 'L1Los'.*L1Loss"),
    ('srgan_x4_baseline', {'optim_wrapper': {'_delete_': True, 'type': 'OptimWrapper', 'optimizer': ADAM}},
     'several networks, and there is one optimizer'),
]  # fmt: skip


@pytest.mark.parametrize(('name', 'overrides', 'message'), FAULTS)
def test_faults(name, overrides, message):
    with pytest.raises(InputError, match=message) as error:
        check(name, overrides)
    assert '\n' not in str(error.value)
    assert str(error.value).startswith('c.py')


@pytest.mark.parametrize('optimizer', [LOOK, MOMENTUM, {**LOOK, 'type': 'SAM', 'every': 3, 'first_pass': 'local'}])
def test_variants_pass(optimizer):
    check('pix2pix_proposed', {'optim_wrapper.generators.optimizer': optimizer})


@pytest.mark.parametrize('wrapper', [None, {'_delete_': True, 'type': 'MMDistributedDataParallel'}])
@pytest.mark.parametrize('name', ['edsr_x4_proposed', 'pix2pix_proposed', 'srgan_x4_proposed'])
def test_a_model_wrapper_that_hides_the_second_pass(name, wrapper):
    check(name, {'model_wrapper_cfg': wrapper})
    with pytest.raises(InputError, match="would hide SAM's second pass.*DistributedDataParallel"):
        check(name, {'model_wrapper_cfg': wrapper}, launcher='pytorch')
    baseline = name.replace('proposed', 'baseline')
    with pytest.raises(InputError, match="would hide the model's own step"):
        check(baseline, {'model_wrapper_cfg': wrapper}, launcher='pytorch')
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


def test_the_tool_says_it_in_one_line(folder, capsys):
    (folder / 'response' / '2.png').unlink()
    assert tool(folder, SMALL / 'pix2pix_proposed.py') == 2
    printed = capsys.readouterr().err
    assert printed.startswith('error: ')
    assert printed.count('\n') == 1
    assert '3 queries and 2 responses do not pair' in printed
    assert not (folder / 'work').exists()


@pytest.mark.parametrize('name', ['edsr_x4_proposed', 'srgan_x4_baseline'])
@pytest.mark.parametrize(
    ('fault', 'message'),
    [
        (lambda folder: (folder / 'response' / '2.png').unlink(), '3 queries and 2 responses do not pair'),
        (lambda folder: (folder / 'query' / '2.png').unlink(), '2 queries and 3 responses do not pair'),
        (lambda folder: (folder / 'query').rename(folder / 'other'), 'query does not exist'),
        (lambda folder: None, 'pixels are not 4 times the'),
        (lambda folder: (folder / 'manifest.json').write_text('{"description": {}}'), 'the query set is incomplete'),
    ],
)
def test_super_resolution_looks_at_its_folders_too(name, fault, message, folder, capsys):
    fault(folder)
    assert tool(folder, SMALL / f'{name}.py') == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (folder / 'work').exists()


def test_images_smaller_than_the_crop(folder, capsys):
    for kind in ('query', 'response'):
        save(folder / kind / '1.png', photograph((140, 90)))
    assert tool(folder, SMALL / 'pix2pix_proposed.py') == 2
    assert '90x140 pixels are less than the crop of 128' in capsys.readouterr().err


def test_what_fails_before_the_first_step_is_one_line(folder):
    """Also what no check foresaw; in a process of its own, where nothing swallows the libraries' warnings."""
    save(folder / 'response' / '1.png', photograph((140, 136), 1))
    data = f'train_dataloader.dataset.data_root={folder}'
    visualizer = 'visualizer.type=NoSuchVisualizer'
    arguments = (SMALL / 'pix2pix_baseline.py', '--work-dir', folder / 'work', '--cfg-options', data, visualizer)
    ended = run_tool('train_mmagic', *arguments)
    assert ended.returncode == 2
    assert ended.stderr.count('\n') == 1, ended.stderr
    assert re.match('error: .*pix2pix_baseline.py: training cannot start .*NoSuchVisualizer', ended.stderr)


@pytest.mark.parametrize(
    ('content', 'message'),
    [(None, 'no such config'), ('x = (', 'cannot be read'), ('x = 1 / 0', 'cannot be read')],
)
def test_configs_that_cannot_be_read(content, message, folder, capsys):
    config = folder / 'c.py'
    if content is not None:
        config.write_text(content)
    assert tool(folder, config) == 2
    assert message in capsys.readouterr().err


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
    assert last.startswith('error: iteration 5: loss_hf is nan')
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
