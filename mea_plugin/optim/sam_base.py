"""Base class of SAM and its variants: groups, state and state dict are shared with a base optimizer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from torch.optim import Optimizer

from mea_plugin.optim.base_optimizers import check_groups, check_options, resolve_base
from mea_plugin.optim.options import group_options

__all__ = ['SAMBase']

_EXTRA = 'sam'  # where a state dict holds what is not the base optimizer's


class SAMBase(Optimizer):
    """Share parameter groups and state with the base optimizer that takes the step.

    Args:
        params: Parameters, or groups, as for any torch optimizer.
        base_optimizer: Name in :mod:`torch.optim` or class of the optimizer that steps.
        group_defaults: Options of groups that are not the base optimizer's.
        base_options: The base optimizer's options.

    Attributes:
        own_options: Names of the options that a base optimizer must not have.
        kept: Attributes that copies and pickles hold beyond what every optimizer's do.

    Raises:
        ValueError: An optimizer or an option that cannot be used; the text says which, and what to write instead.
    """

    own_options: ClassVar[tuple[str, ...]] = ('rho', 'adaptive', 'base_optimizer')
    kept: ClassVar[tuple[str, ...]] = ('base_optimizer', '_steps')
    base_optimizer: Optimizer
    _steps: int

    def __init__(
        self,
        params: Iterable[Any],
        base_optimizer: str | type[Optimizer],
        group_defaults: dict[str, Any],
        base_options: dict[str, Any],
    ) -> None:
        self._prepare()
        cls = resolve_base(base_optimizer, self.own_options, type(self).__name__)
        check_options(cls, base_options)
        base = cls(params, **base_options)
        super().__init__(base.param_groups, {**base.defaults, **group_defaults})
        self.base_optimizer = base
        self.state = base.state
        self._link()

    def _prepare(self) -> None:
        """Set the attributes that copies and pickles do not hold."""
        self._steps = 0

    def _link(self) -> None:
        """Give this optimizer's groups and state to the base optimizer; a caller may have replaced them."""
        self.base_optimizer.param_groups = self.param_groups
        self.base_optimizer.state = self.state

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters; the group may set ``rho`` and ``adaptive`` besides the base optimizer's options."""
        if isinstance(param_group, dict):
            own = (param_group.get(key, self.defaults[key]) for key in ('rho', 'adaptive'))
            param_group.update(group_options(*own))
        if 'base_optimizer' in self.__dict__:
            self._link()
            self.base_optimizer.add_param_group(param_group)
        else:  # the constructor, which shares the base optimizer's groups
            super().add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """The base optimizer's, with one more key for any further state that an exact continuation needs."""
        state_dict, extra = super().state_dict(), self._extra()
        return {**state_dict, _EXTRA: extra} if extra else state_dict

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict of this kind, or of the plain base optimizer; in the second case ``rho`` stays as it is.

        Raises:
            ValueError: It is another optimizer's, or its groups do not match. Nothing has been changed.
        """
        extra = state_dict.get(_EXTRA, {})
        problem = self._problem(extra) if isinstance(extra, dict) else 'is no table'
        if problem:
            raise ValueError(
                f"the state dict is not one of {type(self).__name__}: its entry '{_EXTRA}' {problem}. "
                'Load it into the kind of optimizer that saved it.'
            )
        super().load_state_dict(state_dict)  # ends in __setstate__
        self._load_extra(extra)

    def _extra(self) -> dict[str, Any]:
        """Entries of the state dict that are not the base optimizer's."""
        return {}

    def _problem(self, extra: dict[str, Any]) -> str:
        """Describe an invalid table of further entries, or return an empty text; changes nothing."""
        steps = extra.get('steps', 0)
        bad = isinstance(steps, bool) or not isinstance(steps, int) or steps < 0
        return f'counts {steps!r} steps' if bad else ''

    def _load_extra(self, extra: dict[str, Any]) -> None:
        self._steps = extra.get('steps', 0)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), **{name: getattr(self, name) for name in self.kept}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Unpickling, copying and load_state_dict all come through here; only the last finds groups.
        known = self.__dict__.get('param_groups', [])
        if known:
            check_groups(self.base_optimizer, state['param_groups'])
        else:
            self._prepare()
        super().__setstate__(state)
        self.base_optimizer.__setstate__({'state': self.state, 'param_groups': self.param_groups})
        for old, new in zip(known, self.param_groups, strict=False):
            new.setdefault('rho', old['rho'])
            new.setdefault('adaptive', old['adaptive'])
