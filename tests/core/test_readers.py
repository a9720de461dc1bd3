"""Every way in which a file that somebody else wrote can reach a reader: nothing of it is run, and it is one line."""

from __future__ import annotations

import ast
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_file
from tests.helpers import ROOT, pair_folders, training_options, write_yaml

# Calls that run what a file says, or may, and why each of them is no danger. A new one fails the test until it is here.
RISKY = {
    'mea_plugin/core/weights.py': {
        'torch.load': 'only with trusted: true, and the safe reader could not read the file',
    },
    'mea_plugin/victims/torchscript.py': {'torch.jit.load': 'only with trusted: true'},
    'mea_plugin/victims/torch_export.py': {'torch.export.load': 'only with trusted: true'},
    'mea_plugin/serving/watch/memory.py': {'np.load': 'without pickles'},
    'mea_plugin/toolboxes/safe_loading.py': {
        'torch.hub.get_dir': 'a folder',
        'torch.hub.download_url_to_file': 'does not read what it downloads',
        'torch.hub.HASH_REGEX.search': 'of a name',
    },
}
_MODULES = ('pickle', 'torch.hub', 'marshal', 'shelve', 'dill', 'joblib', 'cloudpickle', 'tarfile', 'zipfile')
_CALLS = (
    'torch.load',
    'np.load',
    'numpy.load',
    'np.loadtxt',
    'torch.jit.load',
    'torch.export.load',
    'torch.package.PackageImporter',
    'yaml.load',
    'yaml.unsafe_load',
    'yaml.full_load',
    'pd.read_pickle',
    'mmengine.load',
    'load_url',
    'load_state_dict_from_url',
    'pickle.load',
    'pickle.loads',
    'exec',
    'eval',
)


def risky_calls(source: str) -> set[str]:
    """The calls of a module that may run what a file says, under the names by which modules are imported in full."""
    tree = ast.parse(source)
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.asname: one.name for one in node.names if one.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {one.asname or one.name: f'{node.module}.{one.name}' for one in node.names}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            text = ast.unparse(node.func)
            head, dot, rest = text.partition('.')
            full = names.get(head, head) + dot + rest
            for name in (text, full):
                if name in _CALLS or any(name.startswith(f'{module}.') for module in _MODULES):
                    found.add(text)
    return found


def test_every_reader_that_could_run_code_is_listed_with_a_reason():
    found = {}
    for path in sorted((ROOT / 'mea_plugin').rglob('*.py')):
        calls = risky_calls(path.read_text(encoding='utf-8'))
        if calls:
            found[path.relative_to(ROOT).as_posix()] = calls
    assert found == {path: set(calls) for path, calls in RISKY.items()}


@pytest.mark.parametrize(
    'source',
    [
        'import torch\ntorch.load(x)',
        'from torch import load\nload(x)',
        'import torch as t\nt.load(x)',
        'import numpy\nnumpy.load(x)',
        'import pickle as p\np.loads(x)',
        'from pickle import Unpickler\nUnpickler(x)',
        'from torch import jit\njit.load(x)',
        'import torch\ntorch.hub.load_state_dict_from_url(x)',
        'eval(x)',
    ],
)
def test_the_scan_sees(source):
    assert risky_calls(source)


class Run:
    """Makes a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


def reduce(path: Path, marker: Path) -> None:
    inner = {'x': Run(marker), 'w': torch.ones(1)}
    content = dict.fromkeys(('params', 'params_ema', 'state_dict', 'meta', 'optimizers', 'schedulers'), inner)
    torch.save({**content, 'message_hub': {}, 'optimizer': {}, 'epoch': 0, 'iter': 5, 'mea': Run(marker)}, path)


def legacy(path: Path, marker: Path) -> None:
    torch.save({'params': {'x': Run(marker)}}, path, _use_new_zipfile_serialization=False)


def plain(path: Path, marker: Path) -> None:
    path.write_bytes(pickle.dumps({'params': Run(marker)}, 2))


def tar(path: Path, marker: Path) -> None:
    """As before torch 0.1.10: each file of the archive is a pickle."""
    import io
    import tarfile

    with tarfile.open(path, 'w') as archive:
        for name in ('sys_info', 'pickle', 'storages', 'tensors'):
            data = pickle.dumps(Run(marker), 2)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def script(path: Path, marker: Path) -> None:
    torch.jit.script(torch.nn.Conv2d(3, 3, 3)).save(str(path))


def attributes(path: Path, marker: Path) -> None:
    """Sets an attribute of a class that torch knows."""
    body = b'\x80\x02ctorch.nn.parameter\nParameter\n}X\x07\x00\x00\x00changedK\x01sb.'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('a/data.pkl', body)


def compressed(path: Path, marker: Path) -> None:
    torch.save({'params': {'w': torch.zeros(1 << 24)}}, path.with_suffix('.plain'))
    with zipfile.ZipFile(path.with_suffix('.plain')) as stored, zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as to:
        for name in stored.namelist():
            to.writestr(name, stored.read(name))
    path.with_suffix('.plain').unlink()


def huge(path: Path, marker: Path) -> None:
    """A tensor of many more elements than the file has."""
    torch.save({'params': {'w': torch.zeros(7)}}, path)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        pickled = archive.read(archive.namelist()[0])
    changed = pickled.replace(b'K\x07', b'J\xff\xff\xff\x7f')
    assert changed != pickled
    path.write_bytes(bytes(content))
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in records.items():
            archive.writestr(name, changed if name.endswith('data.pkl') else data)


PAYLOADS = (reduce, legacy, plain, tar, script, attributes, compressed, huge)
TRAINING_PAYLOADS = (reduce, legacy, attributes, huge)


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """A file that is there when something of a payload has run."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'ran'
    yield path
    assert not path.exists()
    assert not hasattr(torch.nn.Parameter, 'changed')


