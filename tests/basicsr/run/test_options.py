"""Option files: read as BasicSR reads them, without running code, and refused with one line where they are wrong."""

import copy
import re

import numpy as np
import pytest
import yaml

from mea_plugin.basicsr.checks.check import check_options
from mea_plugin.basicsr.run.options import parse_options
from mea_plugin.core.errors import InputError
from mea_plugin.losses.schedule import weight_factor
from mea_plugin.query_sets.lmdb import export_lmdb
from tests.helpers import pair_folders, photograph, run_tool, save, training_options, write_yaml
from tests.query_sets.sets import make_set


@pytest.fixture
def options(tmp_path):
    return training_options(*pair_folders(tmp_path))


def change(options, path, value):
    """A copy with the value at ``path`` set, or removed when the value is ``...``."""
    options = copy.deepcopy(options)
    *sections, key = path.split('.')
    target = options
    for section in sections:
        target = target.setdefault(section, {})
    if value is ...:
        del target[key]
    else:
        target[key] = value
    return options


def test_the_smallest_option_file_passes(options):
    check_options(options, where='x.yml')


def test_it_parses_to_what_basicsr_parses(options, tmp_path, monkeypatch):
    import basicsr.utils.options as theirs

    options['path'] = {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None}
    options['val'] = {
        'val_freq': 4,
        'save_img': False,
        'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}},
    }
    file = write_yaml(tmp_path / 'x.yml', options)
    arguments = ['-opt', str(file), '--force_yml', 'train:total_iter=3', 'name=other', 'network_g:num_feat=16']
    ours, _ = parse_options(tmp_path, argv=arguments)
    monkeypatch.setattr('sys.argv', ['train.py', *arguments])
    expected, _ = theirs.parse_options(str(tmp_path), is_train=True)
    assert ours == yaml.safe_load(yaml.dump(to_plain(expected)))
    assert ours['name'] == 'other'


