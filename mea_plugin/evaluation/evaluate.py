"""Measure models that speak the victim protocol against the victim and against the ground truth."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_json
from mea_plugin.core.images import read_rgb
from mea_plugin.evaluation.crops import PanelRow, choose_rows
from mea_plugin.evaluation.differences import compare_models, compared_pairs
from mea_plugin.evaluation.measure import (
    Asked,
    Measured,
    SetFeatures,
    ask_models,
    by_model,
    measure_image,
    metrics_of,
)
from mea_plugin.evaluation.models import CEILING, VICTIM, Models, check_seeds, gather_models
from mea_plugin.evaluation.pairs import EvaluationSet, ImagePair, load_pair
from mea_plugin.evaluation.pictures import PictureFolder, SavedPictures
from mea_plugin.evaluation.results import KINDS, Comparison, EvaluationResult, Kind, Protocol, SetResult
from mea_plugin.evaluation.sets import CheckedSet, check_sets
from mea_plugin.evaluation.stream import stream
from mea_plugin.metrics import fid_kid
from mea_plugin.metrics.catalogue import DEFAULT, find_metrics
from mea_plugin.metrics.metric import Metric
from mea_plugin.victims import Victim

__all__ = ['VICTIM', 'SavedImages', 'evaluate']

_TRUTH, _TARGET = 'truth', 'target'


@dataclass(frozen=True)
class SavedImages:
    """Which pictures are saved, and where.

    Attributes:
        folder: Where they are written.
        count: Of how many images; None for all.
    """

    folder: Path
    count: int | None


def evaluate(
    victim: Victim | None,
    surrogates: Mapping[str, Victim],
    test_sets: Sequence[EvaluationSet],
    *,
    baselines: Mapping[str, Victim] | None = None,
    metrics: Sequence[Metric] | None = None,
    seeds: Mapping[str, Sequence[str]] | None = None,
    ceiling: bool = False,
    name: str = 'evaluation',
    panel_images: int | Sequence[str] = 4,
    save: SavedImages | None = None,
    cache: Path | None = None,
    where: str = '',
) -> tuple[EvaluationResult, list[PanelRow]]:
    """Measure fidelity (surrogates and baselines against the victim) and task quality (all against the ground truth).

    Every image's header is checked before the first model runs; then they stream, a few in memory at a time, each
    model asked once about each: again only for a metric that wants that, and only if it answers for nothing.

    Args:
        victim: The reference of fidelity; None to measure task quality alone.
        surrogates: Networks trained to behave like it, by name.
        test_sets: Where the images are; task quality is measured on those with ground truth.
        baselines: Models to beat, such as bicubic interpolation, by name.
        metrics: From :func:`mea_plugin.metrics.catalogue.find_metrics`; by default PSNR and SSIM on Y and on RGB.
        seeds: Names of surrogates that differ in their seed alone, by the group that they are compared as.
        ceiling: Whether the victim's answers with noise of one grey level are a row, above which agreement means
            nothing.
        name: What the evaluation is called.
        panel_images: How many images the picture shows, or the names of those that it shows.
        save: Which whole images are saved.
        cache: Folder in which features of images are kept, for metrics of whole sets.
        where: The option file, for errors.

    Returns:
        The scores, and the rows of the picture (for :func:`mea_plugin.evaluation.panel.draw_panel`).

    Raises:
        InputError: Scales differ, a name is taken twice, there is nothing to compare, a test set cannot be used, or an
            answer is no image of the right size.
    """
    prefix = f'{where}: ' if where else ''
    models = gather_models(victim, surrogates, baselines or {}, ceiling=ceiling, prefix=prefix)
    check_seeds(seeds or {}, models.named('surrogate'), f'{prefix}seeds')
    protocol = Protocol(models.scale, tuple(find_metrics(DEFAULT) if metrics is None else metrics))
    checked = check_sets(test_sets, scale=protocol.scale, border=protocol.border, prefix=prefix)
    for one in checked:
        _check_anything(one, models, protocol, f'{prefix}test_sets.{one.name}')
    run = _Run(models, protocol, seeds or {}, checked, panel_images, save, cache, prefix)
    sets, rows = [], []
    with tqdm(total=sum(len(one.pairs) for one in checked), desc='evaluate', unit='image', disable=None) as bar:
        for index in range(len(checked)):
            result, measured = run.measure_set(index, bar)
            sets.append(result)
            rows += [one.row for one in measured if one.row]
            run.pictures += [one.pictures for one in measured if one.pictures]
    return EvaluationResult(name, protocol, models.described, sets, seeds or {}, run.pictures), rows


def _check_anything(checked: CheckedSet, models: Models, protocol: Protocol, where: str) -> None:
    """Refuse a test set on which nothing could be measured."""
    metrics = protocol.metrics
    fidelity = models.victim and len(models.rows) > 1 and any(m.kind in ('pair', 'set') for m in metrics)
    truth = checked.has_truth and any(m.kind == 'set' or (m.kind == 'pair' and not m.fidelity_only) for m in metrics)
    target = checked.target and any(m.kind == 'set' for m in metrics)
    if fidelity or truth or target or any(m.kind in ('single', 'model') for m in metrics):
        return
    if models.victim and len(models.rows) == 1:
        raise InputError('nothing to compare the victim with', where=where, do='Add a surrogate or gt')
    raise InputError('nothing can be measured', where=where, do='Add a victim, gt, or metrics that need neither')


class _Run:
    """One evaluation under way."""

    def __init__(
        self,
        models: Models,
        protocol: Protocol,
        seeds: Mapping[str, Sequence[str]],
        sets: Sequence[CheckedSet],
        panel_images: int | Sequence[str],
        save: SavedImages | None,
        cache: Path | None,
        prefix: str,
    ) -> None:
        self._models, self._protocol, self._seeds, self._sets, self._cache = models, protocol, seeds, sets, cache
        self.pictures: list[SavedPictures] = []
        names = [[pair.name for pair in one.pairs] for one in sets]
        self._shown = choose_rows(names, panel_images, where=f'{prefix}panel.images')
        self._saved: set[tuple[int, str]] = set()
        if save:
            count = sum(map(len, names)) if save.count is None else save.count
            self._saved = choose_rows(names, count, where=f'{prefix}save_images')
            self._folder = PictureFolder(save.folder, models.rows, [one.name for one in sets], names)
        self._compared = compared_pairs(models.named('surrogate'), models.named('baseline'), models.victim, seeds)

    def measure_set(self, index: int, bar: tqdm) -> tuple[SetResult, list[Measured]]:
        """Measure one test set, image by image."""
        checked = self._sets[index]
        features = SetFeatures(metrics_of(self._protocol.metrics, 'quality', of_sets=True), self._cache)
        with closing(features):
            measured = self._stream(index, features, bar)
            if features.metrics and checked.target:
                with closing(self._read(checked.target)) as images:
                    features.add_all(_TARGET, images)
            return self._summarise(checked, measured, features), list(measured.values())

    def _stream(self, index: int, features: SetFeatures, bar: tqdm) -> dict[str, Measured]:
        """All images of a test set, by name."""
        checked = self._sets[index]
        measured = {}
        results = stream(
            checked.pairs,
            read=lambda pair: load_pair(pair, self._protocol.scale),
            ask=partial(self._ask, features, bool(checked.target)),
            measure=partial(self._measure, index),
            pixels=lambda asked: next(iter(asked.answers.values())).size // 3,
        )
        with closing(results):
            for pair, one in zip(checked.pairs, results, strict=True):
                measured[pair.name] = one
                bar.update()
        return measured

    def _ask(
        self, features: SetFeatures, has_target: bool, pair: ImagePair, images: tuple[np.ndarray, np.ndarray | None]
    ) -> Asked:
        query, truth = images
        asked = ask_models(self._models, pair, query, truth, self._protocol.metrics)
        for name, answer in asked.answers.items():
            features.add(f'model {name}', answer)
        if truth is not None and not has_target:
            features.add(_TRUTH, truth)
        return asked

    def _measure(self, index: int, pair: ImagePair, asked: Asked) -> Measured:
        test_set, key = self._sets[index].name, (index, pair.name)
        title = f'{test_set}, {pair.name}' if key in self._shown else None
        save = partial(self._save, test_set, pair.name) if key in self._saved else None
        return measure_image(asked, pair, self._protocol, title=title, save=save)

    def _save(self, test_set: str, image: str, asked: Asked) -> SavedPictures:
        return self._folder.save(test_set, image, asked.query, asked.truth, asked.answers)

    @staticmethod
    def _read(paths: Sequence[Path]) -> Generator[np.ndarray, None, None]:
        return stream(paths, read=read_rgb, ask=lambda _, image: image, measure=lambda _, image: image)

    def _lacking(self, kind: Kind, checked: CheckedSet) -> list[str]:
        """The models that a metric which cannot be computed here would have been measured on."""
        rows, victim = self._models.rows, self._models.victim
        missing = [metric for metric in self._protocol.metrics if metric.missing]
        if kind == 'own':
            return [n for n in rows if n != CEILING] if any(m.kind in ('single', 'model') for m in missing) else []
        if kind == 'fidelity':
            is_lacking = victim is not None and any(m.kind in ('pair', 'set') for m in missing)
            return [name for name in rows if name != victim] if is_lacking else []
        pairs = checked.has_truth and any(m.kind == 'pair' and not m.fidelity_only for m in missing)
        sets = (checked.has_truth or checked.target) and any(m.kind == 'set' for m in missing)
        return [name for name in rows if name != CEILING] if pairs or sets else []

    def _summarise(self, checked: CheckedSet, measured: Mapping[str, Measured], features: SetFeatures) -> SetResult:
        """From images to models."""
        rows, victim = self._models.rows, self._models.victim
        reference = _TARGET if checked.target else _TRUTH
        of_sets: dict[Kind, dict[str, dict[str, float]]] = {
            'fidelity': {n: features.compare(f'model {n}', f'model {victim}') for n in rows if n != victim},
            'quality': {n: features.compare(f'model {n}', reference) for n in rows if n != CEILING},
            'own': {},
        }
        found = {kind: by_model(kind, measured, of_sets[kind], rows, self._lacking(kind, checked)) for kind in KINDS}
        differences = [
            difference
            for kind in KINDS
            for difference in compare_models(
                kind,
                {name: _columns(one) for name, one in found[kind].items()},
                metrics_of(self._protocol.metrics, kind),
                self._compared,
                self._seeds,
            )
        ]
        return SetResult(
            name=checked.name,
            count=len(measured),
            fingerprint=hash_json([one.fingerprint for one in measured.values()]),
            benchmark=checked.benchmark,
            **found,
            differences=differences,
            notes=_remarks(features, len(measured), len(checked.target)),
        )


def _remarks(features: SetFeatures, images: int, target: int) -> list[str]:
    """What metrics of whole sets say about the sets' sizes."""
    if not any(metric.name in fid_kid.METRICS for metric in features.metrics):
        return []
    return [fid_kid.remark(images, count) for count in dict.fromkeys((images, target or images))]


def _columns(comparison: Comparison) -> dict[str, list[float]]:
    return {name: comparison.values(name) for name in comparison.means if name not in comparison.sets}
