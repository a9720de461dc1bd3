"""Sharpness-aware minimisation on top of any torch optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mea_plugin.optim.ascent import Bundle, NonFiniteGradientError, collect, describe_non_finite, joint_norm
from mea_plugin.optim.bases import check_groups, check_options, resolve_base

__all__ = ['SAM']

_OWN_OPTIONS = ('rho', 'adaptive', 'base_optimizer')


class SAM(Optimizer):
    r"""Minimise the loss at the worst point near the weights instead of at the weights.

    With ``g`` the gradient at ``w``, a step takes the gradient at

    .. math:: w + \rho\, g / \lVert g \rVert, \qquad\text{adaptive: } w + \rho\, w^2 g / \lVert\, |w|\, g\, \rVert,

    goes back to ``w`` and lets the base optimizer step with it. The norm runs over all parameters that have a gradient.
    Groups may differ: with ``t = |w|`` in an adaptive group and 1 in another, group ``k`` goes by
    ``rho_k * t^2 g / ||t g||``, the norm being that of all groups together. With the base's ``maximize`` it goes the
    other way: down, to the worst point nearby.

    A step with a closure is all that plain training needs; the closure is called twice (once if every ``rho`` is 0,
    which makes the step exactly the base optimizer's)::

        optimizer = SAM(net.parameters(), 'Adam', rho=0.05, lr=2e-4)

        def closure():
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            return loss

        loss = optimizer.step(closure)

    :func:`mea_plugin.optim.repeatable` makes both calls see the same dropout masks and moves buffers once. Under
    ``DistributedDataParallel`` nothing changes: both passes average their gradients. For gradient accumulation the
    closure runs all micro-batches.

    With a gradient scaler the parts are called. The way up does not depend on the gradient's scale, so the first pass
    is not unscaled (a scaler unscales once per step). If it overflowed, ``climb`` stays at ``w`` and says so; the
    scaler finds the same gradients and skips the step::

        optimizer.zero_grad()
        scaler.scale(loss_of(batch)).backward()
        with optimizer.perturbed(skip_nonfinite=True) as climbed:
            if climbed:
                optimizer.zero_grad()
                scaler.scale(loss_of(batch)).backward()
        scaler.unscale_(optimizer)  # only for clipping
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

    Parameter groups and state are the base optimizer's own: learning-rate schedulers, ``add_param_group`` and the
    state dict work as on the base, whose state dict can also be loaded. ``rho`` and ``adaptive`` are options of the
    groups. The copy of ``w`` is kept between steps, one parameter's worth of memory, and is in no state dict. Hooks
    on this optimizer run once per step; global ones see the base optimizer's step too.

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
        **base_options: The base optimizer's options: ``lr``, ``betas``, ``weight_decay``, ...

    Attributes:
        base_optimizer: The optimizer that steps.

    Raises:
        ValueError: An optimizer or an option that cannot be used; the text says which, and what to write instead.
    """

    def __init__(
        self,
        params: Iterable[Any],
        base_optimizer: str | type[Optimizer] = 'Adam',
        rho: float = 0.05,
        adaptive: bool = False,
        **base_options: Any,
    ) -> None:
        own = _own_options(rho, adaptive)
        cls = resolve_base(base_optimizer, _OWN_OPTIONS)
        check_options(cls, base_options)
        base = cls(params, **base_options)
        super().__init__(base.param_groups, {**base.defaults, **own})
        self.base_optimizer = base
        self.state = base.state
        self._copies: dict[Tensor, Tensor] = {}
        self._climbed: list[Bundle] | None = None
        self._link()

    @property
    def climbed(self) -> bool:
        """Whether the weights are away from ``w``: between :meth:`climb` and :meth:`restore`."""
        return self._climbed is not None

    @torch.no_grad()
    def climb(self, *, skip_nonfinite: bool = False) -> bool:
        """Go from ``w`` to ``w + rho * g / ||g||`` (see the class), keeping a copy of ``w``.

        Parameters without a gradient stay; so do all of them if the gradient is zero.

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
        bundles = collect(self.param_groups)
        self._reserve(bundles)
        norm = joint_norm(bundles, stretched=True)
        if not math.isfinite(norm):
            if skip_nonfinite:
                return False
            raise self._non_finite('the first pass (at w)')
        for bundle in bundles:
            bundle.save()
        try:
            self._climbed = bundles
            for bundle in bundles:
                bundle.climb(norm)
        except BaseException:
            self.restore()
            raise
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
        """Closure, climb, closure, restore, base step; without a closure, the base step with the gradients at hand.

        Args:
            closure: Zeroes the gradients, runs forward and backward, and returns the loss.

        Returns:
            The loss at ``w``, as the closure's first call returned it; None without a closure.

        Raises:
            NonFiniteGradientError: A gradient of either pass is not finite. The base optimizer has not stepped.
            RuntimeError: The weights are not at ``w``: :meth:`restore` was not called. Whatever is raised before the
                base optimizer steps, the weights are at ``w`` and its state is as it was.
        """
        self._refuse_climbed('step()')
        loss, which = None, 'the pass before step()'
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
            if any(group['rho'] for group in self.param_groups):
                with self.perturbed(), torch.enable_grad():
                    closure()
                which = 'the second pass (at w + e)'
        if not math.isfinite(joint_norm(collect(self.param_groups), stretched=False)):
            raise self._non_finite(which)
        self._link()
        self.base_optimizer.step()
        return loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters; the group may set ``rho`` and ``adaptive`` besides the base optimizer's options."""
        if isinstance(param_group, dict):
            own = (param_group.get(key, self.defaults[key]) for key in ('rho', 'adaptive'))
            param_group.update(_own_options(*own))
        if 'base_optimizer' in self.__dict__:
            self._link()
            self.base_optimizer.add_param_group(param_group)
        else:  # the constructor, which shares the base optimizer's groups
            super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict of SAM, or of the plain base optimizer; in the second case ``rho`` stays as it is.

        Raises:
            ValueError: It is another optimizer's, or its groups do not match. Nothing has been changed.
        """
        super().load_state_dict(state_dict)  # ends in __setstate__

    def __getstate__(self) -> dict[str, Any]:
        if self.climbed:
            raise RuntimeError('SAM cannot be copied or pickled between climb() and restore(). Call restore() first.')
        return {**super().__getstate__(), 'base_optimizer': self.base_optimizer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Unpickling, copying and load_state_dict all come through here; only the last finds groups.
        known = self.__dict__.get('param_groups', [])
        if known:
            check_groups(self.base_optimizer, state['param_groups'])
        super().__setstate__(state)
        self.__dict__.setdefault('_copies', {})
        self.__dict__.setdefault('_climbed', None)
        self.base_optimizer.__setstate__({'state': self.state, 'param_groups': self.param_groups})
        for old, new in zip(known, self.param_groups, strict=False):
            new.setdefault('rho', old['rho'])
            new.setdefault('adaptive', old['adaptive'])

    def _link(self) -> None:
        """Let the base optimizer work on this one's groups and state, also where a caller replaced them."""
        self.base_optimizer.param_groups = self.param_groups
        self.base_optimizer.state = self.state

    def _reserve(self, bundles: list[Bundle]) -> None:
        """Give the bundles memory for ``w``: that of the last step where it fits."""
        last, self._copies = self._copies, {}
        for bundle in bundles:
            for owner, param in zip(bundle.owners, bundle.params, strict=True):
                copy = last.pop(owner, None)
                if copy is None or (copy.shape, copy.dtype, copy.device) != (param.shape, param.dtype, param.device):
                    copy = torch.empty_like(param)
                self._copies[owner] = copy
                bundle.copies.append(copy)

    def _refuse_climbed(self, call: str) -> None:
        if self.climbed:
            self.restore()
            raise RuntimeError(
                f'{call} between climb() and restore(); the weights are back at w. Call restore() first.'
            )

    def _non_finite(self, which: str) -> NonFiniteGradientError:
        return NonFiniteGradientError(
            f'in {which}, {describe_non_finite(self.param_groups)}. The weights are at w. Lower the learning rate or '
            'rho, or use a gradient scaler with float16.'
        )


def _own_options(rho: Any, adaptive: Any) -> dict[str, Any]:
    """The options that are not the base optimizer's, checked."""
    if isinstance(rho, bool) or not isinstance(rho, Real) or not 0 <= float(rho) < math.inf:
        raise ValueError(f'rho must be a finite number of at least 0, got {rho!r}. The usual value is 0.05.')
    if not isinstance(adaptive, bool):
        raise ValueError(f'adaptive must be True or False, got {adaptive!r}.')
    return {'rho': float(rho), 'adaptive': adaptive}
