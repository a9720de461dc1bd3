"""Pictures of a report."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from mea_plugin.report import screenshot
from mea_plugin.report.job import make_report
from tests.helpers import refused
from tests.report.results import make_evaluation


@pytest.fixture(scope='module')
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('report')
    return make_report([make_evaluation(folder / 'evaluation', count=2)], folder / 'report.html').page


def test_four_pictures_are_written(report: Path, tmp_path: Path):
    if shutil.which('chromium') is None:
        pytest.skip('Chromium is not installed; `make chromium` does that')
    pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    screenshot.main([str(report), str(tmp_path), '--image', 'img_001', '--zoom', '0.5', '0.5', '2'])
    sizes = {path.name: Image.open(path).size for path in tmp_path.iterdir()}
    wide = dict.fromkeys(('report_tables.png', 'report_images.png', 'report_error.png'), (1280, 800))
    assert sizes == {**wide, 'report_phone.png': (720, 1480)}
    with refused(report, 'nowhere', do='--image'):
        screenshot.main([str(report), str(tmp_path), '--image', 'nowhere'])


def test_what_is_missing_is_named(report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with refused(tmp_path / 'none.html', do='tools/report.py'):
        screenshot.main([str(tmp_path / 'none.html'), str(tmp_path)])
    pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    monkeypatch.setenv('PATH', str(tmp_path))
    with refused('', 'Chromium', do='make chromium'):
        screenshot.main([str(report), str(tmp_path)])
