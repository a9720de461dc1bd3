"""Do with one extra what docs/install.md promises for it: ``python tests/extras/check.py EXTRA FOLDER [--alone]``.

With ``--alone``, only the extra's own packages can be imported, whatever else is installed; in an environment that
holds nothing else (``make test-extras``) it is left out. ``core`` stands for no extra. Needs no pytest.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import http.server
import importlib.machinery
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# Other distributions that provide the same modules, and what docs/install.md says to install beside an extra.
STAND_INS = {'opencv-python': 'opencv-python-headless', 'tb-nightly': 'tensorboard'}
BESIDE = {'mmagic': ['mmcv-lite', 'mmcv'], 'basicsr': [], 'metrics': ['torchvision']}


def normal(name: str) -> str:
    """A distribution's name as indexes spell it."""
    return re.sub('[-_.]+', '-', name).lower()


def declared() -> tuple[list[str], dict[str, list[str]]]:
    """What setup.py requires, and its extras."""
    script = (
        'import json; from distutils.core import run_setup\n'
        "dist = run_setup('setup.py', stop_after='init')\n"
        'print(json.dumps([dist.install_requires, dist.extras_require]))'
    )
    command = [sys.executable, '-c', f'import setuptools\n{script}']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    required, extras = json.loads(done.stdout.splitlines()[-1])
    return required, extras


