"""An evaluation as text that reads well in a terminal and as Markdown; out of what its evaluation.json holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mea_plugin.evaluation.markup import to_markdown
from mea_plugin.evaluation.table import Table
from mea_plugin.evaluation.tables import KINDS, all_tables, image_table

__all__ = ['document', 'summary']

_WIDTH = 120  # of a terminal


def summary(evaluation: Mapping[str, Any]) -> str:
    """Every table of means and of differences; what holds for several is said once, at the end.

    Args:
        evaluation: The content of evaluation.json.
    """
    return _with_legend(all_tables(evaluation))


def document(evaluation: Mapping[str, Any], picture: str) -> str:
    """The summary, then what the metrics and models are, then a table per image.

    Args:
        evaluation: The content of evaluation.json.
        picture: The side-by-side picture, as a path beside the document.
    """
    per_image = [
        image_table(evaluation, test_set['name'], kind)
        for test_set in evaluation['test_sets']
        for kind in KINDS
        if any(model['images'] for model in test_set[kind].values())
    ]
    parts = [
        f'# {evaluation["name"]}',
        summary(evaluation).rstrip('\n'),
        f'![answers side by side]({picture})',
        '## Metrics',
        _metrics(evaluation),
        '## Models',
        '\n'.join(
            f'- {one["name"]} ({one["role"]}): {one["title"]}, fingerprint {one["fingerprint"][:16]}'
            for one in evaluation['models']
        ),
    ]
    if per_image:
        parts += ['## Per image', _with_legend(per_image).rstrip('\n')]
    return '\n\n'.join(parts) + '\n'


def _metrics(evaluation: Mapping[str, Any]) -> str:
    lines = []
    for metric in evaluation['protocol']['metrics'].values():
        unit = f'{metric["unit"]}, ' if metric['unit'] else ''
        lines.append(f'- {metric["title"]} ({unit}{metric["better"]} is better): {metric["protocol"]}.')
    return '\n'.join(lines)


def _with_legend(tables: list[Table]) -> str:
    legend = dict.fromkeys(sentence for table in tables for sentence in table.legend)
    parts = [to_markdown(replace(table, legend=[]), width=_WIDTH) for table in tables]
    return '\n'.join([*parts, ''.join(f'- {sentence}\n' for sentence in legend)])
