"""Every metric by its name, under its protocol."""

from __future__ import annotations

from collections.abc import Sequence

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.metrics import bands, ceiling, fid_kid, flips, lpips, ms_ssim, niqe, patches, psnr_ssim, spectrum
from mea_plugin.metrics.metric import Maker, Metric
from mea_plugin.metrics.registry import METRICS
from mea_plugin.metrics.weight_source import WeightSource

__all__ = ['DEFAULT', 'find_metrics', 'metric_names']

DEFAULT = ('psnr_y', 'ssim_y', 'psnr_rgb', 'ssim_rgb')
"""What is measured when nobody says what."""

_MAKERS: dict[str, Maker] = {
    **psnr_ssim.METRICS,
    **ms_ssim.METRICS,
    **bands.METRICS,
    **spectrum.METRICS,
    **patches.METRICS,
    **flips.METRICS,
    **ceiling.METRICS,
    **lpips.METRICS,
    **niqe.METRICS,
    **fid_kid.METRICS,
}
METRICS.update(_MAKERS)


def find_metrics(names: Sequence[str], *, sources: WeightSource | None = None, where: str = 'metrics') -> list[Metric]:
    """The metrics of some names, in their order.

    Args:
        names: Names of :func:`metric_names`; each once.
        sources: Where learned metrics find their weights.
        where: The option that names them, for errors.

    Raises:
        InputError: A name is unknown (the nearest is named) or given twice, or a weight file has the wrong content.
    """
    sources = sources or WeightSource()
    for name in names:
        if name not in METRICS:
            raise InputError(f"no metric is called '{name}'", where=where, do=suggestion(str(name), metric_names()))
        if list(names).count(name) > 1:
            raise InputError(f"'{name}' is there twice", where=where, do='Remove one')
    return [METRICS.find(name, where=where)(name, sources) for name in names]


def metric_names() -> list[str]:
    """The names of all metrics; those that others registered come last."""
    return [*_MAKERS, *(name for name in METRICS.names() if name not in _MAKERS)]
