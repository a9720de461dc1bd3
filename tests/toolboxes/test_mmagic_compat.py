"""The work-arounds: each does what it says where it is needed, and nothing where it is not."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import types
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from mea_plugin.core.plain_pickle import Stub
from tests.helpers import ROOT, refused
from tests.mmagic import tiny
from tests.mmagic.conftest import _mmagic_scope  # noqa: F401 - for every test of this file

pytest.importorskip('mmagic')


def test_all_models_register():
    from mmagic.models import archs
    from mmagic.registry import MODELS

    from mea_plugin.mmagic import register_all

    ours = {name for name, item in register_all().items() if MODELS.get(name) is item}
    assert ours >= {'ExtractionEditModel', 'ExtractionSRGAN', 'ExtractionPix2Pix', 'ExtractionCycleGAN'}
    assert 'HighFrequencyLoss' in ours
    theirs = {name for name, item in MODELS.module_dict.items() if item.__module__.startswith('mmagic.')}
    # How many diffusers has depends on what else is installed: ONNX Runtime adds six.
    diffusers = {*archs.REGISTERED_DIFFUSERS_MODELS, *archs.REGISTERED_DIFFUSERS_PIPELINES}
    assert len(theirs - diffusers) == 256
    assert diffusers <= theirs
    assert {'EDSRNet', 'SwinIRNet', 'NAFNet', 'Pix2Pix', 'CycleGAN', 'StableDiffusion', 'BasicVSRNet'} <= theirs
    assert {'UNet2DConditionModel', 'AutoencoderKL', 'StableDiffusionPipeline'} <= diffusers


def test_a_name_that_is_taken_gets_a_prefix():
    from mmengine.registry import Registry

    from mea_plugin.mmagic import register
    from mea_plugin.optim import SAM

    registry = Registry('test optimizer')
    assert register._free_name(registry, SAM) == 'SAM'
    registry.register_module(name='SAM', module=dict)
    assert register._free_name(registry, SAM) == 'MEASAM'
    registry.register_module(name='MEASAM', module=dict)
    with pytest.raises(RuntimeError, match='MEASAM'):
        register._free_name(registry, SAM)


def test_without_mmagic_it_says_what_to_install(monkeypatch):
    from mea_plugin.toolboxes import mmagic_compat as compat

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'mmagic' else find(name))
    with pytest.raises(ImportError, match=r'mmagic.*pip install -e ".\[mmagic\]" mmcv-lite==2\.1\.0'):
        compat.apply.__wrapped__()


@pytest.mark.parametrize(
    ('name', 'argument', 'meaning'),
    [
        ('bool8', 2, True),
        ('float_', '1.5', 1.5),
        ('complex_', '1j', 1j),
        ('unicode_', 12, '12'),
        ('product', [2, 3, 4], 24),
        ('cumproduct', [2, 3, 4], [2, 6, 24]),
        ('alltrue', [True, False], False),
        ('sometrue', [True, False], True),
        ('row_stack', [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ('round_', 1.6, 2.0),
    ],
)
def test_numpys_old_names_mean_what_they_meant(name, argument, meaning):
    value = getattr(np, name)(argument)
    assert value.tolist() == meaning
    assert value.dtype == np.array(meaning).dtype


def test_numpys_old_constants_and_in1d():
    infinity, nan, in1d = (getattr(np, name) for name in ('Inf', 'NaN', 'in1d'))
    assert infinity == float('inf')
    assert nan != nan
    assert in1d([1, 2], [2, 3]).tolist() == [False, True]


# Loads the work-arounds alone: importing the package would apply them before `before` is noted.
NUMPY_SCRIPT = """
import importlib.util, json, sys
import numpy
spec = importlib.util.spec_from_file_location('compat', sys.argv[1])
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
before = dict(vars(numpy))
compat._provide_numpy_names()
after = dict(vars(numpy))
table = compat._NUMPY_NAMES
print(json.dumps({
    'present': [old for old in table if old in before],
    'changed': [name for name in {*before, *after} if before.get(name, table) is not after.get(name, table)],
    'right': [old for old, new in table.items() if old in after and after[old] is before[new]],
}))
"""


@pytest.mark.every_environment
def test_numpys_old_names_are_added_where_they_are_missing_and_nothing_else():
    from mea_plugin.toolboxes import mmagic_compat as compat

    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, '-W', 'ignore', '-c', NUMPY_SCRIPT, compat.__file__]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    found = {key: set(names) for key, names in json.loads(result.stdout).items()}
    missing = set(compat._NUMPY_NAMES) - found['present']
    if int(np.__version__.split('.')[0]) < 2:
        assert found['changed'] == set()
        return
    assert missing >= {'bool8', 'float_', 'product', 'Inf', 'NaN'}
    assert found['changed'] == missing
    assert found['right'] >= missing


class TestOperators:
    def test_a_missing_one_says_so(self):
        if importlib.util.find_spec('mmcv') and getattr(sys.modules['mmcv._ext'], '__file__', None):
            pytest.skip('this MMCV has its operators')
        from mmcv.ops import nms

        boxes = torch.tensor([[0.0, 0, 1, 1]])
        with pytest.raises(RuntimeError, match=r"nms.*pip install 'mmcv>=2.0,<2.2'"):
            nms(boxes, torch.ones(1), 0.5)

    def test_mmengine_knows_that_they_are_missing(self):
        if getattr(sys.modules['mmcv._ext'], '__file__', None):
            pytest.skip('this MMCV has its operators')
        from mmengine.utils.dl_utils import mmcv_full_available

        assert not mmcv_full_available()

    def test_real_ones_stay(self, monkeypatch):
        from mea_plugin.toolboxes import mmagic_compat as compat

        real = types.ModuleType('mmcv._ext')
        monkeypatch.setitem(sys.modules, 'mmcv._ext', real)
        compat._provide_mmcv_ext()
        assert sys.modules['mmcv._ext'] is real

    def test_real_ones_that_are_not_imported_yet_stay(self, monkeypatch):
        from mea_plugin.toolboxes import mmagic_compat as compat

        monkeypatch.delitem(sys.modules, 'mmcv._ext')
        monkeypatch.setattr(importlib.util, 'find_spec', lambda name: object())
        compat._provide_mmcv_ext()
        assert 'mmcv._ext' not in sys.modules


class TestLogHistory:
    """MMEngine's checkpoints hold the log, and nothing in them is run."""

    def load(self, folder, content):
        from mmengine.runner.checkpoint import _load_checkpoint

        torch.save(content, folder / 'a.pth')
        return _load_checkpoint(str(folder / 'a.pth'), map_location='cpu')

    def test_is_read(self, tmp_path):
        from mmengine.logging import HistoryBuffer

        history = HistoryBuffer()
        history.update(1.5)
        history.update(2)
        content = {
            'message_hub': {'log_scalars': {'loss': history}},
            'best': np.float64(3.5),
            'array': np.arange(3),
            'w': torch.ones(2),
        }
        loaded = self.load(tmp_path, content)
        (found,) = loaded['message_hub']['log_scalars'].values()
        assert found.mean() == 1.75
        assert found.statistics('max') == 2
        assert (loaded['best'], loaded['array'].tolist(), loaded['w'].tolist()) == (3.5, [0, 1, 2], [1, 1])

    @pytest.mark.parametrize('target', [(print, ('boom',)), (eval, ("print('boom')",)), (getattr, (np.ndarray, 'all'))])
    def test_and_nothing_is_run(self, target, tmp_path, capsys):
        class Bomb:
            def __reduce__(self):
                return target

        loaded = self.load(tmp_path, {'x': Bomb(), 'message_hub': {'log_scalars': {'loss': Bomb()}}})
        assert isinstance(loaded['x'], Stub)
        assert loaded['message_hub']['log_scalars'] == {}
        assert 'boom' not in capsys.readouterr().out


