"""MMEngine's optimizer wrappers for SAM and its variants, with its precision, accumulation and clipping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmengine.dist import all_reduce_params
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor

from mea_plugin.core.errors import InputError
from mea_plugin.optim import SAM, second_pass

__all__ = ['SAMAmpOptimWrapper', 'SAMOptimWrapper', 'SecondPass', 'average_gradients']


def average_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Average an optimizer's gradients over the ranks; without a process group nothing is done."""
    grads = [param.grad for group in optimizer.param_groups for param in group['params'] if param.grad is not None]
    all_reduce_params(grads, op='mean')


class SecondPass(OptimWrapper):
    """Base of both wrappers: MMEngine's, with an :meth:`update_params` that can compute the loss a second time.

    The first loss is computed inside the optimizer's ``ahead()``, and :meth:`update_params` is called there. The order
    of the passes is that of :func:`mea_plugin.optim.second_pass`.

    Attributes:
        measures: Values to log from the last call of :meth:`update_params`, by name: ``grad_norm``, the norm of
            the gradients of the step that it took, if MMEngine does not log it for ``clip_grad``; ``sharpness``, on its
            device, if the step had a second pass. Empty if it took no step.
    """

    takes_second_pass = True
    optimizer: SAM
    _inner_count: int

    def __init__(self, optimizer: SAM, **kwargs: Any) -> None:
        if not isinstance(optimizer, SAM):
            raise InputError(
                f'{type(self).__name__} was given {type(optimizer).__name__}',
                where='optim_wrapper.optimizer.type',
                do="Use type='SAM', 'LookSAM' or 'MomentumSAM' with base_optimizer, or another wrapper",
            )
        super().__init__(optimizer=optimizer, **kwargs)
        self._window: list[Callable[[], Tensor]] = []
        self._first: list[Tensor] = []
        self.measures: dict[str, float | Tensor] = {}
        self._updating = False
        self._sync: bool | None = None

    def update_params(
        self,
        loss: Tensor,
        step_kwargs: dict[str, Any] | None = None,
        zero_kwargs: dict[str, Any] | None = None,
        *,
        again: Callable[[], Tensor] | None = None,
        average: bool = False,
    ) -> None:
        """Backward; after the last micro-batch climb, all micro-batches again, restore, complete, clip, step.

        In a step that takes no second pass, what is about it is left out.

        Args:
            loss: The loss of this micro-batch at ``w``, unscaled.
            step_kwargs: For :meth:`step`.
            zero_kwargs: For :meth:`zero_grad`.
            again: Computes the loss of the same micro-batch at the weights as they then are, inside
                :meth:`optim_context`, with the same random numbers and without moving buffers
                (:func:`mea_plugin.optim.repeatable`). It is called once at most, after the window's last first pass.
            average: Average the gradients over the ranks, where no distributed wrapper does: those of each pass, but
                not of a first one that is local.

        Raises:
            InputError: ``again`` is missing: whoever calls runs one pass only, as MMEngine's own models and
                ``MMDistributedDataParallel`` do. No weight has moved.
            NonFiniteGradientError: Without a gradient scaler, a gradient of either pass is not finite. The weights are
                at ``w``. Under a scaler the step is skipped instead, and the scale falls.
        """
        if again is None:
            raise self._one_pass('update_params(loss)')
        share = round(1 / float(self.scale_loss(torch.ones(()))))  # micro-batches that this one's loss is divided by
        self._window.append(lambda: again() / share)
        self._first.append(loss.detach() / share)
        self.measures = {}
        self._updating = True
        try:
            self.backward(self.scale_loss(loss))
            if self.should_update():
                self._second_pass(average)
                self._step_and_measure(**(step_kwargs or {}))
                self.zero_grad(**(zero_kwargs or {}))
        finally:
            self._updating = False
            if self.should_update():
                self._window.clear()
                self._first.clear()

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """As MMEngine's; only from :meth:`update_params`."""
        if not self._updating:
            raise self._one_pass('backward(loss)')
        super().backward(loss, **kwargs)

    def step(self, **kwargs: Any) -> None:
        """As MMEngine's; only from :meth:`update_params`."""
        if not self._updating:
            raise self._one_pass('step()')
        super().step(**kwargs)

    def should_sync(self) -> bool:
        """Whether ``optim_context`` lets gradients be averaged over ranks: for a window's last micro-batch, each pass.

        Not in a first pass that is local to the rank.
        """
        if self._sync is not None:
            return self._sync
        return bool(super().should_sync()) and not self.pass_is_local

    @property
    def pass_is_local(self) -> bool:
        """Whether nothing is exchanged with other ranks in the pass that is run now.

        So it is in the first one of a step with two, if the optimizer's ``first_pass`` says so.
        """
        return self._sync is None and self.optimizer.first_pass == 'local' and self.optimizer.second_pass_due

    def _second_pass(self, average: bool) -> None:
        local = self.pass_is_local
        if average and not local:
            average_gradients(self.optimizer)
        first = torch.stack(self._first).sum()
        ran = second_pass(self.optimizer, lambda: self._repeat(average), first, scaled=self._scales(), local=local)
        if ran and self.optimizer.sharpness is not None:
            self.measures['sharpness'] = self.optimizer.sharpness

    def _repeat(self, average: bool) -> Tensor:
        """The window's micro-batches again, backward included; returns the sum of their losses."""
        self.zero_grad()
        count, losses = self._inner_count, []
        try:
            for index, again in enumerate(self._window, start=1):
                self._sync = index == len(self._window)
                loss = again()
                self.backward(loss)
                losses.append(loss.detach())
        finally:
            self._sync, self._inner_count = None, count
        if average:
            average_gradients(self.optimizer)
        return torch.stack(losses).sum()

    def _step_and_measure(self, **kwargs: Any) -> None:
        self.optimizer.grad_norm = None  # a scaler may skip the step
        self.step(**kwargs)
        if self.optimizer.grad_norm is None:
            self.measures = {}
        elif not (self.clip_grad_kwargs and self.grad_name.startswith('grad_norm')):
            self.measures['grad_norm'] = self.optimizer.grad_norm

    def _scales(self) -> bool:
        scaler = getattr(self, 'loss_scaler', None)
        return scaler is not None and bool(scaler.is_enabled())

    def _one_pass(self, call: str) -> InputError:
        return InputError(
            f'{type(self).__name__} was asked for {call}, which runs one pass, and {type(self.optimizer).__name__} '
            f'needs {self.optimizer.needs}',
            where='optim_wrapper',
            do='Use an Extraction model or SAMModelMixin (under a distributed launcher with '
            'ExtractionDistributedDataParallel), or OptimWrapper',
        )


