"""The training loop: MMEngine's iterations, stopped and taken up anywhere."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from mmengine.runner import IterBasedTrainLoop
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.utils import calc_dynamic_intervals
from torch.utils.data import DataLoader

from mea_plugin.core.errors import Stopped
from mea_plugin.mmagic.data.loader import stream_loader
from mea_plugin.mmagic.run.state import devices, training_state, wrappers
from mea_plugin.mmagic.run.validation import BrokenOff
from mea_plugin.training import random_state
from mea_plugin.training.agreement import by_all
from mea_plugin.training.stopping import StopRequests
from mea_plugin.training.stream import shut_down

__all__ = ['ExtractionTrainLoop']


class ExtractionTrainLoop(IterBasedTrainLoop):
    """MMEngine's ``IterBasedTrainLoop`` that can be stopped anywhere, and then goes on bit for bit.

    Data come from a stream that starts at any place at once, where MMEngine's loop loads all batches over again (a
    sampler that is not MMEngine's is asked for all its batches over again, and none of them is loaded). An
    iteration is the step and its hooks; then validation, if it is due; then a checkpoint, if one is (so that it knows
    the validation's results); then, if any process was asked to stop, the run's state is saved and it ends. Nothing of
    this happens within a window of accumulated gradients. Validation leaves the random states as they were.

    A validation during which a signal comes is broken off and done again by the run that goes on.

    Args:
        runner: An :class:`~mea_plugin.mmagic.run.runner.ExtractionRunner`.
        dataloader: As in MMEngine; no iterator of it is made before the first iteration.
        max_iters: Iterations of the whole run.
        val_begin: First iteration after which to validate.
        val_interval: Iterations between two validations.
        dynamic_intervals: As in MMEngine.

    Attributes:
        seed: Decides the order of the data and their augmentation; the same on all ranks.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        BaseLoop.__init__(self, runner, dataloader)  # MMEngine's would start to load
        self._source: DataLoader[Any] = self.dataloader
        self._max_iters, self._max_epochs = int(max_iters), 1
        self._epoch = self._iter = 0
        self.val_begin, self.val_interval = val_begin, val_interval
        self.stop_training = False
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(val_interval, dynamic_intervals)
        self.dataloader_iterator: Iterator[Any] | None = None
        if hasattr(self.dataloader.dataset, 'metainfo'):
            runner.visualizer.dataset_meta = self.dataloader.dataset.metainfo
        self.seed: int = runner.seed
        self._seen = (0, 0)  # samples, after so many iterations
        self._validates_first = False
        self._random: dict[str, Any] | None = None
        self._requests = StopRequests()

    @property
    def images(self) -> int:
        """That an iteration trains on, all ranks together."""
        return int(self._source.batch_size or 1) * self.runner.ranks.world

    @property
    def samples(self) -> int:
        """That all ranks together have seen."""
        samples, iterations = self._seen
        return samples + (self._iter - iterations) * self.images

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Go on where a run was; see :func:`~mea_plugin.mmagic.run.state.training_state`."""
        ranks = self.runner.ranks
        self._seen = (state['samples'], self._iter)
        self._validates_first = state['validate']
        self.stop_training = state['stopped_early']
        if ranks.world == state['world']:
            self._random = state['random'][ranks.rank]
        else:
            self.runner.logger.warning(
                f'the checkpoint was written by {state["world"]} processes, here are {ranks.world}: the run goes on, '
                'but not bit for bit'
            )

    def run(self) -> Any:
        """Train to the end.

        Raises:
            Stopped: The run was asked to stop, and its state is saved.
        """
        runner = self.runner
        self.seed = runner.ranks.share(runner.seed)
        self.dataloader = by_all(runner.ranks, self._stream)
        with self._requests:
            try:
                runner.call_hook('before_train')
                runner.call_hook('before_train_epoch')
                if self._random is not None:
                    random_state.restore(self._random, devices())
                self._iterate()
            finally:
                shut_down(self.dataloader_iterator)
                self.dataloader_iterator = None
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        return runner.model

    def _stream(self) -> DataLoader[Any]:
        place = {'start': self.samples, 'skip': self._iter}
        return stream_loader(self._source, self.runner.ranks, seed=self.seed, **place)

    def _iterate(self) -> None:
        self._decide_current_val_interval()
        if self._validates_first:
            self._finish(validates=True)
        while self._iter < self._max_iters and not self.stop_training:
            if self.dataloader_iterator is None:
                self.dataloader_iterator = iter(self.dataloader)
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._decide_current_val_interval()
            self._finish(validates=self._is_validation_due())

    def _finish(self, *, validates: bool) -> None:
        """What follows a step: validation, checkpoint, the end if it was asked for."""
        whole = self._is_between_windows()
        stops = whole and self._requests.agreed(self.runner.ranks)
        if validates:
            before = training_state(self.runner, validate=True) if whole else None
            if stops or not self._validate(breakable=whole):
                self._stop(before)
            stops = whole and self._requests.agreed(self.runner.ranks)
        self.runner.call_hook('after_complete_iter')
        if stops and self._iter < self._max_iters:
            self._stop()

    def _is_validation_due(self) -> bool:
        return (
            self.runner.val_loop is not None
            and self._iter >= self.val_begin
            and (self._iter % self.val_interval == 0 or self._iter == self._max_iters)
        )

    def _is_between_windows(self) -> bool:
        """Whether no gradients are at hand that wait for others."""
        return all(one._inner_count % one._accumulative_counts == 0 for one in wrappers(self.runner).values())

    def _validate(self, *, breakable: bool) -> bool:
        """Validate; whether that came to its end."""
        hook = self.runner.break_off_hook
        hook.wanted = self._requests.requested if breakable and self.runner.can_break_off else None
        try:
            with random_state.preserved(devices()):
                self.runner.val_loop.run()
        except BrokenOff:
            return False
        finally:
            hook.wanted = None
        return True

    def _stop(self, *before: Any) -> NoReturn:
        """Save and end.

        Args:
            before: What to save, if that is not the present state; see :func:`training_state`.
        """
        runner = self.runner
        path: Path = runner.checkpoint_hook.save_at_stop(runner, *before)
        number = max(runner.ranks.gather(self._requests.signal or 0)) or signal.SIGTERM
        raise Stopped(
            f'stopped after iteration {self._iter} of {self._max_iters}; {path} holds the whole state. The same '
            'command with --resume goes on',
            number,
        )
