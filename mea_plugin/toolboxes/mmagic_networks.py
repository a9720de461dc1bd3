"""The one network of an MMagic model that answers: found in the model's config, built, and given its weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from mmagic.registry import MODELS
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.networks import check_call, probe_size
from mea_plugin.core.registry import Registry
from mea_plugin.losses.registry import LOSSES
from mea_plugin.optim.registry import OPTIMIZERS

__all__ = ['GeneratorConfig', 'build_generator', 'find_generator', 'find_scale', 'find_type', 'generator_weights']

_PLUGINS: dict[str, Registry[Any]] = {'model': LOSSES, 'optimizer': OPTIMIZERS}  # by MMEngine's names of registries


@dataclass(frozen=True)
class GeneratorConfig:
    """Where an answer comes from.

    Attributes:
        network: The generator's config.
        title: The type of the model, or of the network if it stands alone.
        prefix: What its weights' names begin with in the model's state dict.
        value_range: What the preprocessor makes of 0 and 255.
        channel_order: What the pipelines load; ``rgb`` or ``bgr`` unless the config says something else.
        multiple: What height and width must be multiples of.
    """

    network: dict[str, Any]
    title: str
    prefix: str
    value_range: tuple[float, float]
    channel_order: Any
    multiple: int


def find_generator(config: Mapping[str, Any], target_domain: str | None = None) -> GeneratorConfig:
    """Find the network that answers in a config, or in a dict with nothing but ``model``.

    Args:
        config: ``model``, and the loaders' pipelines where they are known.
        target_domain: Of a translation model; by default its ``default_domain``.

    Raises:
        InputError: There is no model or no such domain.
    """
    model = config.get('model')
    if not isinstance(model, Mapping) or 'type' not in model:
        raise InputError('there is no model with a type', where='victim.model', do='Add model: {type: ...}')
    title = str(model['type'])
    order = _channel_order(config)
    if target_domain is not None and 'reachable_domains' not in model:
        raise InputError(f'{title} has no domains', where='victim.target_domain', do='Remove the option')
    if 'generator' not in model:
        network = _plain(model)
        return GeneratorConfig(network, title, 'generator.', (0.0, 1.0), order, _multiple(network))
    network = _plain(model['generator'])
    prefix = 'generator.'
    if 'reachable_domains' in model:
        domain = target_domain or model.get('default_domain')
        if domain not in model['reachable_domains']:
            known = model['reachable_domains']
            raise InputError(f"no domain '{domain}'", where='victim.target_domain', do=suggestion(str(domain), known))
        prefix = f'generators.{domain}.'
    values = _value_range(model.get('data_preprocessor'))
    return GeneratorConfig(network, title, prefix, values, order, _multiple(network))


def build_generator(found: GeneratorConfig, *, where: str) -> nn.Module:
    """Build the network; no weights are initialised or downloaded.

    Raises:
        InputError: Unknown type or argument, or arguments that it cannot be built with.
    """
    arguments = dict(found.network)
    kind = find_type(MODELS, arguments.pop('type', None), f'{where}.type')
    check_call(kind, arguments, where)
    try:
        with DefaultScope.overwrite_default_scope('mmagic'):
            network: nn.Module = MODELS.build(dict(found.network))
    except Exception as error:  # networks raise what they like, MMEngine wraps it
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise InputError(
            f'{kind.__name__} cannot be built ({reason})', where=where, do='Correct its options'
        ) from error
    return network


def find_type(registry: Any, name: Any, where: str) -> Any:
    """The registered class of that name.

    A loss or an optimizer may also be another package's entry point, which is registered now.

    Raises:
        InputError: There is none; the nearest name is given.
    """
    found = registry.get(name) if isinstance(name, str) else name
    plugins = _PLUGINS.get(registry.name)
    if found is None and plugins is not None:
        plugins.load(name, where=where)
        found = registry.get(name)
    if not callable(found):
        known = set(registry.module_dict) | set(registry.parent.module_dict if registry.parent else ())
        raise InputError(f"no {registry.name} '{name}' is registered", where=where, do=suggestion(str(name), known))
    return found


def generator_weights(state: Mapping[str, Tensor], found: GeneratorConfig) -> dict[str, Tensor]:
    """The network's own weights out of a model's, or the same ones if they stand alone.

    MMagic's averaged copy (``generator_ema``) is preferred, as its own tests prefer it. Checkpoints of distributed runs
    carry the wrappers of single networks in their names; these are left out.
    """
    state = {key.replace('.module.', '.'): value for key, value in state.items()}
    for prefix in (found.prefix.replace('generator', 'generator_ema', 1), found.prefix):
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if own:
            return own
    return dict(state)


def _plain(network: Mapping[str, Any]) -> dict[str, Any]:
    """A network's config without what would initialise or download weights."""
    left_out = ('pretrained',) if network.get('pretrained') else ()
    plain = {key: value for key, value in network.items() if key not in left_out}
    if isinstance(plain.get('init_cfg'), Mapping) and plain['init_cfg'].get('type') == 'Pretrained':
        del plain['init_cfg']
    return plain