class SAMOptimWrapper(SecondPass):
    """MMEngine's ``OptimWrapper`` for :class:`~mea_plugin.optim.SAM`: float32, accumulation, clipping.

    In a config::

        optim_wrapper = dict(
            type='SAMOptimWrapper',
            optimizer=dict(type='SAM', base_optimizer='Adam', rho=0.05, lr=2e-4))

    The optimizer may be a variant (``LookSAM``, ``MomentumSAM``). With ``every=k`` steps between second passes are
    plain; with ``first_pass='local'`` the first pass of a step with two exchanges nothing between ranks.

    With ``accumulative_counts`` both passes run over the same micro-batches; ``clip_grad`` acts on the gradient that
    the base optimizer steps with, that at ``w + e``.

    Args:
        optimizer: SAM or a variant.
        accumulative_counts: Micro-batches per step.
        clip_grad: As in MMEngine.

    Raises:
        InputError: The optimizer is not SAM.
    """


class SAMAmpOptimWrapper(SecondPass, AmpOptimWrapper):
    """MMEngine's ``AmpOptimWrapper`` for :class:`~mea_plugin.optim.SAM`: bfloat16 (on a CPU too) and float16.

    float16 goes through a gradient scaler. The first pass stays scaled, since the way up does not depend on the
    gradient's scale and torch's scaler unscales once per step: scale, climb, scale, restore, unscale, clip, step,
    update. Gradients that overflow in either pass are no error: the weights stay at ``w``, the step is skipped and the
    scale falls, on all ranks alike. bfloat16 needs no scaler and gets none.

    Args:
        loss_scale: As in MMEngine; ``'dynamic'`` by default.
        dtype: ``'float16'``, ``'bfloat16'``, or None for the device's default.
        kwargs: As :class:`SAMOptimWrapper`.

    Raises:
        InputError: The optimizer is not SAM.
        AssertionError: Another type than bfloat16 without an accelerator.
    """

    def __init__(
        self,
        loss_scale: str | float | dict[str, Any] = 'dynamic',
        dtype: str | torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        if dtype in ('bfloat16', torch.bfloat16):
            loss_scale = {'enabled': False}
        super().__init__(loss_scale=loss_scale, dtype=dtype, **kwargs)
