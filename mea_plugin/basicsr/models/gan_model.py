"""The model that trains a surrogate against a discriminator in BasicSR."""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import Any

import torch
from basicsr.losses.loss_util import get_refined_artifact_map
from basicsr.models.srgan_model import SRGANModel
from torch import Tensor

from mea_plugin.basicsr.models.extraction_model import ExtractionModel
from mea_plugin.basicsr.models.precision import forward_wide
from mea_plugin.basicsr.models.step_log import StepLog
from mea_plugin.basicsr.models.training_step import Pass, Terms, TrainingStep, unwrapped
from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.training.gradients import requires_grad

__all__ = ['ExtractionGANModel', 'check_gan_mode']

_MODES = ('standard', 'relativistic')
_ARTIFACT_WINDOW = 7  # as RealESRGANModel has it


def check_gan_mode(mode: Any, *, where: str) -> None:
    """Refuse an unknown mode.

    Raises:
        InputError: It is.
    """
    if mode not in _MODES:
        raise InputError(f"no GAN mode '{mode}'", where=where, do=suggestion(str(mode), _MODES))


class ExtractionGANModel(ExtractionModel, SRGANModel):
    """BasicSR's ``SRGANModel``, or ``ESRGANModel``, with further loss terms and steps fit for SAM.

    ``lq`` is the query and ``gt`` the victim's response. The generator's objective is::

        pixel + perceptual + factor * hf(output, gt) + factor * extra(output, gt) + ... + artifacts + GAN

    with ``gan_opt`` any of BasicSR's GAN losses. ``train.gan_mode``: ``standard`` is ``SRGANModel``'s step,
    ``relativistic`` ``ESRGANModel``'s, where each kind of image is compared with the other kind's mean over the
    micro-batch. ``artifacts`` is ``ldl_opt`` as ``RealESRGANModel`` has it (``SRGANModel`` builds it and never calls
    it); it needs ``ema_decay``. Without it and such terms, and with Adam, the steps are BasicSR's, bit for bit.

    Each iteration is the generator's step (every ``net_d_iters`` after ``net_d_init_iters``), then the discriminator's
    on what the generator made before it moved. All passes of an optimizer see the same batch, random numbers and, for
    the discriminator, fakes. Buffers move as often as in BasicSR's step, however many passes there are.

    Options under ``train`` besides ``SRGANModel``'s: those of :class:`ExtractionModel`, and ``gan_mode``. ``optim_g``
    and ``optim_d`` are chosen separately: SAM can act on either or on both.
    """

    term_prefix = 'l_g_'

    def init_training_settings(self) -> None:
        """Read the mode besides what the other models read."""
        mode = self.opt['train'].get('gan_mode', 'standard')
        check_gan_mode(mode, where='train.gan_mode')
        self.relativistic = mode == 'relativistic'
        super().init_training_settings()

    def _build_steps(self) -> None:
        self.step_g = self._training_step(self.net_g, self.optimizer_g, self.net_d)
        self.step_d = self._training_step(self.net_d, self.optimizer_d)

    def _steps(self) -> list[TrainingStep]:
        return [self.step_g, self.step_d]

    def _step(self, current_iter: int, log: StepLog) -> None:
        batches = self._micro_batches()
        if current_iter % self.net_d_iters == 0 and current_iter > self.net_d_init_iters:
            fakes = self._generator_step(batches, log)
        else:
            fakes = [self._fake(lq) for lq, _ in batches]
        self.output = fakes[-1]
        log.steps['_d'] = self.step_d
        passes = [
            compute for fake, (_, gt) in zip(fakes, batches, strict=True) for compute in self._critics_passes(fake, gt)
        ]
        self.step_d.run(passes, log.terms)

    @torch.no_grad()
    def _fake(self, lq: Tensor) -> Tensor:
        with self.step_g.autocast():
            return self._shown(forward_wide(self.net_g, lq))

    def _generator_step(self, batches: list[tuple[Tensor, Tensor]], log: StepLog) -> list[Tensor]:
        """Returns what the first pass made, without graphs."""
        self.terms.follow(self.optimizer_g)
        fakes: list[Tensor] = []
        passes = [functools.partial(self._generators_pass, lq, gt, self._averaged(lq), fakes) for lq, gt in batches]
        log.steps['_g'] = self.step_g
        with requires_grad([self.net_d], False):
            self.step_g.run(passes, log.terms)
        return fakes[: len(batches)]

    @torch.no_grad()
    def _averaged(self, lq: Tensor) -> Tensor | None:
        """What the averaged weights make, for the artifacts' term."""
        with self.step_g.autocast():
            return self._shown(forward_wide(self.net_g_ema, lq)) if self.cri_ldl else None

    def _generators_pass(
        self, lq: Tensor, gt: Tensor, averaged: Tensor | None, fakes: list[Tensor]
    ) -> tuple[Tensor, Terms]:
        output = self._shown(forward_wide(self.net_g, lq))
        fakes.append(output.detach())
        losses = self._losses(output, gt)
        if averaged is not None:
            artifacts = get_refined_artifact_map(gt, output, averaged, _ARTIFACT_WINDOW)
            losses[f'{self.term_prefix}ldl'] = self.cri_ldl(artifacts * output, artifacts * gt)
        losses[f'{self.term_prefix}gan'] = self._deception(output, gt)
        return torch.as_tensor(sum(losses.values())), losses

    def _deception(self, output: Tensor, gt: Tensor) -> Tensor:
        """The generator's GAN loss.

        The discriminator runs past its distributed wrapper, which would prepare to average gradients that it does not
        get here.
        """
        net_d = unwrapped(self.net_d)
        if not self.relativistic:
            return self.cri_gan(forward_wide(net_d, output), True, is_disc=False)
        with torch.no_grad():
            real = forward_wide(net_d, gt)
        fake = forward_wide(net_d, output)
        of_real = self.cri_gan(real - torch.mean(fake), False, is_disc=False)
        of_fake = self.cri_gan(fake - torch.mean(real), True, is_disc=False)
        return (of_real + of_fake) / 2

    def _critics_passes(self, fake: Tensor, gt: Tensor) -> tuple[Pass, Pass]:
        """The discriminator's losses on one micro-batch, in the order of BasicSR's two models."""
        return self._relativistic_passes(fake, gt) if self.relativistic else self._standard_passes(fake, gt)

    def _standard_passes(self, fake: Tensor, gt: Tensor) -> tuple[Pass, Pass]:
        def on(kind: str, image: Tensor) -> tuple[Tensor, Terms]:
            score = forward_wide(self.net_d, image)
            loss = self.cri_gan(score, kind == 'real', is_disc=True)
            return loss, OrderedDict({f'l_d_{kind}': loss, f'out_d_{kind}': torch.mean(score.detach())})

        return functools.partial(on, 'real', gt), functools.partial(on, 'fake', fake)

    def _relativistic_passes(self, fake: Tensor, gt: Tensor) -> tuple[Pass, Pass]:
        scores: dict[str, Tensor] = {}

        def on_real() -> tuple[Tensor, Terms]:
            with torch.no_grad():
                rivals = forward_wide(self.net_d, fake)
            score = forward_wide(self.net_d, gt)
            scores['real'] = score.detach()
            loss = self.cri_gan(score - torch.mean(rivals), True, is_disc=True) * 0.5
            return loss, {'l_d_real': loss}

        def on_fake() -> tuple[Tensor, Terms]:
            score, real = forward_wide(self.net_d, fake), scores['real']
            loss = self.cri_gan(score - torch.mean(real), False, is_disc=True) * 0.5
            means = {'out_d_real': torch.mean(real), 'out_d_fake': torch.mean(score.detach())}
            return loss, OrderedDict(l_d_fake=loss, **means)

        return on_real, on_fake
