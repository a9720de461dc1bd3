"""MMEngine's runner for training that resumes exactly, stops when it is asked to, and uses what speed there is."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS, LOOPS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mea_plugin.core.locks import OwnedLock
from mea_plugin.mmagic.data.loader import without_signals
from mea_plugin.mmagic.run.checkpoint_hook import ExtractionCheckpointHook
from mea_plugin.mmagic.run.loop import ExtractionTrainLoop
from mea_plugin.mmagic.run.measures_hook import MeasuresHook
from mea_plugin.mmagic.run.resume import check_fits_anywhere, checkpoints_in, find_checkpoint, resume
from mea_plugin.mmagic.run.speed import compile_networks, laid_out_as_written, lay_out_networks
from mea_plugin.mmagic.run.state import bare_model
from mea_plugin.mmagic.run.validation import BreakOffHook, fence
from mea_plugin.training.agreement import by_all, by_first
from mea_plugin.training.checkpoints import has_intact
from mea_plugin.training.heartbeat import among
from mea_plugin.training.ranks import Ranks
from mea_plugin.training.run_identity import new_run, note_run, noted_run

__all__ = ['ExtractionRunner']


class ExtractionRunner(Runner):
    """MMEngine's ``Runner`` with another training loop, other checkpoints, and speed options.

    * ``IterBasedTrainLoop`` is :class:`~mea_plugin.mmagic.run.loop.ExtractionTrainLoop`, ``CheckpointHook`` is
      :class:`~mea_plugin.mmagic.run.checkpoint_hook.ExtractionCheckpointHook`: a run that was stopped by Ctrl-C,
      SIGTERM or ``kill -9`` and goes on with ``resume=True`` ends with the weights of one that never stopped, on a CPU
      to the bit.
    * ``resume=True`` without ``load_from`` takes the newest intact checkpoint of the work folder.
    * ``channels_last=True`` and ``compile=True`` (or a dict of ``torch.compile``'s options) at the top level of the
      config concern the generators and discriminators.
    * ``images_per_second`` and ``peak_memory`` are logged.
    * In distributed runs, a process that has gone ends the others within a minute.

    Logs go to TensorBoard and Weights & Biases by MMEngine's own backends, which are to be installed::

        visualizer = dict(
            type='ConcatImageVisualizer',
            vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend'),
                          dict(type='WandbVisBackend', init_kwargs=dict(project='extraction'))],
            fn_key='gt_path', img_keys=['gt_img', 'input', 'pred_img'])
        default_hooks = dict(logger=dict(type='LoggerHook', interval=100, log_metric_by_epoch=False))

    Validation on several sets is MMagic's ``MultiValLoop``, with a list of loaders and of evaluators.

    Attributes:
        ranks: The processes of the run.
        run_name: Tells the run, with those that it was resumed from, from all others.
        lock: Keeps other runs out of the work folder, on the first rank.
        can_break_off: Whether a validation can be broken off.

    Raises:
        InputError: Parts of the config do not go together, a checkpoint belongs to another run, or another run is at
            work in the folder.
    """

    ranks: Ranks
    run_name: str
    lock: OwnedLock | None = None
    _has_loaded: bool
    can_break_off = False

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """As MMEngine's; then the ranks are known, and the first keeps other runs out of the work folder."""
        super().setup_env(env_cfg)
        self.ranks = Ranks()
        if self._train_loop is not None:
            self.lock = by_all(self.ranks, self._lock)

    @functools.cached_property
    def cfg_text(self) -> str:
        """The config as Python; MMEngine formats it anew whenever it is asked."""
        return str(self.cfg.pretty_text)

    @property
    def checkpoint_hook(self) -> ExtractionCheckpointHook:
        """The config's, or one that is there for the case that the run is stopped."""
        return next(hook for hook in (*self.hooks, self._spare_hook) if isinstance(hook, ExtractionCheckpointHook))

    def register_hooks(self, default_hooks: Any = None, custom_hooks: Any = None) -> None:
        """As MMEngine's, and this package's own."""
        self.break_off_hook = BreakOffHook()
        self._spare_hook = ExtractionCheckpointHook(save_last=False)
        super().register_hooks(default_hooks, custom_hooks)
        self.register_hook(self.break_off_hook)
        self.register_hook(MeasuresHook())
        if not any(isinstance(hook, ExtractionCheckpointHook) for hook in self.hooks):
            self.register_hook(self._spare_hook)

    def register_hook(self, hook: Any, priority: Any = None) -> None:
        """As MMEngine's; ``CheckpointHook`` is this package's."""
        if isinstance(hook, Mapping) and _is(HOOKS, hook.get('type'), CheckpointHook):
            options = {key: value for key, value in hook.items() if key not in ('type', 'priority', '_scope_')}
            priority = priority or hook.get('priority')
            hook = ExtractionCheckpointHook(**options)
        super().register_hook(hook, priority)

    def wrap_model(self, model_wrapper_cfg: Any, model: nn.Module) -> nn.Module:
        """As MMEngine's, with the networks laid out before."""
        lay_out_networks(self.cfg, model)
        return super().wrap_model(model_wrapper_cfg, model)

    def build_train_loop(self, loop: Any) -> Any:
        """As MMEngine's; ``IterBasedTrainLoop`` is this package's."""
        if isinstance(loop, Mapping):
            options = copy.deepcopy(dict(loop))
            if _is(LOOPS, options.get('type'), IterBasedTrainLoop) or options.get('by_epoch') is False:
                for key in ('type', 'by_epoch', '_scope_'):
                    options.pop(key, None)
                return ExtractionTrainLoop(self, self._train_dataloader, **options)
        return super().build_train_loop(loop)

    def build_val_loop(self, loop: Any) -> Any:
        """As MMEngine's, to be broken off."""
        built = super().build_val_loop(loop)
        self.can_break_off = fence(built, self.break_off_hook, self.ranks)
        return built

    @staticmethod
    def build_dataloader(dataloader: Any, seed: int | None = None, diff_rank_seed: bool = False) -> DataLoader[Any]:
        """As MMEngine's; its worker processes ignore signals, which are their parent's business."""
        return without_signals(Runner.build_dataloader(dataloader, seed, diff_rank_seed))

    def load_or_resume(self) -> None:
        """Load what the config says: weights to start from, a named checkpoint, or the newest intact one."""
        if self._has_loaded:
            return
        run = self._load()
        if self._train_loop is not None:
            self.run_name = self.ranks.share(run or new_run())
            by_first(self.ranks, lambda: note_run(Path(self.work_dir), self.run_name))

    def _load(self) -> str | None:
        """Load; returns the run that goes on, None for a new one."""
        path: Path | str | None = self._load_from
        if self._resume and path is None:
            path = find_checkpoint(self)
            if path is None:
                self.logger.info('There is no checkpoint to go on from: the run starts anew.')
        if path is None:
            return None
        run = None
        if self._resume:
            run = resume(self, path) or noted_run(Path(self.work_dir), self.logger.warning)
        else:
            self.load_checkpoint(str(path))
        self._has_loaded = True
        return run

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> Any:
        """As MMEngine's, but weights that fit nowhere are an error."""
        checkpoint = super().load_checkpoint(filename, *args, **kwargs)
        check_fits_anywhere(self, checkpoint, filename)
        return checkpoint

    def train(self) -> Any:
        """As MMEngine's.

        Raises:
            Stopped: The run was asked to stop, and its state is saved.
            RunError: Another process of the run has gone.
        """
        self._checkpoint_lock = by_all(self.ranks, self._lock_checkpoints)
        with among(self.ranks, self._advice):
            return super().train()

    def _lock(self) -> OwnedLock | None:
        folder = Path(self.work_dir)
        return OwnedLock(folder / '.lock', folder) if self.ranks.is_first else None

    def _lock_checkpoints(self) -> OwnedLock | None:
        """Keep others out of a folder for checkpoints elsewhere, which two work folders of one name would share."""
        folder = self.checkpoint_hook.folder(self)
        if not self.ranks.is_first or folder.absolute() == Path(self.work_dir).absolute():
            return None
        try:
            return OwnedLock(folder.parent / '.locks' / f'{folder.name}.lock', folder)
        except (FileExistsError, FileNotFoundError, NotADirectoryError):  # the hook, which makes the folder, says so
            return None

    def _advice(self) -> str:
        """Say how to go on when another process of the run has gone."""
        hook = self.checkpoint_hook
        if has_intact(checkpoints_in(hook.folder(self), hook.filename_tmpl)):
            return f'The last checkpoint in {self.work_dir} is intact. Run the same command with --resume to go on.'
        return 'There is no checkpoint yet: run the same command again to start anew.'

    def _init_model_weights(self) -> None:
        with laid_out_as_written(self.cfg, bare_model(self)):
            super()._init_model_weights()

    def _maybe_compile(self, target: str) -> None:
        """In place of MMEngine's, which compiles the whole step."""
        compile_networks(self.cfg, bare_model(self))


def _is(registry: Any, name: Any, wanted: type) -> bool:
    """Whether a config's ``type`` is exactly this class."""
    return name is not None and (registry.get(name) if isinstance(name, str) else name) is wanted
