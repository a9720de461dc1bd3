"""Momentum-SAM: a flatter minimum for the price of one pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from mea_plugin.optim.ascent import NonFiniteGradientError, collect, joint_norm
from mea_plugin.optim.options import check_momentum
from mea_plugin.optim.sam import SAM
from mea_plugin.optim.sam_base import SAMBase

__all__ = ['MomentumSAM']

# Where torch's optimizers, and those written after them, keep it.
_NAMES = ('exp_avg', 'momentum_buffer')


class MomentumSAM(SAM):
    r"""Take the gradient a step ahead along the momentum, and step with it from where the weights are.

    With ``m`` the base optimizer's momentum, which it descends against, the one pass of a step takes place at

    .. math:: w - \rho\, m / \lVert m \rVert, \qquad\text{adaptive: } w - \rho\, w^2 m / \lVert\, |w|\, m\, \rVert;

    past the minimum of a narrow valley that is uphill, as SAM's perturbation is. The norm runs over all parameters that
    have a momentum; there is none before the first step, which is the base optimizer's. A base that maximises keeps
    the momentum of the negative loss, so the sign is the same. There is no second pass: a step costs what the base
    optimizer's does.

    ``step(closure)`` does it all. Code that calls the parts runs the pass, and if it likes the step too, in ``ahead``::

        with optimizer.ahead():
            optimizer.zero_grad()
            loss_of(batch).backward()
        optimizer.step()

    Whatever happens in the body, the weights are then back at exactly ``w``. Rules for groups, precision, gradients
    that are not finite and state dicts are SAM's. Memory beyond the base optimizer's: one copy of the parameters, in no
    state dict.

    Source: Becker et al., "Momentum-SAM: Sharpness Aware Minimization without Computational Overhead", 2024
    (arXiv 2401.12033), algorithm 1; adaptive: as SAM's, by Kwon et al., "ASAM", ICML 2021.

    Args:
        params: As SAM.
        base_optimizer: As SAM, and one with a momentum: ``SGD`` or ``RMSprop`` with ``momentum`` or any with ``betas``.
        rho: How far ahead, at least 0. The authors go about ten times as far as with SAM.
        adaptive: As SAM.
        **base_options: The base optimizer's options.

    Raises:
        ValueError: As SAM, or a base optimizer without momentum.
    """

    own_options: ClassVar[tuple[str, ...]] = SAMBase.own_options
    needs: ClassVar[str] = 'it ahead of the weights'

    def __init__(
        self,
        params: Iterable[Any],
        base_optimizer: str | type[Optimizer] = 'Adam',
        rho: float = 0.5,
        adaptive: bool = False,
        **base_options: Any,
    ) -> None:
        for name in {'every', 'first_pass'} & base_options.keys():
            raise ValueError(f"MomentumSAM takes no second pass, so '{name}' has no meaning. Leave it out.")
        super().__init__(params, base_optimizer, rho, adaptive, **base_options)
        for group in self.param_groups:
            check_momentum(group, type(self.base_optimizer).__name__)

    def _prepare(self) -> None:
        super()._prepare()
        self._is_ahead = False

    @property
    def second_pass_due(self) -> bool:
        """Never."""
        return False

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """Run the body ahead of ``w``; :meth:`step`, or the end of the body however it comes, goes back to ``w``.

        Inside another one's body nothing is done.

        Raises:
            NonFiniteGradientError: The momentum is not finite. The weights are at ``w``.
            ValueError: The base optimizer keeps its momentum under a name that is not known here.
        """
        if self._is_ahead:
            yield
            return
        try:
            try:
                self._is_ahead, self._completed = True, False
                self._go_ahead()
                yield
            finally:
                self._is_ahead = False
                self.restore()
        finally:  # Ctrl-C may have struck on the way back
            self._is_ahead = False
            self.restore()

    @torch.no_grad()
    def _go_ahead(self) -> None:
        bundles = collect(self.param_groups, self._momentum, against=True)
        self._reserve(bundles)
        norm = joint_norm(bundles, stretched=True)
        if not math.isfinite(norm):
            raise NonFiniteGradientError(
                'the momentum of the base optimizer is not finite, or overflows times the weights',
                do='Go on from an earlier state',
            )
        if norm and any(bundle.rho for bundle in bundles):
            self._move(bundles, norm)

    def _momentum(self, param: Tensor) -> Tensor | None:
        state = self.state.get(param)
        if not state:
            return None
        for name in _NAMES:
            if name in state:
                momentum: Tensor | None = state[name]
                return momentum
        raise ValueError(
            f'{type(self.base_optimizer).__name__} keeps no momentum called {" or ".join(_NAMES)}. '
            "Use 'Adam', or 'SGD' with momentum=0.9."
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As SAM's."""
        if isinstance(param_group, dict) and 'base_optimizer' in self.__dict__:
            check_momentum({**self.defaults, **param_group}, type(self.base_optimizer).__name__)
        super().add_param_group(param_group)

    def _refuse_climbed(self, call: str) -> None:
        """Do nothing: the pass takes place away from ``w``, and :meth:`step` moves the weights back."""
