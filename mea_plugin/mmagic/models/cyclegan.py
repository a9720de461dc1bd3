"""Training a CycleGAN surrogate: queries and responses that are shown to it unpaired."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from mmagic.models.editors import CycleGAN
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor

from mea_plugin.core.errors import InputError
from mea_plugin.mmagic.models.image_pool import ImagePool, given
from mea_plugin.mmagic.models.passes import Logs, ahead, unsynchronised, update, watched
from mea_plugin.mmagic.models.translation import Images, MicroBatch, Terms, TranslationExtraction, accumulation
from mea_plugin.training.gradients import requires_grad

__all__ = ['ExtractionCycleGAN']


class ExtractionCycleGAN(TranslationExtraction, CycleGAN):
    """MMagic's ``CycleGAN`` with further loss terms and a step that can be evaluated twice.

    The loader gives a query, an unrelated response, and the true counterpart of each: ``img_query``, ``img_response``,
    ``paired_response``, ``paired_query`` (for domains of those names), each pair under one augmentation. The objective
    of the generators is::

        GAN + cycle_loss_weight * cycle + id_loss_weight * identity
            + sum over both domains: factor * hf_loss(fake, paired) + further terms(fake, paired)
            + sum over both domains: paired_loss_weight * L1(fake, paired)

    with ``factor`` by ``hf_schedule``. Without such terms and with ``OptimWrapper`` it trains as ``CycleGAN`` does.

    Args:
        loss_config: ``cycle_loss_weight`` (default 10), ``id_loss_weight`` (default 0.5, not relative to the cycle's)
            and ``paired_loss_weight`` (default 0: an attacker has the pairs, but the reference leaves this term out).
        paper_discriminator_step: Take the step as the paper's code does: the generators' turn first; then the
            discriminators, whose second pass runs the updated generators again and draws from the pool again, so that
            SAM's two gradients are those of different fakes, and moves buffers a second time.
        kwargs: As :class:`~mea_plugin.mmagic.models.translation.TranslationExtraction`, and as ``CycleGAN``: generator,
            discriminator, default_domain, reachable_domains, related_domains, data_preprocessor, discriminator_steps,
            disc_init_steps, buffer_size.
    """

    loss_weights: ClassVar = {'cycle_loss_weight': 10.0, 'id_loss_weight': 0.5, 'paired_loss_weight': 0.0}

    def __init__(self, *args: Any, paper_discriminator_step: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
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
        terms: dict[str, Tensor] = {}
        for domain in self._reachable_domains if self.terms or weight else ():
            fake, paired = outputs[f'fake_{domain}'], outputs[f'paired_{domain}']
            terms |= self._logged_terms(fake, paired, f'_{domain}')
            if weight:
                terms[f'loss_paired_{domain}'] = weight * F.l1_loss(fake, paired)
        return self._add_terms(loss, log_vars, terms)

    def _check_domains(self, inputs: Images) -> Images:
        super()._check_domains(inputs)
        wanted = self.terms or self.loss_config['paired_loss_weight']
        missing = [f'paired_{domain}' for domain in self._reachable_domains if f'paired_{domain}' not in inputs]
        if wanted and missing:
            raise InputError(
                f'the paired terms want {", ".join(missing)}, the data has {", ".join(inputs)}',
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
        self.terms.follow(wrappers[0].optimizer)
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