def test_no_sync_enters_each_submodule_once():
    from mmengine.model import MMSeparateDistributedDataParallel

    entered = []

    class Part(torch.nn.Module):
        @contextmanager
        def no_sync(self):
            entered.append('in')
            yield
            entered.append('out')

    wrapper = MMSeparateDistributedDataParallel.__new__(MMSeparateDistributedDataParallel)
    torch.nn.Module.__init__(wrapper)
    wrapper.module = torch.nn.ModuleDict({'a': Part(), 'loss': torch.nn.Identity(), 'b': Part()})
    with wrapper.no_sync():
        assert entered == ['in', 'in']
    assert entered == ['in', 'in', 'out', 'out']


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_amp_is_built_on_a_cpu_for_bfloat16_only():
    from mmengine.optim import AmpOptimWrapper

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    assert AmpOptimWrapper(optimizer=optimizer, dtype='bfloat16').cast_dtype == torch.bfloat16
    for options in ({'dtype': 'float16'}, {}):
        with pytest.raises(AssertionError):
            AmpOptimWrapper(optimizer=optimizer, **options)


@pytest.mark.parametrize('kind', ['Pix2Pix', 'CycleGAN'])
def test_translation_models_initialise(kind):
    """As MMagic's configs ask: normal with a standard deviation of 0.02, batch norm around 1."""
    model = tiny.build(tiny.translation_config(kind, norm='BN'))
    weights = [m.weight for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert 0.017 < torch.cat([w.flatten() for w in weights]).std() < 0.023
    norms = [m.weight for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert abs(torch.cat(norms).mean() - 1) < 0.02
    assert not any('_params_init_info' in vars(m) for m in model.modules())


def test_distributed_starts_without_a_gpu(tmp_path, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip('there is a GPU')
    from mmengine.dist import get_backend
    from mmengine.runner import runner

    from mea_plugin.toolboxes import mmagic_compat as compat

    assert runner.init_dist.__wrapped__ is not None
    assert compat.apply() is None  # again, at no cost
    for key, value in {
        'RANK': '0',
        'WORLD_SIZE': '1',
        'LOCAL_RANK': '0',
        'MASTER_ADDR': '127.0.0.1',
        'MASTER_PORT': '0',
    }.items():
        monkeypatch.setenv(key, value)
    runner.init_dist('pytorch', backend='nccl')
    try:
        assert get_backend() == 'gloo'
    finally:
        torch.distributed.destroy_process_group()


def test_sam_is_refused_by_any_wrapper_of_one_pass():
    from mmengine.optim import AmpOptimWrapper

    from mea_plugin.optim import SAM

    with refused('optim_wrapper.type', 'AmpOptimWrapper', 'SAM', do='SAMAmpOptimWrapper'):
        AmpOptimWrapper(optimizer=SAM([torch.nn.Parameter(torch.zeros(1))], lr=0.1), dtype='bfloat16')
