"""Sharpness-aware minimisation on top of any torch optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from mea_plugin.optim.accumulation import refuse_added_gradients
from mea_plugin.optim.ascent import Bundle, NonFiniteGradientError, collect, describe_non_finite, joint_norm
from mea_plugin.optim.memory import PerParameter
from mea_plugin.optim.options import check_count, check_first_pass, group_options
from mea_plugin.optim.sam_base import SAMBase
from mea_plugin.optim.step import second_pass

__all__ = ['SAM']


class SAM(SAMBase):
    r"""Minimise the loss at the worst point near the weights instead of at the weights.

    With ``g`` the gradient at ``w``, a step takes the gradient at

    .. math:: w + \rho\, g / \lVert g \rVert, \qquad\text{adaptive: } w + \rho\, w^2 g / \lVert\, |w|\, g\, \rVert,

    goes back to ``w`` and lets the base optimizer step with it. The norm runs over all parameters that have a gradient.
    Groups may differ: with ``t = |w|`` in an adaptive group and 1 in another, group ``k`` goes by
    ``rho_k * t^2 g / ||t g||``, the norm being that of all groups together. With the base's ``maximize`` it goes the
    other way: down, to the worst point nearby.

    With ``every=k`` this happens in the 1st, (k+1)th, ... step, and those between are the base optimizer's: SAM at a
    fraction of its cost. Steps are counted when they are taken: one that a scaler skips is tried again.

    A step with a closure is all that plain training needs; the closure is called twice (once in a step without a
    second pass: between those that ``every`` names, or if every ``rho`` is 0)::

        optimizer = SAM(net.parameters(), 'Adam', rho=0.05, lr=2e-4)

        def closure():
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            return loss

        loss = optimizer.step(closure)

    :func:`mea_plugin.optim.repeatable` makes both calls see the same dropout masks and moves buffers once. Under
    ``DistributedDataParallel`` both passes average their gradients, and two processes are one with both batches. With
    ``first_pass='local'`` (m-SAM: each rank climbs by its own gradients) whoever runs the passes keeps the first one's
    from being averaged, forward and backward inside ``no_sync()``, in steps where :attr:`second_pass_due` says so; a
    rank that could not climb still runs the second pass. For gradient accumulation the closure runs all micro-batches.

    :func:`mea_plugin.optim.run_step` takes such a step with a gradient scaler and clipping, too. These are its parts.
    The climb does not depend on the gradient's scale, so the first pass is not unscaled (a scaler unscales once per
    step). If it overflowed, ``climb`` stays at ``w`` and says so; the scaler then finds the same gradients and skips
    the step::

        optimizer.zero_grad()
        with optimizer.ahead():
            scaler.scale(loss_of(batch)).backward()
        with optimizer.perturbed(skip_nonfinite=True) as climbed:
            if climbed:
                optimizer.zero_grad()
                scaler.scale(loss_of(batch)).backward()
        optimizer.complete()
        scaler.unscale_(optimizer)  # only for clipping
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

    This serves the variants as well: :meth:`ahead` and :meth:`complete` do nothing here, and ``climb`` stays at ``w``
    in a step that takes no second pass.

    Parameter groups and state are the base optimizer's own: learning-rate schedulers, ``add_param_group`` and the
    state dict work as on the base, whose state dict can also be loaded, and which can load this one's (``every`` adds
    one entry, the count of steps). ``rho`` and ``adaptive`` are options of the groups. The copy of ``w`` is kept
    between steps, one parameter's worth of memory, and is in no state dict. Hooks on this optimizer run once per step;
    global ones see the base optimizer's step too.

    float16 and bfloat16 are computed in float32 (such weights round most of a small ``rho`` away). Complex parameters
    count as pairs of real numbers.

    Source: Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization", ICLR 2021, section 2;
    adaptive: Kwon et al., "ASAM", ICML 2021, section 3 (element-wise operator, no bias).

    Args:
        params: Parameters, or groups, as for any torch optimizer.
        base_optimizer: Name in :mod:`torch.optim` or class of the optimizer that steps. Not ``LBFGS``, ``SparseAdam``
            or ``Adadelta`` (its ``rho`` means something else).
        rho: Radius of the neighbourhood, at least 0.
        adaptive: Measure the neighbourhood relative to each weight's magnitude.
        every: Of how many steps one, the first, takes a second pass.
        first_pass: ``'averaged'``, or ``'local'`` for m-SAM.
        **base_options: The base optimizer's options: ``lr``, ``betas``, ``weight_decay``, ...

    Attributes:
        base_optimizer: The optimizer that steps.
        sharpness: The loss at ``w + e`` minus that at ``w`` in the last step with a second pass, on its device, without
            waiting for it; None before, or if the closure returns no loss. Set by :meth:`step` with a closure, or by
            whoever calls the parts.
        grad_norm: The norm of the gradients that the base optimizer last stepped with; None before.

    Raises:
        ValueError: An optimizer or an option that cannot be used; the text says which, and what to write instead.
    """

    own_options: ClassVar[tuple[str, ...]] = (*SAMBase.own_options, 'every', 'first_pass')
    kept: ClassVar[tuple[str, ...]] = (*SAMBase.kept, 'every', 'first_pass', '_passed')
    needs: ClassVar[str] = 'a second'
    """Completes errors that say "runs one pass, and SAM needs ..."."""

    def __init__(
        self,
        params: Iterable[Any],
        base_optimizer: str | type[Optimizer] = 'Adam',
        rho: float = 0.05,
        adaptive: bool = False,
        every: int = 1,
        first_pass: str = 'averaged',
        **base_options: Any,
    ) -> None:
        self.every, self.first_pass = check_count(every), check_first_pass(first_pass)
        super().__init__(params, base_optimizer, group_options(rho, adaptive), base_options)

    def _prepare(self) -> None:
        super()._prepare()
        self._copies = PerParameter()
        self._climbed: list[Bundle] | None = None
        self._completed = False
        self._passed = False  # whether climb() was called for the step that comes next
        self.sharpness: Tensor | None = None
        self.grad_norm: float | None = None

    @property
    def climbed(self) -> bool:
        """True between :meth:`climb` and :meth:`restore`, while the weights are away from ``w``."""
        return self._climbed is not None

    @property
    def second_pass_due(self) -> bool:
        """True if the next step, or the one being taken, has a second pass."""
        return self._steps % self.every == 0 and any(group['rho'] for group in self.param_groups)

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """Run the first forward and backward pass of a step in the body. SAM does that at ``w`` and moves nothing.

        A variant may move the weights for it; :meth:`step`, or at latest the end of the body, moves them back.
        """
        self._completed = self._passed = False
        yield

    @torch.no_grad()
    def climb(self, *, skip_nonfinite: bool = False) -> bool:
        """Go from ``w`` to ``w + rho * g / ||g||`` (see the class), keeping a copy of ``w``.

        Parameters without a gradient stay; so do all of them if the gradient is zero, or no second pass is due.

        Args:
            skip_nonfinite: Under a gradient scaler, where an overflow is no error: stay at ``w`` and return False.

        Returns:
            Whether :meth:`restore` is needed to be at ``w``.

        Raises:
            NonFiniteGradientError: A gradient is not finite.
            RuntimeError: Called twice without :meth:`restore`, or a gradient is sparse. Whatever is raised, the
                weights are at ``w``.
        """
        self._refuse_climbed('climb()')
        if not self.second_pass_due:
            return False
        self._passed = True
        bundles = collect(self.param_groups)
        self._reserve(bundles)
        norm = joint_norm(bundles, stretched=True)
        if not math.isfinite(norm):
            if skip_nonfinite:
                return False
            raise self._non_finite('the first pass (at w)')
        self._completed = False
        self._look(bundles, norm)
        self._move(bundles, norm)
        return True

    @torch.no_grad()
    def restore(self) -> None:
        """Go back to exactly ``w``. Does nothing when the weights are there."""
        if self._climbed is not None:
            for bundle in self._climbed:
                bundle.restore()
            self._climbed = None

    @contextmanager
    def perturbed(self, *, skip_nonfinite: bool = False) -> Iterator[bool]:
        """:meth:`climb` before the body and :meth:`restore` after it, however it ends; gives what ``climb`` returns."""
        try:
            try:
                yield self.climb(skip_nonfinite=skip_nonfinite)
            finally:
                self.restore()
        finally:  # Ctrl-C may have struck on the way back
            self.restore()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Closure, climb, closure, restore, complete, base step; without a closure, what follows the passes.

        Args:
            closure: Zeroes the gradients, runs forward and backward, and returns the loss.

        Returns:
            The loss at ``w``, as the closure's first call returned it; None without a closure.

        Raises:
            NonFiniteGradientError: A gradient of either pass is not finite. The base optimizer has not stepped.
            RuntimeError: The weights are not at ``w``: :meth:`restore` was not called. Or a second pass is due, and
                there is neither a closure nor was :meth:`climb` called since the last step. Or the closure adds to
                gradients that were there instead of zeroing them. Whatever is raised before the base optimizer steps,
                the weights are at ``w`` and its state is as it was.
        """
        self._refuse_climbed('step()')
        loss, which = None, 'the pass before step()'
        if closure is not None:
            closure = refuse_added_gradients(closure, self)
            with self.ahead(), torch.enable_grad():
                loss = closure()
            if second_pass(self, closure, loss):
                which = 'the second pass (at w + e)'
        elif self.second_pass_due and not self._passed:
            raise self._one_pass()
        self.restore()
        self.complete()
        norm = joint_norm(collect(self.param_groups), stretched=False)
        if not math.isfinite(norm):
            raise self._non_finite(which)
        self._link()
        self.base_optimizer.step()
        self._steps += 1
        self._completed, self._passed, self.grad_norm = False, False, norm
        return loss

    @torch.no_grad()
    def complete(self) -> None:
        """Prepare the gradients for the base step. SAM leaves them unchanged; variants override this.

        Code that calls the parts calls it after the second pass and before it unscales or clips gradients. A second
        call does nothing until :meth:`step`, :meth:`zero_grad` or the next :meth:`climb`; :meth:`step` calls it if
        nobody has.

        Raises:
            RuntimeError: The weights are not at ``w``.
        """
        self._refuse_climbed('complete()')
        if not self._completed:
            self._complete()
            self._completed = True

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Zero the gradients, as every optimizer does; :meth:`complete` will be needed for the next ones."""
        super().zero_grad(set_to_none)
        self._completed = False

    def _extra(self) -> dict[str, Any]:
        return {'steps': self._steps} if self.every > 1 else {}

    def _load_extra(self, extra: dict[str, Any]) -> None:
        super()._load_extra(extra)
        self._passed = False

    def __getstate__(self) -> dict[str, Any]:
        if self.climbed:
            raise RuntimeError('SAM cannot be copied or pickled between climb() and restore(). Call restore() first.')
        return super().__getstate__()

    def _reserve(self, bundles: list[Bundle]) -> None:
        """Give the bundles memory for ``w``."""
        for bundle, copies in zip(bundles, self._copies.reserve(bundles), strict=True):
            bundle.copies = copies

    def _look(self, bundles: list[Bundle], norm: float) -> None:
        """Called before the weights move, with the finite gradients of the first pass and their norm; for variants."""

    def _complete(self) -> None:
        """The work of :meth:`complete`, once per step; for variants."""

    def _move(self, bundles: list[Bundle], norm: float) -> None:
        """Save and climb, all the way or not at all."""
        for bundle in bundles:
            bundle.save()
        try:
            self._climbed = bundles
            for bundle in bundles:
                bundle.climb(norm)
        except BaseException:
            self.restore()
            raise

    def _refuse_climbed(self, call: str) -> None:
        if self.climbed:
            self.restore()
            raise RuntimeError(
                f'{call} between climb() and restore(); the weights are back at w. Call restore() first.'
            )

    def _one_pass(self) -> RuntimeError:
        name, base = type(self).__name__, type(self.base_optimizer).__name__
        return RuntimeError(
            f'{name}.step() was called without a closure, and climb() was not called since the last step: this would '
            f'be a plain step of {base}. Call step(closure) with a closure that computes loss and gradients, or call '
            'climb(), run the second pass and call restore() before step(); mea_plugin.optim.run_step does either.'
        )

    def _non_finite(self, which: str) -> NonFiniteGradientError:
        return NonFiniteGradientError(
            f'in {which}, {describe_non_finite(self.param_groups)}',
            do='Lower the learning rate or rho, or use a gradient scaler with float16',
        )
