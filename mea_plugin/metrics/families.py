"""Metrics as a toolbox registers them: one name for those that differ by channels or by the network they use."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.metrics.catalogue import find_metrics, metric_names
from mea_plugin.metrics.metric import Kind, Metric
from mea_plugin.metrics.planes import Channel
from mea_plugin.metrics.weight_source import WeightSource

__all__ = ['Family', 'families']

_ACRONYMS = ('fid', 'hf', 'kid', 'lpips', 'ms', 'niqe', 'psnr', 'ssim')


@dataclass(frozen=True)
class Family:
    """The metrics of one definition: ``psnr`` is ``psnr_y`` and ``psnr_rgb``, ``lpips`` has one for each backbone.

    Attributes:
        name: The part of their names that they share.
        members: The metrics; made without weights, to be read and not to be measured with.
    """

    name: str
    members: tuple[Metric, ...]

    @property
    def label(self) -> str:
        """The name as a class's: ``HFPSNR``, ``SpectrumError``."""
        parts = self.name.split('_')
        return ''.join(part.upper() if part in _ACRONYMS or not part.isalpha() else part.title() for part in parts)

    @property
    def kind(self) -> Kind:
        """The kind of all members."""
        return self.members[0].kind

    @property
    def better(self) -> str:
        """``higher`` or ``lower``."""
        return self.members[0].better

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels it is defined on; ``rgb`` first."""
        return tuple(sorted({member.channel for member in self.members}))

    @property
    def backbones(self) -> tuple[str, ...]:
        """The networks it is defined with, if any; the first is the default."""
        return tuple(dict.fromkeys(member.backbone for member in self.members if member.backbone))

    @property
    def takes_weights(self) -> bool:
        """Whether it needs weight files."""
        return any(member.missing for member in self.members)

    def find(self, channel: Channel | None = None, backbone: str | None = None, *, where: str = '') -> str:
        """The name in the catalogue.

        Args:
            channel: One of :attr:`channels`; None for the first.
            backbone: One of :attr:`backbones`; None for the first.
            where: The option it comes from, for errors.

        Raises:
            InputError: It is not defined with that network.
        """
        channel = channel or self.channels[0]
        if backbone is not None and backbone not in self.backbones:
            do = suggestion(str(backbone), self.backbones)
            raise InputError(f"{self.label} has no backbone '{backbone}'", where=where, do=do)
        backbone = backbone or (self.backbones[0] if self.backbones else '')
        return next(one.name for one in self.members if (one.channel, one.backbone) == (channel, backbone))


class _NoWeights(WeightSource):
    """A source that has nothing, so that nothing is read or built."""

    def __post_init__(self) -> None:
        """Look nowhere."""

    def get(self, name: str) -> Path | None:
        """No file."""
        return None


@functools.cache
def families() -> dict[str, Family]:
    """All metrics of the catalogue by their families' names."""
    members: dict[str, list[Metric]] = {}
    for metric in find_metrics(metric_names(), sources=_NoWeights()):
        name = metric.name.removesuffix(f'_{metric.backbone}').removesuffix(f'_{metric.channel}')
        members.setdefault(name, []).append(metric)
    return {name: Family(name, tuple(found)) for name, found in members.items()}
