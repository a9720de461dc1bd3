"""Tables out of what a study.json holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mea_plugin.evaluation.table import Cell, Column, Table

__all__ = [
    'comparison_table',
    'customer_table',
    'defence_table',
    'fidelity_table',
    'queries_table',
    'study_tables',
    'tuning_table',
    'verdict_table',
]

Study = Mapping[str, Any]

_LEGEND = [
    'Difference: mean over configurations, seeds and images of the first method minus the second [95 % bootstrap '
    'interval over seeds and images].',
    'Won or lost: the interval of a configuration excludes 0, and its p, corrected by Holm for all configurations and '
    'comparisons of the study, is at most 0.05.',
    "Time: seconds of training, times the second method's.",
    'One seed has neither an interval nor a verdict.',
]


def study_tables(study: Study) -> list[Table]:
    """All tables, the most important first; one without rows is left out."""
    tables = [comparison_table(study), fidelity_table(study), verdict_table(study), queries_table(study)]
    tables += [defence_table(study), customer_table(study), tuning_table(study)]
    return [table for table in tables if table.rows]


def comparison_table(study: Study) -> Table:
    """A row per comparison and scope: who wins how often, by how much, and what it costs."""
    metric, about = _deciding(study)
    unit = f' ({about["unit"]})' if about['unit'] else ''
    header = [
        Column('comparison', 'comparison', is_number=False),
        Column('scope', 'over', is_number=False),
        Column('won', 'won'),
        Column('lost', 'lost'),
        Column('undecided', 'undecided'),
        Column('difference', f'{about["title"]}{unit}', has_interval=True),
        Column('time', 'time'),
    ]
    rows = []
    for one in study['comparisons']:
        for scope, pooled in one['pooled'].items():
            verdicts = [
                entry['metrics'][metric]['verdict']
                for entry in one['configurations']
                if metric in entry['metrics'] and scope in ('all', entry['surrogate'])
            ]
            rows.append(
                [
                    Cell(f'{one["name"]}: {one["method"]} - {one["against"]}', name=one['name']),
                    Cell('all' if scope == 'all' else f'surrogate {scope}', name=scope),
                    *(_count(verdicts.count(verdict)) for verdict in ('better', 'worse', 'undecided')),
                    _difference(pooled['metrics'][metric], about),
                    Cell(value=pooled['seconds'], text='' if pooled['seconds'] else 'not known'),
                ]
            )
    notes = [note for one in study['comparisons'] for note in _gaps(one)]
    return Table('comparisons', 'Methods compared: fidelity to the victim', header, rows, notes=notes, legend=_LEGEND)


def _gaps(comparison: Mapping[str, Any]) -> Iterator[str]:
    """What a comparison lacks: without that, a mean over a part would be read as one over the whole study."""
    wanted = len(comparison['configurations'])
    if not wanted or not (comparison['missing'] or comparison['incomplete']):
        return
    lacking = f'{comparison["name"]}: of {wanted} configurations {comparison["missing"]} have no pair of cells'
    yield f'{lacking} and {comparison["incomplete"]} lack seeds.'
    for scope, pooled in comparison['pooled'].items():
        over = 'all' if scope == 'all' else f'surrogate {scope}'
        seeds = ', '.join(map(str, pooled['seeds']))
        yield (
            f'{comparison["name"]}, {over}: the difference is over {pooled["configurations"]} of {pooled["wanted"]} '
            f'configurations, those with seeds {seeds}.'
        )


def fidelity_table(study: Study) -> Table:
    """A row per configuration, a column per method."""
    metric, about = _deciding(study)
    unit = f' ({about["unit"]})' if about['unit'] else ''
    trivial = ' / '.join(dict.fromkeys(one['trivial']['name'] for one in study['configurations'] if one['trivial']))
    header = [*_axes(study), *([Column('trivial', trivial)] if trivial else [])]
    header += [Column(method, method, has_interval=True) for method in study['methods']]
    rows = []
    for one in study['configurations']:
        row = _axis_cells(study, one)
        if trivial:
            row.append(_plain((one['trivial'] or {}).get('fidelity', {}).get(metric), about))
        for method in study['methods']:
            found = one['methods'].get(method)
            row.append(Cell('-') if found is None else _mean(found['fidelity'][metric], about))
        rows.append(row)
    images = sum(study['test_sets'].values())
    sets = ', '.join(f'{name} {count}' for name, count in study['test_sets'].items())
    setting = f'{about["title"]}{unit}, mean over seeds and {images} images ({sets}) [95 % interval].'
    return Table('fidelity', 'Fidelity by configuration', header, rows, setting=setting)


def verdict_table(study: Study) -> Table:
    """A row per comparison and configuration."""
    metric, about = _deciding(study)
    header = [
        Column('comparison', 'comparison', is_number=False),
        *_axes(study),
        Column('difference', about['title'], has_interval=True),
        Column('p', 'p (Holm)'),
        Column('seeds', 'seeds'),
        Column('time', 'time'),
        Column('verdict', 'the first is', is_number=False),
    ]
    rows = []
    for one in study['comparisons']:
        for entry in one['configurations']:
            found = entry['metrics'].get(metric)
            if found is None:
                rest = [Cell('-'), Cell('-'), _seeds(0, entry), Cell('-'), Cell('not run')]
            else:
                time = Cell('-') if entry['seconds'] is None else Cell(value=entry['seconds'])
                rest = [
                    _difference(found, about),
                    _p(found['p_holm']),
                    _seeds(len(found['seeds']), entry),
                    time,
                    Cell(found['verdict']),
                ]
            rows.append([Cell(one['name']), *_axis_cells(study, entry), *rest])
    return Table('configurations', 'Comparisons by configuration', header, rows)


def queries_table(study: Study) -> Table:
    """How many of its queries a method needs for what the other reaches with all of them."""
    header = [
        Column('comparison', 'comparison', is_number=False),
        *_axes(study),
        Column('share', 'share of the queries'),
    ]
    rows = []
    for one in study['comparisons']:
        for entry in one['queries_needed']:
            share = entry['share']
            text = 'more than all' if share is None else f'at most {share:.2f}' if entry['at_most'] else ''
            rows.append([Cell(one['name']), *_axis_cells(study, entry), Cell(text, value=share)])
    legend = ['Interpolated between budgets in the logarithm of the budget; of means, so without an interval.']
    title = 'Queries that the first method needs to reach what the second reaches with its budget'
    return Table('queries', title, header, rows, legend=legend)


def defence_table(study: Study) -> Table:
    """What each defence takes from customers, and from each method of attack."""
    metric, about = _deciding(study)
    unit = f' ({about["unit"]})' if about['unit'] else ''
    header = [
        *_axes(study),
        Column('method', 'method', is_number=False),
        Column('lost', f'attacker: {about["title"]} lost{unit}', has_interval=True),
        Column('p', 'p (Holm)'),
        Column('customer', f"customer's {about['title']}{unit}"),
        Column('seconds', 'seconds per query'),
    ]
    found = study.get('defences') or {'customers': [], 'attackers': []}
    customers = {(one['victim'], one['defence']): one for one in found['customers']}
    rows = []
    for entry in found['attackers']:
        judged, customer = entry['metrics'][metric], customers[entry['victim'], entry['defence']]
        rows.append(
            [
                *_axis_cells(study, entry),
                Cell(entry['method']),
                _difference(judged, about),
                _p(judged['p_holm']),
                _plain(customer['quality'][metric], about),
                Cell(value=customer['seconds']),
            ]
        )
    legend = [
        "Attacker: the surrogate's fidelity to the undefended victim with the defence minus without [95 % interval]; "
        'of a method that adapts, minus that of what it is laid over.',
        "Customer: the defended answer's distance to the undefended one. Seconds: times a query without defence.",
    ]
    return Table('defences', 'What defences take', header, rows, legend=legend)


def customer_table(study: Study) -> Table:
    """How far defended answers are from the undefended ones, in every metric, and what a query costs."""
    metrics = study['metrics']
    header = [
        Column('victim', 'victim', is_number=False),
        Column('defence', 'defence', is_number=False),
        *(Column(name, one['title'] + (f' ({one["unit"]})' if one['unit'] else '')) for name, one in metrics.items()),
        Column('seconds', 'seconds per query'),
    ]
    rows = [
        [
            Cell(one['victim']),
            Cell(one['defence']),
            *(_plain(one['quality'][name], about) for name, about in metrics.items()),
            Cell(value=one['seconds']),
        ]
        for one in (study.get('defences') or {'customers': []})['customers']
    ]
    legend = ["Defended answers against undefended ones, on the test sets' inputs. Seconds: times one without defence."]
    return Table('customers', 'What defences cost a customer', header, rows, legend=legend)


def tuning_table(study: Study) -> Table:
    """What each method chose among, on the validation sets."""
    _, about = _deciding(study)
    header = [
        Column('surrogate', 'surrogate', is_number=False),
        Column('method', 'method', is_number=False),
        Column('trial', 'setting', is_number=False),
        Column('fidelity', about['title']),
    ]
    rows = [
        [
            Cell(one['surrogate']),
            Cell(one['method']),
            Cell(f'{trial} (taken)' if trial == one['taken'] else trial, name=trial),
            Cell('failed') if mean is None else _plain(mean, about),
        ]
        for one in study['tuning']
        for trial, mean in one['means'].items()
    ]
    return Table('tuning', 'Tuning: fidelity on validation images that no other table uses', header, rows)


def _deciding(study: Study) -> tuple[str, Mapping[str, Any]]:
    name = next(iter(study['metrics']))
    return name, study['metrics'][name]


def _axes(study: Study) -> list[Column]:
    return [
        Column('victim', 'victim', is_number=False),
        Column('surrogate', 'surrogate', is_number=False),
        Column('queries', 'queries', is_number=False),
        Column('budget', 'budget'),
        *([Column('defence', 'defence', is_number=False)] if study.get('defences') else []),
    ]


def _axis_cells(study: Study, entry: Mapping[str, Any]) -> list[Cell]:
    cells = [Cell(entry['victim']), Cell(entry['surrogate']), Cell(entry['queries']), _count(entry['budget'])]
    return [*cells, Cell(entry['defence'])] if study.get('defences') else cells


def _p(value: float | None) -> Cell:
    if value is None:
        return Cell('-')
    return Cell('< 0.0001' if value < 0.0001 else '', value=value, digits=4)


def _count(value: int) -> Cell:
    return Cell(value=value, digits=0)


def _seeds(count: int, entry: Mapping[str, Any]) -> Cell:
    wanted = entry['seeds_wanted']
    return Cell('' if count == wanted else f'{count} of {wanted}', value=count, digits=0)


def _plain(value: float | None, about: Mapping[str, Any]) -> Cell:
    return Cell('-') if value is None else Cell(value=value, digits=about['digits'])


def _mean(found: Mapping[str, Any], about: Mapping[str, Any]) -> Cell:
    if found['mean'] is None:
        return Cell('-')
    low, high = found['interval'] or (None, None)
    return Cell(value=found['mean'], low=low, high=high, digits=about['digits'])


def _difference(found: Mapping[str, Any], about: Mapping[str, Any]) -> Cell:
    if found['mean'] is None:
        return Cell('-')
    low, high = found['interval'] or (None, None)
    return Cell(value=found['mean'], low=low, high=high, digits=about['digits'], is_signed=True)
