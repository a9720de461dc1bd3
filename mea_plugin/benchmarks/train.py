"""What a training step costs beside the toolboxes' own, what each option costs or saves, and whether data keep up."""

from __future__ import annotations

import copy
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mea_plugin.benchmarks.query import noise_images
from mea_plugin.data.sources import image_references
from mea_plugin.query import run_queries
from mea_plugin.victims import build_victim

__all__ = ['run']

_PERIOD = 5  # steps per measurement of a variant that takes its second pass in one of five
_STEPS = 2  # of any other
_SCALE = 4
_ADAM = {'type': 'Adam', 'lr': 1e-5}
_SAM = {'base_optimizer': 'Adam', 'lr': 1e-5, 'rho': 0.05}
_HF = {'type': 'HighFrequencyLoss', 'loss_weight': 0.15, 'wave': 'db3', 'level': 2}

# Name in the table, and what is laid over the baseline's `train` section.
_OPTIMIZERS: dict[str, dict[str, Any]] = {
    'SAM': {'type': 'SAM', **_SAM},
    'SAM, every: 5': {'type': 'SAM', **_SAM, 'every': _PERIOD},
    'LookSAM, every: 5': {'type': 'LookSAM', **_SAM, 'every': _PERIOD},
    'MomentumSAM': {'type': 'MomentumSAM', **_SAM},
}


def run(rounds: int = 5, quick: bool = False, device: str = 'cpu') -> tuple[str, list[dict[str, object]]]:
    """Measure everything in one run.

    Args:
        rounds: Timed rounds; each takes a few steps of every case.
        quick: A tiny network and one round: shows that everything runs, not how fast.
        device: ``cpu`` or ``cuda``.

    Returns:
        The tables as Markdown, and one dict per number.
    """
    size = {'feat': 8, 'block': 1, 'batch': 4, 'lq': 16} if quick else {'feat': 64, 'block': 16, 'batch': 16, 'lq': 32}
    rounds = 1 if quick else rounds
    tables, rows = [], []
    for title, cases in (
        ('BasicSR', _basicsr_cases(size, device, compiled=not quick)),
        ('MMagic', _mmagic_cases(size, device)),
    ):
        reference = next(iter(cases))
        table, found = _steps(f'{title}: a step, {_describe(size, device)}', cases, reference, rounds, device)
        tables.append(table)
        rows += found
    with tempfile.TemporaryDirectory() as folder:
        for measure in (_loaders, _resume):
            table, found = measure(Path(folder), size, quick)
            tables.append(table)
            rows += found
    return '\n'.join(tables), rows


def _describe(size: Mapping[str, int], device: str) -> str:
    network = _network(size)
    from mea_plugin.toolboxes.basicsr_networks import build_network

    count = sum(param.numel() for param in build_network(network).parameters()) / 1e6
    return f'MSRResNet of {count:.2f} million parameters, x4, batch {size["batch"]}, {size["lq"]}-pixel crops, {device}'


def _network(size: Mapping[str, int]) -> dict[str, Any]:
    return {'type': 'MSRResNet', 'num_feat': size['feat'], 'num_block': size['block'], 'upscale': _SCALE}


