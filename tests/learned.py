"""Learned metrics in tests: without any weights, or with some that are nobody's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mea_plugin.core.files import hash_file

SQUEEZE = 'squeezenet1_1-b8a52dc0.pth'


def hide(monkeypatch, folder: Path) -> None:
    """Let no weights be on this machine, and let what is missing be said as if for the first time."""
    from mea_plugin.training.logged_metrics import logged_metric

    monkeypatch.setenv('TORCH_HOME', str(folder / 'nothing'))
    monkeypatch.delenv('MEA_METRIC_WEIGHTS', raising=False)
    logged_metric.cache_clear()


def squeezenet(monkeypatch, folder: Path) -> str:
    """A folder with random weights for LPIPS on SqueezeNet, which for this test are the published ones."""
    from torchvision.models import squeezenet1_1

    from mea_plugin.metrics.published_weights import KNOWN

    hide(monkeypatch, folder)
    torch.manual_seed(0)
    torch.save(squeezenet1_1(weights=None).state_dict(), folder / SQUEEZE)
    known = {'sha256': hash_file(folder / SQUEEZE), 'size': (folder / SQUEEZE).stat().st_size}
    monkeypatch.setitem(KNOWN, SQUEEZE, KNOWN[SQUEEZE]._replace(**known))
    return str(folder)


class Moments:
    """An extractor in Inception's place: means and deviations of the channels, which know their order."""

    size, fingerprint = 6, 'moments'

    def __init__(self) -> None:
        self.seen = 0

    def extract(self, image: np.ndarray) -> np.ndarray:
        """float32 ``(6,)``."""
        self.seen += 1
        pixels = image.reshape(-1, 3).astype(np.float64)
        return np.concatenate([pixels.mean(0), pixels.std(0)]).astype(np.float32)

    def collect(self, cache: Path | None = None):
        """As ``InceptionExtractor``."""
        from mea_plugin.metrics.features import ImageFeatures

        return ImageFeatures(self, cache)


def moments(monkeypatch, folder: Path) -> Moments:
    """Let FID and KID compare moments of colours."""
    from mea_plugin.metrics import fid_kid
    from mea_plugin.metrics.inception import WEIGHTS
    from mea_plugin.metrics.weight_source import WeightSource

    hide(monkeypatch, folder)
    extractor = Moments()
    get = WeightSource.get
    monkeypatch.setattr(WeightSource, 'get', lambda self, name: folder if name == WEIGHTS else get(self, name))
    monkeypatch.setattr(fid_kid, 'shared_extractor', lambda path: extractor)
    return extractor
