"""BasicSR's training loop around its own data sets, models and loggers: resumable anywhere, and stopped in order."""

from __future__ import annotations

import contextlib
import datetime
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from basicsr.data.prefetch_dataloader import CUDAPrefetcher
from basicsr.models import build_model
from basicsr.utils import (
    AvgTimer,
    MessageLogger,
    get_env_info,
    get_root_logger,
    get_time_str,
    init_tb_logger,
    init_wandb_logger,
    make_exp_dirs,
    mkdir_and_rename,
)
from basicsr.utils.options import dict2str

from mea_plugin.basicsr.data.loaders import train_loader, validation_loaders
from mea_plugin.basicsr.metrics import announce_missing
from mea_plugin.basicsr.models.extraction_model import ExtractionModel
from mea_plugin.basicsr.models.training_state import saved_states
from mea_plugin.basicsr.run import checkpoint
from mea_plugin.core.errors import InputError, Stopped
from mea_plugin.core.files import write_text
from mea_plugin.core.locks import OwnedLock
from mea_plugin.training import random_state
from mea_plugin.training.agreement import by_all
from mea_plugin.training.checkpoints import has_intact
from mea_plugin.training.heartbeat import among
from mea_plugin.training.measures import Throughput, peak_memory
from mea_plugin.training.ranks import Ranks
from mea_plugin.training.run_identity import RUN, new_run, note_run, noted_run
from mea_plugin.training.stopping import StopRequests
from mea_plugin.training.stream import batches_of

__all__ = ['train']

_AGAIN = 'Run the same command with --auto_resume to go on'


def train(opt: dict[str, Any], option_text: str) -> None:
    """Train as the options say.

    An iteration is BasicSR's: learning rate, batch, step, log; then validation and after it the checkpoint, so that the
    checkpoint knows of it; then whoever asked the run to stop is heard.

    Args:
        opt: As :func:`~mea_plugin.basicsr.run.options.parse_options` completed them, and ``root_path``.
        option_text: The option file as it was given, resolved; it is kept with the results.

    Raises:
        InputError: Something that the options name cannot be used, or another run is at work in the folder.
        OSError: A checkpoint could not be written. Older ones are intact.
        Stopped: A signal came; the whole state is saved.
        RunError: Another process of a distributed run has gone.
    """
    torch.backends.cudnn.benchmark = True
    ranks = Ranks()
    opt['manual_seed'] = ranks.share(opt['manual_seed'])  # drawn by each for itself where the file has none
    folder = Path(opt['path']['experiments_root'])
    with among(ranks, lambda: _advice(opt)), StopRequests() as stop, contextlib.ExitStack() as held:
        by_all(ranks, lambda: held.enter_context(_lock(folder)) if ranks.is_first else None)
        words: list[str] = []
        resumed = checkpoint.find(opt, ranks, words.append)
        run_name = ranks.share((resumed.run or noted_run(folder, words.append) if resumed else None) or new_run())
        _prepare_folders(opt, ranks, resumed, run_name)
        logger = _start_log(opt)
        for word in words:
            logger.warning(word)
        with _tensorboard(opt) as tb_logger:
            run = _Run(opt, ranks, stop, resumed, tb_logger, run_name)
            if ranks.is_first:  # only now: a checkpoint that does not fit these options keeps its own
                write_text(folder / f'{opt["name"]}.yml', option_text)
                note_run(folder, run_name)
            # Not kept beyond the run: what refers to distributed networks must be gone when their group is left.
            run.go()