NETWORK = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 1, 'upscale': 2}


def _victim(options):
    from mea_plugin.victims.registry import build_victim

    return build_victim(options)


def _load_weights(path):
    from mea_plugin.core.weights import load_weights

    load_weights(torch.nn.Conv2d(3, 3, 3), path)


def _spandrel(path):
    pytest.importorskip('spandrel')
    _victim({'type': 'spandrel', 'file': str(path)})


def _mmagic(path):
    pytest.importorskip('mmagic')
    model = {'type': 'EDSRNet', 'in_channels': 3, 'out_channels': 3, 'mid_channels': 8, 'num_blocks': 1}
    _victim({'type': 'mmagic', 'model': {**model, 'upscale_factor': 2}, 'checkpoint': str(path)})


def _pretrained(path):
    pytest.importorskip('mmagic')
    from mmengine.model import BaseModule

    import mea_plugin.mmagic  # noqa: F401

    class Network(BaseModule):
        def __init__(self):
            super().__init__({'type': 'Pretrained', 'checkpoint': str(path)})
            self.conv = torch.nn.Conv2d(3, 3, 3)

    network = Network()
    before = network.conv.weight.clone()
    network.init_weights()
    assert torch.equal(network.conv.weight, before)  # MMEngine takes weights that fit nowhere
    raise InputError('what fits nowhere is not taken')


def _mmengine(path):
    pytest.importorskip('mmagic')
    from mmengine.runner import load_checkpoint

    import mea_plugin.mmagic  # noqa: F401

    load_checkpoint(torch.nn.Conv2d(3, 3, 3), str(path), strict=True)


def _download(path, monkeypatch):
    pytest.importorskip('mmagic')
    from mmengine.runner import load_checkpoint

    import mea_plugin.mmagic  # noqa: F401

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(path.parent))
    (path.parent / 'checkpoints').mkdir(exist_ok=True)
    path.rename(path.parent / 'checkpoints' / 'a.pth')
    load_checkpoint(torch.nn.Conv2d(3, 3, 3), 'https://example.invalid/a.pth', strict=True)


def _torchvision(path, monkeypatch):
    import torchvision

    import mea_plugin.basicsr  # noqa: F401

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(path.parent))
    (path.parent / 'checkpoints').mkdir(exist_ok=True)
    path.rename(path.parent / 'checkpoints' / 'vgg19-dcbb9e9d.pth')
    torchvision.models.vgg19(weights='IMAGENET1K_V1')


def _vgg(path, monkeypatch):
    from basicsr.archs import vgg_arch

    import mea_plugin.basicsr  # noqa: F401

    monkeypatch.setattr(vgg_arch, 'VGG_PRETRAIN_PATH', str(path))
    vgg_arch.VGGFeatureExtractor(['relu1_1'])


def _toolbox_model(path):
    from basicsr.models.base_model import BaseModel

    import mea_plugin.basicsr  # noqa: F401

    model = BaseModel.__new__(BaseModel)
    model.load_network(torch.nn.Conv2d(3, 3, 3), str(path))


def _sub_network(path):
    _victim({'type': 'basicsr', 'network_g': {'type': 'SpyNet', 'load_path': str(path)}, 'weights': str(path)})


def _pickled(path):
    pytest.importorskip('mmagic')
    import mmengine

    import mea_plugin.mmagic  # noqa: F401

    mmengine.load(str(path), file_format='pkl')


def _features(path):
    pytest.importorskip('mmagic')
    from mmagic.evaluation.functional import inception_utils

    import mea_plugin.mmagic  # noqa: F401

    with path.open('rb') as file:
        inception_utils.pickle.load(file)


def _export(path):
    from mea_plugin.export.surrogate import load_surrogate

    options = write_yaml(path.parent / 'o.yml', {'name': 'x', 'network_g': NETWORK})
    load_surrogate(opt=options, weights=path)


def _metric_weights(path, monkeypatch):
    from mea_plugin.metrics.published_weights import KNOWN
    from mea_plugin.metrics.weight_source import WeightSource

    name = next(iter(KNOWN))
    monkeypatch.setitem(KNOWN, name, KNOWN[name]._replace(size=path.stat().st_size))
    path.rename(path.parent / name)
    WeightSource(path.parent).get(name)