def _value_range(preprocessor: Mapping[str, Any] | None) -> tuple[float, float]:
    """What the preprocessor makes of 0 and 255.

    A model without one gets MMEngine's ``BaseDataPreprocessor``, which leaves values as they are; so does one whose
    ``mean`` is None. MMagic's ``DataPreprocessor`` has defaults.
    """
    options = preprocessor or {'type': 'BaseDataPreprocessor'}
    kind = find_type(MODELS, options.get('type'), 'model.data_preprocessor.type')
    defaults = {key: one.default for key, one in inspect.signature(kind).parameters.items()}
    mean, std = (options.get(key, defaults.get(key)) for key in ('mean', 'std'))
    if mean is None or std is None:
        return 0.0, 255.0
    means, stds = ({float(x) for x in (value if isinstance(value, list | tuple) else [value])} for value in (mean, std))
    if len(means) != 1 or len(stds) != 1:
        raise InputError(
            'mean or std differs from channel to channel', where='model.data_preprocessor', do='Give value_range'
        )
    (low,), (width,) = means, stds
    return (0 - low) / width, (255 - low) / width


def _channel_order(config: Mapping[str, Any]) -> str:
    """What the pipelines load: MMagic's loaders give BGR unless told otherwise."""
    converted = (config['model'].get('data_preprocessor') or {}).get('output_channel_order')
    if converted:
        return str(converted).lower()
    for key in ('test_dataloader', 'val_dataloader', 'train_dataloader'):
        loader = config.get(key)
        for one in loader if isinstance(loader, list) else [loader] if loader else []:
            for step in (one.get('dataset') or {}).get('pipeline') or []:
                if str(step.get('type', '')).endswith('FromFile'):
                    return str(step.get('channel_order', 'bgr')).lower()
    return 'rgb'


def _multiple(network: Mapping[str, Any]) -> int:
    """What height and width must be multiples of, for the networks that care."""
    kind = network.get('type')
    if kind == 'UnetGenerator':
        return int(2 ** network.get('num_down', 8))
    if kind in ('NAFNet', 'NAFNetLocal', 'NAFBaseline', 'NAFBaselineLocal'):
        return int(2 ** len(network.get('enc_blk_nums', [1, 1, 1, 28])))
    if kind == 'SwinIRNet':
        return int(network.get('window_size', 7))
    if kind == 'RRDBNet':
        return {2: 2, 1: 4}.get(int(network.get('upscale_factor', 4)), 1)
    if kind == 'Restormer':
        return 8
    return 4 if kind == 'ResnetGenerator' else 1


@torch.inference_mode()
def find_scale(found: GeneratorConfig, *, where: str) -> int:
    """Output size by input size of a network, found out with untrained weights.

    Raises:
        InputError: It cannot be built, or is no network from RGB image to RGB image.
    """
    size = probe_size(found.multiple)
    network = build_generator(found, where=where).eval()
    try:
        shape = network(torch.zeros(1, 3, size, size)).shape
    except Exception as error:  # networks raise what they like
        reason = str(error).partition('\n')[0] or type(error).__name__
        what = f'{found.title} fails on an image ({reason})'
        raise InputError(what, where=where, do='Correct its options') from error
    return int(shape[-1]) // size
