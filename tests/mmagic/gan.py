"""What the tests of steps share: configs and batches by the model's name, and SAM's step from its equation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from tests.mmagic import tiny

RHO, LR = 0.05, 2e-3  # of plain gradient descent: Adam would blow up differences in tiny gradients
CLASSES = ['Pix2Pix', 'CycleGAN', 'SRGAN']


def config_of(name: str, *, ours: bool = True, **rest) -> dict:
    kind = f'Extraction{name}' if ours else name
    make = {'EditModel': tiny.edit_config, 'SRGAN': tiny.srgan_config}.get(name, tiny.translation_config)
    return make(kind, **rest)


def batches_of(name: str, number: int = 4, **kwargs) -> list[dict]:
    make = tiny.edit_batch if name in ('EditModel', 'SRGAN') else tiny.translation_batch
    return [make(seed, **kwargs) for seed in range(number)]


def networks_of(model) -> tuple[nn.Module, nn.Module]:
    if hasattr(model, 'generators'):
        return model.generators, model.discriminators
    return model.generator, model.discriminator


def parts_of(model) -> dict[str, nn.Module]:
    """Generator and, in a GAN, critic."""
    is_gan = hasattr(model, 'discriminator') or hasattr(model, 'discriminators')
    return dict(zip(('generator', 'critic'), networks_of(model) if is_gan else [model.generator], strict=is_gan))


def wrap_all(model, sam: bool, **kwargs):
    """What ``train_step`` takes: a wrapper, or one for each network of a GAN."""
    return tiny.wrap_gan(model, sam, sam, **kwargs) if len(parts_of(model)) == 2 else tiny.wrap(model, sam, **kwargs)


class Recorder:
    """What goes into and comes out of a network, call by call."""

    def __init__(self, network: nn.Module) -> None:
        self.inputs: list[torch.Tensor] = []
        self.outputs: list[torch.Tensor] = []
        network.register_forward_hook(self.note)

    def note(self, module, inputs, output) -> None:
        self.inputs.append(inputs[0].detach().clone())
        self.outputs.append(output.detach().clone())


def climbed_step(network, loss_of: Callable[[], torch.Tensor], again: Callable[[], torch.Tensor], optimizer) -> None:
    """SAM from its equation, around any torch optimizer."""
    params = list(network.parameters())
    grads = torch.autograd.grad(loss_of(), params)
    norm = torch.sqrt(sum(grad.square().sum() for grad in grads))
    start = [param.detach().clone() for param in params]
    with torch.no_grad():
        for param, grad in zip(params, grads, strict=True):
            param += RHO * grad / norm
    grads = torch.autograd.grad(again(), params)
    with torch.no_grad():
        for param, w, grad in zip(params, start, grads, strict=True):
            param.copy_(w)
            param.grad = grad
    optimizer.step()


def normalised(batch: dict) -> dict[str, torch.Tensor]:
    return {key: torch.stack(images).double().sub(127.5).div(127.5) for key, images in batch['inputs'].items()}


def frozen(network) -> Callable[[], None]:
    """How to put the buffers of a network back."""
    before = [(buffer, buffer.clone()) for buffer in network.buffers()]
    return lambda: [buffer.data.copy_(value) for buffer, value in before] and None


def penalty() -> nn.Module:
    """The wavelet penalty that ``tiny.HF`` describes."""
    from mea_plugin.losses import HighFrequencyLoss

    return HighFrequencyLoss(**{key: value for key, value in tiny.HF.items() if key != 'type'})


def agree(ours: nn.Module, other: nn.Module, *, rtol: float = 1e-6, atol: float = 1e-8) -> None:
    """Weights and buffers of two models are close; says which is not."""
    expected = tiny.state(other)
    for name, value in tiny.state(ours).items():
        torch.testing.assert_close(
            value, expected[name], rtol=rtol, atol=atol, msg=lambda text, name=name: f'{name}: {text}'
        )