def _steps(
    title: str, cases: Mapping[str, Callable[[int], None]], reference: str, rounds: int, device: str
) -> tuple[str, list[dict[str, object]]]:
    """Time a few steps of every case in turn; the ratio is the median over rounds of that to the reference's time."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for index in range(rounds + 1):
        for name, steps in cases.items():
            count = _PERIOD if 'every' in name else _STEPS
            began = time.perf_counter()
            steps(count)
            if device == 'cuda':
                torch.cuda.synchronize()
            if index:  # the first round warms up, and compiles
                seconds[name].append((time.perf_counter() - began) / count)
    rows: list[dict[str, object]] = []
    lines = [f'### {title}', '', f'| | ms | times {reference} |', '|---|---:|---:|']
    for name, times in seconds.items():
        ratio = statistics.median(own / ref for own, ref in zip(times, seconds[reference], strict=True))
        milliseconds = 1e3 * statistics.median(times)
        lines.append(f'| {name} | {milliseconds:.1f} | {ratio:.3f} |')
        rows.append({'title': title, 'name': name, 'milliseconds': milliseconds, 'times_reference': ratio})
    return '\n'.join(lines) + '\n', rows


def _basicsr_cases(size: Mapping[str, int], device: str, *, compiled: bool) -> dict[str, Callable[[int], None]]:
    train: dict[str, dict[str, Any]] = {
        "BasicSR's SRModel": {},
        'ExtractionModel, baseline': {},
        'with the penalty': {'hf_opt': _HF},
        **{name: {'optim_g': optimizer} for name, optimizer in _OPTIMIZERS.items()},
        'proposed: penalty and SAM': {'hf_opt': _HF, 'optim_g': _OPTIMIZERS['SAM']},
        'amp: bfloat16': {'amp': 'bfloat16'},
        'channels_last': {'channels_last': True},
        'accumulate: 4': {'accumulate': 4},
    }
    if device == 'cuda':
        train['amp: float16'] = {'amp': 'float16'}
    if compiled and _can_compile(device):
        train['compile'] = {'compile': True}
    if compiled and device == 'cuda' and _can_compile(device):
        train['compile and amp: bfloat16'] = {'compile': True, 'amp': 'bfloat16'}
        train['proposed, compile and amp: bfloat16'] = {
            **train['proposed: penalty and SAM'],
            **train['compile and amp: bfloat16'],
        }
    generator = torch.Generator().manual_seed(0)
    shape = (size['batch'], 3, size['lq'], size['lq'])
    lq = torch.rand(shape, generator=generator)
    gt = torch.rand((*shape[:2], _SCALE * shape[2], _SCALE * shape[3]), generator=generator)
    batch = {'lq': lq.to(device), 'gt': gt.to(device)}
    return {
        name: _basicsr_steps('SRModel' if 'SRModel' in name else 'ExtractionModel', options, size, device, batch)
        for name, options in train.items()
    }


def _basicsr_steps(
    model_type: str, train: Mapping[str, Any], size: Mapping[str, int], device: str, batch: dict[str, torch.Tensor]
) -> Callable[[int], None]:
    import mea_plugin.basicsr  # noqa: F401 - registers

    built: list[Any] = []

    def steps(count: int) -> None:
        if not built:
            built.append(_basicsr_model(model_type, train, size, device))
        for index in range(1, count + 1):
            built[0].feed_data(batch)
            built[0].optimize_parameters(index)

    return steps


def _basicsr_model(model_type: str, train: Mapping[str, Any], size: Mapping[str, int], device: str) -> Any:
    from basicsr.models import build_model

    options = {
        'name': 'benchmark',
        'model_type': model_type,
        'scale': _SCALE,
        'num_gpu': int(device == 'cuda'),
        'is_train': True,
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'path': {},
        'network_g': _network(size),
        'logger': {'print_freq': 100},
        'train': {
            'optim_g': _ADAM,
            'scheduler': {'type': 'MultiStepLR', 'milestones': []},
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
            **train,
        },
    }
    torch.manual_seed(0)
    return build_model(copy.deepcopy(options))


def _can_compile(device: str) -> bool:
    """Whether torch.compile works here: on a CPU it needs a C++ compiler, on a GPU Triton."""
    if device == 'cuda':
        return importlib.util.find_spec('triton') is not None
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.rand(8))
    except Exception:  # whatever its back ends raise
        return False
    return True


def _mmagic_cases(size: Mapping[str, int], device: str) -> dict[str, Callable[[int], None]]:
    one_pass, two = {'type': 'OptimWrapper'}, {'type': 'SAMOptimWrapper'}
    return {
        "MMagic's BaseEditModel": _mmagic_steps('BaseEditModel', {}, one_pass | {'optimizer': _ADAM}, size, device),
        'ExtractionEditModel, baseline': _mmagic_steps(
            'ExtractionEditModel', {}, one_pass | {'optimizer': _ADAM}, size, device
        ),
        'with the penalty': _mmagic_steps(
            'ExtractionEditModel', {'hf_loss': _HF}, one_pass | {'optimizer': _ADAM}, size, device
        ),
        **{
            name: _mmagic_steps('ExtractionEditModel', {}, two | {'optimizer': optimizer}, size, device)
            for name, optimizer in _OPTIMIZERS.items()
        },
        'amp: bfloat16': _mmagic_steps(
            'ExtractionEditModel',
            {},
            {'type': 'AmpOptimWrapper', 'dtype': 'bfloat16', 'optimizer': _ADAM},
            size,
            device,
        ),
    }


def _mmagic_steps(
    model_type: str, model: Mapping[str, Any], wrapper: Mapping[str, Any], size: Mapping[str, int], device: str
) -> Callable[[int], None]:
    built: list[Any] = []

    def steps(count: int) -> None:
        if not built:
            built.extend(_mmagic_model(model_type, model, wrapper, size, device))
        network, optim_wrapper, batch = built
        for _ in range(count):
            network.train_step(batch, optim_wrapper)

    return steps


def _mmagic_model(
    model_type: str, model: Mapping[str, Any], wrapper: Mapping[str, Any], size: Mapping[str, int], device: str
) -> tuple[Any, Any, Any]:
    import mea_plugin.mmagic  # noqa: F401, I001 - its work-arounds come first
    from mmagic.registry import MODELS
    from mmagic.structures import DataSample
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import init_default_scope

    init_default_scope('mmagic')
    torch.manual_seed(0)
    generator = {'type': 'MSRResNet', 'in_channels': 3, 'out_channels': 3, 'mid_channels': size['feat']}
    generator |= {'num_blocks': size['block'], 'upscale_factor': _SCALE}
    network = MODELS.build(
        {
            'type': model_type,
            'generator': generator,
            'pixel_loss': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
            'data_preprocessor': {'type': 'DataPreprocessor', 'mean': [0.0] * 3, 'std': [255.0] * 3},
            **model,
        }
    ).to(device)
    network.train()
    draws = np.random.default_rng(0)
    side, samples = size['lq'], []
    for _ in range(size['batch']):
        sample = DataSample()
        sample.gt_img = torch.from_numpy(draws.integers(0, 256, (3, _SCALE * side, _SCALE * side), np.uint8))
        samples.append(sample)
    inputs = [torch.from_numpy(draws.integers(0, 256, (3, side, side), np.uint8)) for _ in samples]
    batch = {'inputs': inputs, 'data_samples': samples}
    return network, build_optim_wrapper(network, copy.deepcopy(dict(wrapper))), batch


def _loaders(folder: Path, size: Mapping[str, int], quick: bool) -> tuple[str, list[dict[str, object]]]:
    """Batches per second of BasicSR's data sets behind the resumable loader, and what a step waits for them."""
    from mea_plugin.basicsr.data.loaders import train_loader
    from mea_plugin.query_sets.lmdb import export_lmdb
    from mea_plugin.training.ranks import Ranks

    queries = _query_set(folder, 4 if quick else 40)
    export_lmdb(queries, folder / 'lmdb')
    places = {
        'PNG': (queries / 'query', queries / 'response', 'disk', 'PairedImageDataset'),
        'PNG, kept in memory': (queries / 'query', queries / 'response', 'disk', 'CachedPairedImageDataset'),
        'LMDB': (*_lmdbs(folder / 'lmdb'), 'lmdb', 'PairedImageDataset'),
    }
    batches = 4 if quick else 60
    model = _basicsr_model('ExtractionModel', {}, size, 'cpu')
    rows: list[dict[str, object]] = []
    title = f'loading: batches of {size["batch"]}, {size["lq"]}-pixel crops x4, 2 workers'
    head = '| query set | batches per second | share of a training step spent waiting for data |\n|---|---:|---:|\n'
    text = f'### {title}\n\n{head}'
    for name, (lq, gt, backend, kind) in places.items():
        dataset = _data(lq, gt, size, type=kind, io_backend={'type': backend})
        opt = {'dist': False, 'num_gpu': 0, 'manual_seed': 0, 'datasets': {'train': dataset}}
        iterator = iter(train_loader(opt, Ranks(), seen=0)[0])
        for _ in islice(iterator, 4):  # workers start, and fill what they keep ready
            pass
        began = time.perf_counter()
        for _ in islice(iterator, batches):
            pass
        rate = batches / (time.perf_counter() - began)
        waited, total = _waits(model, iterator, 2 if quick else 8)
        del iterator
        text += f'| {name} | {rate:.1f} | {100 * waited / total:.2f} % |\n'
        rows.append({'title': title, 'name': name, 'batches_per_second': rate, 'waiting_share': waited / total})
    return text, rows


