"""Results on disk as the tools write them, of any number of images; and waiting for a page to show them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mea_plugin.core.images import encode_png
from mea_plugin.core.records import sealed

ROLES = {'bicubic': 'baseline', 'victim': 'victim', 'baseline': 'surrogate', 'proposed': 'surrogate'}
NOISE = {'bicubic': 12, 'victim': 0, 'baseline': 6, 'proposed': 3}
METRICS = {
    'psnr_y': {'title': 'Y-PSNR', 'unit': 'dB', 'digits': 2, 'better': 'higher', 'kind': 'pair', 'missing': ''},
    'ssim_y': {'title': 'Y-SSIM', 'unit': '', 'digits': 4, 'better': 'higher', 'kind': 'pair', 'missing': ''},
}


def scene(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Waves and edges, float (H, W, 3)."""
    y, x = np.mgrid[: size[0], : size[1]]
    waves = [np.sin(x * rng.uniform(0.02, 0.3) + y * rng.uniform(0.02, 0.3) + rng.uniform(0, 6)) for _ in range(3)]
    return 120 + 50 * np.stack(waves, -1) + 40 * ((x // 17 + y // 13) % 2)[..., None]


def to_image(values: np.ndarray) -> np.ndarray:
    return values.clip(0, 255).round().astype(np.uint8)


def scores_of(values: dict[str, dict[str, float | None]]) -> dict[str, Any]:
    """Means and all that stands beside them, from the values of each image."""
    metrics = list(next(iter(values.values())))
    finite = {name: [one[name] for one in values.values() if one[name] is not None] for name in metrics}
    means = {name: math.fsum(found) / len(found) if found else None for name, found in finite.items()}
    return {
        'mean': means,
        'interval': {
            name: [means[name] - 0.4, means[name] + 0.4] if len(finite[name]) > 1 else None for name in metrics
        },
        'identical': {name: sum(one[name] is None for one in values.values()) for name in metrics},
        'undefined': dict.fromkeys(metrics, 0),
        'images': values,
    }


def write(path: Path, pixels: np.ndarray) -> None:
    """Not :func:`write_png`, which waits for the disk each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(pixels))


def make_evaluation(
    folder: Path,
    *,
    count: int = 3,
    size: tuple[int, int] = (48, 64),
    scale: int = 2,
    saved: int | None = None,
    sets: tuple[str, ...] = ('toys',),
    truth: bool = True,
    change: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Path:
    """An evaluation's folder: JSON of format 2 and pictures. ``change`` may alter the content before it is written."""
    rng = np.random.default_rng(count)
    test_sets, pictures = [], []
    for set_name in sets:
        names = [f'img_{index:03d}' for index in range(count)]
        psnr = {
            m: {n: {'psnr_y': 40 - 0.8 * NOISE[m] + 0.1 * i, 'ssim_y': 0.99} for i, n in enumerate(names)}
            for m in ROLES
        }
        for name in names[: count if saved is None else saved]:
            values = scene(size, rng)
            files = {'truth': values + rng.normal(0, 2, values.shape)} if truth else {}
            files |= {model: values + rng.normal(0, 1, values.shape) * noise for model, noise in NOISE.items()}
            files['query'] = values.reshape(size[0] // scale, scale, size[1] // scale, scale, 3).mean((1, 3))
            paths = {one: f'images/{set_name}/{name}/{one}.png' for one in files}
            for one, pixels in files.items():
                write(folder / paths[one], to_image(pixels))
            answers = {model: paths[model] for model in ROLES}
            entry = {'set': set_name, 'image': name, 'query': paths['query'], 'truth': paths.get('truth')}
            pictures.append({**entry, 'answers': answers})
        difference = {
            **{'kind': 'fidelity', 'metric': 'psnr_y', 'first': 'proposed', 'second': 'baseline', 'over': 'images'},
            **{'count': count, 'seeds': 1, 'mean': 2.4, 'interval': [1.9, 2.8], 'p': 0.0004, 'p_holm': 0.0008},
            'verdict': 'better',
        }
        test_sets.append(
            {
                **{'name': set_name, 'count': count, 'fingerprint': 'ab' * 32, 'benchmark': None},
                'fidelity': {m: scores_of(values) for m, values in psnr.items() if m != 'victim'},
                'quality': {m: scores_of(values) for m, values in psnr.items()} if truth else {},
                **{'own': {}, 'differences': [difference]},
            }
        )
    content = {
        **{'format': 3, 'name': 'study', 'command': ['python', 'tools/evaluate.py', '-opt', 'study.yml']},
        'options': {'name': 'study', 'victim': {'type': 'embedded'}},
        'packages': {'mea_plugin': '0.1', 'torch': '2.11.0'},
        'machine': {'processor': 'a processor', 'cores': '2'},
        'protocol': {
            **{'scale': scale, 'border': scale},
            'metrics': {name: {**metric, 'protocol': f'how {name} is computed'} for name, metric in METRICS.items()},
        },
        'models': [
            {'name': name, 'role': role, 'title': f'network {name}', 'fingerprint': '0f' * 32}
            for name, role in ROLES.items()
        ],
        'seeds': {},
        'test_sets': test_sets,
        'pictures': pictures,
    }
    change(content)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'evaluation.json').write_text(json.dumps(sealed(content)))
    return folder


def paint(folder: Path, colours: dict[str, tuple[int, int, int]]) -> None:
    """Make pictures of an evaluation of one colour each, by the name of what they show."""
    for name, colour in colours.items():
        for path in sorted(folder.glob(f'images/*/*/{name}.png')):
            with Image.open(path) as image:
                write(path, np.full((image.height, image.width, 3), colour, np.uint8))


BROWSER = "document.querySelector('[data-part=browser]')"


def wait_until(page: Any, expression: str, seconds: float = 15) -> None:
    """Wait until an expression is true. The page's policy forbids playwright's own waiting, which evaluates text."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f'not within {seconds} s: {expression}'
        page.wait_for_timeout(10)


def make_extraction(folder: Path, *, queries: int, **evaluation: Any) -> Path:
    """An extraction's folder: query set, training options and logs, and the evaluation."""
    make_evaluation(folder / 'evaluation', **{'count': 1, **evaluation})
    description = {'victim': {'type': 'embedded'}, 'queries': {'images': 'photos', 'budget': queries}}
    manifest = {
        'format': 2,
        'options': description,
        'complete': True,
        'pairs': [{'id': str(i)} for i in range(queries)],
    }
    files = {
        'queries/manifest.json': json.dumps(manifest),
        'surrogates/baseline.yml': 'name: baseline\ntrain:\n  optim_g: {type: Adam, lr: 1e-3}\n',
        'surrogates/proposed.py': "optim_wrapper = {'type': 'SAMOptimWrapper', 'rho': 0.05}\n",
        'experiments/baseline/train_baseline_20260101_000000.log': ''.join(
            f'2026-01-01 00:00:00,000 INFO: [basel..][epoch:  0, iter: {i:7,d}, lr:(1.000e-03,)] [eta: 0:00:01, '
            f'time (data): 0.1 (0.0)] l_pix: {1 / i:.4e} \n'
            for i in range(1, 40)
        ),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def make_flatness(folder: Path, name: str = 'flat') -> Path:
    """A flatness measurement of two runs."""
    steps = [-1.0, -0.5, 0.0, 0.5, 1.0]

    def points(sharpness: float) -> list[dict[str, Any]]:
        return [
            {
                **{'checkpoint': f'net_{iteration}.pth', 'iteration': iteration, 'fingerprint': 'cd' * 32, 'loss': 0.1},
                'sharpness': {'0.05': sharpness * iteration},
                'top_eigenvalue': {'value': 10 * sharpness, 'residual': 0.1, 'iterations': 20},
                'trace': {'value': 50.0, 'standard_error': 2.0, 'probes': 10},
            }
            for iteration in (100, 200, 300)
        ]

    def landscape(sharpness: float) -> dict[str, Any]:
        plane = [[0.1 + sharpness * (x * x + y * y) for x in steps] for y in steps]
        line = [0.1 + sharpness * x * x for x in steps]
        return {'line': {'steps': steps, 'loss': line}, 'plane': {'x': steps, 'y': steps, 'loss': plane}}

    content = {
        **{'format': 2, 'name': name, 'command': ['python', 'tools/flatness.py', '-opt', 'flat.yml'], 'options': {}},
        **{'packages': {'torch': '2.11.0'}, 'machine': {'cores': '2'}, 'loss': 'L1', 'samples': 8},
        'trajectories': {'baseline': points(2e-3), 'proposed': points(1e-3)},
        'landscapes': {'baseline': landscape(2), 'proposed': landscape(1)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'flatness.json').write_text(json.dumps(sealed(content)))
    return folder
