"""The smallest models, batches and wrappers for tests of the MMagic adapter."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HF = {'type': 'HighFrequencyLoss', 'loss_weight': 0.15, 'wave': 'db3', 'level': 2}
IMAGES = ('img_query', 'img_response', 'paired_response', 'paired_query')


def edit_config(kind: str = 'ExtractionEditModel', generator: dict[str, Any] | None = None, **rest: Any) -> dict:
    """A x4 super-resolution model on [0, 1]."""
    small = {'type': 'MSRResNet', 'in_channels': 3, 'out_channels': 3, 'mid_channels': 4, 'num_blocks': 1}
    return {
        'type': kind,
        'generator': generator or {**small, 'upscale_factor': 4},
        'pixel_loss': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
        'data_preprocessor': {'type': 'DataPreprocessor', 'mean': [0.0] * 3, 'std': [255.0] * 3},
        **rest,
    }


def srgan_config(kind: str = 'ExtractionSRGAN', *, norm: str = 'IN', **rest: Any) -> dict:
    """A GAN around the same generator."""
    gan = {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 5e-3, 'real_label_val': 1.0, 'fake_label_val': 0}
    return edit_config(kind, discriminator=patch_discriminator(3, norm), gan_loss=gan, train_cfg={}, **rest)


class DropoutUpsampler(nn.Sequential):
    """A x4 network that draws random numbers and keeps statistics, which MMagic's do not."""

    def __init__(self) -> None:
        first, second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 48, 3, padding=1)
        super().__init__(first, nn.BatchNorm2d(8), nn.Dropout(0.5), second, nn.PixelShuffle(4))


def dropout_upsampler() -> dict:
    """Its config; the class in place of a name, so that no registry has to know it."""
    return {'type': DropoutUpsampler}


def patch_discriminator(channels: int, norm: str) -> dict:
    """Two strided convolutions."""
    return {
        'type': 'PatchDiscriminator',
        'in_channels': channels,
        'base_channels': 4,
        'num_conv': 2,
        'norm_cfg': {'type': norm},
    }


def unet() -> dict:
    """With batch norm and dropout, for 32 pixels and more."""
    options = {'in_channels': 3, 'out_channels': 3, 'num_down': 5, 'base_channels': 4, 'use_dropout': True}
    return {'type': 'UnetGenerator', 'norm_cfg': {'type': 'BN'}, **options}


def resnet(dropout: bool) -> dict:
    """With instance norm."""
    options = {'in_channels': 3, 'out_channels': 3, 'base_channels': 4, 'num_blocks': 1, 'padding_mode': 'reflect'}
    return {'type': 'ResnetGenerator', 'norm_cfg': {'type': 'IN'}, 'use_dropout': dropout, **options}


def translation_config(kind: str, *, generator: dict | None = None, norm: str = 'IN', **rest: Any) -> dict:
    """Pix2pix, or CycleGAN if the name says so."""
    cycle = 'Cycle' in kind
    return {
        'type': kind,
        'generator': generator or (resnet(dropout=True) if cycle else unet()),
        'discriminator': patch_discriminator(3 if cycle else 6, norm),
        'default_domain': 'response',
        'reachable_domains': ['response', 'query'] if cycle else ['response'],
        'related_domains': ['query', 'response'],
        'data_preprocessor': {'type': 'DataPreprocessor', 'data_keys': ['img_query', 'img_response']},
        **rest,
    }


def build(config: dict, *, double: bool = False) -> Any:
    """The model, from the same random numbers every time, in training mode."""
    from mmagic.registry import MODELS

    logging.getLogger('mmengine').setLevel(logging.ERROR)  # it lists every parameter
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    return (model.double() if double else model).train()


