"""The Inception network of FID and KID, as torch-fidelity ports it, with its weights checked by hash."""

from __future__ import annotations

import functools
import io
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_file, hash_json
from mea_plugin.metrics.features import ImageFeatures

if TYPE_CHECKING:
    from torch import nn

__all__ = ['WEIGHTS', 'InceptionExtractor', 'shared_extractor']

WEIGHTS = 'pt_inception-2015-12-05-6726825d.pth'

_LAYER = '2048'


class InceptionExtractor:
    """Features of the last pooling layer of TensorFlow's Inception-v3 of 2015-12-05.

    The network resizes images to 299 x 299 itself, bilinearly as TensorFlow 1 does. It is built when it is first
    needed and serves one thread at a time.

    Args:
        path: Its weights, whose hash was checked.
    """

    size = int(_LAYER)

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of the weights and of which network reads them."""
        return hash_json(['torch-fidelity InceptionV3', _LAYER, hash_file(self.path)])

    def collect(self, cache: Path | None = None) -> ImageFeatures:
        """An empty set of images' features.

        Args:
            cache: A folder where features are kept for other sets and later runs.
        """
        return ImageFeatures(self, cache)

    def extract(self, image: np.ndarray) -> np.ndarray:
        """The features of a uint8 image ``(H, W, 3)``, RGB: float32 ``(2048,)``."""
        import torch

        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
        with self._lock, torch.inference_mode():
            (features,) = self.network(pixels)
            return features[0].numpy()

    @functools.cached_property
    def network(self) -> nn.Module:
        """torch-fidelity's network; takes a uint8 tensor ``(N, 3, H, W)``, gives a tuple of ``(N, 2048)``."""
        import torch
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        from mea_plugin.core.weights import fit, read_checkpoint, select

        state = select(read_checkpoint(self.path), (), self.path)
        # The constructor reads a file in the way that executes code in it, so it is given one without content.
        outline = io.BytesIO()
        torch.save({key: value.to('meta') for key, value in state.items()}, outline)
        outline.seek(0)
        try:
            with torch.device('meta'), warnings.catch_warnings():
                warnings.simplefilter('ignore')
                network = FeatureExtractorInceptionV3('inception-v3-compat', [_LAYER], outline)
        except RuntimeError as error:  # its own strict loading
            what = f'the weights do not fit Inception-v3 ({str(error).splitlines()[-1].strip()})'
            raise InputError(what, where=self.path, do='Get the file again') from error
        network.to_empty(device='cpu')
        # Counted in training only, and not in every file.
        counters = {key: value for key, value in network.state_dict().items() if key.endswith('num_batches_tracked')}
        fit(network, {**{key: torch.zeros_like(value) for key, value in counters.items()}, **state}, self.path)
        return network


@functools.lru_cache(maxsize=1)
def _shared(path: Path, changed: int) -> InceptionExtractor:
    return InceptionExtractor(path)


def shared_extractor(path: Path) -> InceptionExtractor:
    """The extractor of a weight file; one for all who ask in this process while the file stays as it is."""
    return _shared(path, path.stat().st_mtime_ns)
