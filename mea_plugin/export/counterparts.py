"""Which of BasicSR's networks computes the same as one of MMagic's, with the same weights under other names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.export.surrogate import Surrogate

__all__ = ['Counterpart', 'find_counterpart']

_MEAN = (0.4488, 0.4371, 0.4040)


@dataclass(frozen=True)
class Counterpart:
    """A network of BasicSR.

    Attributes:
        network: ``type`` and arguments.
        rename: From a weight's name in MMagic to that in BasicSR.
    """

    network: dict[str, Any]
    rename: Callable[[str], str]


def find_counterpart(surrogate: Surrogate) -> Counterpart:
    """BasicSR's equal of a surrogate of MMagic.

    MMagic's ``MSRResNet`` has none: it leaves out the activations between the upsampling layers. That the two answer
    alike is not taken from here, but measured on every export.

    Raises:
        InputError: There is none.
    """
    kind = str(surrogate.network['type'])
    wiring = surrogate.victim.wiring
    where = '--format basicsr'
    if kind not in _KNOWN:
        raise InputError(
            f"BasicSR has no network that computes what MMagic's {kind} does", where=where, do='Use safetensors or onnx'
        )
    if (wiring.value_range, wiring.channel_order) != ((0.0, 1.0), 'rgb'):
        low, high = wiring.value_range
        raise InputError(
            f'the network works on {wiring.channel_order.upper()} in [{low:g}, {high:g}], BasicSR on RGB in [0, 1]',
            where=where,
            do='Use safetensors or onnx',
        )
    found = _KNOWN[kind](surrogate.network)
    if found is None:
        raise InputError(f'{kind} with these options has no equal in BasicSR', where=where, do='Use safetensors')
    return found


def _edsr(options: Mapping[str, Any]) -> Counterpart | None:
    if any(value != 1 for value in options.get('rgb_std', (1.0,))):
        return None
    network = {
        'type': 'EDSR',
        'num_in_ch': options['in_channels'],
        'num_out_ch': options['out_channels'],
        'num_feat': options.get('mid_channels', 64),
        'num_block': options.get('num_blocks', 16),
        'upscale': options.get('upscale_factor', 4),
        'res_scale': options.get('res_scale', 1),
        'img_range': 1.0,
        'rgb_mean': list(options.get('rgb_mean', _MEAN)),
    }

    def rename(key: str) -> str:
        # MMagic's pack of a convolution and a shuffle is two entries of BasicSR's sequence.
        return re.sub(r'^upsample\.(\d+)\.upsample_conv\.', lambda match: f'upsample.{2 * int(match[1])}.', key)

    return Counterpart(network, rename)


def _rrdb(options: Mapping[str, Any]) -> Counterpart:
    network = {
        'type': 'RRDBNet',
        'num_in_ch': options['in_channels'],
        'num_out_ch': options['out_channels'],
        'scale': options.get('upscale_factor', 4),
        'num_feat': options.get('mid_channels', 64),
        'num_block': options.get('num_blocks', 23),
        'num_grow_ch': options.get('growth_channels', 32),
    }
    return Counterpart(network, _same)


def _swinir(options: Mapping[str, Any]) -> Counterpart:
    plain = {key: value for key, value in options.items() if key not in ('type', 'init_cfg')}
    return Counterpart({'type': 'SwinIR', **plain}, _same)


def _same(key: str) -> str:
    return key


_KNOWN: dict[str, Callable[[Mapping[str, Any]], Counterpart | None]] = {
    'EDSRNet': _edsr,
    'RRDBNet': _rrdb,
    'SwinIRNet': _swinir,
}
