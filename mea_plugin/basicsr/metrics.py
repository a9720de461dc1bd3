"""Metrics of this package for BasicSR's validation.

Each takes what BasicSR's own metrics take: two images of grey levels from 0 to 255, BGR, uint8 or float (rounded to
whole grey levels, as in a file), and the pixels to cut at each edge. What cannot be computed is NaN, and the log says
why, once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import basicsr.metrics  # noqa: F401 - the toolbox's own come first
from basicsr.utils import get_root_logger
from basicsr.utils.registry import METRIC_REGISTRY

from mea_plugin.core.errors import InputError
from mea_plugin.core.options import check_number
from mea_plugin.metrics.families import Family, families
from mea_plugin.metrics.planes import Channel
from mea_plugin.training.logged_metrics import check_weights, logged_metric, to_rgb

__all__ = ['METRICS', 'announce_missing', 'better_value', 'check_metric']

_ORDERS = ('HWC', 'CHW')


def _function(family: Family) -> Callable[..., float]:
    """The function ``calculate_NAME`` for BasicSR, with the arguments that the family takes as its signature.

    These are ``img`` and ``img2``, ``(H, W, 3)`` or ``(3, H, W)``; ``crop_border``; ``input_order``, ``HWC`` or
    ``CHW``; ``test_y_channel``, which must fit what the metric is defined on; ``net``, where there are several of them;
    and ``weights``, the folder of weight files (None: where ``MEA_METRIC_WEIGHTS`` points to; without them: NaN). Other
    arguments are not used; BasicSR hands over all options.
    """

    def calculate(
        img: Any, img2: Any, crop_border: int, input_order: str = 'HWC', weights: str | None = None, **options: Any
    ) -> float:
        images = [to_rgb(one, axes=input_order, order='bgr') for one in (img, img2)]
        return logged_metric(_name(family, options), weights)(*images, border=crop_border, warn=_warn)

    defaults: dict[str, Any] = {'input_order': 'HWC', 'test_y_channel': family.channels == ('y',)}
    defaults |= {'net': family.backbones[0]} if family.backbones else {}
    defaults |= {'weights': None} if family.takes_weights else {}
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in ('img', 'img2', 'crop_border')]
    parameters += [inspect.Parameter(name, kind, default=value) for name, value in defaults.items()]
    parameters.append(inspect.Parameter('options', inspect.Parameter.VAR_KEYWORD))
    vars(calculate)['__signature__'] = inspect.Signature(parameters)
    calculate.__name__ = calculate.__qualname__ = f'calculate_{family.name}'
    members = ', '.join(member.name for member in family.members)
    calculate.__doc__ = f'{members} of :mod:`mea_plugin.metrics`; {family.better} is better.'
    return calculate


_FAMILIES = {
    _function(family): family
    for name, family in families().items()
    if family.kind == 'pair' and f'calculate_{name}' not in METRIC_REGISTRY
}

METRICS: tuple[Callable[..., float], ...] = tuple(_FAMILIES)
"""One for each family of the catalogue that compares two images and that the toolbox does not have itself."""


def __getattr__(name: str) -> Callable[..., float]:
    for metric in METRICS:
        if metric.__name__ == name:
            return metric
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def better_value(options: Mapping[str, Any]) -> str:
    """Which values of a metric are better: what its options say, or else ``lower`` where it is known to be a distance.

    BasicSR takes ``higher`` for all where nothing is said.
    """
    return str(options.get('better') or _known(options) or 'higher')


def _known(options: Mapping[str, Any]) -> str | None:
    """Which values are better of a metric of the catalogue, or of the toolbox's of that name."""
    family = families().get(str(options.get('type')).removeprefix('calculate_').removesuffix('_pt'))
    return family.better if family else None


def check_metric(options: Mapping[str, Any], metric: Any, where: str) -> None:
    """Check the values of a metric's options, whose names have been checked.

    Args:
        options: The metric's section in the option file.
        metric: The registered function.
        where: The section, for errors.

    Raises:
        InputError: A value cannot be used, or ``better`` is the wrong way round.
    """
    known = _known(options)
    if options.get('better') not in (None, *((known,) if known else ('higher', 'lower'))):
        what = f'better is {options["better"]!r}'
        what += f', but {known} values of {options["type"]} are better' if known else ''
        raise InputError(what, where=where, do=f'Write {known or "higher or lower"}, or remove it')
    if metric in METRICS:
        check_number(options, 'crop_border', where, least=0)
        if options.get('input_order', 'HWC') not in _ORDERS:
            what = f'input_order is {options["input_order"]!r}'
            raise InputError(what, where=where, do='Remove it: validation gives HWC')
        check_weights([_name(_FAMILIES[metric], options, where)], options.get('weights'), where=where)


def announce_missing(metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """Log, when a training starts, which of these metrics will be NaN, and why.

    Args:
        metrics: The section ``val.metrics``.
    """
    for options in metrics.values():
        metric = METRIC_REGISTRY._obj_map.get(options['type'])
        if metric in METRICS:
            logged_metric(_name(_FAMILIES[metric], options), options.get('weights')).announce(_warn)


def _warn(text: str) -> None:
    get_root_logger().warning(text)  # on the first rank alone: BasicSR's others log errors only


def _name(family: Family, options: Mapping[str, Any], where: str = '') -> str:
    """The name in the catalogue."""
    on_y = options.get('test_y_channel', family.channels == ('y',))
    if not isinstance(on_y, bool):
        raise InputError(f'test_y_channel is {on_y!r}', where=where, do='Write true or false')
    channel: Channel = 'y' if on_y else 'rgb'
    if channel not in family.channels:
        what = f'{family.label} takes colours, not Y' if on_y else f'{family.name} is a metric of Y'
        raise InputError(what, where=where, do='Remove test_y_channel')
    return family.find(channel, options.get('net'), where=where)
