"""Metrics of this package for MMagic's validation: of the set of all predictions and a set of references."""

from __future__ import annotations

import functools
import logging
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmengine.dist import collect_results, get_dist_info
from mmengine.logging import print_log

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_array
from mea_plugin.core.images import list_images, read_rgb
from mea_plugin.core.paths import expanded
from mea_plugin.metrics.families import Family, families
from mea_plugin.metrics.feature_cache import FeatureCache
from mea_plugin.metrics.fid_kid import remark
from mea_plugin.mmagic.metrics.pair_metrics import ImageMetric, warn
from mea_plugin.training.logged_metrics import ChannelOrder, check_weights, logged_metric

__all__ = ['SET_METRICS', 'SetMetric']

_MEMORY = 64

Row = tuple[str, np.ndarray]
"""Hash of an image's pixels, and its features."""


class Rows:
    """The features of a set of images, as :mod:`mea_plugin.metrics.fid_kid` reads them, from rows of all ranks.

    Args:
        extractor: What made them.
        rows: In any order; as in :class:`~mea_plugin.metrics.features.ImageFeatures`, they are numbered by hash.
    """

    def __init__(self, extractor: Any, rows: Sequence[Row]) -> None:
        self.extractor, self.count = extractor, len(rows)
        ordered = sorted(rows, key=lambda row: row[0][:16])
        self._rows = np.stack([row for _, row in ordered]) if rows else np.empty((0, extractor.size), np.float32)

    def rows(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Some of them, float32 ``(len(indices), size)``."""
        return self._rows[np.asarray(indices, int)]

    def mean(self) -> np.ndarray:
        """Float64 ``(size,)``."""
        return self._rows.mean(axis=0, dtype=np.float64)

    def covariance(self) -> np.ndarray:
        """Float64 ``(size, size)``, over ``count - 1``."""
        return np.cov(self._rows, rowvar=False, dtype=np.float64)


class SetMetric(ImageMetric):
    """A distance between the set of all predictions and a set of references.

    The references are the images of ``gt_key``, such as the victim's responses, or, with ``target``, a folder: how well
    the predictions match a style. They are looked at in the first validation only. The first rank keeps 8 KB for each
    image. Fewer images than Inception has features (2048) bias FID upwards; a note in the log says so.

    Args:
        gt_key: The references, where there is no ``target``.
        pred_key: The prediction: ``pred_img``, or ``fake_DOMAIN`` of a translation model.
        target: A folder of images.
        weights: The folder of Inception's weight file; None: where ``MEA_METRIC_WEIGHTS`` points to. Without it: NaN.
        cache: A folder where features of ``target`` are kept by content, for later runs.
        collect_device: ``cpu`` or ``gpu``, where ranks put their results together.
        prefix: Before the name in the log, such as ``quality``.
        input_order: ``CHW`` or ``HWC``.
        channel_order: Of the images, where it is not what the pipeline and the pre-processor tell: ``bgr`` or ``rgb``.
    """

    texts: ClassVar = ('prefix', 'target', 'cache')
    name: ClassVar[str]

    def __init__(
        self,
        gt_key: str = 'gt_img',
        pred_key: str = 'pred_img',
        target: str | None = None,
        weights: str | None = None,
        cache: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        input_order: str = 'CHW',
        channel_order: ChannelOrder | None = None,
    ) -> None:
        super().__init__(gt_key, pred_key, collect_device, prefix, input_order, channel_order)
        self.target, self.cache = target, cache
        logged = logged_metric(self.name, weights)
        logged.announce(warn)
        self._measured = logged.metric
        self._references: Rows | None = None  # on the first rank
        self._has_references = target is not None
        self._remarked = False

    @classmethod
    def check(cls, options: Mapping[str, Any], where: str) -> None:
        """As :meth:`ImageMetric.check`, and that there is one set of references."""
        super().check(options, where)
        check_weights([cls.name], options.get('weights'), where=where)
        if options.get('target') is not None and 'gt_key' in options:
            raise InputError('there are both gt_key and target', where=where, do='Name one set of references')

    def prepare(self, module: Any, dataloader: Any) -> None:
        """As MMagic's; each rank looks at its share of the target folder."""
        super().prepare(module, dataloader)
        if self.target is not None and not self._measured.missing:
            paths = list_images(self.target, where='val_evaluator: target')
            rank, world = get_dist_info()
            share = tuple(paths[index % len(paths)] for index in range(rank, -(-len(paths) // world) * world, world))
            rows = _features_of_files(self._measured.extractor, share, self.cache)
            gathered = collect_results(rows, len(paths), self.collect_device)
            self._references = None if gathered is None else Rows(self._measured.extractor, gathered)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Take the features of a batch's predictions, and, in the first validation, of their references."""
        for sample in data_samples:
            if self._measured.missing:
                self.results.append(None)
                continue
            images = [self.images.prediction(sample)]
            if not self._has_references:
                images.append(self.images.reference(sample))
            self.results.append(tuple([_row(self._measured.extractor, frame) for frame in one] for one in images))

    def evaluate(self) -> dict[str, float]:
        """As MMagic's; from then on the references are known, on all ranks."""
        value: dict[str, float] = super().evaluate()
        self._has_references = self._has_references or not math.isnan(value[self._key])
        return value

    @property
    def _key(self) -> str:
        return f'{self.prefix}/{self.metric}' if self.prefix else str(self.metric)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The distance; NaN for want of weights, or where a prediction is not finite."""
        if self._measured.missing:
            return {self.metric: math.nan}
        extractor = self._measured.extractor
        images, *references = ([row for sample in side for row in sample] for side in zip(*results, strict=True))
        if any(row is None for rows in (images, *references) for row in rows):
            return {self.metric: math.nan}
        if references:
            self._references = Rows(extractor, references[0])
        assert self._references is not None
        if not self._remarked:
            self._remarked = True
            print_log(remark(len(images), self._references.count), 'current', logging.INFO)
        return {self.metric: float(self._measured.measure(Rows(extractor, images), self._references))}


def _metric(family: Family) -> type[SetMetric]:
    """The class for MMagic."""
    text = f'{family.members[0].title} of :mod:`mea_plugin.metrics`; see :class:`SetMetric` for the arguments.'
    own = {'__doc__': text, '__module__': __name__, 'metric': family.label, 'better': family.better}
    return type(family.label, (SetMetric,), {**own, 'name': family.name})


SET_METRICS = tuple(_metric(family) for family in families().values() if family.kind == 'set')
"""One for each metric of the catalogue that compares two sets of images."""


@functools.cache
def _recent() -> OrderedDict[tuple[str, str], np.ndarray]:
    """The last features, since FID and KID see the same images one after the other."""
    return OrderedDict()


def _row(extractor: Any, image: np.ndarray | None, cache: FeatureCache | None = None) -> Row | None:
    """The features of an image; None for one that is not finite."""
    if image is None:
        return None
    digest = hash_array(image)
    key = (extractor.fingerprint, digest)
    row = _recent().get(key)
    if row is None and cache is not None:
        row = cache.get(digest, extractor.fingerprint)
    if row is None:
        row = extractor.extract(image)
        if cache is not None:
            cache.put(digest, extractor.fingerprint, row)
    _recent()[key] = row
    while len(_recent()) > _MEMORY:
        _recent().popitem(last=False)
    return digest, row


@functools.lru_cache(maxsize=2)
def _features_of_files(extractor: Any, paths: tuple[Path, ...], cache: str | None) -> list[Row]:
    """The features of files; kept, since FID and KID ask for the same ones."""
    kept = None if cache is None else FeatureCache(expanded(cache))
    try:
        rows = [_row(extractor, read_rgb(path), kept) for path in paths]
    finally:
        if kept is not None:
            kept.close()
    return [row for row in rows if row is not None]
