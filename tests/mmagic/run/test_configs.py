"""The shipped configs: their values, and that they train, stop and go on."""

from __future__ import annotations

import math

import pytest
import torch

from mea_plugin.training import checkpoints
from tests.helpers import ROOT
from tests.query_sets.sets import make_set

pytest.importorskip('mmagic')

FOLDER = ROOT / 'options' / 'mmagic'
FULL = sorted(path.stem for path in FOLDER.glob('*.py'))
SMALL = sorted(path.stem for path in (FOLDER / 'small').glob('*.py'))
VALIDATED = sorted(path.stem for path in (FOLDER / 'validated').glob('*.py'))
PENALTY = {'type': 'HighFrequencyLoss', 'loss_weight': 0.15, 'wave': 'db3', 'level': 2}


def load(name: str, small: bool = False, overrides: dict | None = None):
    from mea_plugin.toolboxes.mmagic_config import load_config

    return load_config(FOLDER / ('small' if small else '') / f'{name}.py', overrides)


@pytest.fixture(scope='session')
def query_sets(tmp_path_factory) -> dict[int, str]:
    """Complete query sets of four pairs, by scale."""
    folders = {}
    for scale, size in ((1, (160, 144)), (4, (40, 36))):
        names = dict.fromkeys(map(str, range(4)), size)
        folders[scale] = str(make_set(tmp_path_factory.mktemp(f'x{scale}') / 'queries', names, scale))
    return folders


def test_every_config_is_here():
    methods = [
        f'{kind}_{method}'
        for kind in ('cyclegan', 'edsr_x4', 'pix2pix', 'srgan_x4')
        for method in ('baseline', 'proposed')
    ]
    assert sorted([*methods, 'cyclegan_paper']) == FULL
    assert sorted(methods) == SMALL
    assert VALIDATED == ['edsr_x4_proposed', 'pix2pix_proposed']


@pytest.mark.parametrize('name', FULL)
def test_full_ones_build_and_pass_their_check(name):
    from mmagic.registry import MODELS

    from mea_plugin.mmagic.checks.check import check_config

    cfg = load(name)
    check_config(cfg, where=name, data=False)
    check_config(cfg, where=name, data=False, launcher='pytorch')
    cfg.model.pop('perceptual_loss', None)  # it would download its weights
    MODELS.build(cfg.model)
    for key in ('val_cfg', 'val_dataloader', 'val_evaluator', 'test_cfg', 'test_dataloader', 'test_evaluator'):
        assert cfg[key] is None


@pytest.mark.parametrize('kind', ['pix2pix', 'cyclegan'])
def test_reference_values_of_training(kind):
    cfg = load(f'{kind}_baseline')
    assert cfg.train_dataloader.batch_size == 16
    assert cfg.train_cfg.max_iters == 200 * 1000 // 16
    assert (cfg.param_scheduler.type, cfg.param_scheduler.T_max) == ('CosineAnnealingLR', cfg.train_cfg.max_iters)
    for network in ('generators', 'discriminators'):
        optimizer = cfg.optim_wrapper[network].optimizer
        assert (optimizer.type, optimizer.lr, tuple(optimizer.betas)) == ('Adam', 2e-4, (0.5, 0.999))
        assert 'weight_decay' not in optimizer
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert tuple(steps['Resize'].scale) == (286, 286)
    assert tuple(steps['FixedCrop'].crop_size) == (256, 256)


def test_reference_values_of_the_models():
    pix2pix, cyclegan = load('pix2pix_baseline').model, load('cyclegan_baseline').model
    assert (pix2pix.generator.type, pix2pix.generator.num_down, pix2pix.generator.norm_cfg.type) == (
        'UnetGenerator',
        8,
        'BN',
    )
    assert pix2pix.loss_config.pixel_loss_weight == 100
    assert (cyclegan.generator.type, cyclegan.generator.num_blocks, cyclegan.generator.norm_cfg.type) == (
        'ResnetGenerator',
        9,
        'IN',
    )
    assert not cyclegan.generator.use_dropout
    assert cyclegan.buffer_size == 50
    assert dict(cyclegan.loss_config) == {'cycle_loss_weight': 10, 'id_loss_weight': 5}  # the reference's 0.5 times 10
    for model in (pix2pix, cyclegan):
        assert model.discriminator.num_conv == 3  # 70x70


@pytest.mark.parametrize('small', [False, True])
@pytest.mark.parametrize(
    ('kind', 'network'),
    [('pix2pix', 'generators'), ('cyclegan', 'discriminators'), ('edsr_x4', None), ('srgan_x4', 'generator')],
)
def test_proposed_differs_by_the_penalty_and_sam_alone(kind, network, small):
    baseline, proposed = load(f'{kind}_baseline', small).to_dict(), load(f'{kind}_proposed', small).to_dict()
    model = proposed['model']
    assert model.pop('hf_loss') == PENALTY
    assert model.pop('hf_schedule') == 'lr'
    wrapper = proposed['optim_wrapper'][network] if network else proposed['optim_wrapper']
    own = baseline['optim_wrapper'][network] if network else baseline['optim_wrapper']
    assert wrapper.pop('type') == 'SAMOptimWrapper'
    assert own.pop('type', 'OptimWrapper') == 'OptimWrapper'
    sam = wrapper['optimizer']
    added = {key: sam.pop(key) for key in ('type', 'base_optimizer', 'rho', 'adaptive', 'weight_decay')}
    assert added['type'] == 'SAM'
    assert added['base_optimizer'] == own['optimizer'].pop('type') == 'Adam'
    assert added['adaptive'] is False
    if not small:
        assert (added['rho'], added['weight_decay']) == (0.05, 5e-4)
    assert proposed == baseline


