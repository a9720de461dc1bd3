"""What the tables of an evaluation say beside their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ['IMAGE_LEGEND', 'difference_legend', 'left_out', 'mean_legend', 'setting']

_DIRECTIONS = '↑ higher is better, ↓ lower is.'
_FEWEST = 6  # images that can decide anything

IMAGE_LEGEND = f'inf: the image equals its reference; n/a: the metric is not defined for it; {_DIRECTIONS}'
"""Of a table per image."""


def setting(evaluation: Mapping[str, Any], test_set: Mapping[str, Any]) -> str:
    """On what was measured, and how."""
    scale, border = evaluation['protocol']['scale'], evaluation['protocol']['border']
    cropped = f'{_count(border, "pixel")} cropped at each edge' if border else 'nothing cropped'
    return f'{_count(test_set["count"], "image")}, x{scale}; {cropped}.'


def mean_legend(
    test_set: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]], *, intervals: bool, rivals: bool, seeds: bool
) -> Iterator[str]:
    """Of a table of means.

    Args:
        test_set: Of evaluation.json.
        metrics: Those of the columns, of its protocol.
        intervals: Whether there is one.
        rivals: Whether one of several could be bold.
        seeds: Whether there is a row of several seeds.
    """
    yield f'Mean over images [95 % confidence interval]; {_DIRECTIONS}'
    if intervals and test_set['count'] < _FEWEST:
        yield f'Intervals of fewer than {_FEWEST} images cover the mean less often than 95 % of the time.'
    if rivals:
        yield (
            'Bold: better than every other surrogate: the 95 % confidence interval of each difference excludes 0, and '
            'its Holm-corrected p is at most 0.05.'
        )
    if seeds:
        yield 'Rows of several seeds: mean over seeds and images, and an interval that holds for both.'
    benchmark = test_set.get('benchmark')
    if benchmark and not benchmark['is_real']:
        yield f'{test_set["name"]} is not the published {benchmark["name"]}: {"; ".join(benchmark["notes"])}.'
    if any(metric['kind'] == 'set' for metric in metrics):
        for note in test_set.get('notes', ()):
            yield f'{test_set["name"]}: {note}.'
    for metric in metrics:
        if metric['missing']:
            yield f'{metric["title"]}: n/a ({metric["missing"]})'


def difference_legend(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Of a table of differences.

    Args:
        found: Those of evaluation.json that it shows.
    """
    yield (
        'Difference: mean over the same images, of the model minus the other [95 % confidence interval]. Better or '
        'worse: the interval excludes 0, and the Holm-corrected p is at most 0.05.'
    )
    yield (
        'p: of a sign-flip permutation test over images, or of a t-test over seeds and images; Holm: corrected for all '
        'comparisons of the table.'
    )
    if any(one['over'] == 'images' and one['count'] < _FEWEST for one in found):
        yield f'Fewer than {_FEWEST} images of one seed decide nothing, whatever their values are.'


def left_out(
    comparisons: Mapping[str, Any], names: Sequence[str], known: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """What a mean over fewer images than announced must not keep to itself.

    Args:
        comparisons: Of each model, of evaluation.json.
        names: Of metrics.
        known: Metrics of its protocol, by name.
    """
    for model, one in comparisons.items():
        for name in names:
            title, count = known[name]['title'], _count(len(one['images']), 'image')
            if identical := one['identical'].get(name):
                rest = '' if one['mean'][name] is None else '; left out of the mean'
                equal = 'equals its reference' if identical == 1 else 'equal their references'
                yield f'{model}, {title}: {identical} of {count} {equal} (infinite){rest}.'
            if undefined := one['undefined'].get(name):
                yield f'{model}, {title}: not defined on {undefined} of {count}.'


def _count(number: int, noun: str) -> str:
    return f'{number} {noun}' if number == 1 else f'{number} {noun}s'