class _Run:
    """A training run, from where it starts to its end."""

    def __init__(
        self,
        opt: dict[str, Any],
        ranks: Ranks,
        stop: StopRequests,
        resumed: checkpoint.Resumed | None,
        tb_logger: Any,
        name: str,
    ) -> None:
        self.name = name
        self.opt, self.ranks, self.stop, self.tb_logger = opt, ranks, stop, tb_logger
        self.logger = get_root_logger()
        self.devices = _devices(opt)
        self.total = int(opt['train']['total_iter'])
        self.iteration, self.validated, self.saved = 0, 0, 0
        extra = (resumed.extra or {}) if resumed else {}
        if resumed:
            self.iteration = self.saved = resumed.iteration
            self.validated = extra.get('validated', self.iteration)
            checkpoint.point_to_networks(opt, resumed)
            self._say_what_is_not_exact(resumed)
            opt['manual_seed'] = extra.get('seed', opt['manual_seed'])
        self.seen = extra.get('seen', self.iteration * self._samples())
        self.loader, self.per_epoch = train_loader(opt, ranks, seen=self.seen)
        self.validation = validation_loaders(opt)
        if self.validation:
            announce_missing((opt.get('val') or {}).get('metrics') or {})
        self.model = _build(opt, resumed)
        if resumed:
            checkpoint.restore(self.model, resumed, self.logger.warning)
            self.logger.info(f'Resuming training from epoch: {self.epoch}, iter: {self.iteration}.')
        if isinstance(self.model, ExtractionModel):
            self.model.stop_requested = stop.requested
        self.writer = checkpoint.Writer(self.model, ranks, self.devices)
        self.resumed = resumed

    @property
    def epoch(self) -> int:
        """The epoch of the current iteration, counted as BasicSR counts."""
        return max(self.iteration - 1, 0) // self.per_epoch

    def go(self) -> None:
        """Train to the end, or to where the run is stopped."""
        began = time.monotonic()
        self.logger.info(f'Start training from epoch: {self.epoch}, iter: {self.iteration}')
        self.log = MessageLogger(self.opt, self.iteration, self.tb_logger)
        self.throughput = Throughput(self._samples())
        self.throughput.restart(self.iteration)
        self.data_timer, self.iter_timer = AvgTimer(), AvgTimer()
        if self.resumed:
            checkpoint.put_random_states_back(self.resumed, self.ranks.rank, self.ranks.world, self.devices)
            self.resumed = None  # as large as the model and its optimizer
        self._finish_iteration()  # a validation that a resumed run still owes
        if self.iteration < self.total:
            with batches_of(self.loader) as batches:
                batches = self._prefetched(batches)
                while self.iteration < self.total:
                    self._iterate(batches)
        self._end(began)

    def _prefetched(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches, the next of them on its way to the GPU where the options ask for that."""
        if self.opt['datasets']['train'].get('prefetch_mode') == 'cuda':
            return iter(CUDAPrefetcher(batches, self.opt).next, None)
        return batches

    def _iterate(self, batches: Any) -> None:
        self.data_timer.start()
        self.iter_timer.start()
        batch = next(batches)
        self.data_timer.record()
        self.iteration += 1
        self.model.update_learning_rate(self.iteration, warmup_iter=self.opt['train'].get('warmup_iter', -1))
        self.model.feed_data(batch)
        self.model.optimize_parameters(self.iteration)
        self.iter_timer.record()
        self.seen += self._samples()
        if self.iteration == 1:  # compiling and warming up would spoil the estimated time
            self.log.reset_start_time()
            self.throughput.restart(1)
        if self.iteration % self.opt['logger']['print_freq'] == 0:
            self._log()
        self._finish_iteration()

    def _finish_iteration(self) -> None:
        self._validate()
        if self.iteration != self.saved and self.iteration % self.opt['logger']['save_checkpoint_freq'] == 0:
            self.logger.info('Saving models and training states.')
            self._save()
        if self.stop.agreed(self.ranks):
            if self.iteration != self.saved:
                self._save()
            text = f'stopped at iteration {self.iteration} of {self.total}; everything is saved. {_AGAIN}.'
            self.logger.info(text)
            raise Stopped(text, self.ranks.highest(self.stop.signal or 0))

    def _log(self) -> None:
        values = {'epoch': self.epoch, 'iter': self.iteration, 'lrs': self.model.get_current_learning_rate()}
        values |= {'time': self.iter_timer.get_avg_time(), 'data_time': self.data_timer.get_avg_time()}
        values |= self.model.get_current_log()
        values['images_per_second'] = self.throughput.read(self.iteration)
        values['memory_mb'] = peak_memory(self.model.device)
        self.log(values)

    def _validate(self) -> None:
        options = self.opt.get('val')
        if not options or self.validated == self.iteration:
            return
        if self.iteration % options['val_freq'] and self.iteration != self.total:
            return
        with random_state.preserved(self.devices):
            for loader in self.validation:
                arguments = (loader, self.iteration, self.tb_logger, options['save_img'])
                if self.model.validation(*arguments) is False:  # BasicSR's own models give None
                    return
        self.validated = self.iteration
        self.saved = -1  # what is saved does not know of it
        self.throughput.restart(self.iteration)

    def _save(self) -> None:
        extra = {RUN: self.name, 'seen': self.seen, 'seed': self.opt['manual_seed'], 'validated': self.validated}
        self.writer.save(self.epoch, self.iteration, **extra)
        self.saved = self.iteration

    def _end(self, began: float) -> None:
        consumed = datetime.timedelta(seconds=int(time.monotonic() - began))
        self.logger.info(f'End of training. Time consumed: {consumed}')
        if self.iteration != self.saved:
            self._save()
        self.logger.info('Save the latest model.')
        self.writer.save(-1, -1)

    def _samples(self) -> int:
        """Samples per iteration, all ranks together."""
        devices = 1 if self.opt['dist'] else max(self.opt['num_gpu'], 1)
        return int(self.opt['datasets']['train']['batch_size_per_gpu']) * devices * self.ranks.world

    def _say_what_is_not_exact(self, resumed: checkpoint.Resumed) -> None:
        extra = resumed.extra
        if extra is None:
            self.logger.warning(
                f'{resumed.path} was written by BasicSR itself: random states and the place in the data are not in it, '
                'so the resumed run is not exactly the one that was stopped.'
            )
            return
        world = len(extra.get('random') or ())
        if world != self.ranks.world:
            self.logger.warning(
                f'{resumed.path} is of {world} processes, this run has {self.ranks.world}: the '
                'data go on where they were, the random states start anew.'
            )


def _devices(opt: dict[str, Any]) -> list[int]:
    """The GPUs whose random states are this process's."""
    if not opt['num_gpu']:
        return []
    return [torch.cuda.current_device()] if opt['dist'] else list(range(opt['num_gpu']))


def _build(opt: dict[str, Any], resumed: checkpoint.Resumed | None) -> Any:
    try:
        return build_model(opt)
    except (RuntimeError, KeyError, FileNotFoundError) as error:
        if resumed is None:
            raise
        reason = str(error).splitlines()[0]
        raise InputError(
            f'its networks do not fit the option file ({reason})',
            where=resumed.path,
            do='Resume with the option file that it was trained with',
        ) from error


def _lock(folder: Path) -> OwnedLock:
    """Keep other runs out of an experiment's folder; beside it, because the folder may be renamed."""
    return OwnedLock(folder.parent / '.locks' / f'{folder.name}.lock', folder)


def _advice(opt: dict[str, Any]) -> str:
    """Say how to go on when another process of the run has gone."""
    if has_intact(saved_states(opt['path']['training_states'])):
        return f'The last checkpoint is intact. {_AGAIN}.'
    return 'There is no checkpoint yet: run the same command again to start anew.'


def _prepare_folders(opt: dict[str, Any], ranks: Ranks, resumed: checkpoint.Resumed | None, run: str) -> None:
    """Make the folders of a new run; an older one of that name is renamed."""
    if ranks.is_first:
        if resumed is None:
            make_exp_dirs(opt)
            note_run(Path(opt['path']['experiments_root']), run)
            if _wants_tensorboard(opt):
                mkdir_and_rename(_tensorboard_folder(opt))
        for key in ('models', 'training_states', 'visualization'):
            Path(opt['path'][key]).mkdir(parents=True, exist_ok=True)
    ranks.any(False)  # the others wait until they are there


def _start_log(opt: dict[str, Any]) -> logging.Logger:
    # Nothing may have logged before: BasicSR's logger takes its file from the first call.
    file = Path(opt['path']['log']) / f'train_{opt["name"]}_{get_time_str()}.log'
    logger: logging.Logger = get_root_logger(logger_name='basicsr', log_level=logging.INFO, log_file=str(file))
    logger.info(get_env_info())
    logger.info(dict2str(opt))
    return logger


def _wants_tensorboard(opt: dict[str, Any]) -> bool:
    return bool(opt['logger'].get('use_tb_logger')) and 'debug' not in opt['name']


def _tensorboard_folder(opt: dict[str, Any]) -> str:
    return str(Path(opt['root_path']) / 'tb_logger' / opt['name'])


@contextlib.contextmanager
def _tensorboard(opt: dict[str, Any]) -> Any:
    """BasicSR's TensorBoard writer, and Weights & Biases following it, where the options ask for them."""
    if not _wants_tensorboard(opt):
        yield None
        return
    if (opt['logger'].get('wandb') or {}).get('project'):
        init_wandb_logger(opt)
    writer = init_tb_logger(log_dir=_tensorboard_folder(opt))  # None but on the first rank
    try:
        yield writer
    finally:
        if writer:
            writer.close()
