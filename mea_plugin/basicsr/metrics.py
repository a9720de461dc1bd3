"""Metrics of this package for BasicSR's validation.

Each takes what BasicSR's own metrics take: two images of grey levels from 0 to 255, BGR, uint8 or float (rounded to
whole grey levels, as in a file), and the pixels to cut at each edge. What cannot be computed is NaN, and the log says
why, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from basicsr.utils import get_root_logger

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.options import check_number
from mea_plugin.training.logged_metrics import check_weights, logged_metric, to_rgb

__all__ = [
    *('METRICS', 'announce_missing', 'better_value', 'calculate_hf_psnr', 'calculate_lpips', 'calculate_ms_ssim'),
    *('calculate_spectrum_error', 'calculate_worst_patch_psnr', 'check_metric'),
]

_NETS = ('alex', 'vgg', 'squeeze')
_ORDERS = ('HWC', 'CHW')
_BETTER = {
    **dict.fromkeys(('calculate_lpips', 'calculate_spectrum_error', 'calculate_niqe'), 'lower'),
    **dict.fromkeys(('calculate_hf_psnr', 'calculate_ms_ssim', 'calculate_worst_patch_psnr'), 'higher'),
    **dict.fromkeys(('calculate_psnr', 'calculate_ssim', 'calculate_psnr_pt', 'calculate_ssim_pt'), 'higher'),
}


def calculate_lpips(
    img: Any,
    img2: Any,
    crop_border: int,
    input_order: str = 'HWC',
    test_y_channel: bool = False,
    net: str = 'alex',
    weights: str | None = None,
    **kwargs: Any,
) -> float:
    """LPIPS, a perceptual distance (Zhang et al., CVPR 2018); lower is better.

    Args:
        img: ``(H, W, 3)`` or ``(3, H, W)``, BGR, grey levels from 0 to 255; uint8 or float.
        img2: The same, of the same size.
        crop_border: Pixels to cut at each edge.
        input_order: ``HWC`` or ``CHW``.
        test_y_channel: Must be false: LPIPS takes colours.
        net: The backbone: ``alex``, ``vgg`` or ``squeeze``. Values of different ones cannot be compared.
        weights: The folder of its weight files; None: where ``MEA_METRIC_WEIGHTS`` points to. Without them: NaN.
        kwargs: Not used; BasicSR hands over all options.
    """
    return _measure(_lpips_name(net, test_y_channel), img, img2, crop_border, input_order, weights)


def calculate_hf_psnr(
    img: Any, img2: Any, crop_border: int, input_order: str = 'HWC', test_y_channel: bool = True, **kwargs: Any
) -> float:
    """PSNR, in dB, over the detail bands of Y's wavelet transform; higher is better.

    It sees what the high-frequency penalty sees. ``hf_psnr`` of :mod:`mea_plugin.metrics`; the arguments are those of
    :func:`calculate_lpips`, with ``test_y_channel`` true.
    """
    return _measure(_on_y('hf_psnr', test_y_channel), img, img2, crop_border, input_order)


def calculate_ms_ssim(
    img: Any, img2: Any, crop_border: int, input_order: str = 'HWC', test_y_channel: bool = False, **kwargs: Any
) -> float:
    """Multi-scale structural similarity, on Y or on R, G and B; higher is better.

    ``ms_ssim_y`` or ``ms_ssim_rgb`` of :mod:`mea_plugin.metrics`; the arguments are those of :func:`calculate_lpips`.
    NaN for an image that is too small for its scales.
    """
    return _measure(_ms_ssim_name(test_y_channel), img, img2, crop_border, input_order)


def calculate_spectrum_error(
    img: Any, img2: Any, crop_border: int, input_order: str = 'HWC', test_y_channel: bool = True, **kwargs: Any
) -> float:
    """How far, in dB, the radial power spectrum of Y is from that of ``img2``; lower is better.

    ``spectrum_error`` of :mod:`mea_plugin.metrics`; the arguments are those of :func:`calculate_lpips`, with
    ``test_y_channel`` true.
    """
    return _measure(_on_y('spectrum_error', test_y_channel), img, img2, crop_border, input_order)


def calculate_worst_patch_psnr(
    img: Any, img2: Any, crop_border: int, input_order: str = 'HWC', test_y_channel: bool = True, **kwargs: Any
) -> float:
    """PSNR of Y, in dB, in the patch where it is lowest; higher is better.

    ``worst_patch_psnr`` of :mod:`mea_plugin.metrics`; the arguments are those of :func:`calculate_lpips`, with
    ``test_y_channel`` true.
    """
    return _measure(_on_y('worst_patch_psnr', test_y_channel), img, img2, crop_border, input_order)


METRICS: tuple[Callable[..., float], ...] = (
    calculate_lpips,
    calculate_hf_psnr,
    calculate_ms_ssim,
    calculate_spectrum_error,
    calculate_worst_patch_psnr,
)
"""What is registered, under the functions' names, unless the toolbox holds them."""


