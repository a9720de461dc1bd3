"""Option files: read as BasicSR reads them, without running code, and refused with one line where they are wrong."""

import copy

import numpy as np
import pytest
import yaml

from mea_plugin.basicsr.checks.check import check_options
from mea_plugin.basicsr.run.options import parse_options
from mea_plugin.losses.schedule import weight_factor
from mea_plugin.query_sets.lmdb import export_lmdb
from tests.helpers import pair_folders, photograph, refused, run_tool, save, training_options, write_yaml
from tests.query_sets.sets import make_set

HF = {'type': 'HighFrequencyLoss'}


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


# Each row: what is changed, where the error is found, and the names in what it says and in what to do about it.
UNKNOWN = [
    ('scales', 4, '', "'scales'", "'scale'"),
    ('model_type', 'ExtractionModell', 'model_type', "'ExtractionModell'", "'ExtractionModel'"),
    ('train.hf_opts', {}, 'train', "'hf_opts'", "'hf_opt'"),
    ('train.total_iters', 3, 'train', "'total_iters'", "'total_iter'"),
    ('train.ema_decays', 0.9, 'train', "'ema_decays'", "'ema_decay'"),
    ('network_g.num_feats', 3, 'network_g', "'num_feats'", "'num_feat'"),
    ('network_d', {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3}, '', "'network_d'", "'network_g'"),
    ('network_g.type', 'SRVGGNetCompakt', 'network_g.type', "'SRVGGNetCompakt'", "'SRVGGNetCompact'"),
    ('train.pixel_opt.type', 'L1Los', 'train.pixel_opt.type', "'L1Los'", "'L1Loss'"),
    ('train.pixel_opt.loss_wait', 1, 'train.pixel_opt', "'loss_wait'", "'loss_weight'"),
    ('train.optim_g.type', 'Adamm', 'train.optim_g.type', "'Adamm'", "'Adam'"),
    ('train.optim_g.betass', [0.9, 0.99], 'train.optim_g', "'betass'", "'betas'"),
    ('train.optim_g', {'type': 'SAM', 'lr': 1e-3, 'base_optimizer': 'Adan'}, 'train.optim_g', "'Adan' 'Adam'", 'SAM'),
    ('train.optim_g', {'type': 'SAM', 'lr': 1e-3, 'rho': -1}, 'train.optim_g', 'rho -1', 'SAM'),
    ('train.hf_opt', {**HF, 'wave': 'db3x'}, 'train.hf_opt', "'db3x' 'db3'", 'HighFrequencyLoss'),
    ('train.hf_opt', {**HF, 'level': 0}, 'train.hf_opt', 'level 0', 'HighFrequencyLoss'),
    ('train.scheduler.type', 'CosineAnnealingLR', 'train.scheduler.type', "'CosineAnnealingLR'",
     "'CosineAnnealingRestartLR'"),
    ('train.scheduler.period', [3], 'train.scheduler', "'period'", "'periods'"),
    ('logger.print_frequency', 3, 'logger', "'print_frequency'", "'print_freq'"),
    ('path.pretrain_network', 'x', 'path', "'pretrain_network'", "'pretrain_network_g'"),
    ('datasets.trainn', {}, 'datasets', "'trainn'", "'train'"),
    ('datasets.train.gtsize', 48, 'datasets.train', "'gtsize'", "'gt_size'"),
    ('datasets.train.type', 'PairedImageDatset', 'datasets.train.type', "'PairedImageDatset'", "'PairedImageDataset'"),
    ('val', {'val_freq': 1, 'save_img': False, 'metric': {}}, 'val', "'metric'", "'metrics'"),
]  # fmt: skip


@pytest.mark.parametrize(('path', 'value', 'where', 'quoted', 'do'), UNKNOWN, ids=[path for path, *_ in UNKNOWN])
def test_unknown_keys_and_names_are_refused_with_the_nearest(options, path, value, where, quoted, do):
    with refused(f'x.yml: {where}' if where else 'x.yml', *quoted.split(), do=do):
        check_options(change(options, path, value), where='x.yml')


@pytest.mark.parametrize(
    ('metric', 'where', 'wrong', 'right'),
    [
        ({'type': 'calculate_psnr', 'crop_borders': 4}, 'psnr', 'crop_borders', 'crop_border'),
        ({'type': 'calculate_psnrr'}, 'psnr.type', 'calculate_psnrr', 'calculate_psnr'),
    ],
)
def test_metrics_are_checked_although_they_swallow_options(options, metric, where, wrong, right):
    options['val'] = {'val_freq': 1, 'save_img': False, 'metrics': {'psnr': metric}}
    with refused(f'x.yml: val.metrics.{where}', repr(wrong), do=repr(right)):
        check_options(options, where='x.yml')


