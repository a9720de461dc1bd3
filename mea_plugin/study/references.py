"""What a study's tables show beside its cells: the trivial model, and how far queries are from the victims' domains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mea_plugin.data.references import ImageRef
from mea_plugin.data.resize import downscale
from mea_plugin.data.sources import image_references
from mea_plugin.evaluation import evaluate
from mea_plugin.evaluation.options import parse_test_sets
from mea_plugin.files import hash_json, read_json, write_json
from mea_plugin.query.recorded import RecordedVictim
from mea_plugin.study.cell import measured_sets
from mea_plugin.study.distance import distance_of_features, image_features
from mea_plugin.study.options import ImageSource, StudyOptions
from mea_plugin.study.prepare import Shared
from mea_plugin.victims import Victim, build_victim

__all__ = ['References', 'measure_references']

FILE = 'references.json'
_FORMAT = 1


@dataclass(frozen=True)
class References:
    """Measured once, and kept beside the cells.

    Attributes:
        trivial: By victim: bicubic interpolation, or the query unchanged at scale 1, against it; ``name``, and
            ``test_sets`` as a cell's record has them.
        distances: By victim and source of queries, where the victim's training images are known.
    """

    trivial: dict[str, Any]
    distances: dict[tuple[str, str], float]


def measure_references(shared: Shared) -> References:
    """Measure what is not in the results folder, or was measured on something else.

    Raises:
        InputError: Images are missing or too small.
    """
    path = shared.study.results / FILE
    found = read_json(path)
    known = found if isinstance(found, dict) and found.get('format') == _FORMAT else {}
    victims = {
        name: _trivial(shared, name, victim, known.get('victims', {}).get(name))
        for name, victim in shared.victims.items()
    }
    distances = _distances(shared.study, known.get('distances', {}))
    written = {'format': _FORMAT, 'victims': victims, 'distances': distances}
    if written != known:
        write_json(path, written)
    pairs = {tuple(name.split(' ')): one['distance'] for name, one in distances.items()}
    return References(victims, {(victim, queries): value for (victim, queries), value in pairs.items()})


def _trivial(shared: Shared, name: str, victim: Victim, known: Mapping[str, Any] | None) -> dict[str, Any]:
    study = shared.study
    metrics = [metric.name for metric in study.measure.metrics]
    key = hash_json([victim.fingerprint, shared.test_sets.fingerprint, metrics])
    if known is not None and known.get('key') == key:
        return dict(known)
    result, _ = evaluate(
        RecordedVictim(victim, study.output / 'answers' / name),
        {},
        parse_test_sets(shared.test_sets.entries, study.where),
        baselines={'trivial': build_victim({'type': 'bicubic', 'scale': victim.scale})},
        metrics=study.measure.metrics,
        panel_images=1,
    )
    title = 'bicubic' if victim.scale > 1 else 'query unchanged'
    return {'key': key, 'name': title, 'test_sets': measured_sets(result.sets, 'trivial')}


def _distances(study: StudyOptions, known: Mapping[str, Any]) -> dict[str, Any]:
    """By ``VICTIM QUERIES``; the key is of the images' names, sizes and times, which costs no reading."""
    features: dict[str, np.ndarray] = {}
    found = {}
    for victim, options in study.victims.items():
        for name, queries in study.queries.items() if options.trained_on else ():
            assert options.trained_on is not None
            sources = [
                (queries, f'{study.where}: queries.{name}'),
                (options.trained_on, f'{study.where}: victims.{victim}.trained_on'),
            ]
            images = [image_references(source.images, where=where) for source, where in sources]
            keys = [_key(of, source) for of, (source, _) in zip(images, sources, strict=True)]
            key, pair = hash_json(keys), f'{victim} {name}'
            if known.get(pair, {}).get('key') != key:
                for one, of, (source, _) in zip(keys, images, sources, strict=True):
                    if one not in features:
                        features[one] = image_features(_read(of, source.shrink))
                distance = distance_of_features(*(features[one] for one in keys))
                found[pair] = {'key': key, 'distance': round(distance, 4)}
            else:
                found[pair] = dict(known[pair])
    return found


def _key(images: Mapping[str, ImageRef], source: ImageSource) -> str:
    return hash_json([source.shrink, *(list(image.signature()) for image in images.values())])


def _read(images: Mapping[str, ImageRef], shrink: int) -> Iterator[np.ndarray]:
    for image in images.values():
        yield downscale(image.read(), shrink) if shrink > 1 else image.read()
