"""Checks of optimizer wrappers and of the distributed wrapper: that a second pass that is asked for takes place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmagic.registry import MODEL_WRAPPERS, OPTIM_WRAPPERS, OPTIMIZERS

from mea_plugin.core.errors import InputError
from mea_plugin.core.options import require
from mea_plugin.mmagic.checks.config_types import build_with, check_count, check_dict, check_type, is_kind, tried
from mea_plugin.mmagic.models.objective import ExtractionArguments
from mea_plugin.mmagic.models.sam_mixin import SAMModelMixin
from mea_plugin.mmagic.optim.model_wrapper import ExtractionDistributedDataParallel
from mea_plugin.mmagic.optim.wrappers import SecondPass
from mea_plugin.optim import SAM, MomentumSAM
from mea_plugin.toolboxes.mmagic_networks import find_type

__all__ = ['check_distributed', 'check_wrappers', 'networks_of']


def networks_of(kind: Any, options: Mapping[str, Any]) -> tuple[str, ...]:
    """The entries that ``optim_wrapper`` needs for a model; none for a model with one optimizer."""
    from mmagic.models.base_models import BaseTranslationModel
    from mmagic.models.editors import SRGAN

    if is_kind(kind, BaseTranslationModel):
        return ('generators', 'discriminators')
    if is_kind(kind, SRGAN):
        return ('generator', 'discriminator') if options.get('discriminator') else ('generator',)
    return ()


def check_wrappers(section: Any, kind: Any, model: Mapping[str, Any], where: str) -> bool:
    """Check all wrappers of a config.

    Args:
        section: ``optim_wrapper``.
        kind: The model's class.
        model: Its options.
        where: The file, for errors.

    Returns:
        Whether SAM or a variant acts anywhere.

    Raises:
        InputError: The wrappers do not fit the model, their optimizers, or each other.
    """
    at = f'{where}: optim_wrapper'
    wrappers = _by_network(check_dict(section, at), kind, networks_of(kind, model), at)
    sam = {key: _check_wrapper(value, kind, f'{at}{key and "." + key}') for key, value in wrappers.items()}
    counts = {value.get('accumulative_counts', 1) for value in wrappers.values()}
    if len(counts) > 1:
        what = f'the networks accumulate {" and ".join(map(str, sorted(counts)))} batches'
        raise InputError(what, where=at, do='Set the same accumulative_counts for both')
    if model.get('paper_discriminator_step') and sam.get('discriminators') in (None, MomentumSAM):
        has = 'no SAM' if sam.get('discriminators') is None else 'MomentumSAM, which takes no second pass'
        raise InputError(
            f"paper_discriminator_step is SAM's on the discriminators, and they have {has}",
            where=f'{at}.discriminators',
            do='Use SAMOptimWrapper with SAM there, or remove paper_discriminator_step',
        )
    return any(sam.values())


def _by_network(
    section: Mapping[str, Any], kind: Any, networks: tuple[str, ...], where: str
) -> dict[str, Mapping[str, Any]]:
    """The wrappers by network; the one of a model with one optimizer has no name."""
    nested = {key: value for key, value in section.items() if isinstance(value, Mapping) and 'optimizer' in value}
    if not networks:
        return nested or {'': section}
    do = f'Give one wrapper for each of {" and ".join(networks)}'
    if 'optimizer' in section:
        raise InputError(f'{kind.__name__} has several networks, and there is one optimizer', where=where, do=do)
    if set(nested) != set(networks):
        what = f'{kind.__name__} has {" and ".join(networks)}, optim_wrapper has {" and ".join(nested) or "neither"}'
        raise InputError(what, where=where, do=do)
    return nested


def _check_wrapper(options: Mapping[str, Any], kind: Any, where: str) -> type[SAM] | None:
    """Check a wrapper and its optimizer; gives the latter's class if that is SAM or a variant."""
    # MMEngine's constructor takes paramwise_cfg; the optimizer is built by it, too.
    wrapper = check_type(
        OPTIM_WRAPPERS, {'type': 'OptimWrapper', **options}, where, given=('constructor', 'paramwise_cfg')
    )
    settings = require(options, 'optimizer', where)
    at = f'{where}.optimizer'
    optimizer = find_type(OPTIMIZERS, require(check_dict(settings, at), 'type', at), f'{at}.type')
    sam: type[SAM] | None = optimizer if is_kind(optimizer, SAM) else None
    if sam is None:  # they hand what they do not know to their base optimizer
        check_type(OPTIMIZERS, settings, at)
    check_count(options, 'accumulative_counts', 1, where)
    if sam or str(getattr(optimizer, '__module__', '')).startswith('torch.'):
        weights = [torch.nn.Parameter(torch.zeros(1))]
        tried(lambda: build_with(optimizer, settings, weights), at)
    lack = f'runs one pass, and {sam.__name__} needs {sam.needs}' if sam else 'needs SAM'
    if bool(sam) != is_kind(wrapper, SecondPass):
        what = f'{getattr(wrapper, "__name__", wrapper)} {lack}'
        do = 'Use SAMOptimWrapper with SAM or a variant, OptimWrapper with any other optimizer'
        raise InputError(what, where=where, do=do)
    if sam and not is_kind(kind, (ExtractionArguments, SAMModelMixin)):
        raise InputError(
            f'{kind.__name__} {lack}',
            where=f'{where.partition(": ")[0]}: model.type',
            do='Use ExtractionEditModel, ExtractionSRGAN, ExtractionPix2Pix or ExtractionCycleGAN, or SAMModelMixin in '
            'a model of your own',
        )
    _check_precision(options, wrapper, where)
    return sam


def _check_precision(options: Mapping[str, Any], wrapper: Any, where: str) -> None:
    from mmengine.device import is_cuda_available
    from mmengine.optim import AmpOptimWrapper

    dtype = options.get('dtype')
    if is_kind(wrapper, AmpOptimWrapper) and dtype not in ('bfloat16', torch.bfloat16) and not is_cuda_available():
        raise InputError(
            f'{dtype or "float16"} needs a GPU, and there is none', where=f'{where}.dtype', do="Use dtype='bfloat16'"
        )


def check_distributed(options: Any, kind: Any, model: Mapping[str, Any], sam: bool, where: str) -> None:
    """Check the distributed wrapper of a model whose step is this package's.

    MMEngine's default wrapper runs forward and update itself and never calls the model's step.

    Raises:
        InputError: The wrapper is another than the model needs.
    """
    from mmengine.model import MMSeparateDistributedDataParallel

    wanted = MMSeparateDistributedDataParallel if networks_of(kind, model) else ExtractionDistributedDataParallel
    name = (options or {}).get('type', 'MMDistributedDataParallel')
    if not is_kind(find_type(MODEL_WRAPPERS, name, f'{where}: model_wrapper_cfg.type'), wanted):
        hidden = "SAM's second pass" if sam else "the model's own step, and the schedule of its penalty with it"
        raise InputError(
            f'{name} would hide {hidden}',
            where=f'{where}: model_wrapper_cfg',
            do=f"Set model_wrapper_cfg=dict(type='{wanted.__name__}')",
        )