def test_the_papers_step_is_one_option():
    paper, proposed = load('cyclegan_paper').to_dict(), load('cyclegan_proposed').to_dict()
    assert paper['model'].pop('paper_discriminator_step') is True
    assert paper == proposed


@pytest.mark.parametrize('name', VALIDATED)
def test_validated_ones_add_a_validation_and_nothing_else(name):
    from mea_plugin.mmagic.checks.check import check_config

    cfg = load_config_of(name)
    check_config(cfg, where=name, data=False)
    own, base = cfg.to_dict(), load(name).to_dict()
    for key in ('cfg', 'dataloader', 'evaluator'):
        assert base.pop(f'val_{key}') is None
        assert own.pop(f'val_{key}')
    assert own['train_cfg'].pop('val_interval')
    base['train_cfg'].pop('val_interval', None)
    for key in ('save_best', 'rule'):
        assert own['default_hooks']['checkpoint'].pop(key)
    for key in ('val_pipeline', 'fidelity', 'quality', 'keys'):
        own.pop(key, None)
        base.pop(key, None)
    assert own == base


def load_config_of(name: str):
    from mea_plugin.toolboxes.mmagic_config import load_config

    return load_config(FOLDER / 'validated' / f'{name}.py')


@pytest.mark.parametrize('name', VALIDATED)
def test_what_validated_ones_log(name, query_sets, tmp_path, monkeypatch):
    """Their validation, in the training of a small one."""
    from mea_plugin.mmagic.checks.check import check_config
    from tests import learned
    from tests.mmagic import runs

    learned.moments(monkeypatch, tmp_path)
    super_resolution = 'x4' in name
    cfg, validated = load(name, small=True), load_config_of(name)
    for key in ('val_cfg', 'val_dataloader', 'val_evaluator'):
        cfg[key] = validated[key]
    cfg.default_hooks.checkpoint.update(save_best='fidelity/PSNR', rule='greater')
    cfg.train_dataloader.dataset.data_root = query_sets[4 if super_resolution else 1]
    cfg.train_dataloader.batch_size = 2
    size = (40, 36) if super_resolution else (256, 260)
    images = make_set(tmp_path / 'validation', {'a': size, 'b': size}, 4 if super_resolution else 1)
    cfg.val_dataloader.num_workers = 0
    folder, dataset = str(images / 'response'), cfg.val_dataloader.dataset
    if super_resolution:
        dataset.update(img=str(images / 'query'), victim=folder, gt=folder)
    else:
        dataset.data_root = str(images)
    for metric in cfg.val_evaluator:
        if metric.type == 'LPIPS':
            metric.net = 'squeeze'
        if 'target' in metric:
            metric.target = folder
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.merge_from_dict({'work_dir': str(tmp_path / 'run'), 'experiment_name': f'validated_{name}'})
    check_config(cfg, where=name)
    runs.make_runner(cfg).train()
    history = checkpoints.read(tmp_path / 'run' / 'iter_2.pth')['mea']['history']
    values = {key.removeprefix('val/'): one['values'][-1] for key, one in history.items() if key.startswith('val/')}
    names = {f'{one.prefix}/{one.type.removeprefix("MEA")}' for one in cfg.val_evaluator}
    assert names <= values.keys()
    assert {key for key in names if not math.isfinite(values[key])} == {key for key in names if 'LPIPS' in key}


@pytest.mark.parametrize('name', SMALL)
def test_small_ones_train_and_resume(name, query_sets, tmp_path):
    from mea_plugin.mmagic.run import train

    scale = 4 if 'x4' in name else 1
    options = [
        *(f'train_dataloader.dataset.data_root={query_sets[scale]}', 'train_dataloader.batch_size=2'),
        *('default_hooks.checkpoint.interval=1', 'default_hooks.logger.interval=1', 'param_scheduler.T_max=2'),
    ]
    arguments = [str(FOLDER / 'small' / f'{name}.py'), '--work-dir', str(tmp_path), '--cfg-options', *options]
    # MMEngine names loggers and log files by experiment and second; other tests, and both runs here, fall into one.
    train.main([*arguments, 'train_cfg.max_iters=1', f'experiment_name={name}_first'])
    first_log = ''.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    first = torch.load(tmp_path / train.WEIGHTS, weights_only=True)['state_dict']
    train.main([*arguments, 'train_cfg.max_iters=2', f'experiment_name={name}_second', '--resume'])
    second_log = ''.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    second = torch.load(tmp_path / train.WEIGHTS, weights_only=True)['state_dict']
    assert first.keys() == second.keys()
    assert any(not torch.equal(first[key], second[key]) for key in first)
    assert all(value.isfinite().all() for value in second.values())
    assert 'Iter(train) [1/1]' in first_log
    assert 'Iter(train) [2/2]' in second_log
    assert all(('loss_hf' in log) == ('proposed' in name) for log in (first_log, second_log))
