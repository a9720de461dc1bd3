"""BasicSR's networks from their options: built, loaded without executing code, and run on any image size."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mea_plugin.basicsr import compat
from mea_plugin.errors import InputError, suggestion

compat.apply()

from basicsr.utils.registry import ARCH_REGISTRY  # noqa: E402 - needs the work-arounds

__all__ = ['build_network', 'check_call', 'find', 'forward_padded', 'load_weights', 'size_multiple']


def find(registry: Any, name: Any, where: str) -> Any:
    """The registered object of that name, BasicSR's own ``_basicsr`` suffix left out or not.

    Raises:
        InputError: There is none; the nearest name is given.
    """
    names = {key.removesuffix('_basicsr'): key for key in registry.keys()}  # noqa: SIM118 - a Registry is no dict
    names |= {key: key for key in registry.keys()}  # noqa: SIM118
    if name not in names:
        known = sorted({key.removesuffix('_basicsr') for key in names})
        raise InputError(f"no {registry._name} '{name}' is registered", where=where, do=suggestion(str(name), known))
    return registry._obj_map[names[name]]


def check_call(target: Any, arguments: Mapping[str, Any], where: str, *, given: tuple[str, ...] = ()) -> None:
    """Check that ``target(**arguments)`` fits its signature, but for what the caller gives itself.

    Raises:
        InputError: An argument is unknown (the nearest is named) or missing.
    """
    parameters = inspect.signature(target).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = [k for k, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and k not in given]
    for key in arguments:
        if key not in named and not takes_any:
            raise InputError(f"unknown option '{key}'", where=where, do=suggestion(key, named))
    for key in named:
        if parameters[key].default is inspect.Parameter.empty and key not in arguments:
            raise InputError(f"the option '{key}' is missing", where=where, do=f'Add {key}')


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
        return network(**arguments)
    except (TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
        reason = str(error) or type(error).__name__
        raise InputError(
            f'{network.__name__} cannot be built ({reason})', where=where, do='Correct its options'
        ) from error


def load_weights(
    network: nn.Module,
    path: str | Path,
    *,
    param_keys: Sequence[str] = ('params_ema', 'params'),
    strict: bool = True,
) -> list[str]:
    """Load a BasicSR weight file into a network without executing code.

    Args:
        network: Where the weights go.
        path: A ``.pth`` file: a dict that holds state dicts under names, or one state dict.
        param_keys: The first of these names that the file has is loaded; a plain state dict is loaded as it is.
        strict: Refuse weights that do not fit; otherwise load those that do.

    Returns:
        What was left out, one line per tensor; empty when ``strict``.

    Raises:
        InputError: The file is missing or damaged, would execute code, lacks the names, or does not fit the network.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError('no such weight file', where=path, do='Check the path of the weights')
    state = _select(_read_state(path), param_keys, path)
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    own = network.state_dict()
    odd = [f'{key} is missing' for key in own if key not in state]
    odd += [f'{key} is not in the network' for key in state if key not in own]
    common = [key for key in own if key in state]
    misfits = [key for key in common if state[key].shape != own[key].shape]
    odd += [f'{key} is {tuple(state[key].shape)}, the network has {tuple(own[key].shape)}' for key in misfits]
    if odd and strict:
        name = type(network).__name__
        raise InputError(
            f'the weights do not fit {name} ({len(odd)} tensors; {odd[0]})', where=path, do='Check its options'
        )
    network.load_state_dict({key: state[key] for key in common if key not in misfits}, strict=strict)
    return odd


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch.load raises almost anything on a damaged file
        what = 'the weights cannot be read without executing code, or the file is damaged'
        raise InputError(what, where=path, do='Give a state dict saved by torch.save') from error
    if not isinstance(state, dict):
        raise InputError('holds no state dict', where=path, do='Give a file written by BasicSR')
    return state


def _select(state: dict[str, Any], param_keys: Sequence[str], path: Path) -> dict[str, Tensor]:
    key = next((key for key in param_keys if key in state), None)
    if key is not None:
        state = state[key]
    elif any(isinstance(value, dict) for value in state.values()):
        raise InputError(
            f'the file has {", ".join(state)}, not {" or ".join(param_keys)}', where=path, do='Set param_key'
        )
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError('holds no state dict', where=path, do='Give a file written by BasicSR')
    return state


def size_multiple(options: Mapping[str, Any]) -> int:
    """What the input's height and width must be multiples of, for the networks that care.

    SwinIR cuts windows; RRDBNet unshuffles pixels for scale 2 and 1.
    """
    if options.get('type') == 'SwinIR':
        return int(options.get('window_size', 7))
    if options.get('type') == 'RRDBNet':
        return {2: 2, 1: 4}.get(options.get('scale', 4), 1)
    return 1


def forward_padded(network: nn.Module, lq: Tensor, multiple: int) -> Tensor:
    """Run a network on ``lq``, padded to a multiple of its window and the output cropped back.

    The padding mirrors the image, or repeats its edge where the image is too small to be mirrored.

    Args:
        network: Maps ``(N, C, H, W)`` to ``(N, C, s * H, s * W)``, with ``s`` an integer.
        lq: ``(N, C, H, W)``.
        multiple: What H and W are padded to a multiple of.
    """
    height, width = lq.shape[-2:]
    pad_h, pad_w = -height % multiple, -width % multiple
    if not pad_h and not pad_w:
        return network(lq)
    mode = 'reflect' if pad_h < height and pad_w < width else 'replicate'
    output = network(F.pad(lq, (0, pad_w, 0, pad_h), mode))
    scale = output.shape[-2] // (height + pad_h)
    return output[..., : height * scale, : width * scale]