def better_value(options: Mapping[str, Any]) -> str:
    """Which values of a metric are better: what its options say, or else ``lower`` where it is known to be a distance.

    BasicSR takes ``higher`` for all where nothing is said.
    """
    return str(options.get('better') or _BETTER.get(str(options.get('type')), 'higher'))


def check_metric(options: Mapping[str, Any], metric: Any, where: str) -> None:
    """Check the values of a metric's options, whose names have been checked.

    Args:
        options: The metric's section in the option file.
        metric: The registered function.
        where: The section, for errors.

    Raises:
        InputError: A value cannot be used, or ``better`` is the wrong way round.
    """
    known = _BETTER.get(options['type'])
    if options.get('better') not in (None, *((known,) if known else ('higher', 'lower'))):
        what = f'better is {options["better"]!r}'
        what += f', but {known} values of {options["type"]} are better' if known else ''
        raise InputError(what, where=where, do=f'Write {known or "higher or lower"}, or remove it')
    if metric in METRICS:
        check_number(options, 'crop_border', where, least=0)
        if options.get('input_order', 'HWC') not in _ORDERS:
            what = f'input_order is {options["input_order"]!r}'
            raise InputError(what, where=where, do='Remove it: validation gives HWC')
        check_weights([_name(metric, options, where)], options.get('weights'), where=where)


def announce_missing(metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """Log, when a training starts, which of these metrics will be NaN, and why.

    Args:
        metrics: The section ``val.metrics``.
    """
    from basicsr.utils.registry import METRIC_REGISTRY

    for options in metrics.values():
        metric = METRIC_REGISTRY._obj_map.get(options['type'])
        if metric in METRICS:
            logged_metric(_name(metric, options), options.get('weights')).announce(_warn)


def _measure(name: str, img: Any, img2: Any, border: int, input_order: str, weights: str | None = None) -> float:
    images = [to_rgb(one, axes=input_order, order='bgr') for one in (img, img2)]
    return logged_metric(name, weights)(*images, border=border, warn=_warn)


def _warn(text: str) -> None:
    get_root_logger().warning(text)  # on the first rank alone: BasicSR's others log errors only


def _name(metric: Any, options: Mapping[str, Any], where: str = '') -> str:
    """What :mod:`mea_plugin.metrics` calls it."""
    if metric is calculate_lpips:
        return _lpips_name(options.get('net', 'alex'), options.get('test_y_channel', False), where)
    if metric is calculate_ms_ssim:
        return _ms_ssim_name(options.get('test_y_channel', False), where)
    return _on_y(metric.__name__.removeprefix('calculate_'), options.get('test_y_channel', True), where)


def _lpips_name(net: Any, on_y: Any, where: str = '') -> str:
    if net not in _NETS:
        raise InputError(f"LPIPS has no backbone '{net}'", where=where, do=suggestion(str(net), _NETS))
    if _switch(on_y, where):
        raise InputError('LPIPS takes colours, not Y', where=where, do='Remove test_y_channel')
    return f'lpips_{net}'


def _ms_ssim_name(on_y: Any, where: str = '') -> str:
    return 'ms_ssim_y' if _switch(on_y, where) else 'ms_ssim_rgb'


def _on_y(name: str, on_y: Any, where: str = '') -> str:
    if not _switch(on_y, where):
        raise InputError(f'{name} is a metric of Y', where=where, do='Remove test_y_channel')
    return name


def _switch(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise InputError(f'test_y_channel is {value!r}', where=where, do='Write true or false')
    return value
