"""What is measured on one image, and on the answers to all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_array, hash_json
from mea_plugin.evaluation.crops import PanelRow, cut_row
from mea_plugin.evaluation.models import CEILING, VICTIM, Models
from mea_plugin.evaluation.pairs import ImagePair
from mea_plugin.evaluation.pictures import SavedPictures
from mea_plugin.evaluation.results import Comparison, Kind, Protocol
from mea_plugin.metrics.metric import Metric
from mea_plugin.metrics.planes import Planes
from mea_plugin.metrics.psnr_ssim import plane_psnr

__all__ = ['Asked', 'Measured', 'SetFeatures', 'ask_models', 'by_model', 'measure_image', 'metrics_of']

Values = dict[str, dict[str, float]]
"""By model and metric."""


@dataclass(frozen=True)
class Asked:
    """One image and what every model made of it.

    Attributes:
        query: uint8 ``(H, W, 3)``.
        truth: uint8 ``(scale * H, scale * W, 3)`` or None.
        answers: The same of each model; the ceiling's too.
        own: What needed more answers.
    """

    query: np.ndarray
    truth: np.ndarray | None
    answers: dict[str, np.ndarray]
    own: Values


@dataclass(frozen=True)
class Measured:
    """One image, everything that was measured on it, its row of the picture and its pictures, if it is shown."""

    fingerprint: str
    values: dict[Kind, Values]
    row: PanelRow | None = None
    pictures: SavedPictures | None = None


def metrics_of(metrics: Iterable[Metric], kind: Kind, *, of_sets: bool = False) -> list[Metric]:
    """The metrics that can be computed here for one kind of comparison.

    Args:
        metrics: All that were asked for.
        kind: What is compared with what.
        of_sets: Those of whole sets, instead of those with a value per image.
    """
    usable = [metric for metric in metrics if not metric.missing]
    if of_sets:
        return [] if kind == 'own' else [metric for metric in usable if metric.kind == 'set']
    if kind == 'own':
        return [metric for metric in usable if metric.kind in ('single', 'model')]
    return [metric for metric in usable if metric.kind == 'pair' and (kind == 'fidelity' or not metric.fidelity_only)]


def ask_models(
    models: Models, pair: ImagePair, query: np.ndarray, truth: np.ndarray | None, metrics: Sequence[Metric]
) -> Asked:
    """Ask every model about one image, once; those that answer for nothing again where a metric wants that."""
    answers = {name: _answer(name, model, query, pair) for name, model in models.members.items()}
    own: Values = {}
    again = [metric for metric in metrics_of(metrics, 'own') if metric.kind == 'model']
    for name, model in models.members.items():
        if again and models.can_be_asked_again(name):
            ask = partial(_answer, name, model, pair=pair)
            own[name] = {metric.name: float(metric.measure(ask, query, answers[name])) for metric in again}
    if models.noisy:
        answers[CEILING] = models.noisy(answers[VICTIM])
    return Asked(query, truth, answers, own)


def _answer(name: str, model: Any, query: np.ndarray, pair: ImagePair) -> np.ndarray:
    (answer,) = model.query([query])
    expected = (query.shape[0] * model.scale, query.shape[1] * model.scale, 3)
    if answer.dtype != np.uint8 or answer.shape != expected:
        raise InputError(
            f"'{name}' answered {answer.dtype} {answer.shape}, not uint8 {expected}",
            where=pair.path,
            do=f'Correct the scale or the output of {name}',
        )
    return np.asarray(answer)


def measure_image(
    asked: Asked,
    pair: ImagePair,
    protocol: Protocol,
    *,
    title: str | None = None,
    save: Callable[[Asked], SavedPictures] | None = None,
) -> Measured:
    """Compare the answers with each other and with the truth. Runs in a thread.

    Args:
        asked: The image and its answers.
        pair: For its name.
        protocol: Border and metrics.
        title: With one, the row of the picture is cut, too.
        save: Writes the pictures, where this image's are wanted.
    """
    fidelity, quality = metrics_of(protocol.metrics, 'fidelity'), metrics_of(protocol.metrics, 'quality')
    single = [metric for metric in metrics_of(protocol.metrics, 'own') if metric.kind == 'single']
    values: dict[Kind, Values] = {'fidelity': {}, 'quality': {}, 'own': asked.own}
    to_truth: dict[str, float] = {}
    to_victim: dict[str, float] = {}
    references = {
        'fidelity': _planes(asked.answers.get(VICTIM), protocol, fidelity or title),
        'quality': _planes(asked.truth, protocol, quality or title),
    }
    for name, answer in asked.answers.items():
        planes = references['fidelity'] if name == VICTIM else None
        planes = planes or Planes(answer, border=protocol.border)
        if references['fidelity'] and name != VICTIM:
            values['fidelity'][name] = _compare(planes, references['fidelity'], fidelity)
            if title:
                to_victim[name] = plane_psnr(planes, references['fidelity'], 'y')
        if references['quality'] and name != CEILING:
            values['quality'][name] = _compare(planes, references['quality'], quality)
            if title:
                to_truth[name] = plane_psnr(planes, references['quality'], 'y')
        if single and name != CEILING:
            values['own'].setdefault(name, {}).update({m.name: float(m.measure(planes)) for m in single})
    row = None
    if title:
        shown = {name: answer for name, answer in asked.answers.items() if name != CEILING}
        victim = VICTIM if VICTIM in shown else None
        row = cut_row(title, asked.query, asked.truth, shown, victim, to_truth=to_truth, to_victim=to_victim)
    hashes = [pair.name, hash_array(asked.query), None if asked.truth is None else hash_array(asked.truth)]
    return Measured(hash_json(hashes), values, row, save(asked) if save else None)


def _planes(image: np.ndarray | None, protocol: Protocol, wanted: object) -> Planes | None:
    return Planes(image, border=protocol.border) if image is not None and wanted else None


def _compare(planes: Planes, reference: Planes, metrics: Sequence[Metric]) -> dict[str, float]:
    return {metric.name: float(metric.measure(planes, reference)) for metric in metrics}


@dataclass
class SetFeatures:
    """What metrics of whole sets see: every image passes by once, and only its features are kept.

    Args:
        metrics: Of kind ``set``; several may share an extractor.
        cache: Folder in which features of images are kept.
    """

    metrics: Sequence[Metric]
    cache: Path | None = None
    _collected: dict[tuple[int, str], Any] = field(default_factory=dict)

    def add(self, name: str, image: np.ndarray) -> None:
        """Add an image, uint8 ``(H, W, 3)``, to what is known of a model, or of a reference."""
        for extractor in self._extractors():
            key = id(extractor), name
            if key not in self._collected:
                self._collected[key] = extractor.collect(self.cache)
            self._collected[key].add(image)

    def add_all(self, name: str, images: Iterator[np.ndarray]) -> None:
        """Add many images."""
        for image in images:
            self.add(name, image)

    def compare(self, name: str, reference: str) -> dict[str, float]:
        """Every metric of one model's images against the reference's; nothing where one of them has none."""
        values = {}
        for metric in self.metrics:
            extractor = id(metric.extractor)
            pair = [self._collected.get((extractor, one)) for one in (name, reference)]
            if None not in pair:
                values[metric.name] = float(metric.measure(*pair))
        return values

    def close(self) -> None:
        """Give files back."""
        for features in self._collected.values():
            features.close()

    def _extractors(self) -> list[Any]:
        """Each one once."""
        return list({id(one): one for one in (m.extractor for m in self.metrics)}.values())


def by_model(
    kind: Kind,
    measured: Mapping[str, Measured],
    sets: Mapping[str, dict[str, float]],
    rows: Sequence[str],
    lacking: Sequence[str] = (),
) -> dict[str, Comparison]:
    """From images to models, in the order of the rows.

    Models of which nothing was measured are left out, but for those that are ``lacking`` a metric that misses its
    weights: a table has to say so.
    """
    found = {}
    for name in rows:
        values = {image: one.values[kind][name] for image, one in measured.items() if one.values[kind].get(name)}
        if values or sets.get(name) or name in lacking:
            found[name] = Comparison(values, dict(sets.get(name, {})))
    return found
