"""What the extraction models for image translation share: the order of a step, and testing in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from mmagic.models.base_models import BaseTranslationModel
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor

from mea_plugin.core.errors import InputError
from mea_plugin.core.options import check_keys
from mea_plugin.mmagic.models.objective import ExtractionArguments
from mea_plugin.mmagic.models.passes import Logs, ahead, unsynchronised, update, watched
from mea_plugin.optim import RandomState, frozen_buffers
from mea_plugin.training.gradients import requires_grad

__all__ = ['MicroBatch', 'TranslationExtraction', 'accumulation']

Images = dict[str, Tensor]
"""``real_D``, ``fake_D``, ``cycle_D``, ``paired_D`` for domains ``D``: float ``(N, C, H, W)``."""

Terms = tuple[Tensor, dict[str, Tensor]]
"""A loss and the terms it is the sum of, by name."""


@dataclass
class MicroBatch:
    """One batch of the loader, and what is needed to run the generators on it again.

    Attributes:
        inputs: ``img_D`` (and ``paired_D``) as the preprocessor gives them.
        start: The random state from which the generators ran.
        images: What they made, without graphs.
        graph: The same with graphs, for the one pass that may use it; None afterwards.
    """

    inputs: Images
    start: RandomState
    images: Images
    graph: Images | None


def accumulation(first: OptimWrapper, second: OptimWrapper) -> int:
    """The micro-batches per step, which must be the same for both networks of a GAN.

    Raises:
        InputError: They differ.
    """
    counts = (first._accumulative_counts, second._accumulative_counts)
    if counts[0] != counts[1]:
        raise InputError(
            f'the two networks accumulate {counts[0]} and {counts[1]} batches',
            where='optim_wrapper',
            do='Set the same accumulative_counts for both',
        )
    return int(counts[0])


class TranslationExtraction(ExtractionArguments, BaseTranslationModel):
    """Mixin before MMagic's ``Pix2Pix`` or ``CycleGAN``: their objectives, in a step that can be evaluated twice.

    The step is MMagic's: generators forward, discriminators' turn on the detached fakes, generators' turn against the
    updated discriminators. Whatever a second pass evaluates, it finds what the first found: inputs, the draw from the
    image pool, dropout masks, for the discriminators the very same fakes; buffers move once per step.

    Where an optimizer runs its first pass away from the weights, the generators stay there from their forward pass to
    their step, or, in a step that they do not take, to its end.

    With accumulation the discriminators see each micro-batch as it comes; the generators' turn comes when the window is
    complete and the discriminators have moved, over all its micro-batches, so that a window equals one large batch
    (batch norm aside). It runs the generators on them again, from the same random numbers, rather than keep all graphs.

    Args:
        args: As MMagic's model.
        loss_config: Weights of MMagic's terms.
        test_in_train_mode: Test as MMagic does, with dropout and the image's own batch statistics: one image at a time,
            seeded. By default networks are tested in evaluation mode.
        kwargs: As :class:`~mea_plugin.mmagic.models.objective.ExtractionArguments` and MMagic's model.

    Attributes:
        loss_weights: What ``loss_config`` may hold, with the defaults.

    Raises:
        InputError: An unknown weight in ``loss_config``.
    """

    loss_weights: ClassVar[dict[str, float]]

    def __init__(
        self,
        *args: Any,
        loss_config: dict[str, float] | None = None,
        test_in_train_mode: bool = False,
        **kwargs: Any,
    ) -> None:
        check_keys(loss_config or {}, self.loss_weights, 'model.loss_config')
        super().__init__(*args, loss_config={**self.loss_weights, **(loss_config or {})}, **kwargs)
        self.test_in_train_mode = test_in_train_mode
        self._window: list[MicroBatch] = []

    def _generate(self, inputs: Images) -> Images:
        """Run the generators: everything that the objectives look at, with graphs."""
        raise NotImplementedError

    def _discriminator_pass(self, images: Images) -> Callable[[], Terms]:
        """What computes the discriminators' objective on these images, as often as it is called."""
        raise NotImplementedError

    def train_step(self, data: Any, optim_wrapper: OptimWrapperDict) -> Logs:
        """One step, or one micro-batch of it.

        Args:
            data: From the loader.
            optim_wrapper: With the entries ``generators`` and ``discriminators``, MMEngine's wrappers or ones that take
                a second pass, each as it likes.

        Returns:
            The terms at ``w``, for the log.

        Raises:
            InputError: The data has other domains than the model, the two wrappers accumulate differently, or a term
                or a gradient is not finite.
        """
        wrappers = (optim_wrapper['generators'], optim_wrapper['discriminators'])
        window = accumulation(*wrappers)
        inputs = self._check_domains(self.data_preprocessor(data, True)['inputs'])
        self.terms.follow(wrappers[0].optimizer)
        logs = Logs()
        with watched(logs), unsynchronised(self.generators, self.discriminators), ahead(wrappers[0]):
            self._window.append(self._forward(inputs, wrappers[0], keep_graph=window == 1))
            self._discriminators_turn(self._window[-1], wrappers[1], logs)
            if len(self._window) == window:
                batches, self._window = self._window, []
                if self._generators_may_step(window):
                    for batch in batches:
                        self._generators_turn(batch, wrappers[0], logs)
        return logs

    def _check_domains(self, inputs: Images) -> Images:
        missing = [f'img_{domain}' for domain in self._related_domains if f'img_{domain}' not in inputs]
        if missing:
            raise InputError(
                f'the model wants {", ".join(missing)}, the data has {", ".join(inputs)}',
                where='model.related_domains',
                do='Give model and pipeline the same domains',
            )
        return inputs

    def _forward(self, inputs: Images, wrapper: OptimWrapper, *, keep_graph: bool) -> MicroBatch:
        start = RandomState(self)
        with wrapper.optim_context(self.generators), torch.set_grad_enabled(keep_graph):
            images = self._generate(inputs)
        return MicroBatch(inputs, start, _without_graphs(images), images if keep_graph else None)

    def _generators_may_step(self, window: int) -> bool:
        """MMagic's rule: after every ``discriminator_steps`` steps of the discriminators, ``disc_init_steps`` first."""
        iteration = MessageHub.get_current_instance().get_info('iter', 0)
        steps = (iteration + 1) // window
        return steps % self.discriminator_steps == 0 and iteration >= self.disc_init_steps

    def _discriminators_turn(self, batch: MicroBatch, wrapper: OptimWrapper, logs: Logs) -> None:
        objective = self._discriminator_pass(batch.images)

        def in_context() -> Terms:
            with wrapper.optim_context(self.discriminators):
                return objective()

        with requires_grad([self.discriminators], True):
            update(wrapper, in_context, logs, self, average=True, name='discriminators')

    def _generators_turn(self, batch: MicroBatch, wrapper: OptimWrapper, logs: Logs) -> None:
        def objective() -> Terms:
            with wrapper.optim_context(self.generators):
                return self._get_gen_loss(self._images_with_graph(batch))

        with requires_grad([self.discriminators], False):
            update(wrapper, objective, logs, self, average=True, name='generators')

    def _images_with_graph(self, batch: MicroBatch) -> Images:
        """The generators' output: that of the forward pass if its graph is still unused, or made again as it was."""
        if batch.graph is not None:
            images, batch.graph = batch.graph, None
            return images
        with frozen_buffers(self), batch.start.replay():
            return self._generate(batch.inputs)

    def _add_terms(self, loss: Tensor, log_vars: dict[str, Tensor], terms: dict[str, Tensor]) -> Terms:
        """Add terms to an objective of MMagic's and to its log."""
        for name, term in terms.items():
            loss = loss + term
            log_vars[name] = term
        log_vars['loss'] = loss
        return loss, log_vars

    def forward_test(self, img: Tensor, target_domain: str, **kwargs: Any) -> dict[str, Tensor]:
        """Translate images for a test, leaving weights, buffers and the random state as they were.

        Args:
            img: ``(N, C, H, W)``.
            target_domain: The domain to translate to.
            kwargs: For the generator.

        Returns:
            ``source`` and ``target``.
        """
        before = {module: module.training for module in self.modules()}
        try:
            if self.test_in_train_mode:
                target = torch.cat(
                    [self._translate_in_train_mode(one, target_domain, **kwargs) for one in img.split(1)]
                )
            else:
                self.eval()
                target = self.translation(img, target_domain=target_domain, **kwargs)
        finally:
            for module, training in before.items():
                module.training = training
        return {'source': img, 'target': target}

    def _translate_in_train_mode(self, image: Tensor, target_domain: str, **kwargs: Any) -> Tensor:
        """One image alone, seeded, so that its answer depends on nothing else."""
        devices = [image.device] if image.is_cuda else []
        self.train()
        with frozen_buffers(self), torch.random.fork_rng(devices):
            torch.manual_seed(0)
            output: Tensor = self.translation(image, target_domain=target_domain, **kwargs)
            return output

    def test_step(self, data: Any) -> Any:
        """As :meth:`val_step`; MMagic's own looks into a batch of samples that it has not split."""
        return self.val_step(data)


def _without_graphs(images: Images) -> Images:
    return {name: image.detach() for name, image in images.items()}
