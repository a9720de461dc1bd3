"""A surrogate that MMagic trains."""

from __future__ import annotations

import copy
import functools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import write_text
from mea_plugin.core.options import require
from mea_plugin.extract.toolboxes import stretch
from mea_plugin.mmagic.checks.check import check_config
from mea_plugin.mmagic.run.train import WEIGHTS
from mea_plugin.query_sets import QuerySet
from mea_plugin.toolboxes.mmagic_config import load_config
from mea_plugin.toolboxes.mmagic_networks import find_generator, find_scale

__all__ = ['MMagicSurrogate']

_SECTIONS = ('train_cfg', 'param_scheduler', 'default_hooks')
_ITERATIONS = frozenset(
    {
        'max_iters',
        'val_interval',
        'T_max',
        'begin',
        'end',
        'milestones',
        'periods',
        'step_size',
        'total_iters',
        'interval',
    }
)


class MMagicSurrogate:
    """See :class:`~mea_plugin.extract.toolboxes.Surrogate`.

    Args:
        name: How tables call it.
        opt: MMagic's config. It is Python: reading it runs it.
        overrides: Laid over it in their order, as MMEngine merges configs; ``_delete_: true`` replaces a section.
        length: Factor on the iterations.
        seed: Instead of ``randomness.seed``.
    """

    section = 'model'

    def __init__(
        self, name: str, opt: str, overrides: Sequence[Mapping[str, Any]], *, length: float = 1, seed: int | None = None
    ) -> None:
        self.name = name
        config = copy.deepcopy(_load(opt, Path(opt).stat().st_mtime_ns if Path(opt).is_file() else 0))
        try:
            for override in overrides:
                config.merge_from_dict(dict(override))
        except Exception as error:  # as MMEngine raises it, of many kinds
            raise InputError(f'override does not fit ({error})', where=name, do='Correct the override') from error
        changed = config.to_dict()
        if length != 1:
            changed.update({key: stretch(changed[key], _ITERATIONS, length) for key in _SECTIONS if changed.get(key)})
        if seed is not None:
            changed['randomness'] = {**(changed.get('randomness') or {}), 'seed': seed}
        self._config = Config(changed)
        self.options: dict[str, Any] = json.loads(json.dumps(self._config.to_dict(), default=str))

    @property
    def total(self) -> int:
        """Iterations of training."""
        return int((self.options.get('train_cfg') or {}).get('max_iters') or 0)

    def seeded(self, seed: int) -> dict[str, Any]:
        """With another ``randomness.seed``."""
        return {**self.options, 'randomness': {**(self.options.get('randomness') or {}), 'seed': seed}}

    def check(self, scale: int, where: str) -> None:
        """Check names and values, and that the scale is the victim's."""
        check_config(self._config, where=where, data=False)
        own = find_scale(find_generator(self._config), where=f'{where}: model')
        if own != scale:
            what = f"scale is {own}, the victim's is {scale}"
            raise InputError(what, where=where, do='Train a surrogate of the same scale')

    def weights(self, output: Path) -> Path:
        """Beside MMEngine's checkpoints."""
        return output / 'experiments' / self.name / WEIGHTS

    def pretrained(self) -> list[str]:
        """The file of ``load_from``."""
        return [self.options['load_from']] if self.options.get('load_from') else []

    def write(self, queries: QuerySet, output: Path) -> Path:
        """The config with the query set's folder filled in, as Python that says everything in one place."""
        config = self._config.to_dict()
        dataset = require(require(config, 'train_dataloader', self.name), 'dataset', self.name)
        while 'dataset' in dataset:  # RepeatDataset and its like
            dataset = dataset['dataset']
        dataset['data_root'] = str(queries.folder.resolve())
        file = output / 'surrogates' / f'{self.name}.py'
        write_text(file, ''.join(f'{key} = {value!r}\n' for key, value in config.items()))
        return file

    def command(self, option_file: Path, output: Path, resume: bool) -> list[str]:
        """``tools/train_mmagic.py`` by another name."""
        folder = str(self.weights(output).parent)
        command = [sys.executable, '-m', 'mea_plugin.mmagic.run.train', str(option_file), '--work-dir', folder]
        return [*command, '--resume'] if resume else command

    def as_victim(self, output: Path) -> dict[str, Any]:
        """The generator of ``model``."""
        return {
            'type': 'mmagic',
            'model': self.options['model'],
            'checkpoint': str(self.weights(output)),
            'channel_order': find_generator(self._config).channel_order,
        }


@functools.lru_cache(maxsize=16)
def _load(opt: str, changed: int) -> Config:
    """The config of a file as it was at some time; a study lays dozens of overrides over each."""
    return load_config(opt)
