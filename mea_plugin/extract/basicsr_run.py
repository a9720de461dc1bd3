"""A surrogate that BasicSR trains."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import write_text
from mea_plugin.core.options import dump_options, load_options, merge
from mea_plugin.extract.toolboxes import stretch
from mea_plugin.query_sets import QuerySet

__all__ = ['BasicSRSurrogate']

_ITERATIONS = frozenset({'total_iter', 'periods', 'milestones', 'warmup_iter', 'val_freq', 'save_checkpoint_freq'})


class BasicSRSurrogate:
    """See :class:`~mea_plugin.extract.toolboxes.Surrogate`.

    Args:
        name: How tables call it.
        opt: BasicSR's option file.
        overrides: Laid over it in their order, section by section.
        length: Factor on the iterations.
        seed: Instead of ``manual_seed``.
    """

    section = 'train'

    def __init__(
        self, name: str, opt: str, overrides: Sequence[Mapping[str, Any]], *, length: float = 1, seed: int | None = None
    ) -> None:
        self.name = name
        options = load_options(opt)
        for override in overrides:
            options = merge(options, override)
        self.options = stretch(options, _ITERATIONS, length) if length != 1 else options
        if seed is not None:
            self.options = self.seeded(seed)

    @property
    def total(self) -> int:
        """Iterations of training."""
        return int(self.options['train']['total_iter'])

    def seeded(self, seed: int) -> dict[str, Any]:
        """With another ``manual_seed``."""
        return {**self.options, 'manual_seed': seed}

    def check(self, scale: int, where: str) -> None:
        """Check keys, names and values, and that the scale is the victim's."""
        from mea_plugin.basicsr.checks.check import check_options

        check_options(self.options, where=where, data=False)
        if self.options.get('scale') != scale:
            what = f"scale is {self.options.get('scale')}, the victim's is {scale}"
            raise InputError(what, where=where, do='Train a surrogate of the same scale')

    def weights(self, output: Path) -> Path:
        """BasicSR writes below ``output/experiments/NAME``."""
        return output / 'experiments' / self.name / 'models' / 'net_g_latest.pth'

    def pretrained(self) -> list[str]:
        """The files of ``path.pretrain_network_...``."""
        paths = self.options.get('path') or {}
        return [value for key, value in paths.items() if key.startswith('pretrain_network') and value]

    def write(self, queries: QuerySet, output: Path) -> Path:
        """The options with name and the query set's folders filled in."""
        datasets = dict(self.options.get('datasets') or {})
        folder = queries.folder.resolve()
        paths = {'dataroot_lq': str(folder / 'query'), 'dataroot_gt': str(folder / 'response')}
        datasets['train'] = {**(datasets.get('train') or {}), **paths}
        file = output / 'surrogates' / f'{self.name}.yml'
        write_text(file, dump_options({**self.options, 'name': self.name, 'datasets': datasets}))
        return file

    def command(self, option_file: Path, output: Path, resume: bool) -> list[str]:
        """``tools/train_basicsr.py`` by another name."""
        command = [
            sys.executable,
            '-m',
            'mea_plugin.basicsr.run.train',
            '-opt',
            str(option_file),
            '--root',
            str(output),
        ]
        return [*command, '--auto_resume'] if resume else command

    def as_victim(self, output: Path) -> dict[str, Any]:
        """The network of ``network_g``."""
        weights = str(self.weights(output))
        return {'type': 'basicsr', 'network_g': self.options['network_g'], 'weights': weights}