def _waits(model: Any, batches: Any, steps: int) -> tuple[float, float]:
    """Seconds spent waiting for data, and in all."""
    waited, began = 0.0, time.perf_counter()
    for index in range(1, steps + 1):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        model.feed_data(batch)
        model.optimize_parameters(index)
    return waited, time.perf_counter() - began


def _resume(folder: Path, size: Mapping[str, int], quick: bool) -> tuple[str, list[dict[str, object]]]:
    """Seconds from asking for a loader to its first batch, at the start and far on."""
    from mea_plugin.basicsr.data.loaders import train_loader
    from mea_plugin.training.ranks import Ranks

    queries = folder / 'queries'
    dataset = _data(queries / 'query', queries / 'response', size)
    opt = {'dist': False, 'num_gpu': 0, 'manual_seed': 0, 'datasets': {'train': dataset}}
    title = 'resuming: seconds to the first batch'
    text = f'### {title}\n\n| iteration | seconds |\n|---|---:|\n'
    rows: list[dict[str, object]] = []
    for iteration in (0, 1_000, 1_000_000):
        times = []
        for _ in range(1 if quick else 5):
            began = time.perf_counter()
            next(iter(train_loader(opt, Ranks(), seen=iteration * size['batch'])[0]))
            times.append(time.perf_counter() - began)
        text += f'| {iteration:,} | {statistics.median(times):.2f} |\n'
        rows.append({'title': title, 'iteration': iteration, 'seconds': statistics.median(times)})
    return text, rows


def _data(lq: Path, gt: Path, size: Mapping[str, int], **options: Any) -> dict[str, Any]:
    """The options of a training set."""
    return {
        'name': 'queries',
        'type': 'PairedImageDataset',
        'phase': 'train',
        'scale': _SCALE,
        'dataroot_lq': str(lq),
        'dataroot_gt': str(gt),
        'io_backend': {'type': 'disk'},
        'gt_size': _SCALE * size['lq'],
        'use_hflip': True,
        'use_rot': True,
        'num_worker_per_gpu': 2,
        'batch_size_per_gpu': size['batch'],
        **options,
    }


def _query_set(folder: Path, count: int) -> Path:
    """A query set whose victim is bicubic upscaling: images of a third of a megapixel, as PNG."""
    images = image_references(noise_images(count, (120, 180), folder / 'images'))
    run_queries(build_victim({'type': 'bicubic', 'scale': _SCALE}), images, folder / 'queries')
    return folder / 'queries'


def _lmdbs(folder: Path) -> tuple[Path, Path]:
    return folder / 'query.lmdb', folder / 'response.lmdb'
