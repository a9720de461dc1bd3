"""Passes of one network over one micro-batch: run now, and again at other weights if the optimizer asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mea_plugin.mmagic.optim.wrappers import SecondPass, average_gradients
from mea_plugin.optim import repeatable
from mea_plugin.training.checkpoints import has_intact
from mea_plugin.training.finite import check_finite, finite_gradients

__all__ = ['Logs', 'Objective', 'ahead', 'unsynchronised', 'update', 'watched']


class Logs(dict[str, Tensor]):
    """The terms of an objective by name, detached, as the toolbox's logger takes them.

    Attributes:
        measures: What else the log shows, by name: gradient norms and sharpness. :func:`watched` hands them on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.measures: dict[str, float | Tensor] = {}


Objective = Callable[[], tuple[Tensor, Mapping[str, Tensor]]]
"""Computes a loss, with its graph, and the terms it is the sum of."""


def update(
    wrapper: OptimWrapper,
    objective: Objective,
    logs: Logs,
    *networks: nn.Module,
    again: Objective | None = None,
    average: bool = False,
    name: str = '',
) -> None:
    """Run a pass and hand its loss to the wrapper, with the means to run it again if it takes a second pass.

    The pass is run where the optimizer wants it, :func:`ahead`. What SAM measures on the way is logged as ``grad_norm``
    and ``sharpness``. A plain optimizer knows no norm; to have it logged, set MMEngine's ``clip_grad``, which takes it
    before clipping (``max_norm=inf`` changes nothing).

    Args:
        wrapper: The optimizer wrapper of the network whose turn it is.
        objective: Computes loss and terms of one micro-batch.
        logs: Gets the terms of the first pass, and what was measured.
        networks: All networks that the pass runs: their buffers move once per step, however often it is run.
        again: What a second pass computes, if that is not the first over again.
        average: Whether gradients are averaged over the ranks here, after the last micro-batch of each pass.
        name: What the network is called in the names of its measures (``grad_norm_NAME``), if there are several.
    """
    suffix = f'_{name}' if name else ''
    if getattr(wrapper, 'grad_name', None) == 'grad_norm':
        wrapper.grad_name = f'grad_norm{suffix}'  # MMEngine would log all networks' as one
    repeated = repeatable(objective, *networks)
    with ahead(wrapper):
        loss, terms = repeated()
        logs.update({key: torch.as_tensor(value).detach() for key, value in terms.items()})
        if isinstance(wrapper, SecondPass):
            second = again or repeated
            wrapper.update_params(loss, again=lambda: second()[0], average=average)
            logs.measures |= {f'{key}{suffix}': value for key, value in wrapper.measures.items()}
            return
    wrapper.backward(wrapper.scale_loss(loss))  # from here on as OptimWrapper.update_params
    if wrapper.should_update():
        if average:
            average_gradients(wrapper.optimizer)
        wrapper.step()
        wrapper.zero_grad()


def ahead(wrapper: OptimWrapper) -> AbstractContextManager[None]:
    """Where a network's first pass takes place; a GAN's generators run before their turn, and stay there until it ends.

    Momentum-SAM goes elsewhere; whatever happens in the body, the weights are then back at ``w``.
    """
    return wrapper.optimizer.ahead() if isinstance(wrapper, SecondPass) else nullcontext()


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
def watched(logs: Logs) -> Iterator[None]:
    """Stop the run when a term that the body logged is not finite, and hand its measures to the toolbox's log.

    Both are read after the body, together, which costs one transfer from the device; the toolbox's logger reads the
    terms anyway. Measures go to the message hub, where the logger finds them, and not among the terms, which
    stay MMagic's. Nothing is saved between an update and this check.

    Raises:
        InputError: Names the iteration and the first such term, or the gradient if all terms are finite.
    """
    hub = MessageHub.get_current_instance()
    iteration = hub.get_info('iter', 0) + 1  # as the toolbox's log counts
    with finite_gradients(lambda: _read(logs), iteration, _has_checkpoint):
        yield
    check_finite(_read(logs), iteration, _has_checkpoint)
    for name, value in logs.measures.items():
        hub.update_scalar(f'train/{name}', value)


def _read(logs: Logs) -> dict[str, float]:
    """The terms as numbers; the measures, which are read with them, are numbers afterwards."""
    terms = {name: value for name, value in logs.items() if name != 'loss'} or logs
    on_device = [*terms.items(), *((k, v) for k, v in logs.measures.items() if isinstance(v, Tensor))]
    read = torch.stack([value.float().mean() for _, value in on_device]).tolist() if on_device else []
    logs.measures |= {name: value for (name, _), value in zip(on_device[len(terms) :], read[len(terms) :], strict=True)}
    return dict(zip(terms, read, strict=False))


def _has_checkpoint() -> bool:
    """Whether the last one that this run has noted is there and intact: it is noted before it is written."""
    path = MessageHub.get_current_instance().runtime_info.get('last_ckpt')
    return isinstance(path, str) and has_intact([Path(path)])
