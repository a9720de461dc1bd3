"""Training a super-resolution surrogate against a discriminator."""

from __future__ import annotations

from typing import Any

import torch
from mmagic.models.editors import SRGAN
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor

from mea_plugin.mmagic.models.objective import ExtractionArguments
from mea_plugin.mmagic.models.passes import Logs, ahead, unsynchronised, update, watched
from mea_plugin.mmagic.models.translation import Terms, accumulation
from mea_plugin.optim import RandomState
from mea_plugin.training.gradients import requires_grad

__all__ = ['ExtractionSRGAN']


class ExtractionSRGAN(ExtractionArguments, SRGAN):
    """MMagic's ``SRGAN`` with further loss terms and a step that can be evaluated twice.

    ``img`` is the query and ``gt`` the victim's response. The generator's objective is::

        pixel + perceptual + GAN + factor * hf_loss(output, gt) + further terms

    with ``factor`` by ``hf_schedule``. The step is MMagic's: the generator's turn, then the discriminator's on what the
    generator made before it moved. Both passes of a SAM wrapper see the same batch, random numbers and (for the
    discriminator) fakes; buffers move once. Without such terms and with ``OptimWrapper`` it trains as ``SRGAN`` does.

    With accumulation both networks see every micro-batch and move when the window is complete; ``disc_steps`` and
    ``disc_init_steps`` then count windows and iterations, as without.

    Args:
        generator: The generator's config.
        discriminator: The discriminator's config, or None.
        kwargs: As :class:`~mea_plugin.mmagic.models.objective.ExtractionArguments`, and as ``SRGAN``: gan_loss,
            pixel_loss, perceptual_loss, train_cfg, test_cfg, init_cfg, data_preprocessor.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._window: list[tuple[Tensor, Tensor]] = []

    def g_step(self, batch_outputs: Tensor, batch_gt_data: Tensor) -> dict[str, Tensor]:
        """The generator's terms."""
        losses: dict[str, Tensor] = super().g_step(batch_outputs, batch_gt_data)
        return losses | self._logged_terms(batch_outputs, batch_gt_data)

    def train_step(self, data: Any, optim_wrapper: OptimWrapperDict) -> Logs:
        """One step, or one micro-batch of it.

        Args:
            data: From the loader.
            optim_wrapper: With the entries ``generator`` and, if there is one, ``discriminator``.

        Returns:
            The terms at ``w``, for the log.

        Raises:
            InputError: The two wrappers accumulate differently, or a term or a gradient is not finite.
        """
        wrapper = optim_wrapper['generator']
        critic = optim_wrapper['discriminator'] if self.if_run_d() else None
        window = accumulation(wrapper, critic or wrapper)
        batch = self.data_preprocessor(data, True)
        self.terms.follow(wrapper.optimizer)
        logs = Logs()
        with watched(logs), unsynchronised(self.generator, *self._critics()):
            with ahead(wrapper):
                output = self._generators_turn(batch, wrapper, logs, moves=self._generator_moves(window))
            self._window.append((output, self.extract_gt_data(batch['data_samples'])))
            if len(self._window) == window:
                batches, self._window = self._window, []
                for _ in range(self.disc_repeat if critic else 0):
                    for fake, real in batches:
                        self._discriminators_turn(fake, real, critic, logs)
        logs.pop('loss', None)  # of whichever network came last
        self.step_counter += 1
        return logs

    def _generator_moves(self, window: int) -> bool:
        """MMagic's rule, by windows of micro-batches: every ``disc_steps``, after ``disc_init_steps``."""
        iteration = int(self.step_counter)
        return iteration // window % self.disc_steps == 0 and iteration >= self.disc_init_steps

    def _generators_turn(self, batch: dict[str, Any], wrapper: OptimWrapper, logs: Logs, *, moves: bool) -> Tensor:
        """Run the generator and, if it moves, its turn; returns what it made before it moved, without a graph."""
        inputs, samples = batch['inputs'], batch['data_samples']
        start = RandomState(self)
        with wrapper.optim_context(self), torch.set_grad_enabled(moves):
            unused: list[Tensor] = [self._shown(self.forward_train(inputs, samples))]
        fake = unused[0].detach()

        def objective() -> Terms:
            with wrapper.optim_context(self):
                if unused:
                    output = unused.pop()
                else:
                    with start.replay():
                        output = self._shown(self.forward_train(inputs, samples))
                return self.parse_losses(self.g_step(output, self.extract_gt_data(samples)))

        if moves:
            with requires_grad(self._critics(), False):
                update(wrapper, objective, logs, self, average=True, name='generator')
        return fake

    def _discriminators_turn(self, fake: Tensor, real: Tensor, wrapper: OptimWrapper, logs: Logs) -> None:
        def objective() -> Terms:
            with wrapper.optim_context(self):
                losses = {'loss_d_real': self.d_step_real(fake, real), 'loss_d_fake': self.d_step_fake(fake, real)}
                return self.parse_losses(losses)

        with requires_grad(self._critics(), True):
            update(wrapper, objective, logs, self, average=True, name='discriminator')

    def _critics(self) -> list[Any]:
        return [] if self.discriminator is None else [self.discriminator]
