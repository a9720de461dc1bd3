"""Speed of an evaluation beside the work that nobody can leave out: the forward passes, and scikit-image's metrics."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mea_plugin.benchmarks.timing import compare, format_table
from mea_plugin.core.options import load_options
from mea_plugin.data.prepare import make_benchmark
from mea_plugin.evaluation import EvaluationSet, evaluate_from_options
from mea_plugin.evaluation.pairs import list_pairs, load_pair
from mea_plugin.evaluation.stream import worker_count
from mea_plugin.metrics.planes import to_y
from mea_plugin.victims import build_victim
from mea_plugin.victims.embedded import EMBEDDED

__all__ = ['LIMIT', 'run']

LIMIT = 1.3
"""What an evaluation may cost at most, in forward passes plus scikit-image's time divided by the cores."""

SCALE = 4
_SETS = ('Set5', 'Set14', 'BSD100')


def run(rounds: int = 3, quick: bool = False, data: Path | None = None) -> tuple[str, list[dict[str, object]]]:
    """Time an evaluation of two networks, from option file to JSON: reading, decoding, tables and picture included.

    Args:
        rounds: Timed rounds; each runs every case once.
        quick: One image, one round: shows that everything runs, not how fast.
        data: Folder that holds Set5, Set14 and BSD100 (each with ``HR``); by default the environment variable
            ``MEA_DATA``, and without that scikit-image's photographs.

    Returns:
        The table as Markdown, and one dict.
    """
    with tempfile.TemporaryDirectory() as folder:
        what, sets = _test_sets(data or _data(), Path(folder), quick)
        models = _models(Path(folder))
        images = [load_pair(pair, SCALE) for one in sets for pair in list_pairs(one)]
        runs = count()

        def whole() -> None:
            options = {**models, 'baselines': {}, 'test_sets': [_option(one) for one in sets]}
            evaluate_from_options(options, Path(folder) / f'run{next(runs)}')

        cases: dict[str, Callable[[], object]] = {
            'forward passes': _forward(models, [query for query, _ in images]),
            'scikit-image, one thread': _scikit_image(models, images),
            'evaluation': whole,
        }
        rounds = 1 if quick else rounds
        timings = compare(cases, 'forward passes', rounds=rounds, warmup=0 if quick else 1)
    cores = worker_count()
    forward, metrics, evaluation = (timing.milliseconds for timing in timings)
    ratio = evaluation / (forward + metrics / cores)
    title = f'{len(images)} images of {what}, x{SCALE}: victim and surrogate, PSNR and SSIM on Y and RGB'
    text = format_table(title, timings, 'forward passes')
    text += f'\nevaluation: {ratio:.2f} of forward passes + scikit-image / {cores} cores (at most {LIMIT})\n'
    row: dict[str, object] = {'images': len(images), 'cores': cores, 'ratio': ratio}
    return text, [{**row, **{timing.name: timing.milliseconds for timing in timings}}]


def _data() -> Path | None:
    found = os.environ.get('MEA_DATA')
    return Path(found) if found else None


def _test_sets(data: Path | None, folder: Path, quick: bool) -> tuple[str, list[EvaluationSet]]:
    """What the images are, and where."""
    if data is None or quick:
        make_benchmark(['embedded:test'], folder / 'photographs', scale=SCALE)
        if quick:
            for path in sorted(folder.glob('photographs/*/*.png')):
                if path.stem != 'chelsea':
                    path.unlink()
        lq, gt = folder / 'photographs' / f'LRx{SCALE}', folder / 'photographs' / 'HR'
        return "scikit-image's photographs", [EvaluationSet('photographs', lq, gt)]
    # BSD100's low-resolution images are made before, like those that the others come with.
    sets = []
    for name in _SETS:
        make_benchmark([data / name / 'HR'], folder / name, scale=SCALE, where='--data')
        sets.append(EvaluationSet(name, folder / name / f'LRx{SCALE}', folder / name / 'HR'))
    return f'{", ".join(_SETS[:-1])} and {_SETS[-1]}', sets


def _option(test_set: EvaluationSet) -> dict[str, str]:
    return {'name': test_set.name, 'lq': str(test_set.lq), 'gt': str(test_set.gt)}


def _models(folder: Path) -> dict[str, Any]:
    """The embedded victim, and an untrained surrogate of its size: speed does not depend on what is learned."""
    from mea_plugin.toolboxes.basicsr_networks import build_network

    network_g = load_options(EMBEDDED.with_suffix('.yml'))['network_g']
    torch.manual_seed(0)
    torch.save(build_network(network_g, where='benchmark').state_dict(), folder / 'surrogate.pth')
    surrogate = {'type': 'basicsr', 'network_g': network_g, 'weights': str(folder / 'surrogate.pth')}
    return {'victim': {'type': 'embedded'}, 'surrogates': {'surrogate': surrogate}}


def _forward(models: dict[str, Any], queries: Sequence[np.ndarray]) -> Callable[[], None]:
    """Nothing but the networks, on tensors that are there."""
    built = [build_victim(models['victim']), build_victim(models['surrogates']['surrogate'])]
    networks: list[Any] = [model.wiring.network for model in built]  # type: ignore[attr-defined]
    tensors = [torch.from_numpy(query).permute(2, 0, 1)[None].float().div(255) for query in queries]

    @torch.inference_mode()
    def forward() -> None:
        for tensor in tensors:
            for network in networks:
                network(tensor)

    return forward


def _scikit_image(models: dict[str, Any], images: Sequence[tuple[np.ndarray, np.ndarray | None]]) -> Callable[[], None]:
    """The metrics of an evaluation as anybody would compute them: surrogate to victim, and both to the truth."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    built = [build_victim(models['victim']), build_victim(models['surrogates']['surrogate'])]
    pairs = []
    for query, truth in images:
        assert truth is not None
        victim, surrogate = (model.query([query])[0][SCALE:-SCALE, SCALE:-SCALE] for model in built)
        truth = truth[SCALE:-SCALE, SCALE:-SCALE]
        pairs += [(surrogate, victim), (victim, truth), (surrogate, truth)]
    wang: dict[str, Any] = {'gaussian_weights': True, 'sigma': 1.5, 'use_sample_covariance': False, 'data_range': 255}

    def measure() -> None:
        for first, second in pairs:
            y = to_y(first), to_y(second)
            peak_signal_noise_ratio(*y, data_range=255)
            structural_similarity(*y, **wang)
            peak_signal_noise_ratio(first, second, data_range=255)
            structural_similarity(first, second, channel_axis=-1, **wang)

    return measure
