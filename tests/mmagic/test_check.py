"""Faults of a config that are named before anything is built."""

from __future__ import annotations

import pytest

from mea_plugin.errors import InputError
from tests.helpers import ROOT, call_tool, photograph, save

pytest.importorskip('mmagic')

SMALL = ROOT / 'options' / 'mmagic' / 'small'
SAM = {'type': 'SAM', 'base_optimizer': 'Adam', 'rho': 0.05, 'lr': 1e-3}
ADAM = {'type': 'Adam', 'lr': 1e-3}
NO_WARM_UP = {'type': 'LinearLR', 'start_factor': 0.1, 'by_epoch': False, 'end': 5}


def check(name, overrides, **options):
    from mea_plugin.mmagic.check import check_config
    from mea_plugin.mmagic.config import load_config

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
    ('cyclegan_proposed', {'model.related_domains': ['photo', 'response']}, 'wants img_photo'),
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


@pytest.mark.parametrize('wrapper', [None, {'_delete_': True, 'type': 'MMDistributedDataParallel'}])
@pytest.mark.parametrize('name', ['edsr_x4_proposed', 'pix2pix_proposed', 'srgan_x4_proposed'])
def test_a_model_wrapper_that_hides_the_second_pass(name, wrapper):
    check(name, {'model_wrapper_cfg': wrapper})
    with pytest.raises(InputError, match="would hide SAM's second pass.*DistributedDataParallel"):
        check(name, {'model_wrapper_cfg': wrapper}, launcher='pytorch')
    baseline = name.replace('proposed', 'baseline')
    check(baseline, {'model_wrapper_cfg': wrapper}, launcher='pytorch')


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

    from mea_plugin.mmagic.config import load_config
    from mea_plugin.mmagic.train import _use_amp

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
