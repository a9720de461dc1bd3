"""Checkpoints that hold the whole state, appear whole or not at all, and never leave a run without one."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from mmengine.hooks import CheckpointHook

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.files import is_temporary, sync_folder, write_text
from mea_plugin.mmagic.run.state import training_state, weights_state, wrappers
from mea_plugin.training import checkpoints
from mea_plugin.training.agreement import by_first

__all__ = ['ExtractionCheckpointHook']


class ExtractionCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook`` by iterations, for :class:`~mea_plugin.mmagic.run.loop.ExtractionTrainLoop`.

    It stands in for ``CheckpointHook`` wherever a config names that, with the same options. What differs: a checkpoint
    is written after the validation of its iteration, with the best results; it is written aside and renamed; older
    ones, and former best ones, are removed once the new one is complete, not before; ``last_checkpoint`` never names a
    file that is not there; and a run that is asked to stop writes one whatever the interval.

    ``by_epoch`` (MMEngine's default) means the end of the run, which is one epoch to a loop of iterations.

    Args:
        kwargs: As in MMEngine.
    """

    def __init__(self, **kwargs: Any) -> None:
        at_the_end = kwargs.get('by_epoch', True)
        super().__init__(**{**kwargs, 'by_epoch': False})
        if at_the_end:
            self.interval = -1
        self._written: int | None = None

    def folder(self, runner: Any) -> Path:
        """Where the checkpoints of a run are."""
        if self.out_dir is None or self.out_dir == runner.work_dir:
            return Path(runner.work_dir)
        return Path(self.out_dir, Path(runner.work_dir).name)

    def before_train(self, runner: Any) -> None:
        """Take up what was noted of earlier checkpoints; remove what a killed process has left half written."""
        self._folder = self.folder(runner)
        by_first(runner.ranks, self._make_folder)
        hub = runner.message_hub.runtime_info
        self.last_ckpt = hub.get('last_ckpt')
        self._kept = list(hub.get('keep_ckpt_ids', ()))
        if runner.ranks.is_first:
            for folder in {self._folder, Path(runner.work_dir)}:
                for path in folder.iterdir() if folder.is_dir() else ():
                    if is_temporary(path):
                        path.unlink(missing_ok=True)
        if self.save_best is not None:
            if len(self.key_indicators) == 1:
                self.best_ckpt_path = hub.get('best_ckpt')
            else:
                self.best_ckpt_path_dict = {key: hub.get(f'best_ckpt_{key}') for key in self.key_indicators}
        runner.logger.info(f'Checkpoints will be saved to {self._folder}.')

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
            raise InputError(
                f'the folder cannot be made ({error.strerror})', where=self._folder, do='Give another out_dir'
            ) from error

    def after_train_iter(self, *args: Any, **kwargs: Any) -> None:
        """Nothing yet: see :meth:`after_complete_iter`."""

    def after_train_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    def after_complete_iter(self, runner: Any) -> None:
        """Save, if it is time. Called on all ranks after an iteration and its validation."""
        since = runner.iter - self.save_begin
        due = self.interval > 0 and since >= 0 and since % self.interval == 0
        if due or (self.save_last and runner.iter == runner.max_iters):
            options = {'optimizers': self.save_optimizer, 'schedulers': self.save_param_scheduler}
            self._note(runner)
            self._save(runner, training_state(runner, **options))

    def save_at_stop(self, runner: Any, *before: Any) -> Path:
        """Save everything, whatever the interval; on all ranks.

        Args:
            runner: The run.
            before: What to save, if that is not the present state; see
                :func:`~mea_plugin.mmagic.run.state.training_state`.

        Returns:
            The checkpoint.
        """
        path = self._path(runner.iter)
        if not before and self._written == runner.iter and self.save_optimizer and self.save_param_scheduler:
            return path
        self._note(runner)
        if not before:
            self._save(runner, training_state(runner))
            return path
        (state,) = before
        if state is not None:
            hub = runner.message_hub.runtime_info
            notes = {key: hub[key] for key in ('last_ckpt', 'keep_ckpt_ids') if key in hub}
            state['message_hub']['runtime_info'].update(notes)
        self._save(runner, state)
        return path

    def _path(self, iteration: int) -> Path:
        return self._folder / self.filename_tmpl.format(iteration)

    def _note(self, runner: Any) -> None:
        """Note the checkpoint that is about to be written, so that it tells of itself."""
        self.last_ckpt = str(self._path(runner.iter))
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        if self.max_keep_ckpts > 0:
            self._kept = [one for one in self._kept if one != runner.iter] + [runner.iter]
            runner.message_hub.update_info('keep_ckpt_ids', self._kept[-self.max_keep_ckpts :])

    def _save(self, runner: Any, state: Any) -> None:
        path = self._path(runner.iter)
        runner.logger.info(f'Saving checkpoint at {runner.iter} iterations')
        if any(wrapper._inner_count % wrapper._accumulative_counts for wrapper in wrappers(runner).values()):
            runner.logger.warning(
                'it lies within a window of accumulated gradients, which are lost in going on from it'
            )

        def write() -> None:
            _write(path, state)
            write_text(Path(runner.work_dir) / 'last_checkpoint', str(path))
            for old in self._kept[: -self.max_keep_ckpts] if self.max_keep_ckpts > 0 else ():
                self._path(old).unlink(missing_ok=True)

        by_first(runner.ranks, write)
        self._written = runner.iter
        if self.max_keep_ckpts > 0:
            self._kept = self._kept[-self.max_keep_ckpts :]

    def _save_best_checkpoint(self, runner: Any, metrics: dict[str, Any]) -> None:
        """As MMEngine's; the new best one is complete before the old one goes."""
        if not self.save_best:
            return
        if 'auto' in self.key_indicators:
            self._init_rule(self.rules, [next(iter(metrics))])
        hub, single = runner.message_hub, len(self.key_indicators) == 1
        for key, rule in zip(self.key_indicators, self.rules, strict=True):
            if key not in metrics:
                where = 'default_hooks.checkpoint.save_best'
                raise InputError(f"validation gives no '{key}'", where=where, do=suggestion(key, metrics))
            suffix = '' if single else f'_{key}'
            score, best = metrics[key], hub.runtime_info.get(f'best_score{suffix}', self.init_value_map[rule])
            if score is None or not self.is_better_than[key](score, best):
                continue
            old = self.best_ckpt_path if single else self.best_ckpt_path_dict[key]
            path = self._folder / f'best_{key}_{self.filename_tmpl.format(runner.iter)}'.replace('/', '_')
            hub.update_info(f'best_score{suffix}', score)
            hub.update_info(f'best_ckpt{suffix}', str(path))
            by_first(runner.ranks, functools.partial(_replace_best, runner, old, path))
            if single:
                self.best_ckpt_path = str(path)
            else:
                self.best_ckpt_path_dict[key] = str(path)
            runner.logger.info(f'The best checkpoint with {score:0.4f} {key} is saved to {path.name}.')


def _replace_best(runner: Any, old: str | None, path: Path) -> None:
    _write(path, weights_state(runner))
    if old and Path(old) != path:
        Path(old).unlink(missing_ok=True)


def _write(path: Path, state: Any) -> None:
    try:
        checkpoints.write(path, state)
        sync_folder(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
