"""One training step, whatever the optimizer: passes, gradient scaler, clipping and update in the order SAM needs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import LBFGS, Optimizer

from mea_plugin.optim.accumulation import refuse_added_gradients
from mea_plugin.optim.repeat import repeatable

if TYPE_CHECKING:
    from mea_plugin.optim.sam import SAM

__all__ = ['Scaler', 'backward', 'run_step', 'second_pass']


class Scaler(Protocol):
    """The part of a gradient scaler that a step uses; ``torch.amp.GradScaler`` has it."""

    def scale(self, outputs: Tensor) -> Tensor:
        """Multiply a loss by the scale."""
        ...

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the scale."""
        ...

    def step(self, optimizer: Optimizer) -> Any:
        """Step, unless a gradient is not finite."""
        ...

    def update(self) -> None:
        """Adapt the scale."""
        ...


def backward(loss: Tensor, scaler: Scaler | None = None) -> None:
    """Backpropagate a loss, scaled if there is a scaler."""
    (loss if scaler is None else scaler.scale(loss)).backward()


def run_step(
    optimizer: Optimizer,
    closure: Callable[[], Any],
    *networks: nn.Module,
    scaler: Scaler | None = None,
    clip: Callable[[], Any] | None = None,
) -> Any:
    """Run all passes of one step, then step the optimizer.

    The order is: scale, first pass, climb, second pass, restore, unscale, clip, step, update. What an optimizer or a
    step does not need is left out, so the same call serves SAM, its variants and any torch optimizer::

        def closure():
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            backward(loss, scaler)
            return loss

        loss = run_step(optimizer, closure, net, scaler=scaler, clip=lambda: clip_grad_norm_(net.parameters(), 1.0))

    The second pass repeats the random numbers of the first, and leaves the buffers of ``networks`` where the first left
    them. Under a scaler a gradient that overflows is no error: the weights stay, the step is skipped and the scale
    falls.

    With SAM's ``first_pass='local'`` and a network in ``DistributedDataParallel``, the first pass runs in
    ``no_sync()``, and every rank runs the second, since the others wait for it there.

    Args:
        optimizer: SAM, a variant, or any torch optimizer (``LBFGS`` without scaler and clipping only).
        closure: Zeroes the gradients, runs forward and backward for all micro-batches of the step
            (:func:`backward` scales the loss), and returns the unscaled loss.
        networks: All networks that the closure runs.
        scaler: A gradient scaler, or None.
        clip: Called once, when the gradients that the step uses are final and unscaled; None for no clipping.

    Returns:
        The loss of the first pass.

    Raises:
        NonFiniteGradientError: SAM without a scaler met a gradient that is not finite. The weights are at ``w``.
        RuntimeError: The closure does not zero the gradients, and SAM needs it to.
    """
    from mea_plugin.optim.sam import SAM

    sam = optimizer if isinstance(optimizer, SAM) else None
    local = _first_pass_is_local(sam, networks)
    if sam.second_pass_due if sam else isinstance(optimizer, LBFGS):
        closure = repeatable(closure, *networks)
    if scaler is None and clip is None and not local:
        return optimizer.step(closure)
    loss = _run_passes(sam, closure, networks, local=local, scaled=scaler is not None) if sam else closure()
    if scaler is not None:
        scaler.unscale_(optimizer)
    if clip is not None:
        clip()
    if scaler is None:
        optimizer.step()
    else:
        scaler.step(optimizer)
        scaler.update()
    return loss


def second_pass(
    optimizer: SAM, closure: Callable[[], Any], first: Any, *, scaled: bool = False, local: bool = False
) -> bool:
    """From the gradients of the first pass to those that the step uses: climb, second pass, restore, complete.

    In a step that takes no second pass, only :meth:`~mea_plugin.optim.SAM.complete` is called.

    Args:
        optimizer: SAM or a variant, with the gradients of the first pass.
        closure: Zeroes the gradients, runs forward and backward, and returns the loss.
        first: The loss of the first pass, for ``sharpness``.
        scaled: A gradient scaler is in use, so that an overflow is no error: the second pass is then left out.
        local: The gradients are those of this rank alone. It then runs the second pass even if they overflowed.

    Returns:
        Whether the second pass ran.

    Raises:
        NonFiniteGradientError: The first pass's gradient is not finite, neither ``scaled`` nor ``local``.
    """
    ran = False
    if optimizer.second_pass_due:
        with optimizer.perturbed(skip_nonfinite=scaled or local) as climbed, torch.enable_grad():
            if climbed or local:
                optimizer.sharpness, ran = _difference(closure(), first), True
    optimizer.complete()
    return ran


def _run_passes(
    optimizer: SAM, closure: Callable[[], Any], networks: tuple[nn.Module, ...], *, local: bool, scaled: bool
) -> Any:
    closure = refuse_added_gradients(closure, optimizer)
    with ExitStack() as stack:
        for network in networks:
            if local and isinstance(network, DistributedDataParallel):
                stack.enter_context(network.no_sync())
        stack.enter_context(optimizer.ahead())
        loss = closure()
    second_pass(optimizer, closure, loss, scaled=scaled, local=local)
    return loss


def _first_pass_is_local(optimizer: SAM | None, networks: tuple[nn.Module, ...]) -> bool:
    distributed = any(isinstance(network, DistributedDataParallel) for network in networks)
    return distributed and optimizer is not None and optimizer.first_pass == 'local' and optimizer.second_pass_due


def _difference(second: Any, first: Any) -> Tensor | None:
    """One loss minus another, if they are losses."""
    if any(isinstance(loss, Tensor) and loss.numel() != 1 for loss in (second, first)):
        return None
    if not all(isinstance(loss, (Tensor, float)) for loss in (second, first)):
        return None
    return (torch.as_tensor(second).detach() - torch.as_tensor(first).detach()).reshape(())