MISSING = (
    *('name', 'model_type', 'scale', 'datasets', 'train', 'logger', 'logger.print_freq'),
    *('train.scheduler', 'train.optim_g', 'train.optim_g.type', 'train.total_iter'),
    *('datasets.train.io_backend', 'datasets.train.gt_size', 'datasets.train.type'),
)


@pytest.mark.parametrize('path', MISSING)
def test_missing_options_are_named(options, path):
    section, _, key = path.rpartition('.')
    with refused(f'x.yml: {section}' if section else 'x.yml', repr(key), do=key):
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
    with refused('x.yml: train', "'hf_opt'", do='ExtractionModel'):
        check_options(change(options, 'train.hf_opt', HF), where='x.yml')
    sam = {'type': 'SAM', 'lr': 1e-3}
    with refused('x.yml: train.optim_g.type', 'SRModel', 'Adam', do='ExtractionModel'):
        check_options(change(options, 'train.optim_g', sam), where='x.yml')


MILESTONES = {'type': 'MultiStepLR', 'milestones': [2], 'gamma': 0.5}


@pytest.mark.parametrize(
    ('train', 'quoted', 'do'),
    [
        ({'hf_opt': HF, 'hf_schedule': 'cosine'}, "'cosine'", ('constant', 'lr')),
        ({'hf_schedule': 'lr'}, 'hf_opt', 'hf_schedule'),
        ({'hf_opt': HF, 'hf_schedule': 'lr', 'warmup_iter': 2}, "'lr'", ('warmup_iter', 'constant')),
        ({'hf_opt': HF, 'hf_schedule': 'lr', 'scheduler': {**MILESTONES, 'milestones': [4]}}, "'lr'", 'total_iter'),
        ({'hf_opt': HF, 'hf_schedule': 'lr', 'scheduler': {**MILESTONES, 'gamma': 1}}, "'lr'", 'total_iter'),
    ],
)
def test_schedules_that_cannot_work_are_refused(options, train, quoted, do):
    options['train'].update(train)
    with refused('x.yml: train.hf_schedule', quoted, do=do):
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
    with refused('--force_yml', "'trian'", do="'train'"):
        parse_options(tmp_path, argv=['-opt', str(file), '--force_yml', 'trian:total_iter=3'])


@pytest.mark.parametrize(
    ('damage', 'where', 'quoted', 'do'),
    [
        ('missing', 'datasets.train.dataroot_gt', 'nowhere', ''),
        ('empty', 'datasets.train.dataroot_lq', 'none', '.png'),
        ('unpaired', 'datasets.train', "3 lq 2 gt '1.png'", ''),
        ('size', 'gt/1.png', '100x96 4 28x24', 'tools/prepare_data.py'),
        ('small', 'gt/1.png', '32x32 gt_size 48', 'gt_size'),
        ('palette', 'lq/1.png', 'palette', 'RGB'),
        ('deep', 'lq/1.png', '8 I;16', 'RGB'),
        ('alpha', 'lq/1.png', 'alpha', 'RGB'),
        ('truncated', 'gt/1.png', 'truncated', ''),
        ('text', 'lq/1.png', '', ''),
        ('multiple', 'datasets.train', 'gt_size 50 4', 'gt_size'),
        ('flips', 'datasets.train', "'use_hflip'", 'true false'),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused(options, tmp_path, damage, where, quoted, do):
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
    with refused(where, *quoted.split(), do=tuple(do.split())):
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
    ('damage', 'where', 'quoted', 'do'),
    [
        ('missing', 'x.yml: datasets.train.dataroot_gt', 'gone.lmdb data.mdb', 'tools/prepare_data.py'),
        ('name', 'x.yml: datasets.train.dataroot_gt', 'lmdb/response .lmdb', '.lmdb io_backend.type'),
        ('keys', 'x.yml: datasets.train', "2 lq 1 gt '000001'", ''),
        ('dots', 'query.lmdb', "'a.b'", ''),
        ('size', 'response.lmdb[000001]', '96x121 4 24x30', 'tools/prepare_data.py'),
        ('small', 'response.lmdb[000000]', '112x96 gt_size 100', 'gt_size'),
        ('multiple', 'x.yml: datasets.train', 'gt_size 50 4', 'gt_size'),
        ('truncated', 'response.lmdb/data.mdb', 'LMDB', 'tools/prepare_data.py'),
    ],
)
def test_an_lmdb_that_cannot_be_trained_on_is_refused(lmdb_options, tmp_path, damage, where, quoted, do):
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
    with refused(where, *quoted.split(), do=tuple(do.split())):
        check_options(lmdb_options, where='x.yml')