def to_plain(value):
    return {key: to_plain(item) for key, item in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize('val', [None, {'val_freq': 4, 'save_img': False}])
def test_a_name_with_debug_logs_every_iteration_with_or_without_validation(val, options, tmp_path):
    file = write_yaml(tmp_path / 'x.yml', {**options, 'val': val})
    opt, _ = parse_options(tmp_path, argv=['-opt', str(file), '--debug'])
    assert opt['name'] == 'debug_tiny'
    assert opt['logger']['print_freq'] == 1
    assert opt['val'] == (val and {**val, 'val_freq': 8})


UNKNOWN = [
    ('scales', 4, "unknown option 'scales'. Use 'scale'"),
    ('model_type', 'ExtractionModell', "no model 'ExtractionModell' is registered. Use 'ExtractionModel'"),
    ('train.hf_opts', {}, "unknown option 'hf_opts'. Use 'hf_opt'"),
    ('train.total_iters', 3, "unknown option 'total_iters'. Use 'total_iter'"),
    ('train.ema_decays', 0.9, "unknown option 'ema_decays'. Use 'ema_decay'"),
    ('network_g.num_feats', 3, "unknown option 'num_feats'. Use 'num_feat'"),
    ('network_d', {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3}, "unknown option 'network_d'. Use 'network_g'"),
    ('network_g.type', 'SRVGGNetCompakt', "no arch 'SRVGGNetCompakt' is registered. Use 'SRVGGNetCompact'"),
    ('train.pixel_opt.type', 'L1Los', "no loss 'L1Los' is registered. Use 'L1Loss'"),
    ('train.pixel_opt.loss_wait', 1, "unknown option 'loss_wait'. Use 'loss_weight'"),
    ('train.optim_g.type', 'Adamm', "no optimizer 'Adamm'. Use 'Adam'"),
    ('train.optim_g.betass', [0.9, 0.99], 'betas'),
    ('train.optim_g', {'type': 'SAM', 'lr': 1e-3, 'base_optimizer': 'Adan'}, 'Adan'),
    ('train.optim_g', {'type': 'SAM', 'lr': 1e-3, 'rho': -1}, 'rho'),
    ('train.hf_opt', {'type': 'HighFrequencyLoss', 'wave': 'db3x'}, 'db3x'),
    ('train.hf_opt', {'type': 'HighFrequencyLoss', 'level': 0}, 'level'),
    ('train.scheduler.type', 'CosineAnnealingLR', "unknown option 'CosineAnnealingLR'. Use 'CosineAnnealingRestartLR'"),
    ('train.scheduler.period', [3], "unknown option 'period'. Use 'periods'"),
    ('logger.print_frequency', 3, "unknown option 'print_frequency'. Use 'print_freq'"),
    ('path.pretrain_network', 'x', "unknown option 'pretrain_network'. Use 'pretrain_network_g'"),
    ('datasets.trainn', {}, "unknown option 'trainn'. Use 'train'"),
    ('datasets.train.gtsize', 48, "unknown option 'gtsize'. Use 'gt_size'"),
    (
        'datasets.train.type',
        'PairedImageDatset',
        "no dataset 'PairedImageDatset' is registered. Use 'PairedImageDataset'",
    ),
    ('val', {'val_freq': 1, 'save_img': False, 'metric': {}}, "unknown option 'metric'. Use 'metrics'"),
]


@pytest.mark.parametrize(('path', 'value', 'message'), UNKNOWN, ids=[path for path, _, _ in UNKNOWN])
def test_unknown_keys_and_names_are_refused_with_the_nearest(options, path, value, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        check_options(change(options, path, value), where='x.yml')
    assert 'x.yml' in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('metric', [{'type': 'calculate_psnr', 'crop_borders': 4}, {'type': 'calculate_psnrr'}])
def test_metrics_are_checked_although_they_swallow_options(options, metric):
    options['val'] = {'val_freq': 1, 'save_img': False, 'metrics': {'psnr': metric}}
    with pytest.raises(InputError, match="Use '(crop_border|calculate_psnr)'"):
        check_options(options, where='x.yml')


MISSING = (
    *('name', 'model_type', 'scale', 'datasets', 'train', 'logger', 'logger.print_freq'),
    *('train.scheduler', 'train.optim_g', 'train.optim_g.type', 'train.total_iter'),
    *('datasets.train.io_backend', 'datasets.train.gt_size', 'datasets.train.type'),
)


@pytest.mark.parametrize('path', MISSING)
def test_missing_options_are_named(options, path):
    with pytest.raises(InputError, match=f"'{path.split('.')[-1]}' is missing"):
        check_options(change(options, path, ...), where='x.yml')


def test_models_and_datasets_of_third_parties_pass(options):
    from basicsr.models.sr_model import SRModel
    from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY

    class ThirdPartyModel(SRModel):
        pass

    class ThirdPartyDataset:
        pass

    for registry, item in ((MODEL_REGISTRY, ThirdPartyModel), (DATASET_REGISTRY, ThirdPartyDataset)):
        registry.register(item)
    try:
        options.update(model_type='ThirdPartyModel', their_option=1)
        options['train']['their_weight'] = 2
        theirs = {'type': 'ThirdPartyDataset', 'name': 'x', 'their_folder': 'y'}
        options['datasets']['train'] = {**theirs, 'batch_size_per_gpu': 1, 'num_worker_per_gpu': 0}
        check_options(options, where='x.yml')
    finally:
        MODEL_REGISTRY._obj_map.pop('ThirdPartyModel')
        DATASET_REGISTRY._obj_map.pop('ThirdPartyDataset')


def test_a_baseline_of_basicsr_s_own_takes_only_what_it_knows(options):
    options['model_type'] = 'SRModel'
    check_options(options, where='x.yml')
    with pytest.raises(InputError, match="unknown option 'hf_opt'.*ExtractionModel"):
        check_options(change(options, 'train.hf_opt', {'type': 'HighFrequencyLoss'}), where='x.yml')
    sam = {'type': 'SAM', 'lr': 1e-3}
    with pytest.raises(InputError, match=r'SRModel knows only Adam.*ExtractionModel'):
        check_options(change(options, 'train.optim_g', sam), where='x.yml')


MILESTONES = {'type': 'MultiStepLR', 'milestones': [2], 'gamma': 0.5}
HF = {'type': 'HighFrequencyLoss'}


@pytest.mark.parametrize(
    ('train', 'message'),
    [
        ({'hf_opt': HF, 'hf_schedule': 'cosine'}, "no schedule 'cosine'"),
        ({'hf_schedule': 'lr'}, 'there is no hf_opt'),
        ({'hf_opt': HF, 'hf_schedule': 'lr', 'warmup_iter': 2}, 'cannot follow a warm-up'),
        ({'hf_opt': HF, 'hf_schedule': 'lr', 'scheduler': {**MILESTONES, 'milestones': [4]}}, 'never lowers'),
        ({'hf_opt': HF, 'hf_schedule': 'lr', 'scheduler': {**MILESTONES, 'gamma': 1}}, 'never lowers'),
    ],
)
def test_schedules_that_cannot_work_are_refused(options, train, message):
    options['train'].update(train)
    with pytest.raises(InputError, match=message):
        check_options(options, where='x.yml')


def test_a_decaying_schedule_passes(options):
    options['train'].update(hf_opt=HF, hf_schedule='lr', scheduler=MILESTONES)
    check_options(options, where='x.yml')


def test_the_factor_is_one_minus_lr_over_lr_0():
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    assert weight_factor('lr', optimizer) == 0
    for lr, factor in ((0.3, 0.25), (0.1, 0.75), (0.0, 1.0), (0.8, 0.0)):
        optimizer.param_groups[0]['lr'] = lr
        assert weight_factor('lr', optimizer) == pytest.approx(factor)
        assert weight_factor('constant', optimizer) == 1


def test_force_yml_runs_nothing(options, tmp_path, capsys):
    file = write_yaml(tmp_path / 'x.yml', options)
    entry = 'name=__import__("os").system("echo boom")'
    parsed, _ = parse_options(tmp_path, argv=['-opt', str(file), '--force_yml', entry])
    assert parsed['name'] == '__import__("os").system("echo boom")'
    assert 'boom' not in capsys.readouterr().out
    with pytest.raises(InputError, match="no section 'trian'.*Use 'train'"):
        parse_options(tmp_path, argv=['-opt', str(file), '--force_yml', 'trian:total_iter=3'])


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        ('missing', r'dataroot_gt: folder .* does not exist'),
        ('empty', r'dataroot_lq: no images in'),
        ('unpaired', '3 lq and 2 gt images do not pair'),
        ('size', r'1\.png: 100x96 pixels are not 4 times the 28x24'),
        ('small', r'1\.png: 32x32 pixels are less than the crop gt_size 48'),
        ('palette', r'1\.png: is a palette image'),
        ('deep', r'1\.png: is an image of more than 8 bits'),
        ('alpha', r'1\.png: is an image with an alpha channel'),
        ('truncated', r'1\.png: the image is truncated'),
        ('text', r'1\.png: cannot be read \(not an image\)'),
        ('multiple', 'gt_size 50 is no multiple of the scale 4'),
        ('flips', "the option 'use_hflip' is missing"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused(options, tmp_path, damage, message):
    from PIL import Image

    train = options['datasets']['train']
    lq, gt = tmp_path / 'lq' / '1.png', tmp_path / 'gt' / '1.png'
    if damage == 'missing':
        train['dataroot_gt'] = str(tmp_path / 'nowhere')
    elif damage == 'empty':
        (tmp_path / 'none').mkdir()
        train['dataroot_lq'] = str(tmp_path / 'none')
    elif damage == 'unpaired':
        gt.unlink()
    elif damage == 'size':
        save(gt, photograph((96, 100)))
    elif damage == 'small':
        save(lq, photograph((8, 8)))
        save(gt, photograph((32, 32)))
    elif damage == 'palette':
        Image.fromarray(photograph((24, 28))).convert('P').save(lq)
    elif damage == 'deep':
        save(lq, np.zeros((24, 28), np.uint16))
    elif damage == 'alpha':
        save(lq, np.zeros((24, 28, 4), np.uint8))
    elif damage == 'truncated':
        gt.write_bytes(gt.read_bytes()[:-100])
    elif damage == 'text':
        lq.write_text('no image')
    elif damage == 'flips':
        del train['use_hflip']
    else:
        train['gt_size'] = 50
    with pytest.raises(InputError, match=message):
        check_options(options, where='x.yml')


@pytest.fixture
def lmdb_options(tmp_path):
    pytest.importorskip('lmdb')
    export_lmdb(make_set(tmp_path / 'set', {'a': (24, 28), 'b': (30, 24)}, scale=4), tmp_path / 'lmdb')
    options = training_options(*(tmp_path / 'lmdb' / f'{side}.lmdb' for side in ('query', 'response')))
    return change(options, 'datasets.train.io_backend', {'type': 'lmdb'})


def test_an_lmdb_can_be_trained_on(lmdb_options, tmp_path):
    check_options(lmdb_options, where='x.yml')
    file = write_yaml(tmp_path / 'x.yml', {**lmdb_options, 'path': {}})
    run = run_tool('train_basicsr', '-opt', file, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / 'experiments' / 'tiny' / 'models' / 'net_g_4.pth').is_file()


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        ('missing', r'train\.dataroot_gt: .*gone\.lmdb is no LMDB of images, it has no data\.mdb'),
        ('name', r'train\.dataroot_gt: .*response is no LMDB|train\.dataroot_gt: .*response does not end in \.lmdb'),
        ('keys', r"train: 2 lq and 1 gt images do not pair \('000001' is alone\)"),
        ('dots', r"query\.lmdb: BasicSR cannot find the key 'a\.b' again"),
        ('size', r'response\.lmdb\[000001\]: 96x121 pixels are not 4 times the 24x30'),
        ('small', r'response\.lmdb\[000000\]: 112x96 pixels are less than the crop gt_size 100'),
        ('multiple', 'gt_size 50 is no multiple of the scale 4'),
        ('truncated', r'response\.lmdb/data\.mdb: the LMDB is truncated'),
    ],
)
def test_an_lmdb_that_cannot_be_trained_on_is_refused(lmdb_options, tmp_path, damage, message):
    import lmdb

    train = lmdb_options['datasets']['train']
    gt, lq = tmp_path / 'lmdb' / 'response.lmdb', tmp_path / 'lmdb' / 'query.lmdb'
    meta = gt / 'meta_info.txt'
    if damage == 'missing':
        train['dataroot_gt'] = str(tmp_path / 'gone.lmdb')
    elif damage == 'name':
        train['dataroot_gt'] = str(gt.rename(tmp_path / 'lmdb' / 'response'))
    elif damage == 'keys':
        meta.write_text(meta.read_text().splitlines(keepends=True)[0])
        with lmdb.open(str(gt)) as environment, environment.begin(write=True) as transaction:
            transaction.delete(b'000001')
    elif damage == 'dots':
        (lq / 'meta_info.txt').write_text('000000.png (24,28,3) 1\na.b.png (30,24,3) 1\n')
    elif damage == 'size':
        meta.write_text(meta.read_text().replace('(120,', '(121,'))
    elif damage == 'small':
        train['gt_size'] = 100
    elif damage == 'truncated':
        (gt / 'data.mdb').write_bytes((gt / 'data.mdb').read_bytes()[:-4096])
    else:
        train['gt_size'] = 50
    with pytest.raises(InputError, match=message):
        check_options(lmdb_options, where='x.yml')
