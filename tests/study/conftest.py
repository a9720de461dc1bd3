"""Option files and results of small studies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import ROOT, write_yaml


@pytest.fixture
def study_file(tmp_path):
    """Writes an option file of a study, changed by keywords; None removes a section."""

    def write(**changes) -> Path:
        options = {
            'name': 'test',
            'output': str(tmp_path / 'out'),
            'victims': {'bicubic': {'victim': {'type': 'bicubic', 'scale': 4}}},
            'queries': {'photographs': {'images': 'embedded:query', 'shrink': 8}},
            'budgets': [2, 5],
            'surrogates': {'psnr': {'opt': str(ROOT / 'options/study/surrogates/x4_psnr.yml'), 'length': 0.004}},
            'methods': {'baseline': {}, 'penalty': {'override': {'train': {'hf_opt': {'type': 'HighFrequencyLoss'}}}}},
            'seeds': [0, 1],
            'test_sets': [{'name': 'photographs', 'gt': 'embedded:test'}],
            'metrics': ['psnr_rgb', 'ssim_rgb'],
            **changes,
        }
        kept = {key: value for key, value in options.items() if value is not None}
        return write_yaml(tmp_path / 'study.yml', kept)

    return write
