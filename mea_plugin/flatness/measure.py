"""All measures of one checkpoint, and of how many passes over the samples they may consist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.flatness.hessian import hessian_trace, top_eigenvalue
from mea_plugin.flatness.landscape import line, plane, spread
from mea_plugin.flatness.objective import Objective
from mea_plugin.flatness.options import FlatnessOptions, HessianOptions, radius_key
from mea_plugin.flatness.parts import Parts
from mea_plugin.flatness.sharpness import passes, sharpness
from mea_plugin.victims.checks import one_line

__all__ = ['Measure', 'measures', 'run_measure']

_FULL = ('out of memory', 'allocate memory')


class Measure:
    """One measure of a checkpoint.

    Args:
        kind: What the result is called.
        passes: How many passes over the samples it takes at most.
        settings: All that it depends on besides network and samples.
        run: Measures.
    """

    def __init__(self, kind: str, passes: int, settings: dict[str, Any], run: Callable[[Objective], Any]) -> None:
        self.kind = kind
        self.passes = passes
        self.settings = settings
        self.run = run


def measures(options: FlatnessOptions, *, last: bool) -> list[Measure]:
    """What is measured of a checkpoint.

    Args:
        options: Of the file.
        last: Whether it is the run's last one, which landscapes are drawn of.
    """
    seed, found = options.seed, []
    if options.sharpness:
        found.append(_sharpness(options.sharpness.model_dump(), seed))
    if options.hessian:
        found += _hessian(options.hessian, seed)
    if options.landscape and options.landscape.line and last:
        found.append(_line(options.landscape.line.model_dump(), seed))
    if options.landscape and options.landscape.plane and last:
        found.append(_plane(options.landscape.plane.model_dump(), seed))
    return found


def run_measure(measure: Measure, objective: Objective, parts: Parts, fingerprint: str) -> Any:
    """Measure, unless that has been done.

    Args:
        measure: What.
        objective: Of the network.
        parts: What has been measured.
        fingerprint: Of the network.

    Raises:
        InputError: The network fails.
    """
    inputs = {'network': fingerprint, **measure.settings}
    try:
        return parts.get(measure.kind, inputs, lambda: measure.run(objective))
    except RuntimeError as error:
        if not any(words in str(error).lower() for words in _FULL):
            raise
        raise InputError(one_line(error), where=measure.kind, do='Lower batch_size') from error


def _sharpness(settings: dict[str, Any], seed: int) -> Measure:
    def run(objective: Objective) -> dict[str, float]:
        found = sharpness(
            objective, settings['radii'], steps=settings['steps'], adaptive=settings['adaptive'], seed=seed
        )
        return {radius_key(radius): value for radius, value in found.items()}

    return Measure('sharpness', passes(len(settings['radii']), settings['steps']), {**settings, 'seed': seed}, run)


def _hessian(options: HessianOptions, seed: int) -> list[Measure]:
    iterations, tolerance, probes = options.iterations, options.tolerance, options.probes

    def eigenvalue(objective: Objective) -> dict[str, Any]:
        return dict(vars(top_eigenvalue(objective, iterations=iterations, tolerance=tolerance, seed=seed)))

    def trace(objective: Objective) -> dict[str, Any]:
        return dict(vars(hessian_trace(objective, probes=probes, seed=seed)))

    inputs = {'iterations': iterations, 'tolerance': tolerance, 'seed': seed}
    return [
        Measure('top_eigenvalue', iterations, inputs, eigenvalue),
        Measure('trace', probes, {'probes': probes, 'seed': seed}, trace),
    ]


def _line(settings: dict[str, Any], seed: int) -> Measure:
    steps = spread(**settings)
    return Measure('line', len(steps), {**settings, 'seed': seed}, lambda objective: line(objective, steps, seed=seed))


def _plane(settings: dict[str, Any], seed: int) -> Measure:
    steps = spread(**settings)
    return Measure(
        'plane',
        len(steps) ** 2,
        {**settings, 'seed': seed},
        lambda objective: plane(objective, steps, steps, seed=seed),
    )
