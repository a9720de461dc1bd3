"""Training a CycleGAN surrogate: queries and responses that are shown to it unpaired."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from mmagic.models.editors import CycleGAN
from mmengine.optim import OptimWrapper, OptimWrapperDict

from mea_plugin.core.errors import InputError
from mea_plugin.core.options import check_keys
from mea_plugin.mmagic.models.image_pool import ImagePool, given
from mea_plugin.mmagic.models.passes import Logs, ahead, unsynchronised, update, watched
from mea_plugin.mmagic.models.translation import Images, MicroBatch, Terms, TranslationExtraction, accumulation
from mea_plugin.training.gradients import requires_grad

__all__ = ['ExtractionCycleGAN']


class ExtractionCycleGAN(TranslationExtraction, CycleGAN):
    """MMagic's ``CycleGAN`` with the high-frequency penalty and a step that can be evaluated twice.

    The loader gives a query, an unrelated response, and the true counterpart of each: ``img_query``, ``img_response``,
    ``paired_response``, ``paired_query`` (for domains of those names), each pair under one augmentation. The objective
    of the generators is::

        GAN + cycle_loss_weight * cycle + id_loss_weight * identity
            + sum over both domains: factor * hf_loss(fake, paired) + paired_loss_weight * L1(fake, paired)

    with ``factor`` by ``hf_schedule``. Without ``hf_loss`` and with ``OptimWrapper`` it trains as ``CycleGAN`` does.

    Args:
        hf_loss: ``dict(type='HighFrequencyLoss', ...)``, or None for no penalty.
        hf_schedule: ``constant``, or ``lr`` for a weight that grows as the learning rate falls.
        known_defences: ``[dict(type='resize', ...)]``: those on the victim's answers, which training goes through
            (:class:`~mea_plugin.defences.through.ThroughDefences`).
        loss_config: ``cycle_loss_weight`` (default 10), ``id_loss_weight`` (default 0.5, not relative to the cycle's)
            and ``paired_loss_weight`` (default 0: an attacker has the pairs, but the reference leaves this term out).
        paper_discriminator_step: Take the step as the paper's code does: the generators' turn first; then the
            discriminators, whose second pass runs the updated generators again and draws from the pool again, so that
            SAM's two gradients are those of different fakes, and moves buffers a second time.
        test_in_train_mode: Test as MMagic does, with dropout and batch statistics: one image at a time, seeded. By
            default networks are tested in evaluation mode.
        kwargs: As ``CycleGAN``: generator, discriminator, default_domain, reachable_domains, related_domains,
            data_preprocessor, discriminator_steps, disc_init_steps, buffer_size.

    Raises:
        InputError: An unknown schedule, a schedule without a penalty, or an unknown weight in ``loss_config``.
    """

    loss_weights: ClassVar = {'cycle_loss_weight': 10.0, 'id_loss_weight': 0.5, 'paired_loss_weight': 0.0}

    def __init__(
        self,
        *args: Any,
        hf_loss: dict[str, Any] | None = None,
        hf_schedule: str = 'constant',
        known_defences: list[dict[str, Any]] | None = None,
        loss_config: dict[str, float] | None = None,
        paper_discriminator_step: bool = False,
        test_in_train_mode: bool = False,
        **kwargs: Any,
    ) -> None:
        check_keys(loss_config or {}, self.loss_weights, 'model.loss_config')
        super().__init__(*args, loss_config={**self.loss_weights, **(loss_config or {})}, **kwargs)
        self._prepare(hf_loss, hf_schedule, known_defences, test_in_train_mode)
        self.paper_discriminator_step = paper_discriminator_step
        self.image_buffers = {domain: ImagePool(self.buffer_size) for domain in self._reachable_domains}

    def train_step(self, data: Any, optim_wrapper: OptimWrapperDict) -> Logs:
        """As :meth:`TranslationExtraction.train_step`, or the paper's."""
        if not self.paper_discriminator_step:
            return super().train_step(data, optim_wrapper)
        return self._paper_step(data, optim_wrapper)

    def _generate(self, inputs: Images) -> Images:
        images = {name: image for name, image in inputs.items() if name.startswith('paired_')}
        for target in self._reachable_domains:
            source = self.get_other_domains(target)[0]
            result = self(inputs[f'img_{source}'], target_domain=target, test_mode=False)
            fake = result['target']
            if target == self._default_domain:  # the victim's answers
                fake = self._shown(fake)
            images[f'real_{source}'], images[f'fake_{target}'] = result['source'], fake
            back = self(fake, target_domain=source, test_mode=False)
            images[f'cycle_{source}'] = back['target']
        return images

    def _discriminator_pass(self, images: Images) -> Callable[[], Terms]:
        draws = {domain: pool.query(images[f'fake_{domain}']) for domain, pool in self.image_buffers.items()}

        def objective() -> Terms:
            with given(self.image_buffers, draws):
                return self._get_disc_loss(images)

        return objective

    def _get_gen_loss(self, outputs: Images) -> Terms:
        loss, log_vars = super()._get_gen_loss(outputs)
        weight = self.loss_config['paired_loss_weight']
        terms = {}
        for domain in self._reachable_domains:
            if self.hf_loss is None and not weight:
                break
            fake, paired = outputs[f'fake_{domain}'], outputs[f'paired_{domain}']
            if self.hf_loss is not None:
                terms[f'loss_hf_{domain}'] = self._penalty(fake, paired)
            if weight:
                terms[f'loss_paired_{domain}'] = weight * F.l1_loss(fake, paired)
        return self._add_terms(loss, log_vars, terms)

    def _check_domains(self, inputs: Images) -> Images:
        super()._check_domains(inputs)
        wanted = self.hf_loss is not None or self.loss_config['paired_loss_weight']
        missing = [f'paired_{domain}' for domain in self._reachable_domains if f'paired_{domain}' not in inputs]
        if wanted and missing:
            raise InputError(
                f'hf_loss and paired_loss_weight want {", ".join(missing)}, the data has {", ".join(inputs)}',
                where='model',
                do='Load pairs with QuerySetDataset(unpaired=True) and pack all four images',
            )
        return inputs

    def _paper_step(self, data: Any, optim_wrapper: OptimWrapperDict) -> Logs:
        """Generators, then discriminators, whose second pass sees other fakes (the paper's ``optimize_parameters``)."""
        wrappers = (optim_wrapper['generators'], optim_wrapper['discriminators'])
        if accumulation(*wrappers) != 1:
            raise InputError(
                'paper_discriminator_step does not accumulate', where='model', do='Set accumulative_counts to 1'
            )
        inputs = self._check_domains(self.data_preprocessor(data, True)['inputs'])
        self._follow_schedule(wrappers[0].optimizer)
        logs = Logs()
        with watched(logs), unsynchronised(self.generators, self.discriminators):
            with ahead(wrappers[0]):
                batch = self._forward(inputs, wrappers[0], keep_graph=True)
                if self._generators_may_step(1):
                    self._generators_turn(batch, wrappers[0], logs)
            self._papers_discriminators_turn(batch, wrappers[1], logs)
        return logs

    def _papers_discriminators_turn(self, batch: MicroBatch, wrapper: OptimWrapper, logs: Logs) -> None:
        def loss_on(images: Images) -> Terms:
            with wrapper.optim_context(self.discriminators):
                return self._get_disc_loss(images)  # which draws from the pool

        def again() -> Terms:
            with wrapper.optim_context(self.generators), torch.no_grad():
                images = self._generate(batch.inputs)
            return loss_on(images)

        with requires_grad([self.discriminators], True):
            first = functools.partial(loss_on, batch.images)
            update(wrapper, first, logs, self, again=again, average=True, name='discriminators')
