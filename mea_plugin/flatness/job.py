"""A whole measurement from its options: load crops and checkpoints, measure, write the picture and the JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import mea_plugin
from mea_plugin.core.errors import InputError
from mea_plugin.core.files import write_bytes
from mea_plugin.core.paths import expanded
from mea_plugin.core.provenance import provenance
from mea_plugin.core.records import write_record
from mea_plugin.flatness.criterion import Criterion
from mea_plugin.flatness.measure import Measure, measures, run_measure
from mea_plugin.flatness.objective import Objective
from mea_plugin.flatness.options import FlatnessOptions
from mea_plugin.flatness.overview import check_matplotlib, draw_overview
from mea_plugin.flatness.parts import Parts, plain
from mea_plugin.flatness.results import FORMAT, flatness_table
from mea_plugin.flatness.runs import Run, read_runs
from mea_plugin.flatness.samples import Samples, check_crop, load_samples
from mea_plugin.flatness.trajectory import Checkpoint
from mea_plugin.query_sets.finished import FinishedSet
from mea_plugin.victims.checks import one_line
from mea_plugin.victims.network import NetworkVictim

__all__ = ['Flatness', 'flatness_from_options']


@dataclass(frozen=True)
class Flatness:
    """What a measurement ends with.

    Attributes:
        content: Of the JSON file.
        table: The trajectories, as Markdown.
        json: The file.
        picture: The overview.
    """

    content: dict[str, Any]
    table: str
    json: Path
    picture: Path


def flatness_from_options(
    options: Mapping[str, Any], output: str | Path, *, where: str = '', command: Sequence[str] = ()
) -> Flatness:
    """Measure what options describe and write ``flatness.png`` and ``flatness.json``, the JSON last.

    Everything that can be wrong with the input is looked for first, with one pass over the samples for each checkpoint.
    What is measured is kept in ``parts/``: interrupted, the same call goes on, and a checkpoint more costs no more than
    itself.

    Args:
        options: See docs/flatness.md; folders are relative to the current one.
        output: Folder of the files.
        where: The option file, for errors.
        command: What was typed, for the reader of the JSON.

    Raises:
        InputError: An option, a checkpoint or the query set cannot be used; no result is written then.
    """
    output = expanded(output)
    if output.exists() and not output.is_dir():
        raise InputError(f'{output} is a file', where='output', do='Give another folder with --output')
    checked = FlatnessOptions.parse_document(options, where)
    check_matplotlib()
    measured = _Measurement(checked, output / 'parts', where)
    measured.check()
    content: dict[str, Any] = {
        'format': FORMAT,
        'name': checked.name,
        **provenance(command, options, measured.device),
        'loss': measured.criterion.describe(),
        'samples': checked.samples,
        **measured.run(),
    }
    content = plain(content)
    json, picture = output / 'flatness.json', output / 'flatness.png'
    write_bytes(picture, draw_overview(content))
    write_record(json, content)
    return Flatness(content, flatness_table(content), json, picture)


@dataclass(frozen=True)
class _Point:
    """A checkpoint that has been seen to work."""

    run: Run
    checkpoint: Checkpoint
    fingerprint: str
    loss: float
    measures: list[Measure]


class _Measurement:
    """Measures all checkpoints of all runs.

    Args:
        options: Of the file.
        folder: Of what has been measured.
        where: The file, for errors.

    Raises:
        InputError: There is no such query set, it does not go with the crop or the loss, or a run has no checkpoint.
    """

    def __init__(self, options: FlatnessOptions, folder: Path, where: str) -> None:
        self._options, self._where = options, where
        prefix = f'{where}: ' if where else ''
        self.criterion = Criterion.from_options(options.loss, f'{prefix}loss')
        self._runs = read_runs(options.runs, options.device, f'{prefix}runs')
        self._source = FinishedSet.load(expanded(options.queries), where=f'{prefix}queries')
        check_crop(self._source, options.crop, f'{prefix}crop')
        if options.crop * self._source.scale < self.criterion.smallest:
            least = -(-self.criterion.smallest // self._source.scale)
            what = f'a crop of {options.crop} is too small for the wavelet levels of the loss'
            raise InputError(what, where=f'{prefix}crop', do=f'Give {least} or more')
        self._samples: Samples = load_samples(self._source, count=options.samples, crop=options.crop, seed=options.seed)
        self._points: list[_Point] = []
        self._parts_folder = folder
        self.device = 'cpu'

    def check(self) -> None:
        """Build every checkpoint and take its loss, and of each run's first one see that a Hessian can be had.

        Raises:
            InputError: One does not work, or is of another scale than the query set.
        """
        all_checkpoints = [(run, checkpoint) for run in self._runs for checkpoint in run.checkpoints]
        found: dict[str, list[tuple[Run, Checkpoint, str, float]]] = {}
        for run, checkpoint in tqdm(all_checkpoints, desc='check', unit='file', disable=None):
            victim, objective = self._build(run, checkpoint)
            before = found.setdefault(run.name, [])
            # Training ends with a file of the last iteration's weights and one that is called the latest.
            if checkpoint.iteration is None and any(victim.fingerprint == one[2] for one in before):
                continue
            inputs = {'network': victim.fingerprint}
            loss = self._parts(victim).get('loss', inputs, partial(self._loss, victim, objective))
            if loss is None:
                raise InputError('the loss is not finite', where=checkpoint.path, do='Leave this checkpoint out')
            if self._options.hessian and not before:  # what is measured before it may take hours
                objective.check_curvature()
            before.append((run, checkpoint, victim.fingerprint, loss))
            self.device = str(victim.device)
        for points in found.values():
            for index, point in enumerate(points, 1):
                self._points.append(_Point(*point, measures(self._options, last=index == len(points))))

    def run(self) -> dict[str, Any]:
        """Measure: ``trajectories`` and ``landscapes`` of the JSON file."""
        trajectories: dict[str, list[dict[str, Any]]] = {}
        landscapes: dict[str, dict[str, Any]] = {}
        total = sum(measure.passes for point in self._points for measure in point.measures)
        with tqdm(total=total, desc='measure', unit='pass', disable=None) as bar:
            for point in self._points:
                found = dict(self._measure(point, bar))
                grids = {key: found.get(key) for key in ('line', 'plane')}
                if any(grids.values()):
                    landscapes[point.run.name] = grids
                trajectories.setdefault(point.run.name, []).append(
                    {
                        'checkpoint': str(point.checkpoint.path),
                        'iteration': point.checkpoint.iteration,
                        'fingerprint': point.fingerprint,
                        'loss': point.loss,
                        'sharpness': found.get('sharpness', {}),
                        'top_eigenvalue': found.get('top_eigenvalue'),
                        'trace': found.get('trace'),
                    }
                )
        return {'trajectories': trajectories, 'landscapes': landscapes}

    def _measure(self, point: _Point, bar: Any) -> Iterator[tuple[str, Any]]:
        """Name and result of each measure of a checkpoint."""
        if not point.measures:
            return
        victim, objective = self._build(point.run, point.checkpoint)
        parts, end = self._parts(victim), bar.n
        objective.on_pass = lambda: _advance(bar, end)
        for measure in point.measures:
            bar.set_postfix_str(f'{point.run.name}, {point.checkpoint.path.stem}: {measure.kind}')
            end += measure.passes
            yield measure.kind, run_measure(measure, objective, parts, victim.fingerprint)
            bar.update(end - bar.n)  # what stopped early, or was there already

    def _build(self, run: Run, checkpoint: Checkpoint) -> tuple[NetworkVictim, Objective]:
        victim = run.build(checkpoint)
        if victim.scale != self._source.scale:
            what = f'{victim.name} magnifies {victim.scale} times, the query set is of a victim of scale '
            raise InputError(f'{what}{self._source.scale}', where=run.where, do='Give the query set it was trained on')
        options = self._options
        return victim, Objective(
            victim.wiring.network,
            self._samples.queries,
            self._samples.responses,
            self.criterion,
            forward=victim.forward,
            batch_size=options.batch_size,
            train_mode=options.mode == 'train',
            seed=options.seed,
        )

    def _loss(self, victim: NetworkVictim, objective: Objective) -> float:
        crop = self._options.crop
        try:
            loss = objective.loss()
        # Too small for the network, too much for the memory, or one sample left for the last batch's statistics.
        except (RuntimeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f'{victim.name} fails on {self._options.batch_size} crops of {crop} ({one_line(error)})',
                where=self._where,
                do='Change crop, samples or batch_size',
            ) from error
        return loss if math.isfinite(loss) else math.nan

    def _parts(self, victim: NetworkVictim) -> Parts:
        """What has been measured under the same conditions."""
        options = self._options
        return Parts(
            self._parts_folder,
            {
                'samples': self._samples.fingerprint,
                'loss': self.criterion.describe(),
                'mode': options.mode,
                # Sums, and in training mode statistics too, differ with these.
                'batch_size': options.batch_size,
                'device': victim.device.type,
                'torch': torch.__version__,
                'mea_plugin': mea_plugin.__version__,
            },
        )


def _advance(bar: Any, end: int) -> None:
    if bar.n < end:
        bar.update()
