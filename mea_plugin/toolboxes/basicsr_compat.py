"""Every work-around for BasicSR 1.4.2, or for a torch newer than it knows, with what it answers.

Nothing else in this package patches the toolbox.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from mea_plugin.core.launch import join_process_group
from mea_plugin.core.packages import check_installed
from mea_plugin.toolboxes.safe_loading import read_published_weights_as_data, read_safely

__all__ = ['apply', 'quiet']


@functools.cache
def apply() -> None:
    """Make BasicSR importable and able to run without a GPU. Idempotent.

    Raises:
        ModuleNotFoundError: BasicSR is not installed.
    """
    check_installed('basicsr')
    _provide_functional_tensor()
    _read_weights_as_data()
    _distribute_without_gpu()
    _flatten_any_layout()


def _provide_functional_tensor() -> None:
    """Provide ``torchvision.transforms.functional_tensor``, which BasicSR 1.4.2 imports one function from.

    torchvision >= 0.17 removed it (XPixelGroup/BasicSR#533, #663).
    """
    name = 'torchvision.transforms.functional_tensor'
    if importlib.util.find_spec(name) is None and name not in sys.modules:
        from torchvision.transforms.functional import rgb_to_grayscale

        module = types.ModuleType(name, 'Stand-in by mea_plugin for a module that torchvision 0.17 removed.')
        module.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
        sys.modules[name] = module


def _read_weights_as_data() -> None:
    """Let every part of BasicSR 1.4.2 that reads a weight file read it without executing code in it.

    They call plain ``torch.load``: models, networks that load parts of themselves (``spynet_path``, ``load_path``,
    ``dict_path``), and the VGG network of the perceptual loss, which torchvision loads where BasicSR has no file.
    """
    for name in ('base_model',):
        read_safely(importlib.import_module(f'basicsr.models.{name}'))
    for name in ('vgg_arch', 'spynet_arch', 'basicvsr_arch', 'tof_arch', 'dfdnet_arch', 'inception'):
        read_safely(importlib.import_module(f'basicsr.archs.{name}'))
    read_published_weights_as_data()


def _distribute_without_gpu() -> None:
    """Let ``--launcher pytorch`` and ``slurm`` run with gloo on CPUs.

    BasicSR 1.4.2 calls ``torch.cuda.set_device`` and hands CUDA ``device_ids`` to DistributedDataParallel whatever the
    device.
    """
    from basicsr.models import base_model
    from basicsr.utils import dist_util

    cuda_init, cuda_to_device = dist_util.init_dist, base_model.BaseModel.model_to_device

    @functools.wraps(cuda_init)
    def init_dist(launcher: str, backend: str = 'nccl', **kwargs: Any) -> None:
        if torch.cuda.is_available():
            cuda_init(launcher, backend, **kwargs)
            return
        join_process_group(launcher, gpu=False, port=kwargs.get('port'))

    @functools.wraps(cuda_to_device)
    def model_to_device(self: Any, net: torch.nn.Module) -> torch.nn.Module:
        if self.opt['dist'] and self.device.type == 'cpu':
            unused = self.opt.get('find_unused_parameters', False)
            return torch.nn.parallel.DistributedDataParallel(net, find_unused_parameters=unused)
        return cuda_to_device(self, net)

    dist_util.init_dist = init_dist
    base_model.BaseModel.model_to_device = model_to_device


def _flatten_any_layout() -> None:
    """Let ``VGGStyleDiscriminator`` take images whose channels are laid out last.

    BasicSR 1.4.2 flattens its features with ``view``, which that layout does not allow (torch 2.1 and 2.11). SwinIR's
    outputs have it, and with ``train.channels_last`` everything has.
    """
    from basicsr.archs.discriminator_arch import VGGStyleDiscriminator

    plain_init = VGGStyleDiscriminator.__init__

    @functools.wraps(plain_init)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        plain_init(self, *args, **kwargs)
        last = self.bn5_1 if self.input_size == 256 else self.bn4_1
        last.register_forward_hook(_contiguous)

    VGGStyleDiscriminator.__init__ = init


def _contiguous(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    """A hook; not a closure, so that networks can be copied."""
    return output.contiguous()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Run the body without torch's warnings about BasicSR 1.4.2 that its user can do nothing about.

    SwinIR calls ``meshgrid`` without ``indexing`` (torch >= 1.10). A scheduler's step comes first in an iteration, also
    in one of a resumed run's, or of a GAN's before its generator has moved: torch takes that for a mistake.
    """
    with warnings.catch_warnings():
        for message in ('torch.meshgrid: in an upcoming release', 'Detected call of `lr_scheduler.step'):
            warnings.filterwarnings('ignore', message=message, category=UserWarning)
        yield
