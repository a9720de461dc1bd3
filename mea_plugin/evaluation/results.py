"""What an evaluation found, and the protocol it was found under; the JSON is made from these alone."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import mea_plugin
from mea_plugin.evaluation.metrics import CHANNELS, K1, K2, PEAK, SIGMA, WINDOW, Channel, Score

__all__ = ['Comparison', 'EvaluatedModel', 'EvaluationResult', 'Mean', 'Protocol', 'SetResult']

_PACKAGES = ('numpy', 'scipy', 'Pillow', 'torch', 'basicsr', 'mmagic')
_DIGITS = 6  # of a decibel and of SSIM: more would differ from one machine to the next


@dataclass(frozen=True)
class Protocol:
    """How images are compared: the scale and how many pixels are cut at each edge."""

    scale: int

    @property
    def border(self) -> int:
        """By custom the scale; nothing is cut where the size stays (scale 1)."""
        return self.scale if self.scale > 1 else 0

    def describe(self, count: int, values: str = 'mean over images') -> str:
        """One sentence for tables: how many images, under which protocol, and what their ``values`` are."""
        images = '1 image' if count == 1 else f'{count} images'
        cropped = f'{self.border} pixels cropped at each edge' if self.border else 'nothing cropped'
        return f'{images}, x{self.scale}; PSNR in dB and SSIM on Y (BT.601, as MATLAB) and on RGB; {cropped}; {values}.'

    def to_json(self) -> dict[str, Any]:
        """Every setting that the numbers depend on."""
        return {
            'scale': self.scale,
            'border': self.border,
            'channels': {
                'y': 'Y of ITU-R BT.601, limited range, as MATLAB rgb2ycbcr, not rounded',
                'rgb': 'R, G and B: PSNR of their joint mean squared error, mean of their SSIM',
            },
            'psnr': {
                'unit': 'dB',
                'peak': PEAK,
                'identical': 'null for equal images; they are left out of the mean and counted in "identical"',
            },
            'ssim': {'window': WINDOW, 'sigma': SIGMA, 'k1': K1, 'k2': K2, 'region': 'where the whole window fits'},
            'mean': 'arithmetic, over images',
        }


@dataclass(frozen=True)
class EvaluatedModel:
    """One row of the tables.

    Attributes:
        name: How the option file calls it.
        role: ``victim``, ``surrogate`` or ``baseline``.
        title: How the model calls itself.
        fingerprint: The stable hash of what answers.
    """

    name: str
    role: str
    title: str
    fingerprint: str


@dataclass(frozen=True)
class Mean:
    """A mean over images.

    Attributes:
        psnr: Mean over the images that differ from their reference; ``inf`` when none does.
        ssim: Mean over all images.
        identical: How many equal their reference, and so are missing from ``psnr``.
    """

    psnr: float
    ssim: float
    identical: int


@dataclass(frozen=True)
class Comparison:
    """One model against one reference on every image of a set: ``images[name][channel]``."""

    images: dict[str, dict[Channel, Score]]

    def mean(self, channel: Channel) -> Mean:
        """The mean over the images."""
        scores = [image[channel] for image in self.images.values()]
        finite = [score.psnr for score in scores if math.isfinite(score.psnr)]
        return Mean(
            psnr=math.fsum(finite) / len(finite) if finite else math.inf,
            ssim=math.fsum(score.ssim for score in scores) / len(scores),
            identical=len(scores) - len(finite),
        )

    def to_json(self) -> dict[str, Any]:
        """Mean and per image."""
        means = {channel: self.mean(channel) for channel in CHANNELS}
        return {
            'mean': {channel: {**_pair(mean), 'identical': mean.identical} for channel, mean in means.items()},
            'images': {
                name: {channel: _pair(score) for channel, score in scores.items()}
                for name, scores in self.images.items()
            },
        }


@dataclass(frozen=True)
class SetResult:
    """One test set.

    Attributes:
        name: How tables call it.
        count: How many images.
        fingerprint: A hash of its names and pixels.
        fidelity: Every other model against the victim.
        quality: Every model against the ground truth; empty without one.
    """

    name: str
    count: int
    fingerprint: str
    fidelity: dict[str, Comparison]
    quality: dict[str, Comparison]

    def to_json(self) -> dict[str, Any]:
        """The set's identity and its scores."""
        return {
            'name': self.name,
            'count': self.count,
            'fingerprint': self.fingerprint,
            'fidelity': {name: comparison.to_json() for name, comparison in self.fidelity.items()},
            'quality': {name: comparison.to_json() for name, comparison in self.quality.items()},
        }


@dataclass(frozen=True)
class EvaluationResult:
    """All that was measured."""

    name: str
    protocol: Protocol
    models: list[EvaluatedModel]
    sets: list[SetResult]

    @property
    def surrogates(self) -> list[str]:
        """The names of the surrogates, in the order given."""
        return [model.name for model in self.models if model.role == 'surrogate']

    def to_json(self) -> dict[str, Any]:
        """Plain values; nothing in it depends on the machine but the versions of its packages."""
        return {
            'name': self.name,
            'protocol': self.protocol.to_json(),
            'models': [vars(model) for model in self.models],
            'test_sets': [test_set.to_json() for test_set in self.sets],
            'packages': _versions(),
        }


def _pair(score: Score | Mean) -> dict[str, float | None]:
    """JSON knows no infinity: null stands for it."""
    return {
        'psnr': round(score.psnr, _DIGITS) if math.isfinite(score.psnr) else None,
        'ssim': round(score.ssim, _DIGITS),
    }


def _versions() -> dict[str, str]:
    installed = {package: _version(package) for package in _PACKAGES}
    return {
        'mea_plugin': mea_plugin.__version__,
        'python': platform.python_version(),
        **{package: version for package, version in installed.items() if version},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
