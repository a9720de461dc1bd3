"""What is logged of a training step: kept on the device, and read and averaged over the ranks when somebody asks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed

from mea_plugin.basicsr.models.training_state import saved_states
from mea_plugin.basicsr.models.training_step import TrainingStep
from mea_plugin.training.checkpoints import has_intact
from mea_plugin.training.finite import check_finite, finite_gradients

__all__ = ['StepLog']


class StepLog:
    """The terms of the last step, with the gradient's norm and the sharpness of each network that moved.

    Reading costs one transfer from the device and, in distributed training, one collective, so that all ranks have to
    read at the same iterations. Nothing else costs either.

    Args:
        opt: All options; ``logger.print_freq`` says which iterations are logged, ``path.training_states`` where
            checkpoints lie.

    Attributes:
        terms: The terms by name; filled in by the step.
        steps: The training steps that were run, by the suffix of their measures' names.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self._every = opt['logger']['print_freq']
        self._checkpoints = (opt.get('path') or {}).get('training_states')
        self._world_size = opt['world_size'] if opt['dist'] else 1
        self.terms: OrderedDict[str, Tensor] = OrderedDict()
        self.steps: dict[str, TrainingStep] = {}
        self._iteration = 0
        self._values: OrderedDict[str, float] | None = OrderedDict()

    @contextmanager
    def step(self, iteration: int) -> Iterator[StepLog]:
        """Log the step that the body takes.

        Raises:
            InputError: A gradient that SAM met is not finite, or, where the iteration is logged, a term is not.
        """
        self.terms, self.steps, self._values, self._iteration = OrderedDict(), {}, None, iteration
        with finite_gradients(self._own_terms, iteration, self._has_checkpoint):
            yield self
        if iteration % self._every == 0:
            self._refuse(self._losses())

    def read(self) -> OrderedDict[str, float]:
        """Terms, ``grad_norm`` and ``sharpness`` of the last step, averaged over the ranks, which all have to ask."""
        if self._values is None:
            tensors = OrderedDict((name, value.mean()) for name, value in self.terms.items())
            for suffix, step in self.steps.items():
                tensors.update((f'{name}{suffix}', value) for name, value in step.measures().items())
            joint = torch.stack([value.detach().double() for value in tensors.values()])
            if self._world_size > 1:
                distributed.all_reduce(joint)
                joint /= self._world_size
            self._values = OrderedDict(zip(tensors, joint.tolist(), strict=True))
        return OrderedDict(self._values)

    def check_finite(self) -> None:
        """Stop the run if the last step went wrong on any rank; all of them have to ask, before they save.

        Raises:
            InputError: A term, or a gradient's norm where no gradient scaler takes care of it, is not finite.
        """
        scaled = {f'grad_norm{suffix}' for suffix, step in self.steps.items() if step.scaler is not None}
        norms = {name: value for name, value in self.read().items() if name.startswith('grad_norm')}
        self._refuse(self._losses() | {name: value for name, value in norms.items() if name not in scaled})

    def _losses(self) -> dict[str, float]:
        return {name: value for name, value in self.read().items() if name in self.terms}

    def _own_terms(self) -> dict[str, float]:
        """The terms of this rank alone: the others need not have met what it did, and would not join a collective."""
        return {name: float(value.mean()) for name, value in self.terms.items()}

    def _has_checkpoint(self) -> bool:
        return self._checkpoints is not None and has_intact(saved_states(self._checkpoints))

    def _refuse(self, values: dict[str, float]) -> None:
        check_finite(values, self._iteration, self._has_checkpoint)
