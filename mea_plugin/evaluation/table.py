"""Markdown tables that also read well in a terminal; each says under which protocol it was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from mea_plugin.evaluation.differences import Difference
from mea_plugin.evaluation.results import KINDS, Comparison, EvaluationResult, Kind, Mean, SetResult
from mea_plugin.metrics import Metric

__all__ = ['image_tables', 'mean_tables', 'metric_notes']

WIDTH = 120
"""Of a terminal: a table that would be wider becomes several."""

_KINDS: dict[Kind, str] = {
    'fidelity': 'fidelity (how close to the victim)',
    'quality': 'task quality (how close to the ground truth)',
    'own': 'answers alone',
}
_TARGET = 'task quality (how close to the images of target)'
_MEANS = {'pair': KINDS[:2], 'set': KINDS[:2], 'single': KINDS[2:], 'model': KINDS[2:]}


def mean_tables(result: EvaluationResult) -> str:
    """Per test set: means with their intervals, a row per model, and whether one model is better than another.

    Bold marks a surrogate that is better than every other one, by the verdicts on their differences; where those are
    undecided, none is. Victim and baselines are not in that contest.
    Why a metric reads ``n/a``, and how to change that, stands at the end.
    """
    parts = []
    for test_set in result.sets:
        for kind in KINDS:
            comparisons = test_set.comparisons(kind)
            if comparisons:
                title = f'**{test_set.name}, {_title(kind, comparisons)}.** {result.protocol.describe(test_set.count)}'
                missing = [m for m in result.protocol.metrics if m.missing and kind in _MEANS[m.kind]]
                best = _best([one for one in test_set.differences if one.kind == kind], result.surrogates)
                parts += [title, *_mean_tables(comparisons, result.metrics, missing, best)]
                parts += _lines(_notes(comparisons, result.metrics))
        parts += _lines(f'Note: {note}.' for note in test_set.notes)
        parts += _differences(test_set, result.metrics)
    parts += _lines(f'{metric.title}: n/a ({metric.missing})' for metric in result.protocol.metrics if metric.missing)
    return '\n\n'.join(parts) + '\n'


def image_tables(result: EvaluationResult) -> str:
    """The same per image: a row per image and model."""
    parts = []
    for test_set in result.sets:
        for kind in KINDS:
            comparisons = {name: one for name, one in test_set.comparisons(kind).items() if one.images}
            if not comparisons:
                continue
            title = _title(kind, comparisons)
            parts.append(f'**{test_set.name}, {title}.** {result.protocol.describe(test_set.count, "per image")}')
            images = {image: None for one in comparisons.values() for image in one.images}
            rows = [
                (
                    [image, model],
                    {name: _cell(value, result.metrics[name]) for name, value in one.images[image].items()},
                )
                for image in images
                for model, one in comparisons.items()
                if image in one.images
            ]
            parts += _tables(['image', 'model'], rows, result.metrics)
    return '\n\n'.join(parts) + '\n'


def metric_notes(result: EvaluationResult) -> str:
    """What each metric is, a line each."""
    lines = []
    for metric in result.protocol.metrics:
        unit = f'{metric.unit}, ' if metric.unit else ''
        lines.append(f'- {metric.title} ({unit}{metric.better} is better): {metric.protocol}.\n')
    return ''.join(lines)


def _title(kind: Kind, comparisons: Mapping[str, Comparison]) -> str:
    only_sets = kind == 'quality' and not any(one.images for one in comparisons.values())
    return _TARGET if only_sets else _KINDS[kind]


def _mean_tables(
    comparisons: Mapping[str, Comparison],
    metrics: Mapping[str, Metric],
    missing: Sequence[Metric],
    best: set[tuple[str, str]],
) -> list[str]:
    rows = []
    for model, comparison in comparisons.items():
        cells = {}
        for name, mean in comparison.means.items():
            text = _cell(mean.value, metrics[name])
            text = f'**{text}**' if (model, name) in best else text
            cells[name] = f'{text}{_interval(mean, metrics[name])}'
        rows.append(([model], {**cells, **{metric.name: 'n/a' for metric in missing}}))
    return _tables(['model'], rows, metrics)


def _best(differences: Sequence[Difference], surrogates: Sequence[str]) -> set[tuple[str, str]]:
    """Surrogate and metric where it is better than every other surrogate, and there is another."""
    verdicts: dict[tuple[str, str], list[bool]] = {}
    for one in differences:
        if one.first in surrogates and one.second in surrogates:
            verdicts.setdefault((one.first, one.metric), []).append(one.verdict == 'better')
            verdicts.setdefault((one.second, one.metric), []).append(one.verdict == 'worse')
    return {key for key, won in verdicts.items() if all(won)}


def _cell(value: float, metric: Metric) -> str:
    if math.isfinite(value):
        return f'{value:.{metric.digits}f}'
    return 'identical' if math.isinf(value) else '-'


def _interval(mean: Mean, metric: Metric) -> str:
    if mean.interval is None:
        return ''
    low, high = (f'{bound:.{metric.digits}f}' for bound in mean.interval)
    return f' [{low}, {high}]'


def _notes(comparisons: Mapping[str, Comparison], metrics: Mapping[str, Metric]) -> Iterator[str]:
    """What a mean over fewer images than announced must not keep to itself."""
    for model, comparison in comparisons.items():
        for name, mean in comparison.means.items():
            title, count = metrics[name].title, len(comparison.images)
            if mean.identical and math.isfinite(mean.value):
                yield (
                    f'{model}: {mean.identical} of {count} images equal their reference on {title} and are left out of '
                    'its mean.'
                )
            if mean.undefined:
                yield f'{model}: {title} is not defined for {mean.undefined} of {count} images.'


def _differences(test_set: SetResult, metrics: Mapping[str, Metric]) -> list[str]:
    parts = []
    for kind in KINDS:
        some = [one for one in test_set.differences if one.kind == kind]
        if some:
            parts.append(
                f'**{test_set.name}, {_KINDS[kind]}: differences.** First minus second [95 % confidence interval]; p '
                f'of a paired test, corrected by Holm for {len(some)} comparisons. Better or worse: the interval '
                'excludes 0, and p is at most 0.05.'
            )
            rows = [_difference_row(one, metrics[one.metric]) for one in some]
            parts.append(_table(['metric', 'first', 'second', 'over', 'difference', 'p', 'the first is'], rows, 4))
    return parts


def _difference_row(one: Difference, metric: Metric) -> list[str]:
    found, digits = one.found, metric.digits + 1
    over = f'{found.count} images' if one.over == 'images' else f'{found.seeds} seeds, {found.count} images'
    if math.isnan(found.mean):
        return [metric.title, one.first, one.second, over, '-', '-', one.verdict]
    interval = ''
    if found.bounds:
        interval = ' [{:+.{d}f}, {:+.{d}f}]'.format(*found.bounds, d=digits)
    p = '-' if math.isnan(one.p_holm) else '< 0.001' if one.p_holm < 0.001 else f'{one.p_holm:.3f}'
    return [metric.title, one.first, one.second, over, f'{found.mean:+.{digits}f}{interval}', p, one.verdict]


def _tables(
    header: Sequence[str], rows: Sequence[tuple[Sequence[str], Mapping[str, str]]], metrics: Mapping[str, Metric]
) -> list[str]:
    """The rows' names and cells as tables no wider than a terminal, as far as one column each allows it."""
    columns = [name for name in metrics if any(name in cells for _, cells in rows)]
    widths = {
        name: 3 + max(len(metrics[name].title), *(len(cells.get(name, '')) for _, cells in rows)) for name in columns
    }
    names = 1 + sum(3 + max(len(line[i]) for line in (header, *(n for n, _ in rows))) for i in range(len(header)))
    groups: list[list[str]] = []
    for name in columns:
        if not groups or names + sum(widths[other] for other in (*groups[-1], name)) > WIDTH:
            groups.append([])
        groups[-1].append(name)
    return [
        _table(
            [*header, *(metrics[name].title for name in group)],
            [[*first, *(cells.get(name, '') for name in group)] for first, cells in rows],
            len(header),
        )
        for group in groups
    ]


def _lines(notes: Iterator[str] | Sequence[str]) -> list[str]:
    return ['\n\n'.join(lines)] if (lines := list(notes)) else []


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> str:
    """A Markdown table, ``names`` columns to the left and numbers to the right, padded to equal widths."""
    lines = [[*map(_escape, row[:names]), *row[names:]] for row in (header, *rows)]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(header))]
    ruler = ['-' * width if column < names else '-' * (width - 1) + ':' for column, width in enumerate(widths)]
    text = []
    for line in (lines[0], ruler, *lines[1:]):
        cells = [
            cell.ljust(w) if column < names else cell.rjust(w)
            for column, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        text.append(f'| {" | ".join(cells)} |')
    return '\n'.join(text)


def _escape(name: str) -> str:
    return name.replace('|', '\\|').replace('\n', ' ')
