"""Speed and memory among the logged numbers."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook, LoggerHook

from mea_plugin.training.measures import Throughput, peak_memory

__all__ = ['MeasuresHook']


class MeasuresHook(Hook):
    """Gives ``images_per_second`` (all ranks, without validation) and ``peak_memory`` (MiB) to MMEngine's loggers.

    They appear wherever ``LoggerHook`` writes: on the terminal, in the JSON file, in the backends of ``visualizer``.
    """

    priority = 'NORMAL'  # before LoggerHook

    def before_train(self, runner: Any) -> None:
        """Start to count."""
        intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self._interval: int = intervals[0] if intervals else 10
        self._throughput = Throughput(runner.train_loop.images)
        self._throughput.restart(runner.iter)

    def after_train_iter(self, runner: Any, batch_idx: int, **kwargs: Any) -> None:
        """Measure, when the logger is about to write."""
        if self.every_n_inner_iters(batch_idx, self._interval):
            rate = self._throughput.read(runner.iter + 1)
            device = next(runner.model.parameters()).device
            runner.message_hub.update_scalar('train/images_per_second', round(rate, 2))
            runner.message_hub.update_scalar('train/peak_memory', round(peak_memory(torch.device(device)), 1))

    def after_val(self, runner: Any) -> None:
        """Leave the validation's time out."""
        if hasattr(self, '_throughput'):
            self._throughput.restart(runner.iter)
