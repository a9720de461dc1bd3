"""The model that trains a surrogate in BasicSR."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from mea_plugin.basicsr.networks import forward_padded, load_weights, size_multiple
from mea_plugin.basicsr.optimizers import build_optimizer
from mea_plugin.basicsr.schedule import hf_factor
from mea_plugin.optim import repeatable

__all__ = ['ExtractionModel']


class ExtractionModel(SRModel):
    """BasicSR's ``SRModel`` with the high-frequency penalty and a step that can be evaluated twice.

    ``lq`` is the query and ``gt`` the victim's response. The objective is::

        pixel + perceptual + factor * hf(output, gt)

    with ``hf`` the :class:`~mea_plugin.losses.HighFrequencyLoss` of ``train.hf_opt`` and ``factor`` by
    ``train.hf_schedule``. Without ``hf_opt`` and with ``optim_g: {type: Adam}`` it does what ``SRModel`` does.

    Every optimizer is driven by ``step(closure)``: one that wants the loss again, at other weights, as SAM does, gets
    it for the same batch, with the same random numbers, and without the buffers moving a second time.

    Source: Mi et al., AAAI 2024, and its published code.
    """

    def init_training_settings(self) -> None:
        """Build the penalty besides what ``SRModel`` builds."""
        train_opt = self.opt['train']
        self.cri_hf = build_loss(train_opt['hf_opt']).to(self.device) if train_opt.get('hf_opt') else None
        self.hf_schedule = train_opt.get('hf_schedule', 'constant')
        super().init_training_settings()

    def get_optimizer(self, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        """SAM or any of torch's optimizers; ``SRModel`` knows only Adam."""
        return build_optimizer({'type': optim_type, 'lr': lr, **kwargs}, params, where='train.optim_g')

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str = 'params') -> None:
        """Load weights without executing code, as ``BaseModel`` would with torch < 2.6."""
        keys = (param_key, 'params') if param_key else ()
        left_out = load_weights(self.get_bare_model(net), load_path, param_keys=keys, strict=strict)
        logger = get_root_logger()
        logger.info(f'Loaded {type(net).__name__} from {load_path}.')
        for line in left_out:
            logger.warning(f'Not loaded: {line}')

    def optimize_parameters(self, current_iter: int) -> None:
        """One step on the current batch."""
        passes: list[OrderedDict[str, Tensor]] = []
        factor = hf_factor(self.hf_schedule, self.optimizer_g)

        def closure() -> Tensor:
            self.optimizer_g.zero_grad()
            self.output = self.net_g(self.lq)
            losses = self._losses(factor)
            total = torch.as_tensor(sum(losses.values()))
            total.backward()
            passes.append(OrderedDict((name, loss.detach()) for name, loss in losses.items()))
            return total

        self.optimizer_g.step(repeatable(closure, self.net_g))
        self.log_dict = self.reduce_loss_dict(passes[0])
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def _losses(self, hf_weight: float) -> OrderedDict[str, Tensor]:
        """The terms of the objective, each with its weight."""
        losses = OrderedDict()
        if self.cri_pix:
            losses['l_pix'] = self.cri_pix(self.output, self.gt)
        if self.cri_perceptual:
            percep, style = self.cri_perceptual(self.output, self.gt)
            losses |= {name: loss for name, loss in (('l_percep', percep), ('l_style', style)) if loss is not None}
        if self.cri_hf:
            losses['l_hf'] = hf_weight * self.cri_hf(self.output, self.gt)
        return losses

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
        """Run the network in evaluation mode on ``lq``, padded where it wants multiples of a window."""
        net = self.net_g_ema if hasattr(self, 'net_g_ema') else self.net_g
        was_training = net.training
        net.eval()
        self.output = forward_padded(net, self.lq, size_multiple(self.opt['network_g']))
        net.train(was_training)
