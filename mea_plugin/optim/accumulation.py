"""Find closures that add to gradients instead of replacing them, as trainers that accumulate gradients hand over."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

__all__ = ['Watch', 'refuse_added_gradients', 'watch_gradients']

_DO = (
    'Zero the gradients at the start of the closure, and let it run all micro-batches of the step. In Lightning use '
    'manual optimization instead of accumulate_grad_batches; see "SAM in other trainers" in docs/training.md.'
)


class Watch:
    """A hook on one parameter that compares the first gradient to arrive with what is there already.

    Args:
        param: The parameter, or None for no comparison.
    """

    def __init__(self, param: Tensor | None) -> None:
        self._param, self._seen = param, False
        self._before: Tensor | None = None

    def __call__(self, gradient: Tensor) -> None:
        """Called by autograd before the parameter's gradient changes."""
        if not self._seen and self._param is not None:
            self._seen = True
            before = self._param.grad
            self._before = before if before is not None and before.detach().count_nonzero() else None

    @property
    def added(self) -> bool:
        """True if the gradient was added to one that was not zero, and not replaced since."""
        return self._before is not None and self._param is not None and self._param.grad is self._before


@contextmanager
def watch_gradients(optimizer: Optimizer) -> Iterator[Watch]:
    """Watch whether the first gradients that the body computes are added to others.

    One parameter is looked at, the last that has a gradient. Without one on entry, nothing can be added.

    Args:
        optimizer: Its parameters are watched.
    """
    params = [param for group in optimizer.param_groups for param in group['params'] if param.grad is not None]
    param = next((param for param in reversed(params) if param.requires_grad), None)
    watch = Watch(param)
    handle = param.register_hook(watch) if param is not None else None
    try:
        yield watch
    finally:
        if handle is not None:
            handle.remove()


def refuse_added_gradients(closure: Callable[[], Any], optimizer: Optimizer) -> Callable[[], Any]:
    """A closure that raises after a call in which the gradients were not zeroed.

    SAM cannot use such a closure: its two passes would be added up, or the first would be that of a whole batch and the
    second that of the last micro-batch. Under accelerate the closure of a single micro-batch looks like any other; so
    where ``gradient_accumulation_steps`` is above 1, a warning says what the closure has to run.

    Args:
        closure: Runs a pass of a step.
        optimizer: Whose parameters get the gradients.

    Returns:
        The closure; it raises ``RuntimeError``.
    """
    _warn_under_accelerate(optimizer)

    def run() -> Any:
        with watch_gradients(optimizer) as watch:
            result = closure()
        if watch.added:
            raise RuntimeError(
                f'The closure of {type(optimizer).__name__}.step(closure) added its gradients to others that were '
                f'there, so its passes would not see the same batch; no weight has moved. {_DO}'
            )
        return result

    return run


def _warn_under_accelerate(optimizer: Optimizer) -> None:
    """Warn where accelerate, if it is loaded, accumulates gradients over calls of ``step``."""
    state = getattr(sys.modules.get('accelerate.state'), 'GradientState', None)
    count = state().num_steps if state is not None and state._shared_state else 1
    if count > 1:
        warnings.warn(
            f'accelerate accumulates gradients over {count} batches and calls {type(optimizer).__name__}.step(closure) '
            'for the last of them only: if the closure runs one batch, the step is that of this batch alone. Use '
            'Accelerator(gradient_accumulation_steps=1) and a closure that runs all batches of the step; see "SAM in '
            'other trainers" in docs/training.md.',
            stacklevel=2,
        )
