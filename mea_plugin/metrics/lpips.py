"""LPIPS, the learned perceptual distance, through its authors' package and with ImageNet's weights checked by hash."""

from __future__ import annotations

import functools
import math
import threading
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mea_plugin.core.packages import lacking, to_install
from mea_plugin.metrics.metric import Maker, Metric, cannot_measure
from mea_plugin.metrics.planes import Planes, check_same_size
from mea_plugin.metrics.weight_source import WeightSource

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ['METRICS', 'Lpips']


@dataclass(frozen=True)
class _Backbone:
    """A network that LPIPS compares the features of.

    Attributes:
        title: What tables call it.
        name: What the package lpips calls it.
        torchvision: Its constructor in ``torchvision.models``.
        weights: Its weight file.
        smallest: The shortest side of an image that all its layers can take.
    """

    title: str
    name: str
    torchvision: str
    weights: str
    smallest: int


_BACKBONES = {
    'lpips_alex': _Backbone('AlexNet', 'alex', 'alexnet', 'alexnet-owt-7be5be79.pth', 31),
    'lpips_vgg': _Backbone('VGG-16', 'vgg', 'vgg16', 'vgg16-397923af.pth', 16),
    'lpips_squeeze': _Backbone('SqueezeNet 1.1', 'squeeze', 'squeezenet1_1', 'squeezenet1_1-b8a52dc0.pth', 17),
}


@dataclass(frozen=True)
class Lpips:
    """The LPIPS distance of one backbone.

    ``d(a, b) = sum_l mean_hw sum_c w_lc (f_lc(a) - f_lc(b))^2`` with ``f_l`` the backbone's features of layer ``l``,
    scaled to length 1 over the channels at each position, and ``w_l`` the package's linear layers of version 0.1. From
    Zhang et al., *The Unreasonable Effectiveness of Deep Features as a Perceptual Metric*, CVPR 2018, equation 1.

    The network is built when it is first needed. Any number of threads may measure; the network serves one at a time,
    so that memory is that of one pair of images.

    Args:
        backbone: Which network.
        path: The backbone's weights as torchvision publishes them.
    """

    backbone: _Backbone
    path: Path
    _lock: Any = field(default_factory=threading.Lock, compare=False, repr=False)

    def __call__(self, image: Planes, reference: Planes) -> float:
        """The distance of two whole images; NaN if they are too small for the backbone."""
        import torch

        check_same_size(image, reference)
        if min(image.whole.shape[:2]) < self.backbone.smallest:
            return math.nan
        with self._lock, torch.inference_mode():
            return float(self.network(_to_tensor(image.whole), _to_tensor(reference.whole)))

    @functools.cached_property
    def network(self) -> nn.Module:
        """The package's network; takes two tensors ``(N, 3, H, W)`` in [-1, 1], gives ``(N, 1, 1, 1)``."""
        import lpips
        import torch
        import torchvision

        from mea_plugin.core.weights import fit, read_checkpoint, select

        # On no device nothing is drawn at random and nothing waits to be overwritten: every tensor comes from a file.
        with torch.device('meta'), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # the package uses torchvision's older arguments
            network = lpips.LPIPS(pretrained=False, pnet_rand=True, net=self.backbone.name, verbose=False)
            whole = getattr(torchvision.models, self.backbone.torchvision)()
        state = select(read_checkpoint(self.path), (), self.path)
        fit(whole, {key: value.to('meta') for key, value in state.items()}, self.path)  # also what is not used here
        scaling = lpips.lpips.ScalingLayer().state_dict()
        lines = Path(lpips.__file__).parent / 'weights' / 'v0.1' / f'{self.backbone.name}.pth'
        network.to_empty(device='cpu')
        fit(network.net, {key: state[_in_torchvision(key)] for key in network.net.state_dict()}, self.path)
        fit(network.scaling_layer, scaling, self.path)
        fit(network.lins, {_in_list(key): value for key, value in read_checkpoint(lines).items()}, lines)
        return network.requires_grad_(False).eval()


def _in_torchvision(key: str) -> str:
    """``slice2.3.weight`` of the package's sliced backbone is torchvision's ``features.3.weight``."""
    _, layer, name = key.split('.', 2)
    return f'features.{layer}.{name}'


def _in_list(key: str) -> str:
    """``lin2.model.1.weight`` is ``2.model.1.weight`` in the list that holds the same layers."""
    return key.removeprefix('lin')


def _to_tensor(image: np.ndarray) -> Tensor:
    """uint8 ``(H, W, 3)`` to float32 ``(1, 3, H, W)`` in [-1, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].float() / 127.5 - 1


@functools.lru_cache(maxsize=len(_BACKBONES))
def _shared(name: str, path: Path, changed: int) -> Lpips:
    """One network for all who measure with the same weights in this process."""
    return Lpips(_BACKBONES[name], path)


def _make(name: str, sources: WeightSource) -> Metric:
    backbone = _BACKBONES[name]
    absent = lacking('lpips', 'torchvision')
    path = None if absent else sources.get(backbone.weights)
    missing = f'{", ".join(absent)}: {to_install(*absent)}' if absent else sources.advice(backbone.weights)
    return Metric(
        name=name,
        title=f'LPIPS ({backbone.title})',
        unit='',
        digits=4,
        better='lower',
        kind='pair',
        backbone=name.removeprefix('lpips_'),
        protocol=(
            f'LPIPS version 0.1 with linear layers on {backbone.title} ({backbone.weights}), on RGB in [-1, 1], the '
            f'whole image with its border; sides of at least {backbone.smallest} pixels (Zhang et al., CVPR 2018)'
        ),
        measure=_shared(name, path, path.stat().st_mtime_ns) if path else cannot_measure,
        missing='' if path else missing,
    )


METRICS: dict[str, Maker] = dict.fromkeys(_BACKBONES, _make)
