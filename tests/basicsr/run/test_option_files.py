"""The shipped option files: all of them are there, say what they are, pass their check, build and train."""

import copy
import functools
import itertools
import math
from types import SimpleNamespace

import pytest
import torch

from mea_plugin.basicsr.checks.check import check_options
from mea_plugin.basicsr.run.options import parse_options
from mea_plugin.core.options import load_options, merge
from mea_plugin.query_sets.lmdb import export_lmdb
from mea_plugin.toolboxes.basicsr_networks import build_network
from tests import learned
from tests.helpers import ROOT, pair_folders, refused, write_yaml
from tests.query_sets.sets import make_set

FOLDER = ROOT / 'options' / 'basicsr'
FILES = sorted(
    path.relative_to(FOLDER).with_suffix('').as_posix()
    for path in FOLDER.rglob('*.yml')
    if '_base_' not in path.relative_to(FOLDER).parts
)
TYPES = {'srresnet': 'MSRResNet', 'edsr': 'EDSR', 'rrdb': 'RRDBNet', 'srvgg': 'SRVGGNetCompact', 'swinir': 'SwinIR'}
KINDS = [f'{network}_x{scale}_{kind}' for network in TYPES for scale in (2, 4) for kind in ('psnr', 'gan')]
SURROGATES = [f'{kind}_{method}' for kind in KINDS for method in ('baseline', 'proposed')]
CROPS = {'srresnet': (64, 128), 'edsr': (96, 192), 'rrdb': (128, 128), 'srvgg': (64, 128), 'swinir': (96, 192)}
PARAMETERS = {'srresnet': 1_517_571, 'edsr': 1_517_571, 'rrdb': 16_697_987, 'srvgg': 621_424, 'swinir': 11_900_199}
VICTIMS_ITERATIONS = dict.fromkeys(TYPES, 1_000_000) | {'edsr': 300_000, 'swinir': 500_000}
PLACES = {'': SURROGATES, 'lmdb/': SURROGATES, 'victims/': KINDS, 'victims/lmdb/': KINDS}

# A network, a crop and a schedule small enough for a test. The VGG of the GANs takes crops of 128 pixels only.
SMALL = {
    'num_feat': 8, 'num_block': 1, 'num_conv': 1, 'num_grow_ch': 4, 'depths': [2], 'embed_dim': 8, 'num_heads': [2],
    'img_size': 8,
}  # fmt: skip
CROP = 32


@functools.cache
def read(name):
    return load_options(FOLDER / f'{name}.yml')


def load(name):
    return copy.deepcopy(read(name))


def shrunk(options):
    """The options with a small network; nothing else in it changes."""
    options = copy.deepcopy(options)
    for key in [key for key in options if key.startswith('network_')]:
        options[key].update({name: value for name, value in SMALL.items() if name in options[key]})
    return options


