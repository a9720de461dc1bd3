"""The trivial model that a study's tables show beside its cells."""

from __future__ import annotations

from typing import Any

from mea_plugin.evaluation import evaluate
from mea_plugin.evaluation.options import parse_test_sets
from mea_plugin.files import hash_json, read_json, write_json
from mea_plugin.query.recorded import RecordedVictim
from mea_plugin.study.cell import measured_sets
from mea_plugin.study.prepare import Shared
from mea_plugin.victims import build_victim

__all__ = ['measure_trivial']

FILE = 'references.json'
_FORMAT = 1


def measure_trivial(shared: Shared) -> dict[str, Any]:
    """Bicubic interpolation, or the query unchanged at scale 1, against each victim; measured once.

    Returns:
        By victim: ``test_sets`` as a cell's record has them.
    """
    study = shared.study
    path = study.results / FILE
    found = read_json(path)
    known = found.get('victims', {}) if isinstance(found, dict) and found.get('format') == _FORMAT else {}
    victims: dict[str, Any] = {}
    for name, victim in shared.victims.items():
        metrics = [metric.name for metric in study.measure.metrics]
        key = hash_json([victim.fingerprint, shared.test_sets.fingerprint, metrics])
        if known.get(name, {}).get('key') == key:
            victims[name] = known[name]
            continue
        recorded = RecordedVictim(victim, study.output / 'answers' / name)
        trivial = build_victim({'type': 'bicubic', 'scale': victim.scale})
        result, _ = evaluate(
            recorded,
            {},
            parse_test_sets(shared.test_sets.entries, study.where),
            baselines={'trivial': trivial},
            metrics=study.measure.metrics,
            panel_images=1,
        )
        title = 'bicubic' if victim.scale > 1 else 'query unchanged'
        victims[name] = {'key': key, 'name': title, 'test_sets': measured_sets(result.sets, 'trivial')}
    if victims != known:
        write_json(path, {'format': _FORMAT, 'victims': victims})
    return victims