def _published(path, monkeypatch):
    """Even weights that have the published hash are read as data."""
    pytest.importorskip('torch_fidelity')
    from mea_plugin.metrics.inception import InceptionExtractor

    assert hash_file(path)
    _ = InceptionExtractor(path).network


READERS = {
    'core.weights': _load_weights,
    'victim basicsr': lambda path: _victim({'type': 'basicsr', 'network_g': NETWORK, 'weights': str(path)}),
    'victim mmagic': _mmagic,
    'victim spandrel': _spandrel,
    'victim torchscript': lambda path: _victim({'type': 'torchscript', 'file': str(path)}),
    'victim torch_export': lambda path: _victim({'type': 'torch_export', 'file': str(path)}),
    'victim python': lambda path: _victim({'type': 'python', 'entry': 'torch.nn:Identity', 'weights': str(path)}),
    'surrogate to export': _export,
    'init_cfg Pretrained': _pretrained,
    'MMEngine load_checkpoint': _mmengine,
    'MMEngine, downloaded': _download,
    'torchvision, downloaded': _torchvision,
    'BasicSR VGG': _vgg,
    'BasicSR load_network': _toolbox_model,
    'BasicSR part of a network': _sub_network,
    'a metric, by its hash': _metric_weights,
    'a metric, published': _published,
}
PICKLE_READERS = {'MMEngine pickle': _pickled, 'MMagic features': _features}


def refuse(reader, path, monkeypatch):
    """One line, as a tool would print it."""
    arguments = (path, monkeypatch) if reader.__code__.co_argcount == 2 else (path,)
    if reader in (_mmengine,):  # what it loads fits nowhere, which it says in its own way
        with pytest.raises((InputError, RuntimeError, AttributeError)):
            reader(*arguments)
        return
    with pytest.raises(InputError) as error:
        reader(*arguments)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('payload', PAYLOADS)
@pytest.mark.parametrize('name', READERS)
def test_readers_of_weights(name, payload, marker, tmp_path, monkeypatch):
    path = tmp_path / 'files' / 'a.pth'
    path.parent.mkdir()
    payload(path, marker)
    refuse(READERS[name], path, monkeypatch)


@pytest.mark.parametrize('name', PICKLE_READERS)
def test_readers_of_pickles(name, marker, tmp_path, monkeypatch):
    path = tmp_path / 'a.pkl'
    for protocol in (2, 4):
        path.write_bytes(pickle.dumps({'x': Run(marker)}, protocol))
        refuse(PICKLE_READERS[name], path, monkeypatch)
    plain_values = {'a': [1, 'b', None, 2.5]}
    path.write_bytes(pickle.dumps(plain_values))
    assert PICKLE_READERS[name](path) is None  # is read


BASICSR = {
    'pretrain_network_g': ({'pretrain_network_g': 'files/a.pth'}, ()),
    'pretrain_network_g of a model of BasicSR': ({'pretrain_network_g': 'files/a.pth', 'model': 'SRModel'}, ()),
    'resume_state': ({'resume_state': 'files/a.pth'}, ()),
    'auto_resume': ({'place': 'experiments/tiny/training_states/5.state'}, ('--auto_resume',)),
    'auto_resume, network': ({'place': 'experiments/tiny/models/net_g_5.pth', 'state': True}, ('--auto_resume',)),
}


@pytest.mark.parametrize('payload', TRAINING_PAYLOADS)
@pytest.mark.parametrize('name', BASICSR)
def test_training_with_basicsr(name, payload, marker, tmp_path, capsys):
    from mea_plugin.basicsr.run.train import main
    from mea_plugin.core import cli
    from mea_plugin.training import checkpoints

    change, arguments = BASICSR[name]
    path = tmp_path / change.get('place', 'files/a.pth')
    path.parent.mkdir(parents=True)
    payload(path, marker)
    if 'state' in change:
        state = {'epoch': 0, 'iter': 5, 'optimizers': [{}], 'schedulers': [{}]}
        checkpoints.write(tmp_path / 'experiments' / 'tiny' / 'training_states' / '5.state', state)
    options = training_options(*pair_folders(tmp_path))
    options['model_type'] = change.get('model', options['model_type'])
    options['path'] = {key: value for key, value in change.items() if key in ('pretrain_network_g', 'resume_state')}
    file = write_yaml(tmp_path / 'o.yml', options)
    assert cli.run_tool(main, ['-opt', str(file), '--root', str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('error: ')


@pytest.mark.parametrize('payload', TRAINING_PAYLOADS)
@pytest.mark.parametrize('name', ['load_from', 'resume', 'resume from a named one'])
def test_training_with_mmagic(name, payload, marker, tmp_path):
    pytest.importorskip('mmagic')
    from tests.mmagic import runs

    path = tmp_path / 'work' / 'iter_5.pth'
    path.parent.mkdir()
    payload(path, marker)
    options = {} if name == 'resume' else {'load_from': str(path)}
    config = runs.config('EditModel', tmp_path / 'work', **options, resume=name != 'load_from')
    with pytest.raises(InputError) as error:
        runs.make_runner(config).train()
    assert '\n' not in str(error.value)
