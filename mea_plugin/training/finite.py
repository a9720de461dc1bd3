"""Stops a training whose loss terms or gradients are not finite, in both adapters with the same words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from mea_plugin.core.errors import InputError
from mea_plugin.optim import NonFiniteGradientError

__all__ = ['check_finite', 'finite_gradients']


def check_finite(values: Mapping[str, float], iteration: int, has_checkpoint: Callable[[], bool]) -> None:
    """Refuse values that are not finite.

    Args:
        values: Terms and gradient norms by name.
        iteration: The step that gave them, counted from 1.
        has_checkpoint: Tells whether the run has a checkpoint that is intact; no such step can have spoilt it.

    Raises:
        InputError: Names the iteration and the first value that is not finite.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise InputError(f'{name} is {value}', where=f'iteration {iteration}', do=_advice(has_checkpoint))


@contextmanager
def finite_gradients(
    terms: Callable[[], Mapping[str, float]], iteration: int, has_checkpoint: Callable[[], bool]
) -> Iterator[None]:
    """Turn a gradient that SAM found not finite in the body into the one line that ends a run.

    Args:
        terms: Reads the step's terms, of which one may be the cause.
        iteration: The step, counted from 1.
        has_checkpoint: As for :func:`check_finite`.

    Raises:
        InputError: Names the iteration and the first term that is not finite, or the gradient if all terms are.
    """
    try:
        yield
    except NonFiniteGradientError as error:
        check_finite(terms(), iteration, has_checkpoint)
        raise InputError(error.what, where=f'iteration {iteration}', do=_advice(has_checkpoint)) from error


def _advice(has_checkpoint: Callable[[], bool]) -> str:
    resume = ', or go on from the last checkpoint, which is intact' if has_checkpoint() else ''
    return f'Lower the learning rate or rho{resume}'
