"""The options that are not the base optimizer's, checked."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

__all__ = ['check_alpha', 'check_count', 'check_first_pass', 'check_momentum', 'group_options']

FIRST_PASSES = ('averaged', 'local')


def group_options(rho: Any, adaptive: Any) -> dict[str, Any]:
    """Check the options that each parameter group has.

    Raises:
        ValueError: A value that cannot be meant.
    """
    if isinstance(rho, bool) or not isinstance(rho, Real) or not 0 <= float(rho) < math.inf:
        raise ValueError(f'rho must be a finite number of at least 0, got {rho!r}. The usual value is 0.05.')
    if not isinstance(adaptive, bool):
        raise ValueError(f'adaptive must be True or False, got {adaptive!r}.')
    return {'rho': float(rho), 'adaptive': adaptive}


def check_count(every: Any) -> int:
    """Check ``every``, the number of steps of which one takes a second pass.

    Raises:
        ValueError: Not a whole number of at least 1.
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ValueError(f'every must be a whole number of at least 1, got {every!r}. 1 is a second pass in each step.')
    return every


def check_first_pass(first_pass: Any) -> str:
    """Check ``first_pass``, which names the gradients that the climb follows.

    Raises:
        ValueError: Neither of the two.
    """
    if first_pass not in FIRST_PASSES:
        raise ValueError(
            f"first_pass must be 'averaged' or 'local', got {first_pass!r}. Write 'averaged' to climb by all ranks' "
            "gradients, 'local' for each rank's own."
        )
    return str(first_pass)


def check_alpha(alpha: Any) -> float:
    """Check ``alpha``, the share of a kept direction that is added.

    Raises:
        ValueError: Not a finite number of at least 0.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, Real) or not 0 <= float(alpha) < math.inf:
        raise ValueError(f'alpha must be a finite number of at least 0, got {alpha!r}. The usual value is 0.7.')
    return float(alpha)


def check_momentum(options: dict[str, Any], base: str) -> None:
    """Check that the base optimizer, with these options of a group, keeps a momentum.

    Raises:
        ValueError: It does not.
    """
    if 'momentum' in options:
        momentum, found, instead = options['momentum'], 'momentum=0', 'momentum=0.9'
    elif 'betas' in options:
        momentum, found, instead = options['betas'][0], 'betas[0]=0', 'betas=(0.9, 0.999)'
    else:
        raise ValueError(
            f'MomentumSAM climbs along the momentum of its base optimizer, and {base} has none. '
            "Use 'Adam', or 'SGD' with momentum=0.9."
        )
    if not float(momentum):
        raise ValueError(
            f'MomentumSAM climbs along the momentum of its base optimizer, and {base} has {found}. Write {instead}.'
        )