def built(options):
    """The model that the options describe, from random weights, at half of its first learning rate."""
    from basicsr.models import build_model

    options = {**shrunk(options), 'path': {}, 'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1, 'num_gpu': 0}
    model = build_model(options)
    for optimizer in model.optimizers:
        for group in optimizer.param_groups:
            group['lr'] /= 2
    return model


def step(model, batch):
    """One step; the terms of the losses, after a check that they are finite and that all networks moved."""
    networks = [getattr(model, name) for name in ('net_g', 'net_d') if hasattr(model, name)]
    before = [[value.detach().clone() for value in network.parameters()] for network in networks]
    model.feed_data(batch)
    model.optimize_parameters(1)
    terms = {name: value for name, value in model.get_current_log().items() if name.startswith('l_')}
    assert all(math.isfinite(value) for value in terms.values()), terms
    for network, old in zip(networks, before, strict=True):
        moved = [not torch.equal(value, new) for value, new in zip(old, network.parameters(), strict=True)]
        assert sum(moved) > len(moved) // 2
    return terms


def test_every_combination_is_here():
    assert sorted([*(place + name for place, names in PLACES.items() for name in names), 'demo_x4']) == FILES


@pytest.mark.parametrize('name', FILES)
def test_it_passes_its_check_and_trains_a_step(name):
    options = load(name)
    check_options(copy.deepcopy(options), where=name, data=False)
    scale, train = options['scale'], options['train']
    size = 128 if 'network_d' in options else CROP
    assert options['datasets']['train']['gt_size'] >= size
    gt = torch.rand(2, 3, size, size)
    model = built(options)
    terms = step(model, {'lq': torch.nn.functional.avg_pool2d(gt, scale), 'gt': gt})
    proposed = [value for key, value in terms.items() if key.endswith('_hf')]
    assert len(proposed) == ('hf_opt' in train) == name.endswith('proposed')
    assert all(value > 0 for value in proposed)
    assert ('l_d_real' in terms) == ('_gan' in name)
    assert model.output.shape == gt.shape


@pytest.mark.parametrize('name', [name for name in FILES if name != 'demo_x4'])
def test_it_is_what_its_name_says(name):
    options, stem = load(name), name.rpartition('/')[2]
    network, scale, kind, *method = stem.split('_')
    victim = 'victim_' * name.startswith('victims/')
    train, network_g = options['train'], options['network_g']
    assert options['name'] == victim + stem
    assert network_g['type'] == TYPES[network]
    assert f'x{options["scale"]}' == f'x{network_g.get("upscale", network_g.get("scale"))}' == scale
    assert options['model_type'] == ('ExtractionGANModel' if kind == 'gan' else 'ExtractionModel')
    assert train.get('gan_mode') == (None if kind == 'psnr' else 'relativistic' if network == 'rrdb' else 'standard')
    assert options['datasets']['train']['io_backend'] == {'type': 'lmdb' if 'lmdb' in name else 'disk'}
    assert options['datasets']['train']['gt_size'] == (128 if kind == 'gan' else CROPS[network][scale == 'x4'])
    assert ('val' in options) == bool(victim)
    scheduler, total = train['scheduler'], train['total_iter']
    assert total == (400_000 if kind == 'gan' else VICTIMS_ITERATIONS[network] if victim else 300_000)
    if victim and (kind == 'gan' or network in ('edsr', 'swinir')):
        assert all(0 < milestone < total for milestone in scheduler['milestones'])
    else:
        assert len(scheduler['periods']) == (4 if victim else 1)
        assert sum(scheduler['periods']) == total
    adam = {'type': 'Adam', 'lr': 1e-4 if kind == 'gan' or network == 'edsr' else 2e-4, 'betas': [0.9, 0.99]}
    if method == ['proposed']:
        sam = {'type': 'SAM', 'base_optimizer': 'Adam', 'rho': 0.05, 'adaptive': False, 'weight_decay': 5e-4}
        assert train['optim_g'] == {**adam, **sam}
        assert train['hf_opt'] == {'type': 'HighFrequencyLoss', 'loss_weight': 0.15, 'wave': 'db3', 'level': 2}
        assert train['hf_schedule'] == 'lr'
    else:
        assert train['optim_g'] == adam
        assert not {'hf_opt', 'hf_schedule'} & train.keys()
    if kind == 'gan':  # it goes on from another file's result
        assert train['optim_d'] == adam
        psnr = f'{victim}{stem.replace("gan", "psnr")}'
        assert options['path'] == {'pretrain_network_g': f'experiments/{psnr}/models/net_g_latest.pth'}


@pytest.mark.parametrize('network', TYPES)
def test_networks_have_the_size_that_their_files_say(network):
    built_network = build_network(load(f'{network}_x4_psnr_baseline')['network_g'])
    count = sum(value.numel() for value in built_network.parameters())
    assert count == PARAMETERS[network]
    assert f'{count / 1e6:.1f} million' in (FOLDER / '_base_' / 'networks' / f'{network}_x4.yml').read_text()


@pytest.mark.parametrize('name', [name for name in FILES if name != 'demo_x4'])
def test_its_first_lines_say_how_to_run_it(name):
    title, *rest = (FOLDER / f'{name}.yml').read_text().splitlines()
    assert title.startswith('# ')
    assert any(line.startswith(f'#   python tools/train_basicsr.py -opt options/basicsr/{name}.yml') for line in rest)


def test_methods_and_ways_to_store_pairs_change_nothing_else():
    for name, method in itertools.product(KINDS, ('baseline', 'proposed')):
        for place in ('', 'victims/'):
            stem = name if place else f'{name}_{method}'
            folders, lmdb = load(f'{place}{stem}'), load(f'{place}lmdb/{stem}')
            for options in (folders, lmdb):
                for key in ('dataroot_lq', 'dataroot_gt', 'io_backend'):
                    del options['datasets']['train'][key]
            assert folders == lmdb
        baseline, proposed = (load(f'{name}_{which}') for which in ('baseline', 'proposed'))
        for options in (baseline, proposed):
            for key in ('optim_g', 'hf_opt', 'hf_schedule'):
                options['train'].pop(key, None)
            del options['name']
            options.pop('path', None)
        assert baseline == proposed


def test_the_perceptual_loss_can_be_laid_over_a_gan(tmp_path):
    bases = [str(FOLDER / name) for name in ('srresnet_x4_gan_proposed.yml', '_base_/objectives/perceptual.yml')]
    options = load_options(write_yaml(tmp_path / 'mine.yml', {'_base_': bases}))
    check_options(options, where='mine.yml', data=False)
    assert options['train']['perceptual_opt']['layer_weights'] == {'conv5_4': 1}


@pytest.mark.parametrize('name', ['edsr_x2_psnr_baseline', 'rrdb_x4_gan_proposed', 'lmdb/swinir_x2_psnr_proposed'])
def test_a_surrogate_s_fidelity_can_be_laid_over_any_file(name, tmp_path):
    scale = load(name)['scale']
    bases = [str(FOLDER / f'{name}.yml'), str(FOLDER / f'_base_/data/fidelity_x{scale}.yml')]
    options = load_options(write_yaml(tmp_path / 'mine.yml', {'_base_': bases}))
    check_options(options, where='mine.yml', data=False)
    metrics = options['val']['metrics']
    borders = {metric['crop_border'] for key, metric in metrics.items() if 'lpips' not in key}
    assert borders == {scale}
    for key, metric in metrics.items():
        assert metric.get('reference', 'gt') == {'fidelity': 'victim', 'quality': 'gt'}[key.partition('_')[0]]
    del options['val'], options['datasets']['val']
    assert options == load(name)


@pytest.fixture(scope='module', params=[2, 4], ids=['x2', 'x4'])
def place(request, tmp_path_factory):
    """A folder with all data of a scale where the option files look for it."""
    pytest.importorskip('lmdb')
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    scale, folder = request.param, tmp_path_factory.mktemp('place')
    size = (132 // scale, 136 // scale)
    queries = make_set(folder / 'results' / 'my_extraction' / 'queries', {'a': size, 'b': size[::-1]}, scale)
    export_lmdb(queries, queries.parent / 'lmdb')
    for name in ('DIV2K_sub', 'Set5', 'Set14'):
        pairs = folder / 'datasets' / name
        lq, gt = pair_folders(pairs, count=2, lq=size, scale=scale)
        lq.rename(pairs / f'LRx{scale}')
        gt.rename(pairs / 'HR')
    make_set(folder / 'results' / 'my_extraction' / 'Set5' / 'queries', {'0': size, '1': size}, scale)
    crops = folder / 'datasets' / 'DIV2K_sub'
    for side in ('HR', f'LRx{scale}'):
        keys = ['0', '1']
        make_lmdb_from_imgs(str(crops / side), str(crops / f'{side}.lmdb'), [f'{key}.png' for key in keys], keys)
    return scale, folder


@pytest.mark.parametrize('kind', ['srresnet_x{}_psnr_proposed', 'rrdb_x{}_gan_proposed'])
@pytest.mark.parametrize('where', PLACES)
def test_real_data_is_found_read_and_trained_on(place, monkeypatch, kind, where):
    from basicsr.data import build_dataloader, build_dataset

    scale, folder = place
    monkeypatch.chdir(folder)
    name = kind.format(scale).removesuffix('_proposed' if where.startswith('victims') else '')
    size = 128 if '_gan' in name else CROP
    changes = [f'gt_size={size}', 'num_worker_per_gpu=0', 'batch_size_per_gpu=2']
    entries = [f'datasets:train:{change}' for change in changes]
    file = FOLDER / f'{where}{name}.yml'
    opt, _ = parse_options(folder, argv=['-opt', str(file), '--force_yml', *entries])
    assert opt['path']['experiments_root'] == str(folder / 'experiments' / opt['name'])
    dataset = build_dataset(opt['datasets']['train'])
    batch = next(iter(build_dataloader(dataset, opt['datasets']['train'], num_gpu=0)))
    if dataset.io_backend_opt.get('db_paths'):  # a process may open an LMDB once
        for environment in dataset.file_client.client._client.values():
            environment.close()
    assert batch['gt'].shape == (2, 3, size, size)
    assert batch['lq'].shape == (2, 3, size // scale, size // scale)
    step(built(opt), batch)
    for phase in ('val', 'val_2') if where.startswith('victims') else ():
        pair = build_dataset(opt['datasets'][phase])[0]
        assert [scale * length for length in pair['lq'].shape[1:]] == list(pair['gt'].shape[1:])


def test_fidelity_is_validated(place, monkeypatch, tmp_path):
    from basicsr.data import build_dataloader, build_dataset

    scale, folder = place
    monkeypatch.chdir(folder)
    learned.hide(monkeypatch, tmp_path)
    bases = [
        str(FOLDER / name.format(scale)) for name in ('srvgg_x{}_psnr_baseline.yml', '_base_/data/fidelity_x{}.yml')
    ]
    opt, _ = parse_options(folder, argv=['-opt', str(write_yaml(tmp_path / 'mine.yml', {'_base_': bases}))])
    dataset = build_dataset(opt['datasets']['val'])
    model = built(opt)
    assert model.validation(build_dataloader(dataset, opt['datasets']['val'], num_gpu=0), 1, None)
    found = model.metric_results
    assert found.keys() == opt['val']['metrics'].keys()
    assert {key for key, value in found.items() if not math.isfinite(value)} == {'fidelity_lpips', 'quality_lpips'}


def test_a_gan_without_the_weights_it_starts_from_is_refused(tmp_path, monkeypatch):
    from basicsr.models import build_model

    monkeypatch.chdir(tmp_path)
    options = shrunk(load('edsr_x2_gan_proposed'))
    options.update(is_train=True, dist=False, rank=0, world_size=1, num_gpu=0)
    with refused('experiments/edsr_x2_psnr_proposed/models/net_g_latest.pth'):
        build_model(options)


def test_a_file_of_one_s_own_is_based_on_them_and_named_in_errors(tmp_path):
    base = str(FOLDER / 'srvgg_x2_psnr_proposed.yml')
    lq, gt = pair_folders(tmp_path, lq=(66, 66), scale=2)
    mine = {
        '_base_': base,
        'datasets': {'train': {'dataroot_lq': str(lq), 'dataroot_gt': str(gt)}},
        'train': {'optim_g': {'rho': 0.01}},
    }
    opt, _ = parse_options(tmp_path, argv=['-opt', str(write_yaml(tmp_path / 'mine.yml', mine))])
    optim = {**load('srvgg_x2_psnr_proposed')['train']['optim_g'], 'rho': 0.01}
    assert opt['train']['optim_g'] == optim
    mine['train']['optim_g']['roh'] = mine['train']['optim_g'].pop('rho')
    file = write_yaml(tmp_path / 'mine.yml', mine)
    with refused(f'{file}: train.optim_g', "'roh'", do="'rho'"):
        parse_options(tmp_path, argv=['-opt', str(file)])


def test_an_extraction_writes_the_resolved_options(tmp_path):
    from mea_plugin.extract.basicsr_run import BasicSRSurrogate

    override = {'train': {'total_iter': 7, 'optim_g': {'_delete_': True, 'type': 'SAM', 'lr': 1e-7}}}
    surrogate = BasicSRSurrogate('mine', str(FOLDER / 'edsr_x4_psnr_proposed.yml'), [override])
    surrogate.check(4, 'here')
    queries = SimpleNamespace(folder=tmp_path / 'queries')
    options = load_options(surrogate.write(queries, tmp_path))
    train = {'dataroot_lq': str(tmp_path / 'queries' / 'query'), 'dataroot_gt': str(tmp_path / 'queries' / 'response')}
    expected = merge(load('edsr_x4_psnr_proposed'), {'name': 'mine', 'datasets': {'train': train}})
    expected['train'].update(total_iter=7, optim_g={'type': 'SAM', 'lr': 1e-7})
    assert options == expected
