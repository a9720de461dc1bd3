"""BasicSR's networks from their options, and what sizes of images they take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.networks import check_call, forward_padded
from mea_plugin.core.options import check_section, require
from mea_plugin.core.weights import load_weights
from mea_plugin.losses.registry import LOSSES
from mea_plugin.toolboxes import basicsr_compat as compat

compat.apply()

from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY  # noqa: E402 - needs the work-arounds

__all__ = ['build_network', 'check_call', 'check_type', 'find', 'forward_padded', 'load_weights', 'size_multiple']


def find(registry: Any, name: Any, where: str) -> Any:
    """The registered object of that name, BasicSR's own ``_basicsr`` suffix left out or not.

    A loss may also be another package's entry point, which is registered now.

    Raises:
        InputError: There is none; the nearest name is given.
    """
    if registry is LOSS_REGISTRY and isinstance(name, str) and name not in registry:
        LOSSES.load(name, where=where)
    names = {key.removesuffix('_basicsr'): key for key in registry.keys()}  # noqa: SIM118 - a Registry is no dict
    names |= {key: key for key in registry.keys()}  # noqa: SIM118
    if not isinstance(name, str) or name not in names:
        known = sorted({key.removesuffix('_basicsr') for key in names})
        raise InputError(f"no {registry._name} '{name}' is registered", where=where, do=suggestion(str(name), known))
    return registry._obj_map[names[name]]


def check_type(registry: Any, options: Any, where: str, *, given: tuple[str, ...] = ()) -> Any:
    """The registered object that ``type`` names, after checking the other options against its signature.

    Args:
        registry: Where it is registered.
        options: ``type`` and arguments.
        where: The option they come from, for errors.
        given: Arguments that the caller gives itself.

    Raises:
        InputError: No such name, or arguments that it does not take.
    """
    check_section(options, where)
    found = find(registry, require(options, 'type', where), f'{where}.type')
    check_call(found, {key: value for key, value in options.items() if key != 'type'}, where, given=given)
    return found


def build_network(options: Mapping[str, Any], *, where: str = 'network_g') -> nn.Module:
    """Build a registered network.

    Args:
        options: ``type`` and the network's own arguments.
        where: The file and option they come from, for errors.

    Raises:
        InputError: Unknown type or argument, or arguments that the network cannot be built with.
    """
    arguments = dict(options)
    if 'type' not in arguments:
        raise InputError('the network has no type', where=where, do='Add type, for example MSRResNet')
    network = find(ARCH_REGISTRY, arguments.pop('type'), f'{where}.type')
    check_call(network, arguments, where)
    try:
        with compat.quiet():
            return network(**arguments)
    except (TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
        reason = str(error) or type(error).__name__
        raise InputError(
            f'{network.__name__} cannot be built ({reason})', where=where, do='Correct its options'
        ) from error


def size_multiple(options: Mapping[str, Any]) -> int:
    """What the input's height and width must be multiples of, for the networks that care.

    SwinIR cuts windows; RRDBNet unshuffles pixels for scale 2 and 1.
    """
    if options.get('type') == 'SwinIR':
        return int(options.get('window_size', 7))
    if options.get('type') == 'RRDBNet':
        return {2: 2, 1: 4}.get(options.get('scale', 4), 1)
    return 1
