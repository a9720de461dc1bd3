"""The content of an evaluation.json without an evaluation: per-image values in, the rest follows."""

from __future__ import annotations

import math

import numpy as np

from mea_plugin.evaluation.statistics import holm, mean_interval, paired_difference

METRICS = {
    'psnr_y': ('Y-PSNR', 'dB', 2, 'higher', 'pair', ''),
    'ssim_y': ('Y-SSIM', '', 4, 'higher', 'pair', ''),
    'spectrum_error': ('Spectrum error', 'dB', 3, 'lower', 'pair', ''),
    'lpips_alex': ('LPIPS (AlexNet)', '', 4, 'lower', 'pair', 'weights: put alex_100%.pth into FOLDER_1'),
    'fid': ('FID', '', 2, 'lower', 'set', ''),
    'niqe': ('NIQE', '', 3, 'lower', 'single', ''),
}


def protocol(names, scale=4):
    keys = ('title', 'unit', 'digits', 'better', 'kind', 'missing')
    metrics = {name: {**dict(zip(keys, METRICS[name], strict=True)), 'protocol': f'{name} as it is'} for name in names}
    return {'scale': scale, 'border': scale, 'metrics': metrics}


def comparison(values, sets=None):
    """Of one model: ``values[metric]`` per image."""
    count = len(next(iter(values.values())))
    found = {metric: mean_interval(column) for metric, column in values.items()}
    means = {metric: None if math.isnan(one.mean) else one.mean for metric, one in found.items()}
    return {
        'mean': means | (sets or {}),
        'interval': {metric: one.bounds and list(one.bounds) for metric, one in found.items()},
        'identical': {metric: int(np.isinf(column).sum()) for metric, column in values.items()},
        'undefined': {metric: int(np.isnan(column).sum()) for metric, column in values.items()},
        'images': {
            f'image {index}': {
                metric: float(column[index]) if math.isfinite(column[index]) else None
                for metric, column in values.items()
            }
            for index in range(count)
        },
    }


def compare(kind, values, pairs, seeds=None):
    """Differences of the pairs in each metric; ``values[model][metric]`` per image."""
    found = []
    for metric in next(iter(values.values())):
        for first, second in pairs:
            rows = [
                np.array([values[name][metric] for name in (seeds or {}).get(one, [one])]) for one in (first, second)
            ]
            rows = [row if len(row) > 1 else row[0] for row in rows]
            one = paired_difference(*rows, better=METRICS[metric][3])
            over = 'seeds and images' if any(row.ndim > 1 for row in rows) else 'images'
            found.append(
                {
                    **{'kind': kind, 'metric': metric, 'first': first, 'second': second, 'over': over},
                    **{'count': one.count, 'seeds': one.seeds, 'verdict': one.verdict},
                    'mean': None if math.isnan(one.mean) else one.mean,
                    'interval': one.bounds and list(one.bounds),
                    'p': None if math.isnan(one.p) else one.p,
                }
            )
    corrected = holm([math.nan if one['p'] is None else one['p'] for one in found])
    for one, p in zip(found, corrected, strict=True):
        one['p_holm'] = None if math.isnan(p) else p
        one['verdict'] = one['verdict'] if p <= 0.05 else 'undecided'
    return found


def evaluation(fidelity, *, roles=None, seeds=None, pairs=(), sets=None, benchmark=None, own=None, missing=()):
    """An evaluation with one test set, ``Set5``; ``fidelity[model][metric]`` per image."""
    roles = dict.fromkeys(fidelity, 'surrogate') | (roles or {})
    names = [*next(iter(fidelity.values())), *missing, *next(iter((sets or {}).values()), [])]
    names += list(next(iter((own or {}).values()), []))
    count = len(next(iter(next(iter(fidelity.values())).values())))
    return {
        'format': 3,
        'name': 'study',
        'command': ['tools/evaluate.py'],
        'options': {},
        'packages': {},
        'machine': {},
        'protocol': protocol(names),
        'models': [{'name': name, 'role': role, 'title': name, 'fingerprint': '0'} for name, role in roles.items()],
        'seeds': seeds or {},
        'test_sets': [
            {
                'name': 'Set5',
                'count': count,
                'fingerprint': 'f',
                'benchmark': benchmark,
                'fidelity': {name: comparison(values, (sets or {}).get(name)) for name, values in fidelity.items()},
                'quality': {},
                'own': {name: comparison(values) for name, values in (own or {}).items()},
                'differences': compare('fidelity', fidelity, pairs, seeds),
                'notes': [],
            }
        ],
        'pictures': [],
    }
