"""What each defence takes from attackers and from customers."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mea_plugin.core.files import hash_json
from mea_plugin.core.images import list_images, read_rgb
from mea_plugin.evaluation import evaluate
from mea_plugin.evaluation.options import parse_test_sets
from mea_plugin.metrics.metric import Metric
from mea_plugin.study.cell import measured_sets
from mea_plugin.study.collect import correct, judge
from mea_plugin.study.finished import CONFIGURATION, Configuration, Results
from mea_plugin.study.prepare import Shared
from mea_plugin.victims import Victim
from mea_plugin.victims.defended import DefendedVictim

__all__ = ['attackers_losses', 'customers_losses']

_TIMED = 5  # images, and rounds over them: the smallest of a few is what a query costs


def customers_losses(shared: Shared, known: Mapping[str, Any]) -> dict[str, Any]:
    """How far defended answers are from the victim's own, on the test sets' inputs, and what a query costs.

    Args:
        shared: What the study has prepared.
        known: What was measured before, by victim and defence.

    Returns:
        By victim and defence: ``key``, ``test_sets`` as a cell's record has them (the defended victim's fidelity to the
        undefended), and ``seconds``: of a query with the defence, as a multiple of one without.
    """
    study = shared.study
    names = [metric.name for metric in study.measured]
    found: dict[str, Any] = {}
    for name, victim in shared.victims.items():
        recorded, timed = shared.recorded(name), None
        for defence in (one for one, defences in study.defences.items() if defences):
            defended = shared.defended(name, defence)
            key = hash_json([defended.fingerprint, shared.test_sets.fingerprint, names])
            entry = known.get(name, {}).get(defence, {})
            if entry.get('key') != key:
                plain, pairs = timed = timed or _timed(shared, victim, recorded)
                added = _fastest(functools.partial(_defend, defended), pairs)
                test_sets = _distance(shared, recorded, defended)
                entry = {'key': key, 'test_sets': test_sets, 'seconds': round(1 + added / plain, 3)}
            found.setdefault(name, {})[defence] = entry
    return found


def attackers_losses(
    results: Results, undefended: str, metrics: Sequence[Metric], methods: Mapping[str, str]
) -> list[dict[str, Any]]:
    """What a defence takes from each method: its fidelity behind the defence minus that without, by seed and image.

    A method that adapts to defences is measured by what its attacker has without one, and without adapting.

    Args:
        results: Of the study.
        undefended: The name of the empty list of defences.
        metrics: Of the study.
        methods: Of the study, each with the one whose fidelity without defence it is measured by.

    Returns:
        An entry for each configuration with a defence and each method: the configuration's axes, ``method``,
        ``metrics`` (mean, interval, p, verdict; negative: lost, for a metric of which more is better).
    """
    entries: list[dict[str, Any]] = []
    for configuration in results.configurations:
        plain: Configuration = (*configuration[:4], undefended)
        for method, unadapted in methods.items() if configuration[4] != undefended else ():
            one, other = results.seeds(configuration, method), results.seeds(plain, unadapted)
            seeds = sorted(one.keys() & other.keys())
            if seeds:
                judged = {}
                for metric in metrics:
                    with_defence, without = (
                        results.matrix(where, name, metric.name, seeds)
                        for where, name in ((configuration, method), (plain, unadapted))
                    )
                    judged[metric.name] = judge(with_defence - without, metric, seeds)
                axes = dict(zip(CONFIGURATION, configuration, strict=True))
                entries.append({**axes, 'method': method, 'metrics': judged})
    for metric in metrics:
        correct([entry['metrics'][metric.name] for entry in entries])
    return entries


def _distance(shared: Shared, victim: Victim, defended: Victim) -> dict[str, Any]:
    result, _ = evaluate(
        victim,
        {},
        parse_test_sets(shared.test_sets.entries, shared.study.where),
        baselines={'defended': defended},
        metrics=shared.study.measured,
        panel_images=1,
    )
    return measured_sets(result.sets, 'defended')


def _timed(shared: Shared, victim: Victim, recorded: Victim) -> tuple[float, list[tuple[np.ndarray, np.ndarray]]]:
    """Seconds of a victim for some test images, and these with its answers."""
    images = [read_rgb(path) for path in list_images(shared.test_sets.entries[0]['lq'])[:_TIMED]]
    return _fastest(functools.partial(_ask, victim), images), list(zip(images, recorded.query(images), strict=True))


def _ask(victim: Victim, image: np.ndarray) -> None:
    victim.query([image])


def _defend(defended: DefendedVictim, pair: tuple[np.ndarray, np.ndarray]) -> None:
    defended.defend(*pair, 0)


def _fastest(work: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """Seconds for all items, each at its quickest."""
    total = 0.0
    for item in items:
        taken = []
        for _ in range(_TIMED):
            began = time.perf_counter()
            work(item)
            taken.append(time.perf_counter() - began)
        total += min(taken)
    return total