def edit_batch(seed: int = 0, count: int = 2) -> dict:
    """Queries of 12 pixels and their responses of 48, uint8."""
    from mmagic.structures import DataSample

    rng = torch.Generator().manual_seed(seed)
    queries = torch.randint(0, 256, (count, 3, 12, 12), generator=rng).to(torch.uint8)
    samples = [DataSample(gt_img=torch.randint(0, 256, (3, 48, 48), generator=rng).float()) for _ in range(count)]
    return {'inputs': list(queries), 'data_samples': samples}


def translation_batch(seed: int = 0, count: int = 2, size: int = 32) -> dict:
    """All four images, uint8."""
    from mmagic.structures import DataSample

    rng = torch.Generator().manual_seed(seed)
    images = {key: torch.randint(0, 256, (count, 3, size, size), generator=rng).to(torch.uint8) for key in IMAGES}
    return {'inputs': {k: list(v) for k, v in images.items()}, 'data_samples': [DataSample() for _ in range(count)]}


def joined(batches: list[dict]) -> dict:
    """Several batches as one."""
    inputs = batches[0]['inputs']
    if isinstance(inputs, dict):
        together: Any = {key: [one for batch in batches for one in batch['inputs'][key]] for key in inputs}
    else:
        together = [one for batch in batches for one in batch['inputs']]
    return {'inputs': together, 'data_samples': [sample for batch in batches for sample in batch['data_samples']]}


def wrap(
    network: nn.Module,
    sam: bool | str,
    *,
    lr: float = 1e-3,
    rho: float = 0.05,
    base: str = 'Adam',
    own: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """An optimizer wrapper around a network's parameters; with a ``dtype``, and SAM, that of mixed precision.

    ``sam`` may name a variant; ``own`` holds further options of it.
    """
    from mmengine.optim import OptimWrapper

    from mea_plugin import optim
    from mea_plugin.mmagic.optim.wrappers import SAMAmpOptimWrapper, SAMOptimWrapper
    from mea_plugin.optim import SAM

    if sam:
        cls = SAMAmpOptimWrapper if 'dtype' in kwargs else SAMOptimWrapper
        kind = getattr(optim, sam) if isinstance(sam, str) else SAM
        return cls(optimizer=kind(network.parameters(), base, rho=rho, lr=lr, **(own or {})), **kwargs)
    return OptimWrapper(getattr(torch.optim, base)(network.parameters(), lr=lr), **kwargs)


def wrap_gan(model: Any, generator: bool | str = False, discriminator: bool | str = False, **kwargs: Any) -> Any:
    """Wrappers for both networks of a GAN; SAM, or the variant that is named, where the flags say so."""
    from mmengine.optim import OptimWrapperDict

    names = ('generators', 'discriminators') if hasattr(model, 'generators') else ('generator', 'discriminator')
    flags = (generator, discriminator)
    pairs = zip(names, flags, strict=True)
    return OptimWrapperDict(**{name: wrap(getattr(model, name), flag, **kwargs) for name, flag in pairs})


def train(model: Any, wrapper: Any, batches: list[dict]) -> list[dict[str, float]]:
    """Run the steps, seeded; the logged terms."""
    from mmengine.logging import MessageHub

    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the image pool draws from the global generator
    logs = []
    for index, batch in enumerate(batches):
        MessageHub.get_current_instance().update_info('iter', index)
        terms = model.train_step(batch, wrapper)
        logs.append({name: float(torch.as_tensor(value).detach()) for name, value in terms.items()})
    return logs


def state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of weights and buffers."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two states are equal to the bit."""
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def as_double(model: Any) -> None:
    """Let the preprocessor give float64, so that sums in another order agree closely."""
    preprocess = model.data_preprocessor.forward

    def forward(*args: Any, **kwargs: Any) -> dict:
        data = preprocess(*args, **kwargs)
        inputs = data['inputs']
        data['inputs'] = {k: v.double() for k, v in inputs.items()} if isinstance(inputs, dict) else inputs.double()
        if 'gt_img' in data['data_samples']:
            data['data_samples'].gt_img = data['data_samples'].gt_img.double()
        return data

    model.data_preprocessor.forward = forward
