"""The model that trains a surrogate in BasicSR."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.error import URLError

import torch
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mea_plugin.basicsr.models.optimizers import NamedOptimizers
from mea_plugin.basicsr.models.precision import check_amp, forward_wide
from mea_plugin.basicsr.models.step_log import StepLog
from mea_plugin.basicsr.models.training_state import load_training_state, training_state
from mea_plugin.basicsr.models.training_step import Terms, TrainingStep
from mea_plugin.basicsr.run.validation import validate
from mea_plugin.core.errors import InputError
from mea_plugin.toolboxes.basicsr_networks import forward_padded, load_weights, size_multiple
from mea_plugin.training.ranks import Ranks
from mea_plugin.training.speed import compile_network, to_channels_last
from mea_plugin.training.terms import ExtractionObjective, TermOptions, read_terms

__all__ = ['ExtractionModel']


@contextmanager
def _fetched_weights(options: Mapping[str, Any], where: str) -> Iterator[None]:
    """Say what is missing where BasicSR's perceptual loss fetches its weights in the body, and cannot.

    Args:
        options: The loss's.
        where: The option that holds them.

    Raises:
        InputError: They are neither here nor to be had.
    """
    try:
        yield
    except URLError as error:
        raise InputError(
            f'the weights of {options.get("vgg_type", "vgg19")} are not here and cannot be fetched ({error.reason})',
            where=where,
            do="Put torchvision's into torch's hub cache, those of vgg19 as experiments/pretrained_models/"
            'vgg19-dcbb9e9d.pth, or remove this loss',
        ) from error


class ExtractionModel(ExtractionObjective, NamedOptimizers, SRModel):
    """BasicSR's ``SRModel`` with further loss terms and a step that can be evaluated twice.

    ``lq`` is the query and ``gt`` the victim's response. The objective is::

        pixel + perceptual + factor * hf(output, gt) + factor * extra(output, gt) + ...

    with ``hf`` the :class:`~mea_plugin.losses.HighFrequencyLoss` of ``train.hf_opt``, ``factor`` by
    ``train.hf_schedule``, and the others those of ``train.extra_losses``, each with a ``schedule`` of its own. Without
    them and with ``optim_g: {type: Adam}`` it does what ``SRModel`` does.

    An optimizer that wants the loss again, at other weights, as SAM does, gets it for the same batch, with the same
    random numbers, and without the buffers moving a second time
    (:class:`~mea_plugin.basicsr.models.training_step.TrainingStep`).

    Options under ``train`` besides ``SRModel``'s: ``hf_opt``, ``hf_schedule``, ``extra_losses``; ``known_defences``, a
    list of those on the victim's answers: all terms see ``output`` as they would show it
    (:class:`~mea_plugin.defences.through.ThroughDefences`); ``accumulate``, micro-batches that the loader's batch is
    split into; ``amp: bfloat16`` or ``float16``; ``channels_last: true``; ``compile: true`` or what ``torch.compile``
    takes. Validation is always in full precision, and shared by all ranks.

    Attributes:
        stop_requested: For whoever runs the training to set: asked between the images of a validation, which it ends.

    Source: Mi et al., AAAI 2024, and its published code.
    """

    term_prefix = 'l_'
    channels_last = False
    stop_requested: Callable[[], bool] | None = None

    def init_training_settings(self) -> None:
        """Build the loss terms and the training steps besides what ``SRModel`` builds."""
        train_opt = self.opt['train']
        terms = read_terms(
            train_opt.get('hf_opt'),
            train_opt.get('hf_schedule', 'constant'),
            train_opt.get('extra_losses'),
            hf_option='hf_opt',
            where='train',
        )
        self._build_objective(terms, self._build_loss, train_opt.get('known_defences'), where='train')
        self.accumulate = train_opt.get('accumulate', 1)
        self.amp = train_opt.get('amp') or None
        check_amp(self.amp, gpu=self.device.type == 'cuda', where='train.amp')
        self.step_log = StepLog(self.opt)
        self.ranks = Ranks()
        self.best_metric_results: dict[str, dict[str, dict[str, Any]]] = {}
        with _fetched_weights(train_opt.get('perceptual_opt') or {}, 'train.perceptual_opt'):
            super().init_training_settings()
        if self.ema_decay > 0 and self.channels_last:
            to_channels_last(self.net_g_ema)
        self._build_steps()

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """As ``BaseModel``, after the network was laid out and compiled as ``channels_last`` and ``compile`` say.

        Raises:
            InputError: One process is to train on several GPUs with ``compile`` or ``amp``.
        """
        train_opt = self.opt['train'] if self.is_train else {}
        if self.opt['num_gpu'] > 1 and not self.opt['dist'] and (train_opt.get('compile') or train_opt.get('amp')):
            raise InputError(
                'compile and amp need one process for each GPU',
                where='num_gpu',
                do='Start with torchrun and --launcher pytorch, or set num_gpu: 1',
            )
        self.channels_last = bool(train_opt.get('channels_last'))
        if self.channels_last:
            to_channels_last(net)
        if train_opt.get('compile'):
            options = train_opt['compile']
            compile_network(net, **(options if isinstance(options, Mapping) else {}))
        return super().model_to_device(net)

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str = 'params') -> None:
        """Load weights without executing code, as ``BaseModel`` would with torch < 2.6."""
        keys = tuple(dict.fromkeys((param_key, 'params'))) if param_key else ()
        left_out = load_weights(self.get_bare_model(net), load_path, param_keys=keys, strict=strict)
        logger = get_root_logger()
        logger.info(f'Loaded {type(net).__name__} from {load_path}.')
        for line in left_out:
            logger.warning(f'Not loaded: {line}')

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take a batch to the device; from pinned memory, without waiting for it."""
        self.lq = self._to_device(data['lq'])
        if 'gt' in data:
            self.gt = self._to_device(data['gt'])

    def optimize_parameters(self, current_iter: int) -> None:
        """One step on the current batch.

        Raises:
            InputError: A gradient that SAM met, or, in an iteration that is logged, a term is not finite.
        """
        with self.step_log.step(current_iter) as log:
            self._step(current_iter, log)
            if self.ema_decay > 0:
                self.model_ema(decay=self.ema_decay)

    def get_current_log(self) -> OrderedDict[str, float]:
        """The last step's terms, gradient norms and sharpness; read only now, so all ranks have to ask."""
        return self.step_log.read()

    def check_finite(self) -> None:
        """Stop the run if the last step's terms or gradients are not finite; all ranks ask, before they save.

        Raises:
            InputError: Names the iteration and the first term that is not.
        """
        self.step_log.check_finite()

    def save(self, epoch: int, current_iter: int) -> None:
        """As ``SRModel``, if the last step left something worth saving; called by all ranks.

        Raises:
            InputError: As :meth:`check_finite`; nothing is written.
        """
        self.check_finite()
        super().save(epoch, current_iter)

    def training_state(self) -> dict[str, Any]:
        """What BasicSR's own training state lacks, in plain values: gradient scalers, best metric results."""
        return training_state(self._steps(), self.best_metric_results)

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`training_state` gave."""
        self.best_metric_results = load_training_state(self._steps(), state)

    def validation(self, dataloader: DataLoader, current_iter: int, tb_logger: Any, save_img: bool = False) -> bool:
        """Validate on one set, on all ranks; see :func:`~mea_plugin.basicsr.run.validation.validate`."""
        stop = self.stop_requested
        return validate(self, dataloader, current_iter, tb_logger, save_img=save_img, stop_requested=stop)

    @torch.no_grad()
    def model_ema(self, decay: float = 0.999) -> None:
        """Move the averaged weights towards the current ones, and copy the buffers, which ``BaseModel`` forgets."""
        net, ema = self.get_bare_model(self.net_g), self.net_g_ema
        averages, current = list(ema.parameters()), list(net.parameters())
        torch._foreach_mul_(averages, decay)
        torch._foreach_add_(averages, current, alpha=1 - decay)
        for average, buffer in zip(ema.buffers(), net.buffers(), strict=True):
            average.copy_(buffer)

    @torch.no_grad()
    def test(self) -> None:
        """Run the network in evaluation mode on ``lq``, padded where it wants multiples of a window.

        Past its distributed wrapper, whose forward talks to the other ranks.
        """
        net = self.net_g_ema if hasattr(self, 'net_g_ema') else self.get_bare_model(self.net_g)
        was_training = net.training
        net.eval()
        self.output = forward_padded(net, self.lq, size_multiple(self.opt['network_g']))
        net.train(was_training)

    def _to_device(self, images: Tensor) -> Tensor:
        images = images.to(self.device, non_blocking=True)
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images

    def _build_loss(self, one: TermOptions) -> nn.Module:
        with _fetched_weights(one.loss, one.where):
            return build_loss(one.loss).to(self.device)

    def _build_steps(self) -> None:
        self.step_g = self._training_step(self.net_g, self.optimizer_g)

    def _steps(self) -> list[TrainingStep]:
        return [self.step_g]

    def _training_step(self, network: nn.Module, optimizer: torch.optim.Optimizer, *others: nn.Module) -> TrainingStep:
        options = {'amp': self.amp, 'device': self.device, 'accumulate': self.accumulate}
        return TrainingStep(network, optimizer, others=others, **options)

    def _step(self, current_iter: int, log: StepLog) -> None:
        """The step of each network."""
        self.terms.follow(self.optimizer_g)
        passes = [functools.partial(self._objective, lq, gt) for lq, gt in self._micro_batches()]
        log.steps[''] = self.step_g
        self.step_g.run(passes, log.terms)

    def _objective(self, lq: Tensor, gt: Tensor) -> tuple[Tensor, Terms]:
        output = self._shown(forward_wide(self.net_g, lq))
        self.output = output.detach()
        losses = self._losses(output, gt)
        return torch.as_tensor(sum(losses.values())), losses

    def _losses(self, output: Tensor, gt: Tensor) -> OrderedDict[str, Tensor]:
        """The terms that compare an output with the response, each with its weight."""
        losses: OrderedDict[str, Tensor] = OrderedDict()
        if self.cri_pix:
            losses[f'{self.term_prefix}pix'] = self.cri_pix(output, gt)
        if self.cri_perceptual:
            for name, loss in zip(('percep', 'style'), self.cri_perceptual(output, gt), strict=True):
                if loss is not None:
                    losses[f'{self.term_prefix}{name}'] = loss
        losses.update({f'{self.term_prefix}{name}': value for name, value in self.terms(output, gt).items()})
        return losses

    def _micro_batches(self) -> list[tuple[Tensor, Tensor]]:
        """The batch in ``accumulate`` equal parts.

        Raises:
            InputError: It cannot be divided.
        """
        if len(self.lq) % self.accumulate:
            raise InputError(
                f'a batch of {len(self.lq)} images cannot be split into {self.accumulate} parts',
                where='train.accumulate',
                do='Give a divisor of batch_size_per_gpu',
            )
        return list(zip(self.lq.chunk(self.accumulate), self.gt.chunk(self.accumulate), strict=True))
