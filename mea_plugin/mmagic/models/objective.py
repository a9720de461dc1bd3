"""The arguments that every extraction model of MMagic takes beside its base class's, and what they add to the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmagic.registry import MODELS
from torch import Tensor, nn

from mea_plugin.training.terms import ExtractionObjective, TermOptions, read_terms

__all__ = ['ExtractionArguments', 'terms_of']


def terms_of(model: Mapping[str, Any], *, where: str = 'model') -> list[TermOptions]:
    """The loss terms that a model's options name.

    Args:
        model: The options.
        where: The file and section they come from, for errors.

    Raises:
        InputError: As :func:`~mea_plugin.training.terms.read_terms`.
    """
    hf, schedule = model.get('hf_loss'), model.get('hf_schedule', 'constant')
    return read_terms(hf, schedule, model.get('extra_losses'), hf_option='hf_loss', where=where)


class ExtractionArguments(ExtractionObjective):
    """Mixin before MMagic's models.

    Each term is ``factor * loss(pred, target)`` of the generator's output, as known defences show it, and the victim's
    response; ``factor`` is 1 (``constant``) or ``1 - lr / lr_0`` clipped to [0, 1] (``lr``), where ``lr`` is the
    generator's learning rate and ``lr_0`` the one it was configured with.

    Args:
        args: As the base class.
        hf_loss: ``dict(type='HighFrequencyLoss', ...)``, or None for no penalty; its term is ``loss_hf``.
        hf_schedule: ``constant``, or ``lr`` for a weight that grows as the learning rate falls.
        extra_losses: ``[dict(type='FocalFrequencyLoss', ...)]``: further losses that take prediction and target, each
            with a ``schedule`` and a ``name`` of its own, if it likes; their terms are ``loss_NAME``.
        known_defences: ``[dict(type='resize', ...)]``: those on the victim's answers, which training goes through
            (:class:`~mea_plugin.defences.through.ThroughDefences`).
        kwargs: As the base class.

    Raises:
        InputError: An unknown schedule, a schedule without a penalty, or two terms of one name.
    """

    hf_loss: nn.Module | None

    def __init__(
        self,
        *args: Any,
        hf_loss: dict[str, Any] | None = None,
        hf_schedule: str = 'constant',
        extra_losses: list[dict[str, Any]] | None = None,
        known_defences: list[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        terms = terms_of({'hf_loss': hf_loss, 'hf_schedule': hf_schedule, 'extra_losses': extra_losses})
        super().__init__(*args, **kwargs)
        self._build_objective(terms, lambda one: MODELS.build(one.loss), known_defences, where='model')
        losses = dict(self.terms.losses)
        self.hf_loss = losses.pop('hf', None)
        self.extra_losses = nn.ModuleDict(losses)  # so that they follow the model to its device

    def _logged_terms(self, pred: Tensor, target: Tensor, suffix: str = '') -> dict[str, Tensor]:
        """The weighted terms as the log names them."""
        return {f'loss_{name}{suffix}': value for name, value in self.terms(pred, target).items()}