def closure(requirements: list[str]) -> set[str]:
    """The installed distributions that some requirements bring, with all that those require."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    todo = list(requirements)
    while todo:
        requirement = Requirement(todo.pop())
        if requirement.marker and not requirement.marker.evaluate({'extra': ''}):
            continue
        for name in {normal(requirement.name), STAND_INS.get(normal(requirement.name), normal(requirement.name))}:
            if name in found:
                continue
            with contextlib.suppress(metadata.PackageNotFoundError):
                todo += metadata.requires(name) or []
                found.add(name)
    return found


class OnlyThese(importlib.machinery.PathFinder):
    """Finds modules as Python does, without those of some names."""

    hidden: frozenset[str] = frozenset()

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> Any:
        """See :class:`importlib.abc.MetaPathFinder`."""
        return None if fullname.partition('.')[0] in cls.hidden else super().find_spec(fullname, path, target)


def hide_others(extra: str) -> None:
    """Hide from this process every distribution that is not in an extra's closure."""
    required, extras = declared()
    allowed = closure([*required, *extras.get(extra, []), *BESIDE.get(extra, [])])
    owners = metadata.packages_distributions()
    hidden = {module for module, names in owners.items() if not any(normal(name) in allowed for name in names)}
    OnlyThese.hidden = frozenset(hidden - {'mea_plugin', 'tools', 'tests'})
    sys.meta_path[:] = [OnlyThese if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
    for name in [name for name in sys.modules if name.partition('.')[0] in OnlyThese.hidden]:
        del sys.modules[name]


def tool(name: str, *arguments: str | Path, code: int = 0) -> str:
    """Run a tool in this process and return what it wrote to standard error.

    Raises:
        AssertionError: It ends with another code, or, where that is 2, without one line that says why.
    """
    from mea_plugin.core import cli

    spec = importlib.util.spec_from_file_location(f'tools_{name}', ROOT / 'tools' / f'{name}.py')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    said, shown = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(shown):
        found = cli.run_tool(module.main, [str(argument) for argument in arguments])
    text = said.getvalue()
    assert found == code, f'tools/{name}.py ended with {found}, not {code}:\n{shown.getvalue()}\n{text}'
    assert code != 2 or text.splitlines()[-1].startswith('error: '), text
    assert 'Traceback' not in text, text
    print(f'  tools/{name}.py {" ".join(map(str, arguments))[:90]}')
    if code == 2:
        print(f'    {text.splitlines()[-1]}')
    return text


def refused(command: str, name: str, *arguments: str | Path) -> None:
    """Run a tool that must end with one line which names a package to install."""
    text = tool(name, *arguments, code=2)
    assert command in text, f'{command!r} is not in {text!r}'
    assert 'mea_plugin[' not in text


def options(path: Path, **content: Any) -> Path:
    """Write an option file; JSON is YAML."""
    path.write_text(json.dumps(content), encoding='utf-8')
    return path


def photographs(folder: Path, side: int = 64) -> Path:
    """Three small images."""
    import numpy as np
    from PIL import Image

    target = folder / f'photographs_{side}'
    target.mkdir(exist_ok=True)
    for seed in range(3):
        noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(target / f'{seed}.png')
    return target


def query(folder: Path, victim: dict[str, Any], name: str, **queries: Any) -> Path:
    """Query a victim with two small images; returns the query set."""
    section = {'images': str(photographs(folder)), 'shrink': 4, 'budget': 3, **queries}
    file = options(folder / f'{name}.yml', name=name, output=str(folder / name), victim=victim, queries=section)
    tool('query', '-opt', file)
    assert len(list((folder / name / 'queries' / 'response').iterdir())) == 3
    return folder / name / 'queries'


def evaluate(folder: Path, metrics: list[str], **more: Any) -> Path:
    """Evaluate bicubic interpolation; returns the folder of the results."""
    sets = [{'name': 'mine', 'gt': str(photographs(folder))}]
    file = options(
        folder / 'evaluate.yml',
        **{'name': 'bicubic', 'scale': 4, 'baselines': {'bicubic': {'type': 'bicubic'}}, 'test_sets': sets},
        **{'metrics': metrics, **more},
    )
    tool('evaluate', '-opt', file, '--output', folder / 'evaluation')
    return folder / 'evaluation'


def check_core(folder: Path) -> None:
    """Prepare, query, evaluate, with a victim that needs no toolbox; everything else says what to install."""
    prepared = folder / 'prepared'
    tool('prepare_data', 'benchmark', '--input', photographs(folder), '--output', prepared, '--jobs', '1')
    tool('prepare_data', 'bicubic', '--input', prepared / 'HR', '--like', 'basicsr', '--output', folder / 'lr')
    found = query(folder, {'type': 'bicubic', 'scale': 4}, 'queries')
    tool('prepare_data', 'split', '--input', found, '--output', folder / 'parts', '--parts', 'a=2', 'b=1')
    results = evaluate(folder, ['psnr_y', 'ssim_y', 'hf_psnr', 'lpips_alex', 'fid', 'niqe'])
    importlib.import_module('mea_plugin.losses')
    importlib.import_module('mea_plugin.optim')

    def victim(**section: Any) -> Path:
        queries = {'images': str(photographs(folder)), 'budget': 3}
        return options(folder / 'v.yml', name='v', victim=section, queries=queries)

    serve = options(folder / 'serve.yml', name='s', victim={'type': 'bicubic', 'scale': 2}, store=str(folder / 's.db'))
    refused('pip install fastapi prometheus-client python-multipart uvicorn', 'serve', '-opt', serve)
    refused('matplotlib', 'report', results, '--output', folder / 'report.html')
    refused('pip install -e ".[basicsr]"', 'train_basicsr', '-opt', serve)
    refused('pip install -e ".[mmagic]" mmcv-lite==2.1.0', 'train_mmagic', serve)
    refused('pip install -e ".[basicsr]"', 'query', '-opt', victim(type='embedded'))
    refused('pip install -e ".[mmagic]" mmcv-lite', 'query', '-opt', victim(type='mmagic', config='x', trusted=True))
    refused(
        'pip install aiolimiter httpx tenacity',
        'query',
        '-opt',
        victim(type='http', url='http://127.0.0.1:9/', scale=1),
    )
    refused('pip install opencv-python-headless', 'query', '-opt', victim(type='opencv', style='stylization'))
    refused('pip install lmdb', 'prepare_data', 'lmdb', '--input', found, '--output', folder / 'lmdb')
    refused('pip install opencv-python-headless', 'calibrate_watch', folder, '--output', folder / 'c.json')
    refused('pip install opencv-python-headless', 'ownership', '-opt', serve)


def check_basicsr(folder: Path) -> None:
    """Register, query the embedded victim, train, evaluate, export; a whole extraction is made of these."""
    import mea_plugin.basicsr  # noqa: F401 - the first thing that users type

    found = query(folder, {'type': 'embedded'}, 'queries')
    training = {
        'name': 'tiny',
        **{'model_type': 'ExtractionModel', 'scale': 4, 'num_gpu': 0, 'manual_seed': 0},
        'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 1, 'upscale': 4},
        'datasets': {
            'train': {
                **{'name': 'tiny', 'type': 'PairedImageDataset', 'io_backend': {'type': 'disk'}, 'gt_size': 32},
                **{'dataroot_lq': str(found / 'query'), 'dataroot_gt': str(found / 'response')},
                **{'use_hflip': True, 'use_rot': True, 'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2},
            }
        },
        'train': {
            'optim_g': {'type': 'SAM', 'base_optimizer': 'Adam', 'rho': 0.01, 'lr': 1e-3},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [2], 'gamma': 0.5},
            'total_iter': 2,
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
            'hf_opt': {'type': 'HighFrequencyLoss', 'level': 1},
        },
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
    }
    file = options(folder / 'train.yml', **training)
    tool('train_basicsr', '-opt', file, '--root', folder)
    weights = folder / 'experiments' / 'tiny' / 'models' / 'net_g_latest.pth'
    surrogate = {'type': 'basicsr', 'network_g': training['network_g'], 'weights': str(weights)}
    evaluate(folder, ['psnr_y', 'niqe'], victim={'type': 'embedded'}, surrogates={'tiny': surrogate})
    tool('export', '-opt', file, '--weights', weights, '--format', 'basicsr', 'torchscript', '--output', folder / 'out')
    tool('prepare_data', 'lmdb', '--input', found, '--output', folder / 'lmdb', '--jobs', '1')


def check_mmagic(folder: Path) -> None:
    """Register, import MMagic's own interface, query a victim and train for one iteration."""
    import mea_plugin.mmagic  # noqa: F401 - the first thing that users type

    importlib.import_module('mmagic.apis')
    large = str(photographs(folder, 128))
    found = query(folder, {'type': 'opencv', 'style': 'stylization'}, 'queries', shrink=1, images=large)
    config = ROOT / 'options' / 'mmagic' / 'small' / 'pix2pix_baseline.py'
    settings = [f'train_dataloader.dataset.data_root={found}', 'train_cfg.max_iters=1', 'train_dataloader.batch_size=1']
    settings += ['model.generator.base_channels=4', 'model.generator.num_down=5']
    tool('train_mmagic', config, '--work-dir', folder / 'work', '--cfg-options', *settings)
    assert (folder / 'work' / 'surrogate.pth').is_file()


class _Echo(http.server.BaseHTTPRequestHandler):
    """A service that answers with what it was sent."""

    def do_POST(self) -> None:
        """Answer."""
        image = self.rfile.read(int(self.headers['Content-Length']))
        self.send_response(200)
        self.send_header('Content-Type', 'image/png')
        self.send_header('Content-Length', str(len(image)))
        self.end_headers()
        self.wfile.write(image)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def check_http(folder: Path) -> None:
    """Query a service."""
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_port}/'
        query(folder, {'type': 'http', 'url': url, 'scale': 1, 'request': {'body': 'raw'}}, 'queries')
        server.shutdown()


