"""The training step of one network: all passes over all micro-batches, then the step of its optimizer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from mea_plugin.basicsr.models.precision import autocast, build_scaler
from mea_plugin.optim import SAM, backward, run_step

__all__ = ['Pass', 'Terms', 'TrainingStep', 'unwrapped']

Terms = Mapping[str, Tensor]
"""The terms of a loss, and other values to log, by name."""

Pass = Callable[[], tuple[Tensor, Terms]]
"""Computes a loss with its graph, and its terms. Called once more for each further pass of the optimizer."""


class TrainingStep:
    """Run all passes of one network, then step its optimizer, in the order of :func:`mea_plugin.optim.run_step`.

    The objective of a step is the mean over its micro-batches, and each of these the sum of one or more losses. Every
    loss is backpropagated before the next is computed. Under ``DistributedDataParallel`` gradients are averaged with
    the last loss only; the others run, forward and backward, inside ``no_sync``. Batch normalisation and whatever else
    looks at a whole batch sees a micro-batch.

    With ``first_pass: local`` (m-SAM) each rank climbs along the gradient of its own batch: the whole first pass runs
    inside ``no_sync``.

    Args:
        network: The network that moves, wrapped or not.
        optimizer: Of its parameters.
        others: Networks that the passes run besides; their buffers move once per step, too.
        amp: ``bfloat16`` or ``float16`` for autocast, else None.
        device: Where the network is.
        accumulate: Micro-batches per step.

    Attributes:
        scaler: The gradient scaler, or None.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        *,
        others: Sequence[nn.Module] = (),
        amp: str | None = None,
        device: torch.device,
        accumulate: int = 1,
    ) -> None:
        self.network, self.optimizer, self.accumulate = network, optimizer, accumulate
        self._networks = (network, *others)
        self._amp, self._device = amp, device
        self.scaler = build_scaler(amp)

    def run(self, passes: Sequence[Pass], terms: MutableMapping[str, Tensor]) -> None:
        """Run all passes, then step the optimizer.

        Args:
            passes: One for each loss, all micro-batches in order; as many losses for each.
            terms: Gets the terms at the weights of the first pass, averaged over the micro-batches and without graphs.

        Raises:
            NonFiniteGradientError: SAM without a gradient scaler met a gradient that is not finite. The weights are
                where they were.
        """
        wanted: MutableMapping[str, Tensor] | None = terms

        def closure() -> Tensor:
            nonlocal wanted
            self.optimizer.zero_grad()
            into, wanted = wanted, None
            return self._run(passes, OrderedDict() if into is None else into)

        run_step(self.optimizer, closure, *self._networks, scaler=self.scaler)

    def autocast(self) -> AbstractContextManager[object]:
        """The precision that forward and losses run in."""
        return autocast(self._amp, self._device)

    def measures(self) -> dict[str, Tensor]:
        """Norm of the last gradient and, where the optimizer has seen it, the last sharpness; 0-dim tensors.

        Nothing is computed before this is called.
        """
        measures: dict[str, Tensor] = {}
        norm = self.optimizer.grad_norm if isinstance(self.optimizer, SAM) else self._gradient_norm()
        if norm is not None:
            measures['grad_norm'] = torch.as_tensor(norm, dtype=torch.float64, device=self._device)
        if isinstance(self.optimizer, SAM) and self.optimizer.sharpness is not None:
            measures['sharpness'] = self.optimizer.sharpness
        return measures

    def _run(self, passes: Sequence[Pass], terms: MutableMapping[str, Tensor]) -> Tensor:
        """Forward and backward of all passes; returns the objective, without its graph."""
        total: Tensor | None = None
        for index, compute in enumerate(passes, start=1):
            with self._unsynchronised(index < len(passes)):
                with self.autocast():
                    loss, parts = compute()
                    loss = self._share(loss)
                backward(loss, self.scaler)
            for name, value in parts.items():
                value = self._share(value.detach())
                terms[name] = terms[name] + value if name in terms else value
            total = loss.detach() if total is None else total + loss.detach()
        if total is None:
            raise ValueError('a training step needs at least one pass')
        return total

    def _share(self, value: Tensor) -> Tensor:
        return value if self.accumulate == 1 else value / self.accumulate

    def _unsynchronised(self, wanted: bool) -> AbstractContextManager[None]:
        return self.network.no_sync() if wanted and isinstance(self.network, DistributedDataParallel) else nullcontext()

    def _gradient_norm(self) -> Tensor | None:
        params = (param for group in self.optimizer.param_groups for param in group['params'])
        grads = [param.grad for param in params if param.grad is not None]
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads))) if grads else None


def unwrapped(network: nn.Module) -> nn.Module:
    """A network without its distributed wrapper, which takes part in nothing that one rank does alone."""
    return network.module if isinstance(network, DistributedDataParallel) else network
