"""Training a pix2pix surrogate: each query with its response."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from mmagic.models.editors import Pix2Pix

from mea_plugin.mmagic.models.translation import Images, Terms, TranslationExtraction

__all__ = ['ExtractionPix2Pix']


class ExtractionPix2Pix(TranslationExtraction, Pix2Pix):
    """MMagic's ``Pix2Pix`` with further loss terms and a step that can be evaluated twice.

    The generator's objective is::

        GAN(fake) + pixel_loss_weight * L1(fake, response) + factor * hf_loss(fake, response) + further terms

    with ``factor`` by ``hf_schedule``. Without such terms and with ``OptimWrapper`` it trains as ``Pix2Pix`` does.

    Args:
        loss_config: ``pixel_loss_weight`` (default 100).
        kwargs: As :class:`~mea_plugin.mmagic.models.translation.TranslationExtraction`, and as ``Pix2Pix``: generator,
            discriminator, default_domain, reachable_domains, related_domains, data_preprocessor, discriminator_steps,
            disc_init_steps.
    """

    loss_weights: ClassVar = {'pixel_loss_weight': 100.0}

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
        target = self._default_domain
        terms = self._logged_terms(outputs[f'fake_{target}'], outputs[f'real_{target}'])
        return self._add_terms(loss, log_vars, terms)