def check_serve(folder: Path) -> None:
    """Make a key, serve, answer once, stop."""
    file = options(
        folder / 'serve.yml',
        **{'name': 'test', 'victim': {'type': 'bicubic', 'scale': 2}, 'store': str(folder / 's.sqlite'), 'port': 0},
        open=True,
    )
    tool('serve', '-opt', file, '--create-key', 'me')
    command = [sys.executable, *PREFIX, str(ROOT / 'tools' / 'serve.py'), '-opt', str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    line = process.stdout.readline()
    found = re.search(r'127\.0\.0\.1:(\d+)', line)
    assert found, line + process.stderr.read()
    connection = http.client.HTTPConnection('127.0.0.1', int(found.group(1)), timeout=60)
    image = (photographs(folder) / '0.png').read_bytes()
    connection.request('POST', '/v1/translate', image, {'Content-Type': 'image/png'})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) in (0, 143)
    watchdog.cancel()
    print('  tools/serve.py answered and stopped')
    defended = {
        'type': 'defended',
        'victim': {'type': 'bicubic', 'scale': 2},
        'defences': [{'type': 'jpeg', 'quality': 9}],
    }
    other = options(folder / 'defended.yml', name='x', victim=defended, store=str(folder / 's.sqlite'), port=0)
    refused('pip install opencv-python-headless', 'serve', '-opt', other)


