"""What a study's tables show beside its cells: the trivial model, and how far queries are from the victims' domains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from mea_plugin.core.files import hash_json
from mea_plugin.core.images import read_rgb
from mea_plugin.core.records import find_record, write_record
from mea_plugin.core.schema import first_error
from mea_plugin.data.references import ImageRef
from mea_plugin.data.sources import read_shrunk
from mea_plugin.evaluation import evaluate
from mea_plugin.evaluation.options import parse_test_sets
from mea_plugin.query_sets import QuerySet
from mea_plugin.study.cell import measured_sets
from mea_plugin.study.cell_records import Scores, check_scores
from mea_plugin.study.distance import PATCHES, distance_of_features, image_features
from mea_plugin.study.matrix import customers_losses
from mea_plugin.study.options import ImageSource, StudyFile
from mea_plugin.study.picking import source_images
from mea_plugin.study.prepare import Asked, Shared
from mea_plugin.victims import Victim, build_victim

__all__ = ['References', 'mean_of', 'measure_references']

FILE = 'references.json'
_FORMAT = 4  # that before had no checksum


@dataclass(frozen=True)
class References:
    """Measured once, and kept beside the cells.

    Attributes:
        trivial: By victim: the best model that needs no training, against it; ``name``, and ``test_sets`` as a cell's
            record has them.
        distances: By victim whose training images are known: the domain distance of each source of queries.
        floors: By victim: the distance of one half of its training images to the other.
        customers: Of :func:`~mea_plugin.study.matrix.customers_losses`.
    """

    trivial: dict[str, Any]
    distances: dict[str, dict[str, float]]
    floors: dict[str, float]
    customers: dict[str, dict[str, Any]]


def measure_references(shared: Shared) -> References:
    """Measure what is not in the results folder, or was measured on something else.

    Raises:
        InputError: Images are missing or too small.
    """
    study = shared.study
    path = study.results / FILE
    known = find_record(path, format=_FORMAT, unsealed=_FORMAT - 1, check=_check_shape) or {}
    trivial = {
        name: _trivial(shared, name, victim, known.get('trivial', {}).get(name))
        for name, victim in shared.victims.items()
    }
    features: dict[str, np.ndarray] = {}
    distances = {
        name: _distances(study, name, options.trained_on, known.get('distances', {}).get(name), features)
        for name, options in study.victims.items()
        if options.trained_on is not None
    }
    customers = customers_losses(shared, known.get('customers', {}))
    written = {'format': _FORMAT, 'trivial': trivial, 'distances': distances, 'customers': customers}
    if written != known:
        write_record(path, written)
    return References(
        trivial,
        {name: one['queries'] for name, one in distances.items()},
        {name: one['floor'] for name, one in distances.items()},
        customers,
    )


class _Trivial(TypedDict):
    key: str
    name: str
    test_sets: dict[str, Scores]


class _Distances(TypedDict):
    key: str
    floor: float
    queries: dict[str, float]


class _Customer(TypedDict):
    key: str
    test_sets: dict[str, Scores]
    seconds: float


class _References(TypedDict):
    trivial: dict[str, _Trivial]
    distances: dict[str, _Distances]
    customers: dict[str, dict[str, _Customer]]


def _check_shape(record: dict[str, Any]) -> None:
    try:
        TypeAdapter(_References).validate_python(record, strict=True)
    except ValidationError as error:
        raise first_error(error, record, '') from None
    customers = (one for defences in record['customers'].values() for one in defences.values())
    for one in (*record['trivial'].values(), *customers):
        check_scores(one['test_sets'], [])


class _OneColour:
    """A model that answers every image with one colour: the mean of a victim's answers."""

    name, scale = 'one colour', 1

    def __init__(self, answers: Iterable[np.ndarray]) -> None:
        mean = np.mean([answer.mean(axis=(0, 1)) for answer in answers], axis=0)
        self._colour = np.rint(mean).astype(np.uint8)
        self.fingerprint = hash_json(self._colour.tolist())

    def query(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Answer a list of images."""
        return [np.broadcast_to(self._colour, image.shape).copy() for image in images]


def _trivial(shared: Shared, name: str, victim: Victim, known: Mapping[str, Any] | None) -> dict[str, Any]:
    """Bicubic interpolation; at scale 1 the query unchanged or one colour, whichever is better."""
    study = shared.study
    metrics = [metric.name for metric in study.measured]
    answers = {pair.response for (of, _), pairs in shared.pairs.items() if of == Asked(name) for pair in pairs.values()}
    about = [victim.fingerprint, shared.test_sets.fingerprint, metrics, sorted(answers) if victim.scale == 1 else []]
    key = hash_json(about)
    if known is not None and known.get('key') == key:
        return dict(known)
    models: dict[str, Victim] = {}
    models['bicubic' if victim.scale > 1 else 'query unchanged'] = build_victim(
        {'type': 'bicubic', 'scale': victim.scale}
    )
    if victim.scale == 1:
        models['one colour'] = _OneColour(_answers(shared, name))
    result, _ = evaluate(
        shared.recorded(name),
        {},
        parse_test_sets(shared.test_sets.entries, study.where),
        baselines=models,
        metrics=study.measured,
        panel_images=1,
    )
    measured = {title: measured_sets(result.sets, title) for title in models}
    decides = study.measured[0]
    sign = 1 if decides.better == 'higher' else -1
    best = max(models, key=lambda title: sign * mean_of(measured[title], decides.name))
    return {'key': key, 'name': best, 'test_sets': measured[best]}


def mean_of(test_sets: Mapping[str, Any], metric: str) -> float:
    """The mean of a metric over all images that have a value; NaN where none has."""
    values = [value for one in test_sets.values() for value in one['fidelity'][metric] if value is not None]
    return sum(values) / len(values) if values else float('nan')


def _answers(shared: Shared, victim: str) -> Iterator[np.ndarray]:
    for (asked, source), pairs in shared.pairs.items():
        if asked == Asked(victim):
            queries = QuerySet(shared.query_folder(asked, source))
            yield from (read_rgb(queries.paths(pair.id)[1]) for pair in pairs.values())


def _distances(
    study: StudyFile,
    victim: str,
    trained_on: ImageSource,
    known: Mapping[str, Any] | None,
    features: dict[str, np.ndarray],
) -> dict[str, Any]:
    """Keyed by the images' names, sizes and times, which costs no reading; ``features`` holds what was read before."""
    own = f'{study.where}: victims.{victim}.trained_on'
    sources = {own: trained_on, **{f'{study.where}: queries.{name}': one for name, one in study.queries.items()}}
    images = {where: source_images(source, where=where) for where, source in sources.items()}
    keys = {where: _key(images[where], source) for where, source in sources.items()}
    key = hash_json(list(keys.values()))
    if known is not None and known.get('key') == key:
        return dict(known)
    for where, source in sources.items():
        if keys[where] not in features:
            features[keys[where]] = image_features(read_shrunk(images[where].values(), source.shrink), where=where)
    training, *queries = (features[one] for one in keys.values())
    halves = training.reshape(-1, PATCHES, training.shape[1])
    floor = distance_of_features(np.concatenate(halves[::2]), np.concatenate(halves[1::2]))
    found = [round(distance_of_features(one, training), 4) for one in queries]
    return {'key': key, 'floor': round(floor, 4), 'queries': dict(zip(study.queries, found, strict=True))}


def _key(images: Mapping[str, ImageRef], source: ImageSource) -> str:
    return hash_json([source.shrink, *(list(image.signature()) for image in images.values())])
