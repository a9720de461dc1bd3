"""Passes of one network over one micro-batch: run now, and again at other weights if the optimizer asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mea_plugin.errors import InputError
from mea_plugin.mmagic.optim_wrappers import SecondPass, average_gradients
from mea_plugin.optim import NonFiniteGradientError, repeatable

__all__ = ['Logs', 'Objective', 'requires_grad', 'unsynchronised', 'update', 'watched']

Logs = dict[str, Tensor]
"""The terms of an objective by name, detached, as the toolbox's logger takes them."""

Objective = Callable[[], tuple[Tensor, Mapping[str, Tensor]]]
"""Computes a loss, with its graph, and the terms it is the sum of."""


def update(
    wrapper: OptimWrapper,
    objective: Objective,
    logs: Logs,
    *networks: nn.Module,
    again: Objective | None = None,
    average: bool = False,
) -> None:
    """Run a pass and hand its loss to the wrapper, with the means to run it again if it takes a second pass.

    Args:
        wrapper: The optimizer wrapper of the network whose turn it is.
        objective: Computes loss and terms of one micro-batch.
        logs: Gets the terms of the first pass.
        networks: All networks that the pass runs: their buffers move once per step, however often it is run.
        again: What a second pass computes, if that is not the first over again.
        average: Whether gradients are averaged over the ranks here, after the last micro-batch of each pass.
    """
    repeated = repeatable(objective, *networks)
    loss, terms = repeated()
    logs.update({name: torch.as_tensor(value).detach() for name, value in terms.items()})
    if isinstance(wrapper, SecondPass):
        second = again or repeated
        wrapper.update_params(loss, again=lambda: second()[0], average=average)
        return
    wrapper.backward(wrapper.scale_loss(loss))  # from here on as OptimWrapper.update_params
    if wrapper.should_update():
        if average:
            average_gradients(wrapper.optimizer)
        wrapper.step()
        wrapper.zero_grad()


@contextmanager
def unsynchronised(*networks: Any) -> Iterator[None]:
    """Keep distributed wrappers around networks from averaging gradients in the body.

    A GAN runs its networks several times per pass, or past their wrappers, which these do not follow: MMagic's pix2pix
    and CycleGAN do not average at all. So gradients are averaged by :func:`update`.
    """
    with ExitStack() as stack:
        for network in networks:
            if hasattr(network, 'no_sync'):
                stack.enter_context(network.no_sync())
        yield


@contextmanager
def requires_grad(networks: Iterable[nn.Module], value: bool) -> Iterator[None]:
    """Let the networks' parameters require gradients or not for the body; then as before."""
    before = [(param, param.requires_grad) for network in networks for param in network.parameters()]
    try:
        for param, _ in before:
            param.requires_grad_(value)
        yield
    finally:
        for param, flag in before:
            param.requires_grad_(flag)


@contextmanager
def watched(logs: Logs) -> Iterator[None]:
    """Stop the run when a term that the body logged is not finite.

    The terms are looked at after the body, together, which costs one transfer from the device; the toolbox's logger
    reads them anyway. Nothing is saved between an update and this check.

    Raises:
        InputError: Names the iteration and the first such term, or the gradient if all terms are finite.
    """
    try:
        yield
    except NonFiniteGradientError as error:
        _check_finite(logs)
        raise InputError(str(error).partition('. ')[0], where=_iteration(), do=_ADVICE) from error
    _check_finite(logs)


_ADVICE = 'Lower the learning rate or rho, or go on from the last checkpoint, which is intact'


def _check_finite(logs: Logs) -> None:
    terms = {name: value for name, value in logs.items() if name != 'loss'} or logs
    if not terms:
        return
    finite = torch.stack([value.float().mean() for value in terms.values()]).isfinite().tolist()
    for (name, value), good in zip(terms.items(), finite, strict=True):
        if not good:
            raise InputError(f'{name} is {float(value.float().mean())}', where=_iteration(), do=_ADVICE)


def _iteration() -> str:
    """As the toolbox's log counts: from 1."""
    return f'iteration {MessageHub.get_current_instance().get_info("iter", 0) + 1}'