def check_files(folder: Path) -> None:
    """Query an ONNX file and a network that spandrel knows, and write an LMDB folder."""
    import onnx
    import torch
    from onnx import TensorProto, helper
    from safetensors.torch import save_file

    image = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ['n', 3, 'h', 'w']) for name in ('x', 'y')]
    graph = helper.make_graph([helper.make_node('Identity', ['x'], ['y'])], 'g', image[:1], image[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, str(folder / 'same.onnx'))
    found = query(folder, {'type': 'onnx', 'file': str(folder / 'same.onnx'), 'scale': 1}, 'onnx')
    tool('prepare_data', 'lmdb', '--input', found, '--output', folder / 'lmdb', '--jobs', '1')
    weights = torch.load(ROOT / 'mea_plugin' / 'victims' / 'weights' / 'embedded_x4.pth', weights_only=True)
    weights = weights['params_ema']
    save_file(weights, str(folder / 'network.safetensors'))
    query(folder, {'type': 'spandrel', 'file': str(folder / 'network.safetensors')}, 'spandrel')


def check_metrics(folder: Path) -> None:
    """The learned metrics lack no package; at most their weights."""
    from mea_plugin.metrics.catalogue import find_metrics

    evaluate(folder, ['psnr_y', 'lpips_alex', 'fid', 'kid'])
    for metric in find_metrics(['lpips_alex', 'fid', 'kid']):
        assert 'pip install' not in metric.missing, metric.missing
    importlib.import_module('lpips')
    importlib.import_module('torch_fidelity.feature_extractor_inceptionv3')


def check_report(folder: Path) -> None:
    """Report on an evaluation."""
    results = evaluate(folder, ['psnr_y'], save_images='all')
    tool('report', results, '--output', folder / 'report.html', '--figures', folder / 'figures')
    assert (folder / 'report.html').stat().st_size > 10_000


CHECKS: dict[str, Callable[[Path], None]] = {
    'core': check_core,
    'basicsr': check_basicsr,
    'mmagic': check_mmagic,
    'http': check_http,
    'serve': check_serve,
    'files': check_files,
    'metrics': check_metrics,
    'report': check_report,
}
PREFIX: list[str] = []
"""Arguments that make a Python started by this one hide the same distributions."""


def main() -> None:
    """Run the check of one extra, or, with ``--run``, a script as it would run there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('extra', choices=CHECKS)
    parser.add_argument('folder', type=Path, help='for what is made; new or empty')
    parser.add_argument('--alone', action='store_true', help='hide what the extra does not bring')
    parser.add_argument('--run', nargs=argparse.REMAINDER, help='a script and its arguments, in place of the check')
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if args.alone:
        hide_others(args.extra)
        PREFIX[:] = [__file__, args.extra, str(args.folder), '--alone', '--run']
    if args.run:
        import runpy

        sys.argv = args.run
        runpy.run_path(args.run[0], run_name='__main__')
        return
    # Weights are looked for where there are none, so that every machine does the same.
    os.environ.update(TORCH_HOME=str(args.folder / 'torch'), HF_HUB_OFFLINE='1')
    os.environ.pop('MEA_METRIC_WEIGHTS', None)
    CHECKS[args.extra](args.folder)
    print(f'{args.extra}: holds alone')


if __name__ == '__main__':
    main()
