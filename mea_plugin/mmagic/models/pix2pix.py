"""Training a pix2pix surrogate: each query with its response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from mmagic.models.editors import Pix2Pix

from mea_plugin.core.options import check_keys
from mea_plugin.mmagic.models.translation import Images, Terms, TranslationExtraction

__all__ = ['ExtractionPix2Pix']


class ExtractionPix2Pix(TranslationExtraction, Pix2Pix):
    """MMagic's ``Pix2Pix`` with the high-frequency penalty and a step that can be evaluated twice.

    The generator's objective is::

        GAN(fake) + pixel_loss_weight * L1(fake, response) + factor * hf_loss(fake, response)

    with ``factor`` by ``hf_schedule``. Without ``hf_loss`` and with ``OptimWrapper`` it trains as ``Pix2Pix`` does.

    Args:
        hf_loss: ``dict(type='HighFrequencyLoss', ...)``, or None for no penalty.
        hf_schedule: ``constant``, or ``lr`` for a weight that grows as the learning rate falls.
        known_defences: ``[dict(type='resize', ...)]``: those on the victim's answers, which training goes through
            (:class:`~mea_plugin.defences.through.ThroughDefences`).
        loss_config: ``pixel_loss_weight`` (default 100).
        test_in_train_mode: Test as MMagic does, with dropout and the image's own batch statistics: one image at a time,
            seeded. By default networks are tested in evaluation mode.
        kwargs: As ``Pix2Pix``: generator, discriminator, default_domain, reachable_domains, related_domains,
            data_preprocessor, discriminator_steps, disc_init_steps.

    Raises:
        InputError: An unknown schedule, a schedule without a penalty, or an unknown weight in ``loss_config``.
    """

    loss_weights: ClassVar = {'pixel_loss_weight': 100.0}

    def __init__(
        self,
        *args: Any,
        hf_loss: dict[str, Any] | None = None,
        hf_schedule: str = 'constant',
        known_defences: list[dict[str, Any]] | None = None,
        loss_config: dict[str, float] | None = None,
        test_in_train_mode: bool = False,
        **kwargs: Any,
    ) -> None:
        check_keys(loss_config or {}, self.loss_weights, 'model.loss_config')
        super().__init__(*args, loss_config={**self.loss_weights, **(loss_config or {})}, **kwargs)
        self._prepare(hf_loss, hf_schedule, known_defences, test_in_train_mode)

    def _domains(self) -> tuple[str, str]:
        target = self._default_domain
        return self.get_other_domains(target)[0], target

    def _generate(self, inputs: Images) -> Images:
        source, target = self._domains()
        result = self(inputs[f'img_{source}'], target_domain=target, test_mode=False)
        return {
            f'real_{source}': result['source'],
            f'fake_{target}': self._shown(result['target']),
            f'real_{target}': inputs[f'img_{target}'],
        }

    def _discriminator_pass(self, images: Images) -> Callable[[], Terms]:
        return lambda: self._get_disc_loss(images)

    def _get_gen_loss(self, outputs: Images) -> Terms:
        loss, log_vars = super()._get_gen_loss(outputs)
        terms = {}
        if self.hf_loss is not None:
            target = self._default_domain
            terms['loss_hf'] = self._penalty(outputs[f'fake_{target}'], outputs[f'real_{target}'])
        return self._add_terms(loss, log_vars, terms)
